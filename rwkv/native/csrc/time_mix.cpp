// The time mixer's forward pass: projections and the output by blocks of rows, the recurrence between them by groups.

#include "time_mix.h"

#include "operators.h"

namespace rwkv {

namespace {

void check_weights(Arrays weights, int64_t C) {
  const int64_t count = weights.size();
  if (count != kTimeWeights && count != kFirstLayerWeights)
    refuse("a time mixer has ", int64_t{kTimeWeights}, " weights, or ", int64_t{kFirstLayerWeights}, " in the first layer, got ", count);
  check_dimensions(weights[kKScale], "a scale", 2);
  const int64_t heads = weights[kKScale].size(0);
  if (heads < 1 || C % heads != 0) refuse(C, " channels for ", heads, " heads");
  check_head_width(C / heads);
  check(weights[kLerps], "lerps", {kLerpCount, C});
  for (const int w : {kR, kK, kV, kOut}) check(weights[w], "a map", {C, C});
  for (const int w : {kDecayBias, kABias, kOutWeight, kOutBias}) check(weights[w], "a bias", {C});
  for (const int w : {kKScaleBias, kVScaleBias}) check(weights[w], "a scale's bias", {heads});
  for (const int w : {kKScale, kVScale}) check(weights[w], "a scale", {heads, C});
  for (const int down : {kDecayDown, kADown, kGateDown, kVMixDown}) {
    if (down >= count) continue;
    check_dimensions(weights[down], "a map down", 2);
    const int64_t rank = weights[down].size(0);
    check_columns(rank, "a rank");
    check(weights[down], "a map down", {rank, C});
    check(weights[down + 1], "a map up", {C, rank});
  }
  if (count == kTimeWeights) check(weights[kVMixBias], "a bias", {C});
  check(weights[kBonus], "bonus", {heads, C / heads});
}

}  // namespace

ShiftedRows checked(const Array &x, const OptionalArray &v0, Arrays weights,
                    const Array &source, const Array &before, const Array &offsets,
                    const Array &is_query) {
  check_dimensions(x, "x", 2);
  check_weights(weights, x.size(1));
  const ShiftedRows rows{x, weights[kNormWeight], weights[kNormBias], source, before};
  rows.check_all();
  check_groups(offsets, is_query, rows.rows());
  if (v0.has_value() != (weights.size() == kTimeWeights)) refuse("v0 belongs to all layers but the first");
  if (v0.has_value()) check(*v0, "v0", x.shape());
  return rows;
}

std::array<int64_t, kCheckpoints> kept_columns(Arrays weights) {
  const int64_t C = weights[kLerps].size(1), H = weights[kKScale].size(0);
  const auto rank = [&](TimeWeight down) { return down < int64_t(weights.size()) ? weights[down].size(0) : 0; };
  return {C, C, C, rank(kDecayDown), rank(kADown), rank(kGateDown), rank(kVMixDown), H, H, C, 2};
}

TimeWeights::TimeWeights(Arrays list, int64_t C, bool back, int64_t threads)
    : weights(list), maps(kTimeWeights), channels(C), heads(list[kKScale].size(0)) {
  share(std::size(kMaps), threads, [&](const Queue &queue) {
    queue.each([&](int64_t i) {
      if (kMaps[i] < int(weights.size()))
        maps[kMaps[i]] = Map(at(kMaps[i]), weights[kMaps[i]].size(0), weights[kMaps[i]].size(1), back);
    });
  });
}

Expanded::Expanded(const TimeWeights &weights, Arrays kept, const float *v0)
    : weights_(weights), kept_(kept), k_(read(kept[kKeptK])), v_(read(kept[kKeptV])), v0_(v0),
      k_scale_(read(kept[kKeptKScale])), v_scale_(read(kept[kKeptVScale])) {
  for (auto *x : {&d_, &a_, &v_mix_, &gate_}) *x = Scratch(kBlockRows * weights.channels);
}

void Expanded::projections(int64_t begin, int64_t end) {
  const auto expand = [&](Kept low, TimeWeight up, TimeWeight bias, Scratch &to) {
    weights_.maps[up].apply(read(kept_[low]) + begin * weights_.maps[up].in(), end - begin, weights_.at(bias), to.data());
  };
  expand(kLowDecay, kDecayUp, kDecayBias, d_);
  expand(kLowA, kAUp, kABias, a_);
  if (!weights_.first_layer()) expand(kLowVMix, kVMixUp, kVMixBias, v_mix_);
}

void Expanded::gates(int64_t begin, int64_t end) {
  const Map &up = weights_.maps[kGateUp];
  up.apply(read(kept_[kLowGate]) + begin * up.in(), end - begin, nullptr, gate_.data());
}

ProjectedHead Expanded::head(int64_t begin, int64_t i, int64_t h) const {
  const int64_t H = weights_.heads, K = weights_.width(), at = (i * H + h) * K, here = at - begin * H * K;
  return {k_ + at,
          v_ + at,
          v0_ + at,
          weights_.first_layer() ? nullptr : v_mix_.data() + here,
          a_.data() + here,
          d_.data() + here,
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
RWKV_CLONES void arguments(const ProjectedHead &in, const Arguments &to) {
  arguments_of_head<K>(in, to);
}

template <int K>
RWKV_CLONES void output(const ReadHead &in, float *y) {
  output_of_head<K>(in, kGroupNormEps, y);
}

// Fills the kept values of rows begin to end - 1, except the recurrence's. mixed: memory for [kBlockRows, C].
void project_block(const ShiftedBlock &block, const TimeWeights &weights, std::span<Array> kept, int64_t begin,
                   int64_t end, float *mixed) {
  const auto mix = [&](Lerp lerp) { block.mix(weights.at(kLerps) + lerp * weights.channels, mixed); };
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
  if (!weights.first_layer()) apply(kVMixDown, nullptr, kLowVMix);
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
    for (int64_t h = 0; h < weights.heads; ++h) {
      const int64_t c = h * K, at = i * weights.channels + c, here = at - begin * weights.channels;
      output<K>({out + at, r + at, from.v + at, from.b + at, gate + here, bonus + c, weight + c, bias + c}, y + here);
    }
}

// But for what comes from the recurrence.
std::vector<Array> room_for_kept(const Array &x, Arrays weights) {
  const auto columns = kept_columns(weights);
  std::vector<Array> kept(kKeptCount);
  for (int place = 0; place < kCheckpoints; ++place)
    if (place != kKeptOut) kept[place] = Array::empty({x.size(0), columns[place]});
  return kept;
}

}  // namespace

// Returns y [N, C], normalised x [N, C], final states [G, H, K (key), K (value)], and the kept tensors in order.
// v0 is missing in a stream's first layer, whose v is kept as kKeptV. before [M, C] and initial [G, H, K, K] are of
// earlier rows.
std::vector<Array> time_mix_forward(const Array &x, const OptionalArray &v0, const std::vector<Array> &weight_list,
                                    const Array &source, const Array &before, const Array &offsets, const Array &is_query,
                                    const OptionalArray &initial, bool keep, int64_t threads) {
  const ShiftedRows shifted = checked(x, v0, weight_list, source, before, offsets, is_query);
  const int64_t rows = shifted.rows(), C = shifted.channels();
  const TimeWeights weights(weight_list, C, false, threads);
  const int64_t heads = weights.heads, K = weights.width();
  if (initial.has_value()) check(*initial, "initial", {offsets.size(0) - 1, heads, K, K});
  auto kept = room_for_kept(x, weight_list);
  const float *first_v = read(v0.has_value() ? *v0 : kept[kKeptV]);
  std::vector<Array> args;
  for (int i = 0; i < 4; ++i) args.push_back(Array::empty({rows, heads, K}));
  const Arguments to{write(args[0]), write(args[1]), write(args[2]), write(args[3])};
  auto normed = Array::empty(x.shape()), y = Array::empty(x.shape());
  share(blocks_of(rows), threads, [&](const Queue &queue) {
    ShiftedBlock block(shifted);
    Expanded expanded(weights, kept, first_v);
    Scratch mixed(kBlockRows * C);
    queue.each_block(rows, [&](int64_t begin, int64_t end) {
      block.load(begin, end, write(kept[kStatistics]) + 2 * begin);
      std::copy_n(block.normed(), (end - begin) * C, write(normed) + begin * C);
      project_block(block, weights, kept, begin, end, mixed.data());
      expanded.projections(begin, end);
      RWKV_FOR_WIDTH(K, arguments_of_block<kWidth>(expanded, begin, end, heads, to));
    });
  });
  const auto recurrent = wkv_forward(kept[kKeptR].view({rows, heads, K}), args[0], args[1], args[2], args[3], offsets,
                                     is_query, initial, keep, threads);
  kept[kKeptOut] = recurrent[0].view({rows, C});
  kept[kCheckpoints] = recurrent[2];
  share(blocks_of(rows), threads, [&](const Queue &queue) {
    Expanded expanded(weights, kept, first_v);
    Scratch ungrouped(kBlockRows * C);
    queue.each_block(rows, [&](int64_t begin, int64_t end) {
      expanded.gates(begin, end);
      RWKV_FOR_WIDTH(K, output_of_block<kWidth>(weights, kept, to, expanded.gate(), begin, end, ungrouped.data()));
      weights.maps[kOut].apply(ungrouped.data(), end - begin, nullptr, write(y) + begin * C);
    });
  });
  std::vector<Array> result{y, normed, recurrent[1]};
  result.insert(result.end(), kept.begin(), kept.end());
  return result;
}

}  // namespace rwkv
