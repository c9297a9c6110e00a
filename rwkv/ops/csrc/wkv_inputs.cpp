// From projections to the arguments of the recurrence. See rwkv/ops/wkv_inputs.py for the definition.

#include <torch/library.h>

#include "formulas.h"
#include "rows.h"

namespace rwkv {
namespace {

struct Gradients {
  float *k, *v, *v0, *v_mix, *a, *d, *k_scale, *v_scale;
};

template <int K>
RWKV_CLONES void forward_head(const ProjectedHead &in, const Arguments &to) {
  arguments_of_head<K>(in, to);
}

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
RWKV_CLONES void backward_head(const ProjectedHead &in, const Arguments &from, const Gradients &to) {
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

struct Projections {
  const float *k, *v, *v0, *v_mix, *a, *d, *k_scale, *v_scale;

  ProjectedHead head(int64_t row, int64_t h, int64_t heads, int64_t K) const {
    const int64_t at = (row * heads + h) * K;
    return {k + at,  v + at, v0 + at, v_mix == nullptr ? nullptr : v_mix + at, a + at, d + at, k_scale[row * heads + h],
            v_scale[row * heads + h]};
  }
};

Projections check_projections(const at::Tensor &k, const at::Tensor &v, const at::Tensor &v0,
                              const std::optional<at::Tensor> &v_mix, const at::Tensor &a, const at::Tensor &d,
                              const at::Tensor &k_scale, const at::Tensor &v_scale) {
  const int64_t rows = k.size(0), C = k.size(1), H = k_scale.size(1);
  TORCH_CHECK(H > 0 && C % H == 0, "k has ", C, " channels for ", H, " heads");
  check(k, "k", {rows, C});
  check(v, "v", {rows, C});
  check(v0, "v0", {rows, C});
  if (v_mix.has_value()) check(*v_mix, "v_mix", {rows, C});
  check(a, "a", {rows, C});
  check(d, "d", {rows, C});
  check(k_scale, "k_scale", {rows, H});
  check(v_scale, "v_scale", {rows, H});
  return {read(k), read(v), read(v0), v_mix.has_value() ? read(*v_mix) : nullptr, read(a), read(d), read(k_scale),
          read(v_scale)};
}

template <int K>
void forward(const Projections &in, int64_t rows, int64_t heads, const Arguments &to) {
  for_blocks(rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin * heads; i < end * heads; ++i)
      forward_head<K>(in.head(i / heads, i % heads, heads, K),
                      {to.log_decay + i * K, to.k_hat + i * K, to.v + i * K, to.b + i * K});
  });
}

template <int K>
void backward(const Projections &in, int64_t rows, int64_t heads, const Arguments &from, const Gradients &to) {
  for_blocks(rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin * heads; i < end * heads; ++i)
      backward_head<K>(in.head(i / heads, i % heads, heads, K),
                       {from.log_decay + i * K, from.k_hat + i * K, from.v + i * K, from.b + i * K},
                       {to.k + i * K, to.v + i * K, to.v0 + i * K, to.v_mix + i * K, to.a + i * K, to.d + i * K,
                        to.k_scale + i, to.v_scale + i});
  });
}

}  // namespace

// Returns log_decay, k_hat, v, b.
std::vector<at::Tensor> wkv_inputs_forward(const at::Tensor &k, const at::Tensor &v, const at::Tensor &v0,
                                           const std::optional<at::Tensor> &v_mix, const at::Tensor &a,
                                           const at::Tensor &d, const at::Tensor &k_scale, const at::Tensor &v_scale) {
  const auto in = check_projections(k, v, v0, v_mix, a, d, k_scale, v_scale);
  const int64_t rows = k.size(0), heads = k_scale.size(1), width = k.size(1) / heads;
  std::vector<at::Tensor> result;
  for (int i = 0; i < 4; ++i) result.push_back(at::empty_like(k));
  const Arguments to{write(result[0]), write(result[1]), write(result[2]), write(result[3])};
  RWKV_FOR_WIDTH(width, forward<kWidth>(in, rows, heads, to));
  return result;
}

// Returns the gradients of k, v, v0, v_mix, a, d, k_scale, v_scale; without v_mix those of v0 and v_mix mean nothing.
std::vector<at::Tensor> wkv_inputs_backward(const at::Tensor &k, const at::Tensor &v, const at::Tensor &v0,
                                            const std::optional<at::Tensor> &v_mix, const at::Tensor &a,
                                            const at::Tensor &d, const at::Tensor &k_scale, const at::Tensor &v_scale,
                                            const at::Tensor &grad_log_decay, const at::Tensor &grad_k_hat,
                                            const at::Tensor &grad_v, const at::Tensor &grad_b) {
  const auto in = check_projections(k, v, v0, v_mix, a, d, k_scale, v_scale);
  const int64_t rows = k.size(0), heads = k_scale.size(1), width = k.size(1) / heads;
  for (const auto *grad : {&grad_log_decay, &grad_k_hat, &grad_v, &grad_b}) check(*grad, "a gradient", k.sizes());
  std::vector<at::Tensor> result;
  for (const auto *x : {&k, &v, &v0, &v0, &a, &d, &k_scale, &v_scale}) result.push_back(at::empty_like(*x));
  const Arguments from{const_cast<float *>(read(grad_log_decay)), const_cast<float *>(read(grad_k_hat)),
                       const_cast<float *>(read(grad_v)), const_cast<float *>(read(grad_b))};
  const Gradients to{write(result[0]), write(result[1]), write(result[2]), write(result[3]),
                     write(result[4]), write(result[5]), write(result[6]), write(result[7])};
  RWKV_FOR_WIDTH(width, backward<kWidth>(in, rows, heads, from, to));
  return result;
}

TORCH_LIBRARY_FRAGMENT(rwkv, m) {
  m.def("wkv_inputs_forward(Tensor k, Tensor v, Tensor v0, Tensor? v_mix, Tensor a, Tensor d, Tensor k_scale, "
        "Tensor v_scale) -> Tensor[]");
  m.def("wkv_inputs_backward(Tensor k, Tensor v, Tensor v0, Tensor? v_mix, Tensor a, Tensor d, Tensor k_scale, "
        "Tensor v_scale, Tensor grad_log_decay, Tensor grad_k_hat, Tensor grad_v, Tensor grad_b) -> Tensor[]");
}

TORCH_LIBRARY_IMPL(rwkv, CPU, m) {
  m.impl("wkv_inputs_forward", &wkv_inputs_forward);
  m.impl("wkv_inputs_backward", &wkv_inputs_backward);
}

}  // namespace rwkv
