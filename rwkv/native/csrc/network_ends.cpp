// The encoder and the heads of a network, by blocks of rows; defined by rwkv/model/network.py and heads.py.

#include "formulas.h"
#include "network.h"

namespace rwkv {
namespace {

RWKV_CLONES void normalise(const float *x, const Norm &norm, int64_t rows, int64_t columns, float *normed) {
  float statistics[2];
  for (int64_t i = 0; i < rows; ++i)
    normalise_row(x + i * columns, norm.weight, norm.bias, kLayerNormEps, columns, normed + i * columns, statistics);
}

RWKV_CLONES void silu(float *x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] *= sigmoid_(x[i]);
}

// A NaN stays NaN.
RWKV_CLONES void relu(float *x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] = x[i] > 0 ? x[i] : (x[i] == x[i] ? 0 : x[i]);
}

}  // namespace

Array encode(const NetworkWeights &weights, const Array &inputs, int64_t threads) {
  const int64_t rows = inputs.size(0), E = inputs.size(1), hidden = weights.encode_hidden.map.out(), C = weights.encode.map.out();
  auto x = Array::empty({rows, C});
  share(blocks_of(rows), threads, [&](const Queue &queue) {
    Scratch y(block_rows(rows) * hidden), normed(block_rows(rows) * hidden);
    queue.each_block(rows, [&](int64_t begin, int64_t end) {
      const int64_t n = end - begin;
      weights.encode_hidden.apply(read(inputs) + begin * E, n, y.data());
      silu(y.data(), n * hidden);
      normalise(y.data(), weights.encode_norm, n, hidden, normed.data());
      weights.encode.apply(normed.data(), n, write(x) + begin * C);
      silu(write(x) + begin * C, n * C);
    });
  });
  return x;
}

Array read_out(const HeadWeights &heads, const Array &x, bool ratings_only, int64_t threads) {
  const int64_t rows = x.size(0), C = x.size(1), hidden = heads.curve_hidden.map.out(), curves = heads.curve.map.out();
  const int64_t columns = ratings_only ? kRatings : 2 * curves + kRatings;
  auto outputs = Array::empty({rows, columns});
  share(blocks_of(rows), threads, [&](const Queue &queue) {
    Scratch normed(block_rows(rows) * C), first(block_rows(rows) * C), second(block_rows(rows) * C), y(block_rows(rows) * hidden);
    queue.each_block(rows, [&](int64_t begin, int64_t end) {
      const int64_t n = end - begin;
      float *to = write(outputs) + begin * columns;
      normalise(read(x) + begin * C, heads.norm, n, C, normed.data());
      const auto head = [&](const Linear &inner, const Linear &last, int64_t column) {
        inner.apply(normed.data(), n, y.data());
        relu(y.data(), n * hidden);
        last.apply(y.data(), n, to + column, columns);
      };
      head(heads.rating_hidden, heads.rating, columns - kRatings);
      if (ratings_only) return;
      head(heads.ahead_hidden, heads.ahead, curves);
      heads.curve_first.apply(normed.data(), n, first.data());
      relu(first.data(), n * C);
      normalise(first.data(), heads.curve_norm, n, C, second.data());
      heads.curve_hidden.apply(second.data(), n, y.data());
      heads.curve.apply(y.data(), n, to, columns);
    });
  });
  return outputs;
}

}  // namespace rwkv
