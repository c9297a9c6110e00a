// GroupNorm, bonus and gate after the recurrence. See rwkv/ops/wkv_output.py for the definition.

#include <torch/library.h>

#include "formulas.h"
#include "rows.h"

namespace rwkv {
namespace {

struct Gradients {
  float *out, *r, *v, *b, *gate, *bonus, *weight, *bias;
};

template <int K>
RWKV_CLONES void forward_head(const ReadHead &in, float eps, float *y) {
  output_of_head<K>(in, eps, y);
}

template <int K>
RWKV_CLONES void backward_head(const ReadHead &in, float eps, const float *grad, const Gradients &to) {
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

struct Inputs {
  const float *out, *r, *v, *b, *gate, *bonus, *weight, *bias;

  ReadHead head(int64_t i, int64_t h, int64_t K) const {
    return {out + i * K, r + i * K, v + i * K, b + i * K, gate + i * K, bonus + h * K, weight + h * K, bias + h * K};
  }
};

Inputs check_inputs(const at::Tensor &out, const at::Tensor &r, const at::Tensor &v, const at::Tensor &b,
                    const at::Tensor &gate, const at::Tensor &bonus, const at::Tensor &weight, const at::Tensor &bias) {
  const int64_t C = bonus.numel();
  check(bonus, "bonus", {bonus.size(0), bonus.size(1)});
  for (const auto *x : {&out, &r, &v, &b, &gate}) check(*x, "out, r, v, b, gate", {out.size(0), C});
  check(weight, "weight", {C});
  check(bias, "bias", {C});
  return {read(out), read(r), read(v), read(b), read(gate), read(bonus), read(weight), read(bias)};
}

template <int K>
void forward(const Inputs &in, int64_t rows, int64_t heads, float eps, float *y) {
  for_blocks(rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin * heads; i < end * heads; ++i) forward_head<K>(in.head(i, i % heads, K), eps, y + i * K);
  });
}

template <int K>
void backward(const Inputs &in, int64_t rows, int64_t heads, float eps, const float *grad, const Gradients &to) {
  for_blocks(rows, [&](int64_t block, int64_t begin, int64_t end) {
    for (int64_t i = begin * heads; i < end * heads; ++i) {
      const int64_t at = i * K, of_block = (block * 3 * heads + i % heads) * K;
      backward_head<K>(in.head(i, i % heads, K), eps, grad + at,
                       {to.out + at, to.r + at, to.v + at, to.b + at, to.gate + at, to.bonus + of_block,
                        to.weight + of_block, to.bias + of_block});
    }
  });
}

}  // namespace

at::Tensor wkv_output_forward(const at::Tensor &out, const at::Tensor &r, const at::Tensor &v, const at::Tensor &b,
                              const at::Tensor &gate, const at::Tensor &bonus, const at::Tensor &weight,
                              const at::Tensor &bias, double eps) {
  const Inputs in = check_inputs(out, r, v, b, gate, bonus, weight, bias);
  auto y = at::empty_like(out);
  RWKV_FOR_WIDTH(bonus.size(1), forward<kWidth>(in, out.size(0), bonus.size(0), eps, write(y)));
  return y;
}

// Returns the gradients of out, r, v, b, gate, bonus, weight, bias.
std::vector<at::Tensor> wkv_output_backward(const at::Tensor &out, const at::Tensor &r, const at::Tensor &v,
                                            const at::Tensor &b, const at::Tensor &gate, const at::Tensor &bonus,
                                            const at::Tensor &weight, const at::Tensor &bias, const at::Tensor &grad,
                                            double eps) {
  const Inputs in = check_inputs(out, r, v, b, gate, bonus, weight, bias);
  check(grad, "grad", out.sizes());
  std::vector<at::Tensor> result;
  for (int i = 0; i < 5; ++i) result.push_back(at::empty_like(out));
  // By block of rows: the sums over its rows for bonus, weight and bias.
  auto sums = at::zeros({blocks_of(out.size(0)), 3, bonus.numel()}, out.options());
  float *sum = write(sums);
  const Gradients to{write(result[0]), write(result[1]), write(result[2]),     write(result[3]),
                     write(result[4]), sum,              sum + bonus.numel(), sum + 2 * bonus.numel()};
  RWKV_FOR_WIDTH(bonus.size(1), backward<kWidth>(in, out.size(0), bonus.size(0), eps, read(grad), to));
  const auto total = sums.sum(0);
  result.push_back(total[0].view_as(bonus));
  result.push_back(total[1]);
  result.push_back(total[2]);
  return result;
}

TORCH_LIBRARY_FRAGMENT(rwkv, m) {
  m.def("wkv_output_forward(Tensor out, Tensor r, Tensor v, Tensor b, Tensor gate, Tensor bonus, Tensor weight, "
        "Tensor bias, float eps) -> Tensor");
  m.def("wkv_output_backward(Tensor out, Tensor r, Tensor v, Tensor b, Tensor gate, Tensor bonus, Tensor weight, "
        "Tensor bias, Tensor grad, float eps) -> Tensor[]");
}

TORCH_LIBRARY_IMPL(rwkv, CPU, m) {
  m.impl("wkv_output_forward", &wkv_output_forward);
  m.impl("wkv_output_backward", &wkv_output_backward);
}

}  // namespace rwkv
