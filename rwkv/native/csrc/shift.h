// LayerNorm and token shift over a block of rows, and their gradient, defined by rwkv/ops/shift.py.
#pragma once

#include <vector>

#include "rows.h"

namespace rwkv {

constexpr float kLayerNormEps = 1e-5f;

// Rows x [N, C] to normalise and shift. source [N]: the row from which each row takes its shift, or N + i for row i of
// before [M, C], which is already normalised. A source is the row itself, the row before it, or that row's source.
struct ShiftedRows {
  const Array &x;
  const float *weight, *bias;  // of the LayerNorm
  const Array &source, &before;

  int64_t rows() const { return x.size(0); }
  int64_t channels() const { return x.size(1); }
};

ShiftedRows checked_rows(const Array &x, const Array &weight, const Array &bias, const Array &source, const Array &before);

// A block of them, normalised. Blocks may be loaded in any order.
class ShiftedBlock {
 public:
  explicit ShiftedBlock(const ShiftedRows &input);

  // statistics: mean and reciprocal deviation of each of the rows begin to end - 1.
  void load(int64_t begin, int64_t end, float *statistics);

  const float *normed() const { return normed_.data(); }

  // to [n, C]: between each row and that which it is shifted to.
  void mix(const float *lerp, float *to) const;

  // Adds the gradient [n, C] of `mix`: to that of the lerp, of the rows [n, C], and of those they are shifted to [n, C].
  void mix_back(const float *lerp, const float *grad, float *of_lerp, float *of_self, float *of_source) const;

 private:
  const ShiftedRows &input_;
  int64_t count_ = 0;
  Scratch normed_;  // and one row more, the source outside the block
  std::vector<const float *> shifted_;
};

// The gradients of weights, summed separately for each range of rows. Short ones such as biases and lerps, whose terms
// cancel, are summed in double precision block by block.
class GradientSums {
 public:
  GradientSums(Arrays weights, const Ranges &ranges);

  // The sums of one range.
  float *at(int64_t range, int weight) { return sums_[range].data() + places_[weight].begin; }

  // Call before and after each block.
  void begin_block(int64_t range);
  void end_block(int64_t range);

  // The gradient of x, and then those of the weights.
  std::vector<Array> behind(const Array &of_x, int64_t threads);

 private:
  // Where a weight's sums begin, and their number; if it is short, where they begin in double precision, else -1.
  struct Place {
    int64_t begin, count, precise;
  };

  Arrays weights_;
  std::vector<Place> places_;
  int64_t count_ = 0, precise_count_ = 0;
  std::vector<Scratch> sums_;                   // by range
  std::vector<std::vector<double>> precise_;  // by range
};

// From the gradients of normalised rows and of those they are shifted to, both [N, C], to that of x, in place of
// of_self. norm_weight, norm_bias: the places of the LayerNorm's weights in sums.
void shift_back(const ShiftedRows &input, const float *statistics, const float *of_source, float *of_self,
                GradientSums &sums, int norm_weight, int norm_bias, int64_t threads);

}  // namespace rwkv
