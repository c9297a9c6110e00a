// LayerNorm, token shift and interpolation. See rwkv/ops/token_mix.py for the definition.

#include <torch/library.h>

#include "formulas.h"
#include "rows.h"

namespace rwkv {
namespace {

RWKV_CLONES void normalise(const float *x, const float *weight, const float *bias, float eps, int64_t channels,
                           float *normed, float *statistics) {
  normalise_row(x, weight, bias, eps, channels, normed, statistics);
}

RWKV_CLONES void interpolate(const float *x, const float *shifted, const float *lerp, int64_t channels, float *mixed) {
  interpolate_row(x, shifted, lerp, channels, mixed);
}

// Of one row: to_self and to_source are the gradients of its own normalised x and of the one it is shifted to.
RWKV_CLONES void backward_mix(const float *x, const float *shifted, const float *grad, const float *lerp,
                              int64_t channels, float *grad_lerp, float *to_self, float *to_source) {
  for (int64_t c = 0; c < channels; ++c) {
    grad_lerp[c] += grad[c] * (shifted[c] - x[c]);
    to_source[c] += grad[c] * lerp[c];
    to_self[c] += grad[c] * (1.0f - lerp[c]);
  }
}

RWKV_CLONES void add_to(float *sum, const float *x, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) sum[c] += x[c];
}

RWKV_CLONES void backward_norm(const float *x, const float *grad, const float *weight, const float *statistics,
                               int64_t channels, float *grad_x, float *grad_weight, float *grad_bias) {
  const float mean = statistics[0], rstd = statistics[1];
  float sum = 0, along = 0;
  for (int64_t c = 0; c < channels; ++c) {
    const float unit = (x[c] - mean) * rstd, g = grad[c] * weight[c];
    sum += g;
    along += g * unit;
    grad_weight[c] += grad[c] * unit;
    grad_bias[c] += grad[c];
  }
  sum /= channels;
  along /= channels;
  for (int64_t c = 0; c < channels; ++c)
    grad_x[c] = rstd * (grad[c] * weight[c] - sum - (x[c] - mean) * rstd * along);
}

void check_source(const at::Tensor &source, int64_t rows, int64_t earlier) {
  check(source, "source", {rows}, at::kLong);
  const int64_t *at = source.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < rows; ++i)
    TORCH_CHECK(at[i] == i || (i > 0 && (at[i] == i - 1 || at[i] == at[i - 1])) || (at[i] >= rows && at[i] < rows + earlier),
                "source[", i, "] = ", at[i], " is neither row ", i, ", nor the row before it or that one's source, nor one of ",
                earlier, " rows before");
}

}  // namespace

// Returns mixed [J, N, C], normed [N, C], and mean and reciprocal deviation of each row [N, 2].
std::tuple<at::Tensor, at::Tensor, at::Tensor> token_mix_forward(const at::Tensor &x, const at::Tensor &weight,
                                                                 const at::Tensor &bias, const at::Tensor &lerps,
                                                                 const at::Tensor &source, const at::Tensor &before,
                                                                 double eps) {
  const int64_t rows = x.size(0), C = x.size(1), J = lerps.size(0);
  check(x, "x", {rows, C});
  check(weight, "weight", {C});
  check(bias, "bias", {C});
  check(lerps, "lerps", {J, C});
  check(before, "before", {before.size(0), C});
  check_source(source, rows, before.size(0));
  auto mixed = at::empty({J, rows, C}, x.options()), normed = at::empty_like(x);
  auto statistics = at::empty({rows, 2}, x.options());
  const float *in = read(x), *w = read(weight), *b = read(bias), *lerp = read(lerps), *earlier = read(before);
  const int64_t *from = source.const_data_ptr<int64_t>();
  float *m = write(mixed), *n = write(normed), *s = write(statistics);
  for_blocks(rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) normalise(in + i * C, w, b, eps, C, n + i * C, s + 2 * i);
  });
  for_blocks(rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t j = 0; j < J; ++j)
      for (int64_t i = begin; i < end; ++i) {
        const float *shifted = from[i] < rows ? n + from[i] * C : earlier + (from[i] - rows) * C;
        interpolate(n + i * C, shifted, lerp + j * C, C, m + (j * rows + i) * C);
      }
  });
  return {mixed, normed, statistics};
}

// Returns the gradients of x, weight, bias and lerps.
std::vector<at::Tensor> token_mix_backward(const at::Tensor &x, const at::Tensor &weight, const at::Tensor &bias,
                                           const at::Tensor &lerps, const at::Tensor &source,
                                           const at::Tensor &statistics, at::TensorList grad_mixed) {
  const int64_t rows = x.size(0), C = x.size(1), J = lerps.size(0);
  check(x, "x", {rows, C});
  check(weight, "weight", {C});
  check(bias, "bias", {C});
  check(lerps, "lerps", {J, C});
  check(statistics, "statistics", {rows, 2});
  TORCH_CHECK(static_cast<int64_t>(grad_mixed.size()) == J, "there must be a gradient for each lerp");
  for (const auto &grad : grad_mixed) check(grad, "grad_mixed", {rows, C});
  check_source(source, rows, 0);
  auto normed = at::empty_like(x), to_self = at::zeros_like(x), to_source = at::zeros_like(x), grad_x = at::empty_like(x);
  // By block of rows: the sums over its rows for each lerp, the weight and the bias.
  auto sums = at::zeros({blocks_of(rows), J + 2, C}, x.options());
  const float *in = read(x), *w = read(weight), *b = read(bias), *lerp = read(lerps);
  const float *s = read(statistics);
  const int64_t *from = source.const_data_ptr<int64_t>();
  float *n = write(normed), *own = write(to_self), *to = write(to_source), *gx = write(grad_x), *sum = write(sums);
  for_blocks(rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t c = 0; c < C; ++c) n[i * C + c] = (in[i * C + c] - s[2 * i]) * s[2 * i + 1] * w[c] + b[c];
  });
  for_blocks(rows, [&](int64_t block, int64_t begin, int64_t end) {
    for (int64_t j = 0; j < J; ++j) {
      const float *grad = read(grad_mixed[j]);
      for (int64_t i = begin; i < end; ++i)
        backward_mix(n + i * C, n + from[i] * C, grad + i * C, lerp + j * C, C, sum + (block * (J + 2) + j) * C,
                     own + i * C, to + i * C);
    }
  });
  // The rows that are shifted to row i follow it directly; a row without an earlier one is shifted to itself.
  for_blocks(rows, [&](int64_t block, int64_t begin, int64_t end) {
    float *of_weight = sum + (block * (J + 2) + J) * C, *of_bias = of_weight + C;
    for (int64_t i = begin; i < end; ++i) {
      if (from[i] == i) add_to(own + i * C, to + i * C, C);
      for (int64_t next = i + 1; next < rows && from[next] == i; ++next) add_to(own + i * C, to + next * C, C);
      backward_norm(in + i * C, own + i * C, w, s + 2 * i, C, gx + i * C, of_weight, of_bias);
    }
  });
  const auto total = sums.sum(0);
  return {grad_x, total[J], total[J + 1], total.slice(0, 0, J)};
}

TORCH_LIBRARY_FRAGMENT(rwkv, m) {
  m.def("token_mix_forward(Tensor x, Tensor weight, Tensor bias, Tensor lerps, Tensor source, Tensor before, float eps) "
        "-> (Tensor, Tensor, Tensor)");
  m.def("token_mix_backward(Tensor x, Tensor weight, Tensor bias, Tensor lerps, Tensor source, Tensor statistics, "
        "Tensor[] grad_mixed) -> Tensor[]");
}

TORCH_LIBRARY_IMPL(rwkv, CPU, m) {
  m.impl("token_mix_forward", &token_mix_forward);
  m.impl("token_mix_backward", &token_mix_backward);
}

}  // namespace rwkv
