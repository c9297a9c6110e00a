// The channel mixer, forward and backward, by blocks of rows. See rwkv/native/mixers.py.

#include <vector>

#include "channel_mix.h"
#include "operators.h"
#include "shift.h"
#include "simd.h"

namespace rwkv {
namespace {

enum ChannelWeight { kNormWeight, kNormBias, kLerp, kK, kV, kChannelWeights };

// y = max(0, h)^2; a NaN stays NaN.
RWKV_CLONES void relu_square(const float *h, int64_t count, float *y) {
  for (int64_t i = 0; i < count; ++i) y[i] = h[i] > 0 ? h[i] * h[i] : (h[i] == h[i] ? 0 : h[i]);
}

// In place, from the gradient of y to that of h.
RWKV_CLONES void relu_square_back(const float *h, int64_t count, float *grad) {
  for (int64_t i = 0; i < count; ++i) grad[i] *= h[i] > 0 ? 2 * h[i] : 0;
}

// Checks the arguments of both passes.
ShiftedRows checked(const Array &x, Arrays weights, const Array &source, const Array &before) {
  if (weights.size() != kChannelWeights) refuse("a channel mixer has ", int64_t{kChannelWeights}, " weights, got ", int64_t(weights.size()));
  const ShiftedRows rows = checked_rows(x, weights[kNormWeight], weights[kNormBias], source, before);
  check(weights[kLerp], "lerp", {rows.channels()});
  check_dimensions(weights[kK], "W_k", 2);
  const int64_t inner = weights[kK].size(0);
  check_columns(inner, "the rows of W_k");
  check(weights[kK], "W_k", {inner, rows.channels()});
  check(weights[kV], "W_v", {rows.channels(), inner});
  return rows;
}

Map map_of(const Array &w, bool back) { return Map(read(w), w.size(0), w.size(1), back); }

}  // namespace

ChannelResults run_channel_mixer(const ShiftedRows &shifted, const ChannelWeights &weights, bool keeps_h, bool adds_x,
                                 int64_t threads) {
  const int64_t rows = shifted.rows(), C = shifted.channels(), inner = weights.to_inner.out();
  ChannelResults results{Array::empty({rows, C}), Array::empty({rows, C}), Array::empty({keeps_h ? rows : 0, inner}),
                         Array::empty({rows, 2})};
  share(blocks_of(rows), threads, [&](const Queue &queue) {
    ShiftedBlock block(shifted);
    Scratch mixed(block_rows(rows) * C), squared(block_rows(rows) * inner);
    queue.each_block(rows, [&](int64_t begin, int64_t end) {
      const int64_t n = end - begin;
      float *h = keeps_h ? write(results.h) + begin * inner : squared.data(), *y = write(results.y) + begin * C;
      block.load(begin, end, write(results.statistics) + 2 * begin);
      std::copy_n(block.normed(), n * C, write(results.normed) + begin * C);
      block.mix(weights.lerp, mixed.data());
      weights.to_inner.apply(mixed.data(), n, nullptr, h);
      relu_square(h, n * inner, squared.data());
      if (adds_x) std::copy_n(read(shifted.x) + begin * C, n * C, y);
      product({squared.data(), inner, 1}, weights.to_outer.panels(), n, inner, C, nullptr, adds_x, y, C);
    });
  });
  return results;
}

// Returns y [N, C], the normalised x [N, C], and for the backward pass h [N, inner] and statistics [N, 2].
std::vector<Array> channel_mix_forward(const Array &x, const std::vector<Array> &weights, const Array &source,
                                       const Array &before, int64_t threads) {
  const ShiftedRows shifted = checked(x, weights, source, before);
  const ChannelWeights given{shifted.weight, shifted.bias, read(weights[kLerp]), map_of(weights[kK], false), map_of(weights[kV], false)};
  const ChannelResults results = run_channel_mixer(shifted, given, true, false, threads);
  return {results.y, results.normed, results.h, results.statistics};
}

// Returns the gradients of x and of the weights.
std::vector<Array> channel_mix_backward(const Array &x, const std::vector<Array> &weights, const Array &source,
                                        const Array &h, const Array &statistics, const Array &grad, int64_t threads) {
  check_dimensions(x, "x", 2);
  const auto before = x.view({0, x.size(1)});
  const ShiftedRows shifted = checked(x, weights, source, before);
  const int64_t rows = shifted.rows(), C = shifted.channels(), inner = weights[kK].size(0);
  check(h, "h", {rows, inner});
  check(statistics, "statistics", {rows, 2});
  check(grad, "grad", {rows, C});
  const Map to_inner = map_of(weights[kK], true), to_outer = map_of(weights[kV], true);
  auto of_x = Array::zeros(x.shape()), of_source = Array::zeros(x.shape());
  const Ranges ranges(rows);
  GradientSums sums(weights, ranges);
  share(ranges.count(), threads, [&](const Queue &queue) {
    ShiftedBlock block(shifted);
    Scratch mixed(kBlockRows * C), of_mixed(kBlockRows * C), squared(kBlockRows * inner), of_h(kBlockRows * inner);
    Scratch panels(panel_size(kBlockRows, std::max(C, inner))), unused(2 * kBlockRows);
    ranges.each_block(queue, [&](int64_t range, int64_t begin, int64_t end) {
      const int64_t n = end - begin;
      sums.begin_block(range);
      const float *of_y = read(grad) + begin * C, *h_block = read(h) + begin * inner;
      relu_square(h_block, n * inner, squared.data());
      add_outer(of_y, squared.data(), n, C, inner, panels.data(), sums.at(range, kV));
      to_outer.apply_back(of_y, n, false, of_h.data());
      relu_square_back(h_block, n * inner, of_h.data());
      block.load(begin, end, unused.data());
      block.mix(read(weights[kLerp]), mixed.data());
      add_outer(of_h.data(), mixed.data(), n, inner, C, panels.data(), sums.at(range, kK));
      to_inner.apply_back(of_h.data(), n, false, of_mixed.data());
      block.mix_back(read(weights[kLerp]), of_mixed.data(), sums.at(range, kLerp), write(of_x) + begin * C,
                     write(of_source) + begin * C);
      sums.end_block(range);
    });
  });
  shift_back(shifted, read(statistics), read(of_source), write(of_x), sums, kNormWeight, kNormBias, threads);
  return sums.behind(of_x, threads);
}

}  // namespace rwkv
