// See gemm.h.

#include "gemm.h"

#include <algorithm>

namespace rwkv {
namespace {

// R rows of C by one panel.
template <int R>
RWKV_INLINE void tile(const Left &a, const float *panel, int64_t depth, int64_t columns, const float *bias, bool add,
                      float *c, int64_t c_row) {
  static_assert(kTileColumns == 2 * kLanes);
  float edge[R * kTileColumns];
  const bool whole = columns == kTileColumns;
  float *to = whole ? c : edge;
  const int64_t to_row = whole ? c_row : kTileColumns;
  if (!whole && add)
    for (int r = 0; r < R; ++r) std::copy_n(c + r * c_row, columns, edge + r * kTileColumns);
  Lanes sums[R][2];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < 2; ++v) {
      sums[r][v] = Lanes{};
      if (add) load(to + r * to_row + v * kLanes, sums[r][v]);
    }
  for (int64_t k = 0; k < depth; ++k) {
    Lanes left, right;
    load(panel + k * kTileColumns, left);
    load(panel + k * kTileColumns + kLanes, right);
    for (int r = 0; r < R; ++r) {
      const float x = a.x[r * a.row + k * a.step];
      sums[r][0] += x * left;
      sums[r][1] += x * right;
    }
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < 2; ++v) store(to + r * to_row + v * kLanes, sums[r][v]);
  if (!whole)
    for (int r = 0; r < R; ++r) std::copy_n(edge + r * kTileColumns, columns, c + r * c_row);
  if (bias != nullptr)
    for (int r = 0; r < R; ++r)
      for (int64_t i = 0; i < columns; ++i) c[r * c_row + i] += bias[i];
}

template <int R>
RWKV_INLINE void last_rows(const Left &a, const float *panel, int64_t rows, int64_t depth, int64_t columns,
                           const float *bias, bool add, float *c, int64_t c_row) {
  if (rows == R)
    tile<R>(a, panel, depth, columns, bias, add, c, c_row);
  else if constexpr (R > 1)
    last_rows<R - 1>(a, panel, rows, depth, columns, bias, add, c, c_row);
}

RWKV_CLONES void rows_by_panel(const Left &a, const float *panel, int64_t rows, int64_t depth, int64_t columns,
                               const float *bias, bool add, float *c, int64_t c_row) {
  int64_t r = 0;
  for (; r + kTileRows <= rows; r += kTileRows)
    tile<kTileRows>({a.x + r * a.row, a.row, a.step}, panel, depth, columns, bias, add, c + r * c_row, c_row);
  last_rows<kTileRows - 1>({a.x + r * a.row, a.row, a.step}, panel, rows - r, depth, columns, bias, add, c + r * c_row,
                           c_row);
}

}  // namespace

void to_panels(const float *b, int64_t row, int64_t column, int64_t depth, int64_t columns, float *panels) {
  for (int64_t first = 0; first < columns; first += kTileColumns, panels += depth * kTileColumns) {
    const int64_t width = std::min(kTileColumns, columns - first);
    if (width < kTileColumns) std::fill_n(panels, depth * kTileColumns, 0.0f);
    const float *from = b + first * column;
    if (column == 1)
      for (int64_t k = 0; k < depth; ++k) std::copy_n(from + k * row, width, panels + k * kTileColumns);
    else
      for (int64_t c = 0; c < width; ++c)
        for (int64_t k = 0; k < depth; ++k) panels[k * kTileColumns + c] = from[k * row + c * column];
  }
}

void product(const Left &a, const float *panels, int64_t rows, int64_t depth, int64_t columns, const float *bias,
             bool add, float *c, int64_t c_row) {
  for (int64_t first = 0; first < columns; first += kTileColumns) {
    const int64_t width = std::min(kTileColumns, columns - first);
    rows_by_panel(a, panels + first * depth, rows, depth, width, bias == nullptr ? nullptr : bias + first, add, c + first,
                  c_row);
  }
}

Map::Map(const float *w, int64_t out, int64_t in, bool back) : out_(out), in_(in) {
  panels_ = Scratch(back ? panel_size(out, in) : panel_size(in, out));
  if (back)
    to_panels(w, in, 1, out, in, panels_.data());
  else
    to_panels(w, 1, in, in, out, panels_.data());
}

void add_outer(const float *grad, const float *x, int64_t rows, int64_t out, int64_t in, float *panels, float *sum) {
  to_panels(x, in, 1, rows, in, panels);
  product({grad, 1, out}, panels, out, rows, in, nullptr, true, sum, in);
}

}  // namespace rwkv
