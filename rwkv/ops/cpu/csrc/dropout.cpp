// Dropout by a hash of seed, site and position, defined by rwkv/ops/dropout.py.

#include <torch/library.h>

#include <limits>

#include "rows.h"
#include "simd.h"

namespace rwkv {
namespace {

RWKV_INLINE uint32_t mix(uint32_t z) {
  z = (z ^ (z >> 16)) * 0x7FEB352Du;
  z = (z ^ (z >> 15)) * 0x846CA68Bu;
  return z ^ (z >> 16);
}

RWKV_CLONES void drop(const float *x, const float *residual, int64_t begin, int64_t end, uint32_t threshold, float scale,
                      uint32_t key, float *y) {
  for (int64_t i = begin; i < end; ++i)
    y[i] = mix(static_cast<uint32_t>(i) * 0x9E3779B1u + key) >= threshold ? x[i] * scale : 0.0f;
  if (residual == nullptr) return;
  for (int64_t i = begin; i < end; ++i) y[i] += residual[i];
}

constexpr int64_t kGrain = 1 << 15;

}  // namespace

at::Tensor hash_dropout(const at::Tensor &x, int64_t threshold, double scale, const at::Tensor &seed, int64_t site,
                        const std::optional<at::Tensor> &residual) {
  check(x, "x", x.sizes());
  check(seed, "seed", {1}, at::kLong);
  if (residual.has_value()) check(*residual, "residual", x.sizes());
  if (threshold < 0 || threshold > std::numeric_limits<uint32_t>::max()) refuse("threshold must be below 2^32, got ", threshold);
  const float *added = residual.has_value() ? read(*residual) : nullptr;
  auto y = at::empty_like(x);
  const float *in = read(x);
  float *out = write(y);
  const uint32_t key = mix(static_cast<uint32_t>(*seed.const_data_ptr<int64_t>()) ^ (static_cast<uint32_t>(site) * 0x9E3779B9u));
  at::parallel_for(0, x.numel(), kGrain, [&](int64_t begin, int64_t end) {
    drop(in, added, begin, end, static_cast<uint32_t>(threshold), static_cast<float>(scale), key, out);
  });
  return y;
}

TORCH_LIBRARY_FRAGMENT(rwkv, m) {
  m.def("hash_dropout(Tensor x, int threshold, float scale, Tensor seed, int site, Tensor? residual) -> Tensor");
}

TORCH_LIBRARY_IMPL(rwkv, CPU, m) { m.impl("hash_dropout", &hash_dropout); }

}  // namespace rwkv
