// See gemm.h.

#include "gemm.h"

#include <algorithm>

#include "simd.h"

namespace rwkv {
namespace {

// A part of a panel: its columns, which lie `row` apart from one row of B to the next, and where they go in C.
struct Strip {
  const float *b;
  int64_t row, depth, columns;
  const float *bias;
  bool add;
};

// R rows of C by V vectors of columns.
template <typename Vector, int R, int V>
RWKV_INLINE void whole_tile(const Left &a, const Strip &strip, float *c, int64_t c_row) {
  constexpr int kVector = sizeof(Vector) / sizeof(float);
  Vector sums[R][V];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) {
      sums[r][v] = Vector{};
      if (strip.add) load(c + r * c_row + v * kVector, sums[r][v]);
      if (strip.bias != nullptr) load(strip.bias + v * kVector, sums[r][v]);
    }
  for (int64_t k = 0; k < strip.depth; ++k) {
    Vector b[V];
    for (int v = 0; v < V; ++v) load(strip.b + k * strip.row + v * kVector, b[v]);
    for (int r = 0; r < R; ++r) {
      const float x = a.x[r * a.row + k * a.step];
      for (int v = 0; v < V; ++v) sums[r][v] += x * b[v];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) store(c + r * c_row + v * kVector, sums[r][v]);
}

// The same where C may have fewer columns.
template <typename Vector, int R, int V>
RWKV_INLINE void tile(const Left &a, const Strip &strip, float *c, int64_t c_row) {
  constexpr int kColumns = V * sizeof(Vector) / sizeof(float);
  if (strip.columns == kColumns) return whole_tile<Vector, R, V>(a, strip, c, c_row);
  float whole[R * kColumns] = {}, bias[kColumns] = {};
  if (strip.add)
    for (int r = 0; r < R; ++r) std::copy_n(c + r * c_row, strip.columns, whole + r * kColumns);
  if (strip.bias != nullptr) std::copy_n(strip.bias, strip.columns, bias);
  const Strip wider{strip.b, strip.row, strip.depth, kColumns, strip.bias == nullptr ? nullptr : bias, strip.add};
  whole_tile<Vector, R, V>(a, wider, whole, kColumns);
  for (int r = 0; r < R; ++r) std::copy_n(whole + r * kColumns, strip.columns, c + r * c_row);
}

template <typename Vector, int R, int V>
RWKV_INLINE void last_rows(const Left &a, int64_t rows, const Strip &strip, float *c, int64_t c_row) {
  if (rows == R)
    tile<Vector, R, V>(a, strip, c, c_row);
  else if constexpr (R > 1)
    last_rows<Vector, R - 1, V>(a, rows, strip, c, c_row);
}

// All rows of C by a strip, R at a time.
template <typename Vector, int R, int V>
RWKV_INLINE void strip_rows(const Left &a, int64_t rows, const Strip &strip, float *c, int64_t c_row) {
  int64_t r = 0;
  for (; r + R <= rows; r += R) tile<Vector, R, V>({a.x + r * a.row, a.row, a.step}, strip, c + r * c_row, c_row);
  last_rows<Vector, R - 1, V>({a.x + r * a.row, a.row, a.step}, rows - r, strip, c + r * c_row, c_row);
}

// A panel of 16 or 32 columns by registers of 8 floats, of which processors have at least 16: 6 rows by 16 columns.
RWKV_CLONES void panel_by_8(const Left &a, int64_t rows, const Strip &panel, float *c, int64_t c_row) {
  for (int64_t first = 0; first < panel.columns; first += 16) {
    const float *bias = panel.bias == nullptr ? nullptr : panel.bias + first;
    const Strip strip{panel.b + first, panel.row, panel.depth, std::min<int64_t>(16, panel.columns - first), bias, panel.add};
    strip_rows<Lanes<8>, 6, 2>(a, rows, strip, c + first, c_row);
  }
}

#if defined(RWKV_AVX512)
// The same by 32 registers of 16 floats: 12 rows by 32 columns.
RWKV_AVX512 void panel_by_16(const Left &a, int64_t rows, const Strip &panel, float *c, int64_t c_row) {
  if (panel.row == kPanel)
    strip_rows<Lanes<16>, 12, 2>(a, rows, panel, c, c_row);
  else
    strip_rows<Lanes<16>, 12, 1>(a, rows, panel, c, c_row);
}

const auto by_panel = has_avx512() ? panel_by_16 : panel_by_8;
#else
constexpr auto by_panel = panel_by_8;
#endif

}  // namespace

void to_panels(const float *b, int64_t row, int64_t column, int64_t depth, int64_t columns, float *panels) {
  for (int64_t first = 0; first < columns; first += kPanel) {
    const int64_t width = std::min(kPanel, columns - first), stored = std::min(kPanel, padded(columns) - first);
    if (width < stored) std::fill_n(panels, depth * stored, 0.0f);
    const float *from = b + first * column;
    if (column == 1)
      for (int64_t k = 0; k < depth; ++k) std::copy_n(from + k * row, width, panels + k * stored);
    else
      for (int64_t c = 0; c < width; ++c)
        for (int64_t k = 0; k < depth; ++k) panels[k * stored + c] = from[k * row + c * column];
    panels += depth * stored;
  }
}

void product(const Left &a, const float *panels, int64_t rows, int64_t depth, int64_t columns, const float *bias,
             bool add, float *c, int64_t c_row) {
  for (int64_t first = 0; first < columns; first += kPanel) {
    const int64_t width = std::min(kPanel, columns - first), stored = std::min(kPanel, padded(columns) - first);
    by_panel(a, rows, {panels + first * depth, stored, depth, width, bias == nullptr ? nullptr : bias + first, add},
             c + first, c_row);
  }
}

Map::Map(const float *w, int64_t out, int64_t in, bool back)
    : out_(out), in_(in), own_(back ? panel_size(out, in) : panel_size(in, out)), panels_(own_.data()) {
  if (back)
    to_panels(w, in, 1, out, in, own_.data());
  else
    to_panels(w, 1, in, in, out, own_.data());
}

void add_outer(const float *grad, const float *x, int64_t rows, int64_t out, int64_t in, float *panels, float *sum) {
  to_panels(x, in, 1, rows, in, panels);
  product({grad, 1, out}, panels, out, rows, in, nullptr, true, sum, in);
}

}  // namespace rwkv
