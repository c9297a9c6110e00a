// The whole network for a few rows that share one past, see rwkv/native/step.py.
//
// Every formula and every weight is that of network_rows; what differs is that a few rows need no blocks, places or
// threads. A flat state has for each layer both shifts [C] and X [H, K (key), K (value)].

#include <algorithm>
#include <vector>

#include "formulas.h"
#include "network.h"
#include "operators.h"

namespace rwkv {
namespace {

constexpr int64_t kMostRows = 4096;

// Of all that a linear map of a layer makes.
int64_t widest(const Sizes &sizes) {
  return padded(std::max({sizes.channels, sizes.decay_rank, sizes.a_rank, sizes.v_rank, sizes.gate_rank,
                          *std::max_element(sizes.inner.begin(), sizes.inner.end())}));
}

// Rows of floats, `stride` apart.
struct Matrix {
  float *x;
  int64_t rows, stride;

  float *row(int64_t r) const { return x + r * stride; }
};

RWKV_CLONES void normalise(const float *x, const float *weight, const float *bias, int64_t channels, float *normed) {
  float statistics[2];
  normalise_row(x, weight, bias, kLayerNormEps, channels, normed, statistics);
}

RWKV_CLONES void interpolate(const float *x, const float *shifted, const float *lerp, int64_t channels, float *mixed) {
  interpolate_row(x, shifted, lerp, channels, mixed);
}

RWKV_CLONES void sigmoid(float *x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] = sigmoid_(x[i]);
}

RWKV_CLONES void tanh(float *x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] = tanh_(x[i]);
}

RWKV_CLONES void squared_relu(float *x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] = x[i] > 0 ? x[i] * x[i] : (x[i] == x[i] ? 0 : x[i]);
}

// One head of one row: reads the state, and writes the state after it where `after` is not null.
struct HeadOfRow {
  ProjectedHead projected;
  const float *r, *gate, *bonus, *weight, *bias, *state;
  float *after, *y;
};

template <int K>
RWKV_TEMPLATE_CLONES void mix_head(const HeadOfRow &in) {
  float log_decay[K], w[K], k_hat[K], v[K], b[K], u[K], out[K];
  arguments_of_head<K>(in.projected, {log_decay, k_hat, v, b});
  decay_of<K>(log_decay, w);
  const float c = read_vector<K>(in.r, w, k_hat, b, u);
  for (int j = 0; j < K; ++j) out[j] = c * v[j];
  for (int i = 0; i < K; ++i)
    for (int j = 0; j < K; ++j) out[j] += u[i] * in.state[i * K + j];
  if (in.after != nullptr) write_row<K>(in.state, w, k_hat, v, b, in.after);
  output_of_head<K>({out, in.r, v, b, in.gate, in.bonus, in.weight, in.bias}, kGroupNormEps, in.y);
}

// The rows on their way through the streams, and the scratch that every layer uses.
class Pass {
 public:
  Pass(const Sizes &sizes, Array &x, int64_t writes)
      : sizes_(sizes), rows_(x.size(0)), writes_(writes), x_{write(x), x.size(0), x.size(1)},
        scratch_(kMatrices * rows_ * widest(sizes)) {
    float *at = scratch_.data();
    for (Matrix *m : {&normed_, &mixed_, &low_, &r_, &k_, &v_, &v0_, &v_mix_, &a_, &d_, &gate_, &k_scale_, &v_scale_, &y_}) {
      *m = {at, rows_, widest(sizes)};
      at += rows_ * widest(sizes);
    }
  }

  // state: of the layer before the rows; after: by writing row.
  void layer(const Layer &layer, const float *state, bool seen, const std::vector<float *> &after) {
    time_mixer(layer.time, state, seen, after);
    channel_mixer(layer.channel, state + sizes_.channels, seen, after);
  }

 private:
  static constexpr int64_t kMatrices = 14;

  void linear(const Map &map, const float *bias, const Matrix &from, const Matrix &to) const {
    product({from.x, from.stride, 1}, map.panels(), rows_, map.in(), map.out(), bias, false, to.x, to.stride);
  }

  void each(const Matrix &matrix, int64_t count, void (*apply)(float *, int64_t)) const {
    for (int64_t i = 0; i < rows_; ++i) apply(matrix.row(i), count);
  }

  void norm(const float *weight, const float *bias) const {
    for (int64_t i = 0; i < rows_; ++i) normalise(x_.row(i), weight, bias, sizes_.channels, normed_.row(i));
  }

  // Sets mixed_ to an interpolation of the normalised rows and those they are shifted to.
  void mix(const float *lerp, const float *shift, bool seen) const {
    for (int64_t i = 0; i < rows_; ++i)
      interpolate(normed_.row(i), seen ? shift : normed_.row(i), lerp, sizes_.channels, mixed_.row(i));
  }

  void keep_shift(const std::vector<float *> &after, int64_t offset) const {
    for (int64_t i = 0; i < writes_; ++i)
      std::copy_n(normed_.row(rows_ - writes_ + i), sizes_.channels, after[i] + offset);
  }

  void time_mixer(const TimeWeights &weights, const float *state, bool seen, const std::vector<float *> &after) const {
    const bool first = weights.sizes.first_layer;
    const auto mix_by = [&](Lerp lerp) { mix(weights.at(kLerps) + lerp * sizes_.channels, state, seen); };
    const auto map = [&](TimeWeight w, const Matrix &to) { linear(weights.maps[w], nullptr, mixed_, to); };
    const auto up = [&](TimeWeight w, const float *bias, const Matrix &to) { linear(weights.maps[w], bias, low_, to); };
    norm(weights.at(kNormWeight), weights.at(kNormBias));
    keep_shift(after, 0);
    mix_by(kLerpR), map(kR, r_);
    mix_by(kLerpK), map(kK, k_);
    mix_by(kLerpV), map(kV, first ? v0_ : v_);
    if (!first) map(kVMixDown, low_), up(kVMixUp, weights.at(kVMixBias), v_mix_);
    mix_by(kLerpDecay), map(kDecayDown, low_);
    each(low_, sizes_.decay_rank, tanh);
    up(kDecayUp, weights.at(kDecayBias), d_);
    mix_by(kLerpA), map(kADown, low_), up(kAUp, weights.at(kABias), a_);
    mix_by(kLerpGate), map(kGateDown, low_);
    each(low_, sizes_.gate_rank, sigmoid);
    up(kGateUp, nullptr, gate_);
    mix_by(kLerpKScale), linear(weights.maps[kKScale], weights.at(kKScaleBias), mixed_, k_scale_);
    mix_by(kLerpVScale), linear(weights.maps[kVScale], weights.at(kVScaleBias), mixed_, v_scale_);
    RWKV_FOR_WIDTH(sizes_.width(), mix_heads<kWidth>(weights, state + 2 * sizes_.channels, after));
    add_mapped(weights.maps[kOut], mixed_);
  }

  template <int K>
  void mix_heads(const TimeWeights &weights, const float *wkv, const std::vector<float *> &after) const {
    const bool first = weights.sizes.first_layer;
    const float *bonus = weights.at(kBonus), *weight = weights.at(kOutWeight), *bias = weights.at(kOutBias);
    const Matrix &v = first ? v0_ : v_;
    for (int64_t i = 0; i < rows_; ++i) {
      const int64_t write = i - (rows_ - writes_);
      for (int64_t h = 0; h < sizes_.heads; ++h) {
        const int64_t at = h * K, of_state = h * K * K;
        const ProjectedHead projected{k_.row(i) + at,
                                      v.row(i) + at,
                                      v0_.row(i) + at,
                                      first ? nullptr : v_mix_.row(i) + at,
                                      a_.row(i) + at,
                                      d_.row(i) + at,
                                      k_scale_.row(i)[h],
                                      v_scale_.row(i)[h]};
        mix_head<K>({projected, r_.row(i) + at, gate_.row(i) + at, bonus + at, weight + at, bias + at, wkv + of_state,
                     write < 0 ? nullptr : after[write] + 2 * sizes_.channels + of_state, mixed_.row(i) + at});
      }
    }
  }

  void channel_mixer(const ChannelWeights &weights, const float *shift, bool seen, const std::vector<float *> &after) const {
    norm(weights.norm_weight, weights.norm_bias);
    keep_shift(after, sizes_.channels);
    mix(weights.lerp, shift, seen);
    linear(weights.to_inner, nullptr, mixed_, y_);
    each(y_, weights.to_inner.out(), squared_relu);
    add_mapped(weights.to_outer, y_);
  }

  // Adds a map of `from` to the rows.
  void add_mapped(const Map &map, const Matrix &from) const {
    product({from.x, from.stride, 1}, map.panels(), rows_, map.in(), map.out(), nullptr, true, x_.x, x_.stride);
  }

  const Sizes &sizes_;
  int64_t rows_, writes_;
  Matrix x_;
  Scratch scratch_;
  Matrix normed_, mixed_, low_, r_, k_, v_, v0_, v_mix_, a_, d_, gate_, k_scale_, v_scale_, y_;
};

}  // namespace

// Returns the joined outputs [N, 2 * curves + 4], then for each stream the states [writes, state] after the last rows.
std::vector<Array> network_step(const Array &weights, const std::vector<int64_t> &size_list, const Array &inputs,
                                const std::vector<Array> &before, const std::vector<int64_t> &seen, int64_t writes) {
  const Sizes sizes(size_list);
  const NetworkWeights network = checked_weights(weights, sizes);
  check_dimensions(inputs, "inputs", 2);
  const int64_t rows = inputs.size(0), streams = sizes.streams();
  if (rows > kMostRows) refuse("at most ", kMostRows, " rows, got ", rows);
  check(inputs, "inputs", {rows, sizes.inputs});
  if (int64_t(before.size()) != streams || int64_t(seen.size()) != streams) refuse("one state for each of ", streams, " streams");
  if (writes < 0 || writes > rows) refuse("writes must be 0 to ", rows, ", got ", writes);
  for (int64_t s = 0; s < streams; ++s) check(before[s], "a state", {1, sizes.state(s)});

  std::vector<Array> result(1);
  Array x = encode(network, inputs, 1);
  Pass pass(sizes, x, writes);
  std::vector<float *> after(writes);
  for (int64_t s = 0; s < streams; ++s) {
    float *states = write(result.emplace_back(Array::empty({writes, sizes.state(s)})));
    for (int64_t l = 0; l < sizes.layers[s]; ++l) {
      const int64_t offset = l * sizes.layer_state();
      for (int64_t i = 0; i < writes; ++i) after[i] = states + i * sizes.state(s) + offset;
      pass.layer(network.streams[s][l], read(before[s]) + offset, seen[s] != 0, after);
    }
  }
  result[0] = read_out(network.heads, x, false, 1);
  return result;
}

}  // namespace rwkv
