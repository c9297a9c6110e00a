// The forward formulas of one row, or one head of a row: shared by the kernels over batches and the single step.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "simd.h"

namespace rwkv {

constexpr float kNormClamp = 1e-12f;
constexpr float kDecay = 0.60653066f;  // e^-0.5: ln w = -e^(-0.5 - softplus(-d)) = -e^-0.5 sigmoid(d)

// LayerNorm; statistics are mean and reciprocal deviation.
RWKV_INLINE void normalise_row(const float *x, const float *weight, const float *bias, float eps, int64_t channels,
                               float *normed, float *statistics) {
  float sum = 0, squares = 0;
  for (int64_t c = 0; c < channels; ++c) sum += x[c];
  const float mean = sum / channels;
  for (int64_t c = 0; c < channels; ++c) squares += (x[c] - mean) * (x[c] - mean);
  const float rstd = 1.0f / std::sqrt(squares / channels + eps);
  RWKV_INDEPENDENT
  for (int64_t c = 0; c < channels; ++c) normed[c] = (x[c] - mean) * rstd * weight[c] + bias[c];
  statistics[0] = mean;
  statistics[1] = rstd;
}

RWKV_INLINE void interpolate_row(const float *x, const float *shifted, const float *lerp, int64_t channels,
                                 float *mixed) {
  RWKV_INDEPENDENT
  for (int64_t c = 0; c < channels; ++c) mixed[c] = x[c] + lerp[c] * (shifted[c] - x[c]);
}

// --- The arguments of the recurrence: see rwkv/ops/time_mix.py.

// One head of one row; v_mix is null in the first layer.
struct ProjectedHead {
  const float *k, *v, *v0, *v_mix, *a, *d;
  float k_scale, v_scale;
};

struct Arguments {
  float *log_decay, *k_hat, *v, *b;
};

template <int K>
RWKV_INLINE float length(const float *x) {
  float sum = 0;
  for (int i = 0; i < K; ++i) sum += x[i] * x[i];
  return std::max(std::sqrt(sum), kNormClamp);
}

template <int K>
RWKV_INLINE void mix_values(const ProjectedHead &in, float *share, float *v) {
  if (in.v_mix == nullptr) {
    std::fill_n(share, K, 0.0f);
    std::copy_n(in.v, K, v);
    return;
  }
  for (int i = 0; i < K; ++i) {
    share[i] = sigmoid_(in.v_mix[i]);
    v[i] = in.v[i] + share[i] * (in.v0[i] - in.v[i]);
  }
}

template <int K>
RWKV_INLINE void arguments_of_head(const ProjectedHead &in, const Arguments &to) {
  // Local arrays overlap with nothing, so that every loop vectorises.
  float share[K], v[K], k_hat[K], b[K], log_decay[K];
  mix_values<K>(in, share, v);
  const float k_factor = sigmoid_(in.k_scale) / length<K>(in.k), v_factor = sigmoid_(in.v_scale) / length<K>(v);
  for (int i = 0; i < K; ++i) k_hat[i] = k_factor * in.k[i];
  for (int i = 0; i < K; ++i) log_decay[i] = -kDecay * sigmoid_(in.d[i]);
  for (int i = 0; i < K; ++i) b[i] = sigmoid_(in.a[i]) * k_hat[i];
  for (int i = 0; i < K; ++i) v[i] *= v_factor;
  std::copy_n(k_hat, K, to.k_hat);
  std::copy_n(log_decay, K, to.log_decay);
  std::copy_n(b, K, to.b);
  std::copy_n(v, K, to.v);
}

// --- The recurrence on a transposed state X[key][value]: see rwkv/ops/wkv.py.

// c = b . r and u = w r - k_hat c: with them every row reads o = X^T u + c v from the state before it.
template <int K>
RWKV_INLINE float read_vector(const float *r, const float *w, const float *k_hat, const float *b, float *u) {
  float c = 0;
  for (int i = 0; i < K; ++i) c += b[i] * r[i];
  for (int i = 0; i < K; ++i) u[i] = w[i] * r[i] - k_hat[i] * c;
  return c;
}

template <int K>
RWKV_INLINE void decay_of(const float *log_decay, float *w) {
  for (int i = 0; i < K; ++i) w[i] = exp_(log_decay[i]);
}

// after = diag(w) X + b delta^T, where delta = v - X^T k_hat; after may be x itself.
template <int K>
RWKV_INLINE void write_row(const float *x, const float *w, const float *k_hat, const float *v, const float *b,
                           float *after) {
  float delta[K];
  for (int j = 0; j < K; ++j) delta[j] = v[j];
  for (int i = 0; i < K; ++i)
    for (int j = 0; j < K; ++j) delta[j] -= k_hat[i] * x[i * K + j];
  for (int i = 0; i < K; ++i)
    for (int j = 0; j < K; ++j) after[i * K + j] = w[i] * x[i * K + j] + b[i] * delta[j];
}

// --- After the recurrence: see rwkv/ops/time_mix.py.

// One head of one row; bonus, weight and bias are those of the head.
struct ReadHead {
  const float *out, *r, *v, *b, *gate, *bonus, *weight, *bias;
};

template <int K>
RWKV_INLINE float bonus_share(const ReadHead &in) {
  float share = 0;
  for (int i = 0; i < K; ++i) share += in.r[i] * in.bonus[i] * in.b[i];
  return share;
}

template <int K>
RWKV_INLINE float unit(const float *out, float eps, float *x) {
  float mean = 0, squares = 0;
  for (int i = 0; i < K; ++i) mean += out[i];
  mean /= K;
  for (int i = 0; i < K; ++i) squares += (out[i] - mean) * (out[i] - mean);
  const float rstd = 1.0f / std::sqrt(squares / K + eps);
  for (int i = 0; i < K; ++i) x[i] = (out[i] - mean) * rstd;
  return rstd;
}

template <int K>
RWKV_INLINE void output_of_head(const ReadHead &in, float eps, float *y) {
  float x[K];
  unit<K>(in.out, eps, x);
  const float share = bonus_share<K>(in);
  for (int i = 0; i < K; ++i) y[i] = in.gate[i] * (x[i] * in.weight[i] + in.bias[i] + share * in.v[i]);
}

}  // namespace rwkv
