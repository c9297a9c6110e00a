// Dropout by a hash of seed, site and position, defined by rwkv/ops/dropout.py.

#include <limits>

#include "operators.h"
#include "rows.h"
#include "simd.h"

namespace rwkv {
namespace {

RWKV_INLINE uint32_t mix(uint32_t z) {
  z = (z ^ (z >> 16)) * 0x7FEB352Du;
  z = (z ^ (z >> 15)) * 0x846CA68Bu;
  return z ^ (z >> 16);
}

constexpr uint32_t kIndexFactor = 0x9E3779B1u;

RWKV_CLONES void drop(const float *x, const float *residual, int64_t begin, int64_t end, uint32_t threshold, float scale,
                      uint32_t key, float *y) {
  for (int64_t i = begin; i < end; ++i)
    y[i] = mix(static_cast<uint32_t>(i) * kIndexFactor + key) >= threshold ? x[i] * scale : 0.0f;
  if (residual == nullptr) return;
  for (int64_t i = begin; i < end; ++i) y[i] += residual[i];
}

constexpr int64_t kGrain = 1 << 15;

}  // namespace

Array hash_dropout(const Array &x, int64_t threshold, double scale, const Array &seed, int64_t site,
                   const OptionalArray &residual, int64_t threads) {
  check(x, "x", x.shape());
  check(seed, "seed", {1}, Dtype::kInt64);
  if (residual.has_value()) check(*residual, "residual", x.shape());
  if (threshold < 0 || threshold > std::numeric_limits<uint32_t>::max()) refuse("threshold must be below 2^32, got ", threshold);
  const float *added = residual.has_value() ? read(*residual) : nullptr;
  auto y = Array::empty(x.shape());
  const float *in = read(x);
  float *out = write(y);
  const size_t dimensions = x.shape().size();
  const int64_t number = *seed.read<int64_t>(), width = dimensions == 0 ? 1 : x.shape()[dimensions - 1];
  const uint32_t first = static_cast<uint32_t>(number >> 32) * static_cast<uint32_t>(width);
  const uint32_t seed_key = mix(static_cast<uint32_t>(number) ^ (static_cast<uint32_t>(site) * 0x9E3779B9u));
  const uint32_t key = seed_key + first * kIndexFactor;
  const int64_t entries = x.entries();
  share((entries + kGrain - 1) / kGrain, threads, [&](const Queue &queue) {
    queue.each([&](int64_t grain) {
      const int64_t begin = grain * kGrain, end = std::min(entries, begin + kGrain);
      drop(in, added, begin, end, static_cast<uint32_t>(threshold), static_cast<float>(scale), key, out);
    });
  });
  return y;
}

}  // namespace rwkv
