// The weights of a whole network in one flat array, in the order in which a pass reads them.
//
// Maps are in panels, followed by their bias if they have one; every part is padded to 16 floats.
#pragma once

#include <vector>

#include "channel_mix.h"
#include "time_mix.h"

namespace rwkv {

constexpr int64_t kRatings = 4;

// The sizes of a network: ten numbers, then layers and hidden columns of the channel mixer for each stream.
struct Sizes {
  int64_t inputs, input_hidden, channels, heads, decay_rank, a_rank, v_rank, gate_rank, head_hidden, curves;
  std::vector<int64_t> layers, inner;  // by stream

  explicit Sizes(const std::vector<int64_t> &list);

  int64_t streams() const { return int64_t(layers.size()); }
  int64_t width() const { return channels / heads; }
  int64_t outputs() const { return 2 * curves + kRatings; }
  // A flat state has for each layer the time mixer's shift [C], the channel mixer's shift [C] and X [H, K, K].
  int64_t layer_state() const { return channels * (2 + width()); }
  int64_t state(int64_t stream) const { return layers[stream] * layer_state(); }
  TimeSizes of_layer(bool first) const { return {channels, heads, decay_rank, a_rank, gate_rank, v_rank, first}; }
};

struct Linear {
  Map map;
  const float *bias;

  void apply(const float *x, int64_t rows, float *y, int64_t y_row) const {
    product({x, map.in(), 1}, map.panels(), rows, map.in(), map.out(), bias, false, y, y_row);
  }
  void apply(const float *x, int64_t rows, float *y) const { apply(x, rows, y, map.out()); }
};

struct Norm {
  const float *weight, *bias;
};

struct Layer {
  TimeWeights time;
  ChannelWeights channel;
};

// The heads: of curve weights, of corrections to the curve, and of ratings.
struct HeadWeights {
  Norm norm;
  Linear curve_first;
  Norm curve_norm;
  Linear curve_hidden, curve, ahead_hidden, ahead, rating_hidden, rating;
};

struct NetworkWeights {
  Linear encode_hidden;
  Norm encode_norm;
  Linear encode;
  std::vector<std::vector<Layer>> streams;
  HeadWeights heads;

  // Takes all parts in order from a source with the functions map(out, in) and vector(shape).
  template <typename Source>
  static NetworkWeights from(const Sizes &sizes, Source &source) {
    // Braces, so that parts are taken in order.
    const auto linear = [&](int64_t in, int64_t out) { return Linear{source.map(out, in), source.vector({out})}; };
    const auto norm = [&](int64_t columns) { return Norm{source.vector({columns}), source.vector({columns})}; };
    const int64_t C = sizes.channels, hidden = sizes.head_hidden, curves = sizes.curves;
    NetworkWeights weights{linear(sizes.inputs, sizes.input_hidden), norm(sizes.input_hidden),
                           linear(sizes.input_hidden, C), {}, {}};
    for (int64_t s = 0; s < sizes.streams(); ++s) {
      auto &stream = weights.streams.emplace_back();
      for (int64_t l = 0; l < sizes.layers[s]; ++l) {
        TimeWeights time(sizes.of_layer(l == 0), source);
        stream.push_back({std::move(time), ChannelWeights{source.vector({C}), source.vector({C}), source.vector({C}),
                                                          source.map(sizes.inner[s], C), source.map(C, sizes.inner[s])}});
      }
    }
    weights.heads = {norm(C),           linear(C, C),           norm(C),           linear(C, hidden),      linear(hidden, curves),
                     linear(C, hidden), linear(hidden, curves), linear(C, hidden), linear(hidden, kRatings)};
    return weights;
  }
};

// The first stream's input x [N, C] of the network's inputs [N, E].
Array encode(const NetworkWeights &weights, const Array &inputs, int64_t threads);

// The joined outputs of all heads, [N, 2 * curves + 4], or of that of ratings alone, [N, 4], of the last stream's output
// x [N, C].
Array read_out(const HeadWeights &heads, const Array &x, bool ratings_only, int64_t threads);

// The weights in a flat array, checked against the sizes.
NetworkWeights checked_weights(const Array &flat, const Sizes &sizes);

}  // namespace rwkv
