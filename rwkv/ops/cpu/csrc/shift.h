// LayerNorm and token shift over a block of rows, and their gradient, defined by rwkv/ops/mixers.py.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "rows.h"

namespace rwkv {

constexpr float kLayerNormEps = 1e-5f;

// Rows x [N, C] to normalise and shift. source [N]: the row from which each row takes its shift, or N + i for row i of
// before [M, C], which is already normalised. A source is the row itself, the row before it, or that row's source.
struct ShiftedRows {
  const at::Tensor &x, &weight, &bias, &source, &before;

  int64_t rows() const { return x.size(0); }
  int64_t channels() const { return x.size(1); }
  void check_all() const;
};

// A block of them, normalised. Blocks may be loaded in any order.
class ShiftedBlock {
 public:
  explicit ShiftedBlock(const ShiftedRows &of);

  // statistics: mean and reciprocal deviation of each of the rows begin to end - 1.
  void load(int64_t begin, int64_t end, float *statistics);

  const float *normed() const { return normed_.data(); }

  // to [n, C]: between each row and that which it is shifted to.
  void mix(const float *lerp, float *to) const;

  // Adds the gradient [n, C] of `mix`: to that of the lerp, of the rows [n, C], and of those they are shifted to [n, C].
  void mix_back(const float *lerp, const float *grad, float *of_lerp, float *of_self, float *of_source) const;

 private:
  const ShiftedRows &of_;
  int64_t count_ = 0;
  std::vector<float> normed_, outside_;
  std::vector<const float *> shifted_;
};

// The gradients of weights, summed separately by each thread. Short ones such as biases and lerps, whose terms cancel,
// are summed in double precision block by block, so that they do not depend on the number of threads.
class GradientSums {
 public:
  explicit GradientSums(at::TensorList weights);

  float *at(int thread, int weight) const { return by_thread_[thread][weight].data_ptr<float>(); }

  // Call after each block of rows.
  void end_block(int thread);

  // The gradient of x, and then those of the weights.
  std::vector<at::Tensor> behind(const at::Tensor &of_x);

 private:
  // By thread and weight; the second is undefined for long weights.
  std::vector<std::vector<at::Tensor>> by_thread_, precise_;
};

// From the gradients of normalised rows and of those they are shifted to, both [N, C], to that of x, in place of
// of_self. norm_weight, norm_bias: the places of the LayerNorm's weights in sums.
void shift_back(const ShiftedRows &of, const float *statistics, const float *of_source, float *of_self,
                GradientSums &sums, int norm_weight, int norm_bias);

}  // namespace rwkv
