// The whole network for a few rows that share one past, see rwkv/ops/cpu/network_step.py.
//
// The weights are one flat array in the order in which they are read here (rwkv/model/native_step.py), so that a call
// reads them once from front to back. A flat state has for each layer both shifts [C] and X [H, K (key), K (value)].

#include <algorithm>
#include <vector>

#include "formulas.h"
#include "gemm.h"
#include "operators.h"
#include "rows.h"

namespace rwkv {
namespace {

constexpr int64_t kRatings = 4, kMostRows = 4096;
constexpr float kNormEps = 1e-5f, kGroupNormEps = 64e-5f;

// The sizes of the network, as rwkv/model/native_step.py lists them.
struct Sizes {
  int64_t inputs, input_hidden, channels, heads, decay_rank, a_rank, v_rank, gate_rank, head_hidden, curves;
  std::vector<int64_t> layers, inner;  // by stream

  explicit Sizes(const std::vector<int64_t> &s) {
    if (s.size() < 12 || s.size() % 2 != 0) refuse("sizes must be ten numbers and a pair for each stream");
    for (const int64_t size : s) check_columns(size, "a size");
    inputs = s[0], input_hidden = s[1], channels = s[2], heads = s[3], decay_rank = s[4], a_rank = s[5];
    v_rank = s[6], gate_rank = s[7], head_hidden = s[8], curves = s[9];
    if (channels % heads != 0) refuse(channels, " channels for ", heads, " heads");
    check_head_width(width());
    for (size_t i = 10; i < s.size(); i += 2) {
      layers.push_back(s[i]);
      inner.push_back(s[i + 1]);
    }
  }

  int64_t width() const { return channels / heads; }
  int64_t layer_state() const { return channels * (2 + width()); }
  int64_t state(size_t stream) const { return layers[stream] * layer_state(); }
  int64_t outputs() const { return 2 * curves + kRatings; }
  // Of all that a linear map makes. The scales of all heads and the ratings are not more than the channels.
  int64_t widest() const {
    return padded(std::max({input_hidden, head_hidden, channels, curves, decay_rank, a_rank, v_rank, gate_rank,
                            *std::max_element(inner.begin(), inner.end())}));
  }
};

// Reads the flat weights from front to back.
class Weights {
 public:
  Weights(const float *begin, int64_t count) : at_(begin), end_(begin + count) {}

  const float *take(int64_t count) {
    if (count > end_ - at_) refuse("the flat weights are too few for these sizes");
    const float *here = at_;
    at_ += count;
    return here;
  }

  bool all_taken() const { return at_ == end_; }

 private:
  const float *at_, *end_;
};

// Rows of floats, `stride` apart.
struct Matrix {
  float *x;
  int64_t rows, stride;

  float *row(int64_t r) const { return x + r * stride; }
};

RWKV_CLONES void normalise(const float *x, const float *weight, const float *bias, int64_t channels, float *normed) {
  float statistics[2];
  normalise_row(x, weight, bias, kNormEps, channels, normed, statistics);
}

RWKV_CLONES void interpolate(const float *x, const float *shifted, const float *lerp, int64_t channels, float *mixed) {
  interpolate_row(x, shifted, lerp, channels, mixed);
}

RWKV_CLONES void add(const float *x, int64_t count, float *sum) {
  for (int64_t i = 0; i < count; ++i) sum[i] += x[i];
}

RWKV_CLONES void silu(float *x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] *= sigmoid_(x[i]);
}

RWKV_CLONES void sigmoid(float *x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] = sigmoid_(x[i]);
}

RWKV_CLONES void tanh(float *x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] = tanh_(x[i]);
}

RWKV_CLONES void relu(float *x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] = x[i] > 0 ? x[i] : (x[i] == x[i] ? 0 : x[i]);
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
RWKV_CLONES void mix_head(const HeadOfRow &in) {
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

// The rows on their way through the network, and the scratch that every part of it uses.
class Pass {
 public:
  Pass(const Sizes &sizes, const Array &weights, int64_t rows, int64_t writes)
      : sizes_(sizes), weights_(read(weights), weights.entries()), rows_(rows), writes_(writes), scratch_(kMatrices * rows * sizes.widest()) {
    float *at = scratch_.data();
    for (Matrix *m : {&x_, &normed_, &mixed_, &low_, &r_, &k_, &v_, &v0_, &v_mix_, &a_, &d_, &gate_, &k_scale_, &v_scale_, &y_}) {
      *m = {at, rows, sizes.widest()};
      at += rows * sizes.widest();
    }
  }

  // The rows through everything. before: by stream the state; after: by stream the states that the last rows leave.
  void run(const float *inputs, const std::vector<const float *> &before, const std::vector<int64_t> &seen,
           const std::vector<float *> &after, float *outputs) {
    encode(inputs);
    std::vector<float *> of_layer(writes_);
    for (size_t s = 0; s < sizes_.layers.size(); ++s)
      for (int64_t l = 0; l < sizes_.layers[s]; ++l) {
        const int64_t offset = l * sizes_.layer_state();
        for (int64_t i = 0; i < writes_; ++i) of_layer[i] = after[s] + i * sizes_.state(s) + offset;
        layer(l == 0, sizes_.inner[s], before[s] + offset, seen[s] != 0, of_layer);
      }
    read_out(outputs);
    if (!weights_.all_taken()) refuse("the flat weights are too many for these sizes");
  }

 private:
  static constexpr int64_t kMatrices = 15;

  void encode(const float *inputs) {
    const Matrix from{const_cast<float *>(inputs), rows_, sizes_.inputs};
    linear(from, sizes_.inputs, sizes_.input_hidden, true, y_);
    each(y_, sizes_.input_hidden, silu);
    norm(y_, sizes_.input_hidden, mixed_);
    linear(mixed_, sizes_.input_hidden, sizes_.channels, true, x_);
    each(x_, sizes_.channels, silu);
  }

  // state: before the rows; after: by writing row.
  void layer(bool first, int64_t inner, const float *state, bool seen, const std::vector<float *> &after) {
    time_mixer(first, state, seen, after);
    channel_mixer(inner, state + sizes_.channels, seen, after);
  }

  void read_out(float *outputs) {
    const int64_t C = sizes_.channels, hidden = sizes_.head_hidden, curves = sizes_.curves;
    norm(x_, C, normed_);
    linear(normed_, C, C, true, y_);
    each(y_, C, relu);
    norm(y_, C, mixed_);
    linear(mixed_, C, hidden, true, y_);
    copy_out(y_, hidden, curves, 0, outputs);
    linear(normed_, C, hidden, true, y_);
    each(y_, hidden, relu);
    copy_out(y_, hidden, curves, curves, outputs);
    linear(normed_, C, hidden, true, y_);
    each(y_, hidden, relu);
    copy_out(y_, hidden, kRatings, 2 * curves, outputs);
  }

  void linear(const Matrix &from, int64_t inputs, int64_t outputs, bool biased, const Matrix &to) {
    const float *weights = weights_.take(inputs * padded(outputs));
    const float *bias = biased ? weights_.take(padded(outputs)) : nullptr;
    product({from.x, from.stride, 1}, weights, rows_, inputs, outputs, bias, false, to.x, to.stride);
  }

  // B(inner(A(x))) + bias
  template <typename Inner>
  void low_rank(int64_t rank, bool biased, const Matrix &to, const Inner &inner) {
    linear(mixed_, sizes_.channels, rank, false, low_);
    inner();
    linear(low_, rank, sizes_.channels, biased, to);
  }

  void each(const Matrix &of, int64_t count, void (*apply)(float *, int64_t)) {
    for (int64_t i = 0; i < rows_; ++i) apply(of.row(i), count);
  }

  void norm(const Matrix &from, int64_t channels, const Matrix &to) {
    const float *weight = weights_.take(channels), *bias = weights_.take(channels);
    for (int64_t i = 0; i < rows_; ++i) normalise(from.row(i), weight, bias, channels, to.row(i));
  }

  // Sets mixed_ to the next interpolation of the normalised rows and those they are shifted to.
  void mix(const float *shift, bool seen) {
    const float *lerp = weights_.take(sizes_.channels);
    for (int64_t i = 0; i < rows_; ++i)
      interpolate(normed_.row(i), seen ? shift : normed_.row(i), lerp, sizes_.channels, mixed_.row(i));
  }

  void keep_shift(const std::vector<float *> &after, int64_t offset) {
    for (int64_t i = 0; i < writes_; ++i)
      std::copy_n(normed_.row(rows_ - writes_ + i), sizes_.channels, after[i] + offset);
  }

  void time_mixer(bool first, const float *state, bool seen, const std::vector<float *> &after) {
    const int64_t C = sizes_.channels, H = sizes_.heads;
    const auto nothing = [] {};
    norm(x_, C, normed_);
    keep_shift(after, 0);
    mix(state, seen);
    linear(mixed_, C, C, false, r_);
    mix(state, seen);
    linear(mixed_, C, C, false, k_);
    mix(state, seen);
    linear(mixed_, C, C, false, first ? v0_ : v_);
    if (!first) low_rank(sizes_.v_rank, true, v_mix_, nothing);
    mix(state, seen);
    low_rank(sizes_.decay_rank, true, d_, [&] { each(low_, sizes_.decay_rank, tanh); });
    mix(state, seen);
    low_rank(sizes_.a_rank, true, a_, nothing);
    mix(state, seen);
    low_rank(sizes_.gate_rank, false, gate_, [&] { each(low_, sizes_.gate_rank, sigmoid); });
    mix(state, seen);
    linear(mixed_, C, H, true, k_scale_);
    mix(state, seen);
    linear(mixed_, C, H, true, v_scale_);
    const float *bonus = weights_.take(C), *weight = weights_.take(C), *bias = weights_.take(C);
    RWKV_FOR_WIDTH(sizes_.width(), mix_heads<kWidth>(first, state + 2 * C, after, bonus, weight, bias));
    linear(mixed_, C, C, false, y_);
    for (int64_t i = 0; i < rows_; ++i) add(y_.row(i), C, x_.row(i));
  }

  template <int K>
  void mix_heads(bool first, const float *wkv, const std::vector<float *> &after, const float *bonus,
                 const float *weight, const float *bias) {
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

  void channel_mixer(int64_t inner, const float *shift, bool seen, const std::vector<float *> &after) {
    const int64_t C = sizes_.channels;
    norm(x_, C, normed_);
    keep_shift(after, C);
    mix(shift, seen);
    linear(mixed_, C, inner, false, y_);
    each(y_, inner, squared_relu);
    linear(y_, inner, C, false, mixed_);
    for (int64_t i = 0; i < rows_; ++i) add(mixed_.row(i), C, x_.row(i));
  }

  // The last linear map of a head, into its columns of the outputs, the first of which is `column`.
  void copy_out(const Matrix &from, int64_t inputs, int64_t outputs, int64_t column, float *to) {
    linear(from, inputs, outputs, true, low_);
    for (int64_t i = 0; i < rows_; ++i) std::copy_n(low_.row(i), outputs, to + i * sizes_.outputs() + column);
  }

  const Sizes &sizes_;
  Weights weights_;
  int64_t rows_, writes_;
  Scratch scratch_;
  Matrix x_, normed_, mixed_, low_, r_, k_, v_, v0_, v_mix_, a_, d_, gate_, k_scale_, v_scale_, y_;
};

}  // namespace

// Returns the joined outputs [N, 2 * curves + 4], then for each stream the states [writes, state] after the last rows.
std::vector<Array> network_step(const Array &weights, const std::vector<int64_t> &size_list, const Array &inputs,
                                const std::vector<Array> &before, const std::vector<int64_t> &seen, int64_t writes) {
  const Sizes sizes(size_list);
  const size_t streams = sizes.layers.size();
  check_dimensions(inputs, "inputs", 2);
  const int64_t rows = inputs.size(0);
  if (rows > kMostRows) refuse("at most ", kMostRows, " rows, got ", rows);
  check(inputs, "inputs", {rows, sizes.inputs});
  check_dimensions(weights, "weights", 1);
  check(weights, "weights", weights.shape());
  if (before.size() != streams || seen.size() != streams) refuse("one state for each of ", int64_t(streams), " streams");
  if (writes < 0 || writes > rows) refuse("writes must be 0 to ", rows, ", got ", writes);
  std::vector<const float *> states;
  for (size_t s = 0; s < streams; ++s) {
    check(before[s], "a state", {1, sizes.state(s)});
    states.push_back(read(before[s]));
  }
  // A pass over no rows only counts the weights.
  Pass(sizes, weights, 0, 0).run(nullptr, states, seen, {}, nullptr);

  std::vector<Array> result{Array::empty({rows, sizes.outputs()})};
  std::vector<float *> after;
  for (size_t s = 0; s < streams; ++s) {
    result.push_back(Array::empty({writes, sizes.state(s)}));
    after.push_back(write(result.back()));
  }
  Pass(sizes, weights, rows, writes).run(read(inputs), states, seen, after, write(result[0]));
  return result;
}

}  // namespace rwkv
