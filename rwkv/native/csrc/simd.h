// Shared by the CPU kernels: the choice of instruction set at run time, and elementary functions that vectorise.
#pragma once

#include <cstdint>
#include <cstring>

// One clone a level of x86-64; glibc's loader picks the best that the machine has. Elsewhere the compiler's default. ASan
// is not there yet when the loader picks, and Clang makes no clones of templates.
#if defined(__x86_64__) && defined(__GNUC__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
#define RWKV_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define RWKV_CLONES
#endif
#if defined(__clang__)
#define RWKV_TEMPLATE_CLONES
#else
#define RWKV_TEMPLATE_CLONES RWKV_CLONES
#endif

// A function for processors with AVX-512 alone, see has_avx512.
#if defined(__x86_64__) && defined(__GNUC__)
#define RWKV_AVX512 __attribute__((target("avx512f")))
#endif

#if defined(__GNUC__)
#define RWKV_INLINE inline __attribute__((always_inline))
#else
#define RWKV_INLINE inline
#endif

// Before a loop: no entry depends on another one, though the arrays may be the same.
#if defined(__GNUC__) && !defined(__clang__)
#define RWKV_INDEPENDENT _Pragma("GCC ivdep")
#else
#define RWKV_INDEPENDENT
#endif

namespace rwkv {

#if defined(RWKV_AVX512)
inline bool has_avx512() { return __builtin_cpu_supports("avx512f"); }
#endif

// e^x to about one unit in the last place, without branches: 2^n e^r with |r| <= ln 2 / 2. x is held within what float
// allows: below -87.3 the result is 1e-38, above 88.3 it is 2e38.
RWKV_INLINE float exp_(float x) {
  // What is not a number is held at a bound too, since it has no whole number, and comes back at the end.
  const float clamped = x > -87.3f ? (x < 88.3f ? x : 88.3f) : -87.3f;
  // Rounded as a positive number, for want of which a branch would keep loops from vectorising.
  const float n = static_cast<float>(static_cast<int32_t>(clamped * 1.44269504f + 128.5f) - 128);
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float scale;
  std::memcpy(&scale, &bits, sizeof scale);
  const float result = p * scale;
  return x != x ? x : result;
}

RWKV_INLINE float sigmoid_(float x) { return 1.0f / (1.0f + exp_(-x)); }

// To about 2e-7 absolute.
RWKV_INLINE float tanh_(float x) { return 1.0f - 2.0f / (1.0f + exp_(2.0f * x)); }

// N floats that the compiler keeps in registers, whatever the instruction set.
#if defined(__GNUC__)
template <int N>
struct LanesOf {
  typedef float Type __attribute__((vector_size(4 * N)));
};
#else
template <int N>
struct LanesOf {
  struct Type {
    float x[N];
    Type &operator+=(const Type &other) {
      for (int i = 0; i < N; ++i) x[i] += other.x[i];
      return *this;
    }
    friend Type operator*(float factor, Type lanes) {
      for (float &value : lanes.x) value *= factor;
      return lanes;
    }
  };
};
#endif
template <int N>
using Lanes = typename LanesOf<N>::Type;

// By reference, because passing a vector by value depends on the caller's instruction set.
template <typename Vector>
RWKV_INLINE void load(const float *from, Vector &lanes) { std::memcpy(&lanes, from, sizeof lanes); }
template <typename Vector>
RWKV_INLINE void store(float *to, const Vector &lanes) { std::memcpy(to, &lanes, sizeof lanes); }

}  // namespace rwkv
