// Products of a few rows with a matrix in panels, which read the weights once, from front to back.
//
// The outputs are padded with zeros to a multiple of 16 and cut into panels of 32; the last one may have 16. A panel is
// stored as [in][outputs of the panel]. The biases, if any, follow the panels with the same padding.
#pragma once

#include <cstdint>

#include "simd.h"

namespace rwkv {

constexpr int64_t kPanel = 32, kNarrowPanel = 16;

inline int64_t padded(int64_t outputs) { return (outputs + kNarrowPanel - 1) / kNarrowPanel * kNarrowPanel; }

// R rows of one panel of P outputs; bias may be null.
template <int R, int P>
RWKV_INLINE void panel_rows(const float *weights, const float *bias, const float *x, int64_t x_stride, int64_t inputs,
                            float *y, int64_t y_stride) {
  constexpr int V = P / kLanes;
  Lanes sums[R][V];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) {
      sums[r][v] = Lanes{};
      if (bias != nullptr) load(bias + v * kLanes, sums[r][v]);
    }
  for (int64_t i = 0; i < inputs; ++i)
    for (int v = 0; v < V; ++v) {
      Lanes w;
      load(weights + i * P + v * kLanes, w);
      for (int r = 0; r < R; ++r) sums[r][v] += x[r * x_stride + i] * w;
    }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) store(y + r * y_stride + v * kLanes, sums[r][v]);
}

template <int P>
RWKV_INLINE void panel(const float *weights, const float *bias, const float *x, int64_t x_stride, int64_t rows,
                       int64_t inputs, float *y, int64_t y_stride) {
  int64_t r = 0;
  for (; r + 2 <= rows; r += 2)
    panel_rows<2, P>(weights, bias, x + r * x_stride, x_stride, inputs, y + r * y_stride, y_stride);
  if (r < rows) panel_rows<1, P>(weights, bias, x + r * x_stride, x_stride, inputs, y + r * y_stride, y_stride);
}

// y [rows, padded(outputs)] = x [rows, inputs] W^T + bias; bias is null or padded(outputs) floats.
RWKV_CLONES inline void multiply(const float *weights, const float *bias, const float *x, int64_t x_stride,
                                 int64_t rows, int64_t inputs, int64_t outputs, float *y, int64_t y_stride) {
  const int64_t width = padded(outputs);
  for (int64_t o = 0; o < width;) {
    const float *of_panel = bias == nullptr ? nullptr : bias + o;
    const int64_t size = width - o >= kPanel ? kPanel : kNarrowPanel;
    if (size == kPanel)
      panel<kPanel>(weights, of_panel, x, x_stride, rows, inputs, y + o, y_stride);
    else
      panel<kNarrowPanel>(weights, of_panel, x, x_stride, rows, inputs, y + o, y_stride);
    weights += inputs * size;
    o += size;
  }
}

}  // namespace rwkv
