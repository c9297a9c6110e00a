// See shift.h.

#include "shift.h"

#include "gradients.h"

namespace rwkv {
namespace {

RWKV_CLONES void normalise(const float *x, const float *weight, const float *bias, int64_t channels, float *normed,
                           float *statistics) {
  normalise_row(x, weight, bias, kLayerNormEps, channels, normed, statistics);
}

RWKV_CLONES void interpolate(const float *x, const float *shifted, const float *lerp, int64_t channels, float *mixed) {
  interpolate_row(x, shifted, lerp, channels, mixed);
}

RWKV_CLONES void interpolate_back(const float *x, const float *shifted, const float *grad, const float *lerp,
                                  int64_t channels, float *of_lerp, float *of_self, float *of_source) {
  backward_interpolation(x, shifted, grad, lerp, channels, of_lerp, of_self, of_source);
}

RWKV_CLONES void add_to(float *sum, const float *x, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) sum[c] += x[c];
}

RWKV_CLONES void move_to(double *sum, float *x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    sum[i] += x[i];
    x[i] = 0;
  }
}

// As many numbers as all lerps of a mixer.
constexpr int64_t kShort = 1024;

// In place: grad is read before it is written.
RWKV_CLONES void normalise_back(const float *x, const float *weight, const float *statistics, int64_t channels,
                                float *grad, float *of_weight, float *of_bias) {
  backward_normalisation(x, grad, weight, statistics, channels, grad, of_weight, of_bias);
}

}  // namespace

void ShiftedRows::check_all() const {
  check_dimensions(x, "x", 2);
  check_dimensions(before, "before", 2);
  const int64_t rows = x.size(0), C = x.size(1), earlier = before.size(0);
  check(x, "x", {rows, C});
  check_columns(C, "the channels of x");
  check(weight, "weight", {C});
  check(bias, "bias", {C});
  check(before, "before", {earlier, C});
  check(source, "source", {rows}, at::kLong);
  const int64_t *at = source.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < rows; ++i) {
    const bool is_within = at[i] == i || (i > 0 && (at[i] == i - 1 || at[i] == at[i - 1]));
    if (!is_within && (at[i] < rows || at[i] >= rows + earlier))
      refuse("source[", i, "] = ", at[i], " is neither row ", i, ", nor the row before it or that one's source, nor one of ",
             earlier, " rows before");
  }
}

ShiftedBlock::ShiftedBlock(const ShiftedRows &of)
    : of_(of), normed_(kBlockRows * of.channels()), outside_(of.channels()), shifted_(kBlockRows) {}

void ShiftedBlock::load(int64_t begin, int64_t end, float *statistics) {
  const int64_t rows = of_.rows(), C = of_.channels();
  const float *x = read(of_.x), *weight = read(of_.weight), *bias = read(of_.bias), *before = read(of_.before);
  const int64_t *source = of_.source.const_data_ptr<int64_t>();
  count_ = end - begin;
  // Of the rows before the block, only the latest review of the group that it cuts is a source.
  int64_t outside = -1;
  for (int64_t i = begin; i < end; ++i) {
    float *normed = normed_.data() + (i - begin) * C;
    normalise(x + i * C, weight, bias, C, normed, statistics + 2 * (i - begin));
    const int64_t s = source[i];
    if (s >= rows) {
      shifted_[i - begin] = before + (s - rows) * C;
    } else if (s >= begin) {
      shifted_[i - begin] = normed_.data() + (s - begin) * C;
    } else {
      float unused[2];
      if (s != outside) normalise(x + s * C, weight, bias, C, outside_.data(), unused);
      outside = s;
      shifted_[i - begin] = outside_.data();
    }
  }
}

void ShiftedBlock::mix(const float *lerp, float *to) const {
  const int64_t C = of_.channels();
  for (int64_t i = 0; i < count_; ++i) interpolate(normed_.data() + i * C, shifted_[i], lerp, C, to + i * C);
}

void ShiftedBlock::mix_back(const float *lerp, const float *grad, float *of_lerp, float *of_self, float *of_source) const {
  const int64_t C = of_.channels();
  for (int64_t i = 0; i < count_; ++i)
    interpolate_back(normed_.data() + i * C, shifted_[i], grad + i * C, lerp, C, of_lerp, of_self + i * C, of_source + i * C);
}

GradientSums::GradientSums(at::TensorList weights) : by_thread_(at::get_num_threads()), precise_(at::get_num_threads()) {
  for (size_t thread = 0; thread < by_thread_.size(); ++thread)
    for (const auto &weight : weights) {
      const bool is_short = weight.numel() <= kShort;
      by_thread_[thread].push_back(at::zeros_like(weight));
      precise_[thread].push_back(is_short ? at::zeros_like(weight, weight.options().dtype(at::kDouble)) : at::Tensor());
    }
}

void GradientSums::end_block(int thread) {
  for (size_t w = 0; w < precise_[thread].size(); ++w)
    if (precise_[thread][w].defined())
      move_to(precise_[thread][w].data_ptr<double>(), at(thread, w), precise_[thread][w].numel());
}

std::vector<at::Tensor> GradientSums::behind(const at::Tensor &of_x) {
  std::vector<at::Tensor> result{of_x};
  for (size_t w = 0; w < by_thread_[0].size(); ++w) {
    auto &sums = precise_[0][w].defined() ? precise_ : by_thread_;
    for (size_t thread = 1; thread < sums.size(); ++thread) sums[0][w].add_(sums[thread][w]);
    result.push_back(sums[0][w].to(at::kFloat));
  }
  return result;
}

void shift_back(const ShiftedRows &of, const float *statistics, const float *of_source, float *of_self,
                GradientSums &sums, int norm_weight, int norm_bias) {
  const int64_t rows = of.rows(), C = of.channels();
  const float *x = read(of.x), *weight = read(of.weight);
  const int64_t *source = of.source.const_data_ptr<int64_t>();
  for_blocks(rows, [&](int64_t, int64_t begin, int64_t end) {
    float *of_weight = sums.at(at::get_thread_num(), norm_weight), *of_bias = sums.at(at::get_thread_num(), norm_bias);
    for (int64_t i = begin; i < end; ++i) {
      float *own = of_self + i * C;
      // The rows that are shifted to row i follow it directly; a row without an earlier one is shifted to itself.
      if (source[i] == i) add_to(own, of_source + i * C, C);
      for (int64_t next = i + 1; next < rows && source[next] == i; ++next) add_to(own, of_source + next * C, C);
      normalise_back(x + i * C, weight, statistics + 2 * i, C, own, of_weight, of_bias);
    }
    sums.end_block(at::get_thread_num());
  });
}

}  // namespace rwkv
