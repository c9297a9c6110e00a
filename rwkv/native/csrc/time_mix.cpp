// The time mixer's forward pass: projections and the output by blocks of rows, the recurrence between them by groups.

#include "time_mix.h"

#include <algorithm>

#include "operators.h"

namespace rwkv {

bool is_map(int weight) {
  constexpr TimeWeight maps[] = {kR, kK, kV, kDecayDown, kDecayUp, kADown, kAUp, kGateDown, kGateUp, kKScale, kVScale,
                                 kOut, kVMixDown, kVMixUp};
  return std::find(std::begin(maps), std::end(maps), weight) != std::end(maps);
}

Shape TimeSizes::shape_of(int weight) const {
  switch (weight) {
    case kLerps: return {kLerpCount, channels};
    case kR: case kK: case kV: case kOut: return {channels, channels};
    case kDecayDown: return {decay_rank, channels};
    case kDecayUp: return {channels, decay_rank};
    case kADown: return {a_rank, channels};
    case kAUp: return {channels, a_rank};
    case kGateDown: return {gate_rank, channels};
    case kGateUp: return {channels, gate_rank};
    case kVMixDown: return {v_rank, channels};
    case kVMixUp: return {channels, v_rank};
    case kKScale: case kVScale: return {heads, channels};
    case kKScaleBias: case kVScaleBias: return {heads};
    case kBonus: return {heads, width()};
    default: return {channels};
  }
}

std::array<int64_t, kCheckpoints> TimeSizes::kept_columns() const {
  const int64_t C = channels;
  return {C, C, C, decay_rank, a_rank, gate_rank, first_layer ? 0 : v_rank, heads, heads, C, 2};
}

TimeSizes checked_sizes(Arrays weights, int64_t C) {
  const int64_t count = weights.size();
  if (count != kTimeWeights && count != kFirstLayerWeights)
    refuse("a time mixer has ", int64_t{kTimeWeights}, " weights, or ", int64_t{kFirstLayerWeights}, " in the first layer, got ", count);
  const auto outputs = [&](TimeWeight map) -> int64_t {
    if (map >= count) return 0;
    check_dimensions(weights[map], "a map", 2);
    check_columns(weights[map].size(0), "the outputs of a map");
    return weights[map].size(0);
  };
  const TimeSizes sizes{C, outputs(kKScale), outputs(kDecayDown), outputs(kADown), outputs(kGateDown), outputs(kVMixDown),
                        count == kFirstLayerWeights};
  if (C % sizes.heads != 0) refuse(C, " channels for ", sizes.heads, " heads");
  check_head_width(sizes.width());
  for (int w = 0; w < count; ++w) check(weights[w], is_map(w) ? "a map" : "a weight", sizes.shape_of(w));
  return sizes;
}

TimeRows checked(const Array &x, const OptionalArray &v0, Arrays weights, const Array &source, const Array &before,
                 const Array &offsets, const Array &is_query) {
  const ShiftedRows rows = checked_rows(x, weights[kNormWeight], weights[kNormBias], source, before);
  check_groups(offsets, is_query, rows.rows());
  if (v0.has_value() != (weights.size() == kTimeWeights)) refuse("v0 belongs to all layers but the first");
  if (v0.has_value()) check(*v0, "v0", x.shape());
  return {rows, v0.has_value() ? read(*v0) : nullptr, offsets, is_query};
}

TimeWeights::TimeWeights(const TimeSizes &sizes, Arrays weights, bool back, int64_t threads) : sizes(sizes) {
  share(int64_t(weights.size()), threads, [&](const Queue &queue) {
    queue.each([&](int64_t w) {
      const Array &weight = weights[w];
      if (is_map(int(w)))
        maps[w] = Map(read(weight), weight.size(0), weight.size(1), back);
      else
        vectors[w] = read(weight);
    });
  });
}

Expanded::Expanded(const TimeWeights &weights, Arrays kept, const float *v0, int64_t rows)
    : weights_(weights), kept_(kept), k_(read(kept[kKeptK])), v_(read(kept[kKeptV])), v0_(v0 == nullptr ? v_ : v0),
      k_scale_(read(kept[kKeptKScale])), v_scale_(read(kept[kKeptVScale])) {
  const int64_t count = block_rows(rows) * weights.sizes.channels;
  memory_ = Scratch(4 * count);
  d_ = memory_.data(), a_ = d_ + count, v_mix_ = a_ + count, gate_ = v_mix_ + count;
}

void Expanded::projections(int64_t begin, int64_t end) {
  const auto expand = [&](Kept low, TimeWeight up, TimeWeight bias, float *to) {
    weights_.maps[up].apply(read(kept_[low]) + begin * weights_.maps[up].in(), end - begin, weights_.at(bias), to);
  };
  expand(kLowDecay, kDecayUp, kDecayBias, d_);
  expand(kLowA, kAUp, kABias, a_);
  if (!weights_.sizes.first_layer) expand(kLowVMix, kVMixUp, kVMixBias, v_mix_);
}

void Expanded::gates(int64_t begin, int64_t end) {
  const Map &up = weights_.maps[kGateUp];
  up.apply(read(kept_[kLowGate]) + begin * up.in(), end - begin, nullptr, gate_);
}

ProjectedHead Expanded::head(int64_t begin, int64_t i, int64_t h) const {
  const int64_t H = weights_.sizes.heads, K = weights_.sizes.width(), at = (i * H + h) * K, here = at - begin * H * K;
  return {k_ + at,
          v_ + at,
          v0_ + at,
          weights_.sizes.first_layer ? nullptr : v_mix_ + here,
          a_ + here,
          d_ + here,
          k_scale_[i * H + h],
          v_scale_[i * H + h]};
}

namespace {

RWKV_CLONES void sigmoids(float *x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] = sigmoid_(x[i]);
}

RWKV_CLONES void tanhs(float *x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] = tanh_(x[i]);
}

template <int K>
RWKV_TEMPLATE_CLONES void arguments(const ProjectedHead &in, const Arguments &to) {
  arguments_of_head<K>(in, to);
}

template <int K>
RWKV_TEMPLATE_CLONES void output(const ReadHead &in, float *y) {
  output_of_head<K>(in, kGroupNormEps, y);
}

// Fills the kept values of rows begin to end - 1, except the recurrence's. mixed: memory for [kBlockRows, C].
void project_block(const ShiftedBlock &block, const TimeWeights &weights, std::span<Array> kept, int64_t begin,
                   int64_t end, float *mixed) {
  const auto mix = [&](Lerp lerp) { block.mix(weights.at(kLerps) + lerp * weights.sizes.channels, mixed); };
  const auto apply = [&](TimeWeight map, const float *bias, Kept place) {
    float *to = kept[place].write<float>() + begin * weights.maps[map].out();
    weights.maps[map].apply(mixed, end - begin, bias, to);
    return to;
  };
  mix(kLerpR);
  apply(kR, nullptr, kKeptR);
  mix(kLerpK);
  apply(kK, nullptr, kKeptK);
  mix(kLerpV);
  apply(kV, nullptr, kKeptV);
  if (!weights.sizes.first_layer) apply(kVMixDown, nullptr, kLowVMix);
  mix(kLerpDecay);
  tanhs(apply(kDecayDown, nullptr, kLowDecay), (end - begin) * weights.maps[kDecayDown].out());
  mix(kLerpA);
  apply(kADown, nullptr, kLowA);
  mix(kLerpGate);
  sigmoids(apply(kGateDown, nullptr, kLowGate), (end - begin) * weights.maps[kGateDown].out());
  mix(kLerpKScale);
  apply(kKScale, weights.at(kKScaleBias), kKeptKScale);
  mix(kLerpVScale);
  apply(kVScale, weights.at(kVScaleBias), kKeptVScale);
}

template <int K>
void arguments_of_block(const Expanded &block, int64_t begin, int64_t end, int64_t heads, const Arguments &to) {
  for (int64_t i = begin; i < end; ++i)
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t at = (i * heads + h) * K;
      arguments<K>(block.head(begin, i, h), {to.log_decay + at, to.k_hat + at, to.v + at, to.b + at});
    }
}

// y: room for [kBlockRows, C].
template <int K>
void output_of_block(const TimeWeights &weights, Arrays kept, const Arguments &from, const float *gate,
                     int64_t begin, int64_t end, float *y) {
  const float *out = read(kept[kKeptOut]), *r = read(kept[kKeptR]);
  const float *bonus = weights.at(kBonus), *weight = weights.at(kOutWeight), *bias = weights.at(kOutBias);
  for (int64_t i = begin; i < end; ++i)
    for (int64_t h = 0; h < weights.sizes.heads; ++h) {
      const int64_t c = h * K, at = i * weights.sizes.channels + c, here = at - begin * weights.sizes.channels;
      output<K>({out + at, r + at, from.v + at, from.b + at, gate + here, bonus + c, weight + c, bias + c}, y + here);
    }
}

// But for the checkpoints; in one piece of memory.
std::vector<Array> room_for_kept(int64_t rows, const TimeSizes &sizes) {
  int64_t count = 0, begin = 0;
  for (const int64_t columns : sizes.kept_columns()) count += whole_lines(rows * columns);
  const Array whole = Array::empty({count});
  std::vector<Array> kept;
  for (const int64_t columns : sizes.kept_columns()) {
    kept.push_back(whole.view({rows, columns}, begin));
    begin += whole_lines(rows * columns);
  }
  kept.emplace_back();
  return kept;
}

}  // namespace

TimeResults run_time_mixer(const TimeRows &given, const TimeWeights &weights, const std::vector<WkvState> &states,
                           bool keeps_checkpoints, bool adds_x, int64_t threads) {
  const ShiftedRows &shifted = given.shifted;
  const int64_t rows = shifted.rows(), C = shifted.channels(), heads = weights.sizes.heads, K = weights.sizes.width();
  TimeResults results{Array::empty({rows, C}), Array::empty({rows, C}), room_for_kept(rows, weights.sizes)};
  auto &kept = results.kept;
  Scratch args(4 * rows * C);
  const Arguments to{args.data(), args.data() + rows * C, args.data() + 2 * rows * C, args.data() + 3 * rows * C};
  share(blocks_of(rows), threads, [&](const Queue &queue) {
    ShiftedBlock block(shifted);
    Expanded expanded(weights, kept, given.v0, rows);
    Scratch mixed(block_rows(rows) * C);
    queue.each_block(rows, [&](int64_t begin, int64_t end) {
      block.load(begin, end, write(kept[kStatistics]) + 2 * begin);
      std::copy_n(block.normed(), (end - begin) * C, write(results.normed) + begin * C);
      project_block(block, weights, kept, begin, end, mixed.data());
      expanded.projections(begin, end);
      RWKV_FOR_WIDTH(K, arguments_of_block<kWidth>(expanded, begin, end, heads, to));
    });
  });
  const WkvRows recurrent{read(kept[kKeptR]), to.log_decay, to.k_hat, to.v, to.b, given.is_query.read<bool>(), C};
  const int64_t checkpoints = keeps_checkpoints ? checkpoint_starts(given.offsets).back() : 0;
  kept[kCheckpoints] = Array::empty({checkpoints, heads, K, K});
  run_wkv(recurrent, heads, K, given.offsets, states, write(kept[kKeptOut]),
          keeps_checkpoints ? write(kept[kCheckpoints]) : nullptr, threads);
  share(blocks_of(rows), threads, [&](const Queue &queue) {
    Expanded expanded(weights, kept, given.v0, rows);
    Scratch ungrouped(block_rows(rows) * C);
    queue.each_block(rows, [&](int64_t begin, int64_t end) {
      expanded.gates(begin, end);
      RWKV_FOR_WIDTH(K, output_of_block<kWidth>(weights, kept, to, expanded.gate(), begin, end, ungrouped.data()));
      float *y = write(results.y) + begin * C;
      if (adds_x) std::copy_n(read(shifted.x) + begin * C, (end - begin) * C, y);
      product({ungrouped.data(), C, 1}, weights.maps[kOut].panels(), end - begin, C, C, nullptr, adds_x, y, C);
    });
  });
  return results;
}

// Returns y [N, C], normalised x [N, C], final states [G, H, K (key), K (value)], and the kept arrays in order.
// v0 is missing in a stream's first layer, whose v is kept as kKeptV. before [M, C] and initial [G, H, K, K] are of
// earlier rows.
std::vector<Array> time_mix_forward(const Array &x, const OptionalArray &v0, const std::vector<Array> &weight_list,
                                    const Array &source, const Array &before, const Array &offsets, const Array &is_query,
                                    const OptionalArray &initial, bool keep, int64_t threads) {
  check_dimensions(x, "x", 2);
  const TimeSizes sizes = checked_sizes(weight_list, x.size(1));
  const TimeRows rows = checked(x, v0, weight_list, source, before, offsets, is_query);
  const Shape shape{offsets.size(0) - 1, sizes.heads, sizes.width(), sizes.width()};
  if (initial.has_value()) check(*initial, "initial", shape);
  auto last = Array::empty(shape);
  const TimeWeights weights(sizes, weight_list, false, threads);
  auto results = run_time_mixer(rows, weights, states_of(initial, last), keep, false, threads);
  results.kept.insert(results.kept.begin(), {results.y, results.normed, last});
  return results.kept;
}

}  // namespace rwkv
