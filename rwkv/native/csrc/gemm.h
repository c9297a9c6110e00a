// Matrix products with a matrix in panels: C [rows, columns] = A [rows, depth] B, on one thread.
//
// The columns of B are padded with zeros to a multiple of 16 and cut into panels of 32; the last one may have 16. A panel
// is stored as [depth][columns of the panel], so that the product of a few rows reads B once from front to back.
#pragma once

#include <cstdint>

#include "array.h"

namespace rwkv {

constexpr int64_t kPanel = 32, kNarrowPanel = 16;

inline int64_t padded(int64_t columns) { return (columns + kNarrowPanel - 1) / kNarrowPanel * kNarrowPanel; }
inline int64_t panel_size(int64_t depth, int64_t columns) { return depth * padded(columns); }

// A [rows, depth], element (r, k) at x[r * row + k * step].
struct Left {
  const float *x;
  int64_t row, step;
};

// Copies B [depth, columns], with element (k, c) at b[k * row + c * column], into panels.
void to_panels(const float *b, int64_t row, int64_t column, int64_t depth, int64_t columns, float *panels);

// C [rows, columns], rows `c_row` apart, = A B + start; start: null, a bias [columns], or C itself where it is added to.
void product(const Left &a, const float *panels, int64_t rows, int64_t depth, int64_t columns, const float *bias,
             bool add, float *c, int64_t c_row);

// A linear map W [out, in] in panels for y = x W^T, or for the gradient of x, grad W.
class Map {
 public:
  Map() = default;
  // A view of panels for y.
  Map(const float *panels, int64_t out, int64_t in) : out_(out), in_(in), panels_(panels) {}
  // Cuts w into panels, for the gradient if `back`.
  Map(const float *w, int64_t out, int64_t in, bool back);

  int64_t out() const { return out_; }
  int64_t in() const { return in_; }
  const float *panels() const { return panels_; }

  // y [rows, out] = x [rows, in] W^T + bias, which may be null.
  void apply(const float *x, int64_t rows, const float *bias, float *y) const {
    product({x, in_, 1}, panels_, rows, in_, out_, bias, false, y, out_);
  }

  // to [rows, in] = grad [rows, out] W, or += if `add`; the map must be in panels for `back`.
  void apply_back(const float *grad, int64_t rows, bool add, float *to) const {
    product({grad, out_, 1}, panels_, rows, out_, in_, nullptr, add, to, in_);
  }

 private:
  int64_t out_ = 0, in_ = 0;
  Scratch own_;
  const float *panels_ = nullptr;
};

// sum [out, in] += grad [rows, out]^T x [rows, in]: the gradient of a map. panels: room for panel_size(rows, in).
void add_outer(const float *grad, const float *x, int64_t rows, int64_t out, int64_t in, float *panels, float *sum);

}  // namespace rwkv
