// The WKV recurrence on packed groups, forward and backward, in float32, defined by rwkv/ops/wkv.py.
//
// The state is kept transposed, X[key][value] = S[value][key], so that both reads, X^T u and X^T k_hat, run over
// contiguous values. A task is one head of one group. The backward pass keeps the state before every kCheckpoint-th row
// of a group but its first, and recomputes those in between.

#include <algorithm>
#include <vector>

#include "formulas.h"
#include "operators.h"
#include "rows.h"
#include "wkv.h"

namespace rwkv {
namespace {

constexpr int64_t kCheckpoint = 32;
// Rows of heads that take as long as waking a thread.
constexpr int64_t kRowsOfAThread = 128;

template <int K>
RWKV_TEMPLATE_CLONES void forward_rows(const WkvRows &rows, int64_t count, float *x, float *out, float *checkpoints,
                              int64_t checkpoint_stride) {
  float w[K], u[K], o[K], delta[K];
  for (int64_t t = 0; t < count; ++t) {
    if (checkpoints != nullptr && t > 0 && t % kCheckpoint == 0)
      std::copy(x, x + K * K, checkpoints + (t / kCheckpoint - 1) * checkpoint_stride);
    const int64_t at = t * rows.stride;
    const float *r = rows.r + at, *k_hat = rows.k_hat + at, *v = rows.v + at, *b = rows.b + at;
    decay_of<K>(rows.log_decay + at, w);
    const float c = read_vector<K>(r, w, k_hat, b, u);
    for (int j = 0; j < K; ++j) o[j] = c * v[j];
    if (rows.is_query[t]) {
      for (int i = 0; i < K; ++i)
        for (int j = 0; j < K; ++j) o[j] += u[i] * x[i * K + j];
    } else {
      for (int j = 0; j < K; ++j) delta[j] = v[j];
      for (int i = 0; i < K; ++i)
        for (int j = 0; j < K; ++j) {
          o[j] += u[i] * x[i * K + j];
          delta[j] -= k_hat[i] * x[i * K + j];
        }
      for (int i = 0; i < K; ++i)
        for (int j = 0; j < K; ++j) x[i * K + j] = w[i] * x[i * K + j] + b[i] * delta[j];
    }
    std::copy(o, o + K, out + at);
  }
}

struct Gradients {
  float *r, *log_decay, *k_hat, *v, *b;
};

// One row of the backward pass. x: the state before it. dx: the gradient of the state after it, replaced by that of x.
template <int K>
RWKV_INLINE void backward_row(const WkvRows &rows, int64_t t, const float *x, const float *grad_out, float *dx,
                              const Gradients &grad) {
  float w[K], u[K], dv[K], delta[K], ddelta[K], du[K], dw[K], db[K], dk[K];
  const int64_t at = t * rows.stride;
  const float *r = rows.r + at, *k_hat = rows.k_hat + at, *v = rows.v + at, *b = rows.b + at;
  const float *go = grad_out + at;
  decay_of<K>(rows.log_decay + at, w);
  const float c = read_vector<K>(r, w, k_hat, b, u);
  float dc = 0;
  for (int j = 0; j < K; ++j) {
    dc += go[j] * v[j];
    dv[j] = c * go[j];
  }
  for (int i = 0; i < K; ++i) {
    float sum = 0;
    for (int j = 0; j < K; ++j) sum += x[i * K + j] * go[j];
    du[i] = sum;
  }
  if (rows.is_query[t]) {
    for (int i = 0; i < K; ++i) dw[i] = db[i] = dk[i] = 0;
    for (int i = 0; i < K; ++i)
      for (int j = 0; j < K; ++j) dx[i * K + j] += u[i] * go[j];
  } else {
    for (int j = 0; j < K; ++j) {
      delta[j] = v[j];
      ddelta[j] = 0;
    }
    for (int i = 0; i < K; ++i)
      for (int j = 0; j < K; ++j) {
        delta[j] -= k_hat[i] * x[i * K + j];
        ddelta[j] += b[i] * dx[i * K + j];
      }
    for (int i = 0; i < K; ++i) {
      float of_b = 0, of_w = 0, of_k = 0;
      for (int j = 0; j < K; ++j) {
        const float d = dx[i * K + j], s = x[i * K + j];
        of_b += d * delta[j];
        of_w += d * s;
        of_k += s * ddelta[j];
        dx[i * K + j] = w[i] * d - k_hat[i] * ddelta[j] + u[i] * go[j];
      }
      db[i] = of_b;
      dw[i] = of_w;
      dk[i] = -of_k;
    }
    for (int j = 0; j < K; ++j) dv[j] += ddelta[j];
  }
  for (int i = 0; i < K; ++i) dc -= du[i] * k_hat[i];
  for (int i = 0; i < K; ++i) {
    grad.r[at + i] = du[i] * w[i] + dc * b[i];
    grad.log_decay[at + i] = (dw[i] + du[i] * r[i]) * w[i];
    grad.k_hat[at + i] = dk[i] - du[i] * c;
    grad.b[at + i] = db[i] + dc * r[i];
    grad.v[at + i] = dv[i];
  }
}

template <int K>
RWKV_TEMPLATE_CLONES void backward_rows(const WkvRows &rows, int64_t count, const float *initial, const float *checkpoints,
                               int64_t checkpoint_stride, const float *grad_out, float *dx, float *states, const Gradients &grad) {
  for (int64_t chunk = (count + kCheckpoint - 1) / kCheckpoint - 1; chunk >= 0; --chunk) {
    const int64_t first = chunk * kCheckpoint, last = std::min(first + kCheckpoint, count);
    const float *saved = chunk == 0 ? initial : checkpoints + (chunk - 1) * checkpoint_stride;
    std::copy(saved, saved + K * K, states);
    for (int64_t t = first; t + 1 < last; ++t) {
      float *before = states + (t - first) * K * K, *after = before + K * K, w[K];
      if (rows.is_query[t]) {
        std::copy(before, before + K * K, after);
        continue;
      }
      const int64_t at = t * rows.stride;
      decay_of<K>(rows.log_decay + at, w);
      write_row<K>(before, w, rows.k_hat + at, rows.v + at, rows.b + at, after);
    }
    for (int64_t t = last - 1; t >= first; --t)
      backward_row<K>(rows, t, states + (t - first) * K * K, grad_out, dx, grad);
  }
}

WkvRows rows_of(const Array &r, const Array &log_decay, const Array &k_hat, const Array &v,
             const Array &b, const Array &offsets, const Array &is_query) {
  check_dimensions(r, "r", 3);
  check(r, "r", r.shape());
  check(log_decay, "log_decay", r.shape());
  check(k_hat, "k_hat", r.shape());
  check(v, "v", r.shape());
  check(b, "b", r.shape());
  check_head_width(r.size(2));
  check_columns(r.size(1) * r.size(2), "the channels of all heads");
  check_groups(offsets, is_query, r.size(0));
  return {r.read<float>(),     log_decay.read<float>(), k_hat.read<float>(),
          v.read<float>(),     b.read<float>(),         is_query.read<bool>(),
          r.size(1) * r.size(2)};
}

WkvRows from(const WkvRows &rows, int64_t row, int64_t offset) {
  const int64_t at = row * rows.stride + offset;
  return {rows.r + at, rows.log_decay + at, rows.k_hat + at, rows.v + at, rows.b + at, rows.is_query + row, rows.stride};
}

// A copy of the given states of G groups, or zeros.
Array states_or_zero(const OptionalArray &states, const Array &r, int64_t groups) {
  auto copy = Array::zeros({groups, r.size(1), r.size(2), r.size(2)});
  if (states.has_value()) std::copy_n(read(*states), copy.entries(), write(copy));
  return copy;
}

template <int K>
void forward(const WkvRows &rows, int64_t heads, const Array &offsets, const std::vector<WkvState> &states, float *out,
             float *checkpoints, int64_t threads) {
  const auto starts = checkpoint_starts(offsets);
  const int64_t *bound = offsets.read<int64_t>();
  const int64_t useful = 1 + bound[states.size()] * heads / kRowsOfAThread;
  share(int64_t(states.size()) * heads, std::min(threads, useful), [&](const Queue &queue) {
    Scratch unkept(K * K);
    queue.each([&](int64_t task) {
      const int64_t g = task / heads, h = task % heads;
      const WkvState &state = states[g];
      float *x = state.after == nullptr ? unkept.data() : state.after + h * K * K;
      if (state.before == nullptr)
        std::fill_n(x, K * K, 0.0f);
      else
        std::copy_n(state.before + h * K * K, K * K, x);
      forward_rows<K>(from(rows, bound[g], h * K), bound[g + 1] - bound[g], x, out + bound[g] * rows.stride + h * K,
                      checkpoints == nullptr ? nullptr : checkpoints + (starts[g] * heads + h) * K * K, heads * K * K);
    });
  });
}

template <int K>
void backward(const WkvRows &rows, const Array &r, const Array &offsets, const OptionalArray &initial,
              const Array &checkpoints, const Array &grad_out, Array &grad_state, const Gradients &grad, int64_t threads) {
  const int64_t heads = r.size(1), groups = offsets.entries() - 1;
  const auto starts = checkpoint_starts(offsets);
  const int64_t *bound = offsets.read<int64_t>();
  const float *kept = checkpoints.read<float>(), *go = grad_out.read<float>();
  const std::vector<float> zero(K * K);
  const float *first_states = initial.has_value() ? read(*initial) : nullptr;
  float *dx = grad_state.write<float>();
  share(groups * heads, threads, [&](const Queue &queue) {
    Scratch states(kCheckpoint * K * K);
    queue.each([&](int64_t task) {
      const int64_t g = task / heads, h = task % heads, first = bound[g] * rows.stride + h * K;
      const Gradients here{grad.r + first, grad.log_decay + first, grad.k_hat + first, grad.v + first, grad.b + first};
      const float *before = first_states == nullptr ? zero.data() : first_states + task * K * K;
      backward_rows<K>(from(rows, bound[g], h * K), bound[g + 1] - bound[g], before,
                       kept + (starts[g] * heads + h) * K * K, heads * K * K, go + first, dx + task * K * K, states.data(), here);
    });
  });
}

}  // namespace

std::vector<int64_t> checkpoint_starts(const Array &offsets) {
  const int64_t *bound = offsets.read<int64_t>();
  std::vector<int64_t> starts(offsets.entries(), 0);
  for (int64_t g = 1; g < offsets.entries(); ++g)
    starts[g] = starts[g - 1] + std::max<int64_t>(0, bound[g] - bound[g - 1] - 1) / kCheckpoint;
  return starts;
}

std::vector<WkvState> states_of(const OptionalArray &before, Array &after) {
  const int64_t groups = after.size(0), size = groups == 0 ? 0 : after.entries() / groups;
  std::vector<WkvState> states;
  for (int64_t g = 0; g < groups; ++g)
    states.push_back({before.has_value() ? read(*before) + g * size : nullptr, write(after) + g * size});
  return states;
}

void run_wkv(const WkvRows &rows, int64_t heads, int64_t width, const Array &offsets, const std::vector<WkvState> &states,
             float *out, float *checkpoints, int64_t threads) {
  RWKV_FOR_WIDTH(width, forward<kWidth>(rows, heads, offsets, states, out, checkpoints, threads));
}

// States are [G, H, K (key), K (value)]: transposed against the public op. Returns out, final state, checkpoints.
std::vector<Array> wkv_forward(const Array &r, const Array &log_decay, const Array &k_hat, const Array &v, const Array &b,
                               const Array &offsets, const Array &is_query, const OptionalArray &initial, bool keep,
                               int64_t threads) {
  const WkvRows rows = rows_of(r, log_decay, k_hat, v, b, offsets, is_query);
  const int64_t K = r.size(2);
  if (initial.has_value()) check(*initial, "initial", {offsets.entries() - 1, r.size(1), K, K});
  const int64_t heads = r.size(1), groups = offsets.entries() - 1;
  auto out = Array::empty(r.shape()), last = Array::empty({groups, heads, K, K});
  auto checkpoints = Array::empty({keep ? checkpoint_starts(offsets)[groups] : 0, heads, K, K});
  run_wkv(rows, heads, K, offsets, states_of(initial, last), write(out), keep ? write(checkpoints) : nullptr, threads);
  return {out, last, checkpoints};
}

// Returns the gradients of r, log_decay, k_hat, v, b and of the initial state.
std::vector<Array> wkv_backward(const Array &r, const Array &log_decay, const Array &k_hat, const Array &v, const Array &b,
                                const Array &offsets, const Array &is_query, const OptionalArray &initial,
                                const Array &checkpoints, const Array &grad_out, const OptionalArray &grad_final,
                                int64_t threads) {
  const WkvRows rows = rows_of(r, log_decay, k_hat, v, b, offsets, is_query);
  const int64_t K = r.size(2), heads = r.size(1);
  check(checkpoints, "checkpoints", {checkpoint_starts(offsets).back(), heads, K, K});
  check(grad_out, "grad_out", r.shape());
  for (const auto *states : {&initial, &grad_final})
    if (states->has_value()) check(**states, "initial, grad_final", {offsets.entries() - 1, heads, K, K});
  std::vector<Array> result;
  for (int i = 0; i < 5; ++i) result.push_back(Array::empty(r.shape()));
  result.push_back(states_or_zero(grad_final, r, offsets.entries() - 1));
  const Gradients grad{result[0].write<float>(), result[1].write<float>(), result[2].write<float>(),
                       result[3].write<float>(), result[4].write<float>()};
  RWKV_FOR_WIDTH(K, backward<kWidth>(rows, r, offsets, initial, checkpoints, grad_out, result[5], grad, threads));
  return result;
}

}  // namespace rwkv
