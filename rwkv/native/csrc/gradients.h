// The gradients of formulas.h, of one row or one head of a row.
#pragma once

#include "formulas.h"

namespace rwkv {

// One row. to_self, to_source: gradients of the row's own normalised x and of that of its source.
RWKV_INLINE void backward_interpolation(const float *x, const float *shifted, const float *grad, const float *lerp,
                                        int64_t channels, float *grad_lerp, float *to_self, float *to_source) {
  RWKV_INDEPENDENT
  for (int64_t c = 0; c < channels; ++c) {
    grad_lerp[c] += grad[c] * (shifted[c] - x[c]);
    to_source[c] += grad[c] * lerp[c];
    to_self[c] += grad[c] * (1.0f - lerp[c]);
  }
}

RWKV_INLINE void backward_normalisation(const float *x, const float *grad, const float *weight, const float *statistics,
                                        int64_t channels, float *grad_x, float *grad_weight, float *grad_bias) {
  const float mean = statistics[0], rstd = statistics[1];
  float sum = 0, along = 0;
  RWKV_INDEPENDENT
  for (int64_t c = 0; c < channels; ++c) {
    const float unit = (x[c] - mean) * rstd, g = grad[c] * weight[c];
    sum += g;
    along += g * unit;
    grad_weight[c] += grad[c] * unit;
    grad_bias[c] += grad[c];
  }
  sum /= channels;
  along /= channels;
  RWKV_INDEPENDENT
  for (int64_t c = 0; c < channels; ++c)
    grad_x[c] = rstd * (grad[c] * weight[c] - sum - (x[c] - mean) * rstd * along);
}

// --- The arguments of the recurrence: see rwkv/ops/time_mix.py.

struct ProjectedGradients {
  float *k, *v, *v0, *v_mix, *a, *d, *k_scale, *v_scale;
};

// y = sigmoid(scale) x / |x|: from the gradient of y to those of x (in place) and of scale.
template <int K>
RWKV_INLINE float backward_unit(const float *x, float scale, float *grad) {
  const float size = length<K>(x), factor = sigmoid_(scale);
  float along = 0;
  for (int i = 0; i < K; ++i) along += grad[i] * x[i];
  along /= size;
  // Where the length is clamped it is a constant.
  const float radial = size > kNormClamp ? along / size : 0.0f;
  for (int i = 0; i < K; ++i) grad[i] = factor * (grad[i] - x[i] * radial) / size;
  return along * factor * (1.0f - factor);
}

template <int K>
RWKV_INLINE void backward_arguments(const ProjectedHead &in, const Arguments &from,
                                    const ProjectedGradients &to) {
  // Local arrays overlap with nothing, so that every loop vectorises.
  float share[K], v[K], dk[K], dv[K], da[K], dd[K], dv0[K], dmix[K];
  mix_values<K>(in, share, v);
  const float k_factor = sigmoid_(in.k_scale) / length<K>(in.k);
  for (int i = 0; i < K; ++i) {
    const float a = sigmoid_(in.a[i]);
    da[i] = from.b[i] * k_factor * in.k[i] * a * (1.0f - a);
    dk[i] = from.k_hat[i] + from.b[i] * a;
  }
  for (int i = 0; i < K; ++i) {
    const float w = sigmoid_(in.d[i]);
    dd[i] = -kDecay * from.log_decay[i] * w * (1.0f - w);
  }
  std::copy_n(from.v, K, dv);
  *to.k_scale = backward_unit<K>(in.k, in.k_scale, dk);
  *to.v_scale = backward_unit<K>(v, in.v_scale, dv);
  if (in.v_mix != nullptr) {
    for (int i = 0; i < K; ++i) {
      dv0[i] = dv[i] * share[i];
      dmix[i] = dv[i] * (in.v0[i] - in.v[i]) * share[i] * (1.0f - share[i]);
      dv[i] *= 1.0f - share[i];
    }
    std::copy_n(dv0, K, to.v0);
    std::copy_n(dmix, K, to.v_mix);
  }
  std::copy_n(da, K, to.a);
  std::copy_n(dd, K, to.d);
  std::copy_n(dk, K, to.k);
  std::copy_n(dv, K, to.v);
}

// --- After the recurrence: see rwkv/ops/time_mix.py. Those of bonus, weight and bias are added to.

struct ReadGradients {
  float *out, *r, *v, *b, *gate, *bonus, *weight, *bias;
};

template <int K>
RWKV_INLINE void backward_output(const ReadHead &in, float eps, const float *grad, const ReadGradients &to) {
  float x[K], ungated[K], dx[K];
  const float rstd = unit<K>(in.out, eps, x), share = bonus_share<K>(in);
  float dshare = 0, sum = 0, along = 0;
  for (int i = 0; i < K; ++i) {
    ungated[i] = grad[i] * in.gate[i];
    to.gate[i] = grad[i] * (x[i] * in.weight[i] + in.bias[i] + share * in.v[i]);
    to.v[i] = ungated[i] * share;
    to.weight[i] += ungated[i] * x[i];
    to.bias[i] += ungated[i];
    dx[i] = ungated[i] * in.weight[i];
    dshare += ungated[i] * in.v[i];
    sum += dx[i];
    along += dx[i] * x[i];
  }
  for (int i = 0; i < K; ++i) {
    to.r[i] = dshare * in.bonus[i] * in.b[i];
    to.b[i] = dshare * in.bonus[i] * in.r[i];
    to.bonus[i] += dshare * in.r[i] * in.b[i];
    to.out[i] = rstd * (dx[i] - sum / K - x[i] * (along / K));
  }
}

}  // namespace rwkv
