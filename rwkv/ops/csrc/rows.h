// Work over rows in blocks of fixed size, so that sums over rows do not depend on the number of threads.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

namespace rwkv {

constexpr int64_t kBlockRows = 128;

inline int64_t blocks_of(int64_t rows) { return (rows + kBlockRows - 1) / kBlockRows; }

// work(block, first row, one past the last row) for every block, in parallel.
template <typename Work>
void for_blocks(int64_t rows, const Work &work) {
  at::parallel_for(0, blocks_of(rows), 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block)
      work(block, block * kBlockRows, std::min(rows, (block + 1) * kBlockRows));
  });
}

// Consecutive blocks that one thread works on, with scratch of its own.
struct BlockRange {
  int64_t first, last, rows;
  int thread;

  // work(first row, one past the last row) for every block.
  template <typename Work>
  void each(const Work &work) const {
    for (int64_t block = first; block < last; ++block)
      work(block * kBlockRows, std::min(rows, (block + 1) * kBlockRows));
  }
};

// work(range) for ranges that together hold all blocks, in parallel, at most at::get_num_threads() of them.
template <typename Work>
void for_ranges_of_blocks(int64_t rows, const Work &work) {
  at::parallel_for(0, blocks_of(rows), 1, [&](int64_t begin, int64_t end) {
    work(BlockRange{begin, end, rows, at::get_thread_num()});
  });
}

inline void check(const at::Tensor &x, const char *name, at::IntArrayRef sizes, at::ScalarType dtype = at::kFloat) {
  TORCH_CHECK(x.device().is_cpu() && x.is_contiguous() && x.scalar_type() == dtype && x.sizes() == sizes, name,
              " must be a contiguous CPU tensor ", sizes, " of ", dtype, ", got ", x.sizes(), " of ", x.scalar_type());
}

inline const float *read(const at::Tensor &x) { return x.const_data_ptr<float>(); }
inline float *write(at::Tensor &x) { return x.data_ptr<float>(); }

}  // namespace rwkv

// Calls the given template with the width of a head as a constant.
#define RWKV_FOR_WIDTH(K, ...)                                                        \
  [&] {                                                                               \
    switch (K) {                                                                      \
      case 16: { constexpr int kWidth = 16; return __VA_ARGS__; }                     \
      case 32: { constexpr int kWidth = 32; return __VA_ARGS__; }                     \
      case 64: { constexpr int kWidth = 64; return __VA_ARGS__; }                     \
      default: TORCH_CHECK(false, "a head must have 16, 32 or 64 channels, got ", K); \
    }                                                                                 \
  }()
