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

RWKV_CLONES void add_precisely(double *sum, const double *x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) sum[i] += x[i];
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

ShiftedRows checked_rows(const Array &x, const Array &weight, const Array &bias, const Array &source, const Array &before) {
  check_dimensions(x, "x", 2);
  check_dimensions(before, "before", 2);
  const int64_t rows = x.size(0), C = x.size(1), earlier = before.size(0);
  check(x, "x", {rows, C});
  check_columns(C, "the channels of x");
  check(weight, "weight", {C});
  check(bias, "bias", {C});
  check(before, "before", {earlier, C});
  check(source, "source", {rows}, Dtype::kInt64);
  const int64_t *at = source.read<int64_t>();
  for (int64_t i = 0; i < rows; ++i) {
    const bool is_within = at[i] == i || (i > 0 && (at[i] == i - 1 || at[i] == at[i - 1]));
    if (!is_within && (at[i] < rows || at[i] >= rows + earlier))
      refuse("source[", i, "] = ", at[i], " is neither row ", i, ", nor the row before it or that one's source, nor one of ",
             earlier, " rows before");
  }
  return {x, read(weight), read(bias), source, before};
}

ShiftedBlock::ShiftedBlock(const ShiftedRows &input)
    : input_(input), normed_((block_rows(input.rows()) + 1) * input.channels()), shifted_(block_rows(input.rows())) {}

void ShiftedBlock::load(int64_t begin, int64_t end, float *statistics) {
  const int64_t rows = input_.rows(), C = input_.channels();
  const float *x = read(input_.x), *weight = input_.weight, *bias = input_.bias, *before = read(input_.before);
  const int64_t *source = input_.source.read<int64_t>();
  count_ = end - begin;
  // Of the rows before the block, only the latest review of the group that it cuts is a source.
  int64_t outside_source = -1;
  float *outside = normed_.data() + block_rows(rows) * C;
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
      if (s != outside_source) normalise(x + s * C, weight, bias, C, outside, unused);
      outside_source = s;
      shifted_[i - begin] = outside;
    }
  }
}

void ShiftedBlock::mix(const float *lerp, float *to) const {
  const int64_t C = input_.channels();
  for (int64_t i = 0; i < count_; ++i) interpolate(normed_.data() + i * C, shifted_[i], lerp, C, to + i * C);
}

void ShiftedBlock::mix_back(const float *lerp, const float *grad, float *of_lerp, float *of_self, float *of_source) const {
  const int64_t C = input_.channels();
  for (int64_t i = 0; i < count_; ++i)
    interpolate_back(normed_.data() + i * C, shifted_[i], grad + i * C, lerp, C, of_lerp, of_self + i * C, of_source + i * C);
}

GradientSums::GradientSums(Arrays weights, const Ranges &ranges)
    : weights_(weights), sums_(ranges.count()), precise_(ranges.count()) {
  for (const Array &weight : weights) {
    const int64_t count = weight.entries();
    const bool is_short = count <= kShort;
    places_.push_back({count_, count, is_short ? precise_count_ : -1});
    count_ += whole_lines(count);
    if (is_short) precise_count_ += count;
  }
}

void GradientSums::begin_block(int64_t range) {
  if (sums_[range].data() != nullptr) return;
  sums_[range] = Scratch(count_);
  std::fill_n(sums_[range].data(), count_, 0.0f);
  precise_[range].assign(precise_count_, 0.0);
}

void GradientSums::end_block(int64_t range) {
  for (const Place &place : places_)
    if (place.precise >= 0) move_to(precise_[range].data() + place.precise, sums_[range].data() + place.begin, place.count);
}

std::vector<Array> GradientSums::behind(const Array &of_x, int64_t threads) {
  std::vector<Array> result{of_x};
  for (const Array &weight : weights_) result.push_back(Array::empty(weight.shape()));
  share(int64_t(places_.size()), threads, [&](const Queue &queue) {
    queue.each([&](int64_t weight) {
      const Place &place = places_[weight];
      float *to = write(result[weight + 1]);
      if (place.precise >= 0) {
        std::vector<double> total(place.count);
        for (const auto &sums : precise_) add_precisely(total.data(), sums.data() + place.precise, place.count);
        std::copy(total.begin(), total.end(), to);
      } else {
        std::fill_n(to, place.count, 0.0f);
        for (const Scratch &sums : sums_) add_to(to, sums.data() + place.begin, place.count);
      }
    });
  });
  return result;
}

void shift_back(const ShiftedRows &input, const float *statistics, const float *of_source, float *of_self,
                GradientSums &sums, int norm_weight, int norm_bias, int64_t threads) {
  const int64_t rows = input.rows(), C = input.channels();
  const float *x = read(input.x), *weight = input.weight;
  const int64_t *source = input.source.read<int64_t>();
  const Ranges ranges(rows);
  share(ranges.count(), threads, [&](const Queue &queue) {
    ranges.each_block(queue, [&](int64_t range, int64_t begin, int64_t end) {
      float *of_weight = sums.at(range, norm_weight), *of_bias = sums.at(range, norm_bias);
      for (int64_t i = begin; i < end; ++i) {
        float *own = of_self + i * C;
        // The rows that are shifted to row i follow it directly; a row without an earlier one is shifted to itself.
        if (source[i] == i) add_to(own, of_source + i * C, C);
        for (int64_t next = i + 1; next < rows && source[next] == i; ++next) add_to(own, of_source + next * C, C);
        normalise_back(x + i * C, weight, statistics + 2 * i, C, own, of_weight, of_bias);
      }
      sums.end_block(range);
    });
  });
}

}  // namespace rwkv
