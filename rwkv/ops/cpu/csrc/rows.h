// Work over rows in blocks of fixed size, whatever the number of threads.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>

#include "checks.h"

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

// Consecutive blocks that one thread processes, with its own scratch memory.
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

// A queue of tasks from which each thread takes the next, so that a delayed thread delays the others little.
class Queue {
 public:
  Queue(std::atomic<int64_t> &next, int64_t tasks) : next_(next), tasks_(tasks) {}

  // work(task) until none is left.
  template <typename Work>
  void each(const Work &work) const {
    for (int64_t task; (task = next_.fetch_add(1)) < tasks_;) work(task);
  }

  // The same where tasks are the blocks of rows: work(first row, one past the last row).
  template <typename Work>
  void each_block(int64_t rows, const Work &work) const {
    each([&](int64_t block) { work(block * kBlockRows, std::min(rows, (block + 1) * kBlockRows)); });
  }

 private:
  std::atomic<int64_t> &next_;
  int64_t tasks_;
};

// Calls work(queue) on every thread in parallel, for results that do not depend on the assignment of tasks.
template <typename Work>
void share(int64_t tasks, const Work &work) {
  std::atomic<int64_t> next{0};
  at::parallel_for(0, std::min<int64_t>(tasks, at::get_num_threads()), 1,
                   [&](int64_t, int64_t) { work(Queue(next, tasks)); });
}

inline const float *read(const at::Tensor &x) { return x.const_data_ptr<float>(); }
inline float *write(at::Tensor &x) { return x.data_ptr<float>(); }

}  // namespace rwkv

// Calls the given template with the width of a head as a constant; see check_head_width.
#define RWKV_FOR_WIDTH(K, ...)                                     \
  [&] {                                                            \
    switch (K) {                                                   \
      case 16: { constexpr int kWidth = 16; return __VA_ARGS__; }  \
      case 32: { constexpr int kWidth = 32; return __VA_ARGS__; }  \
      case 64: { constexpr int kWidth = 64; return __VA_ARGS__; }  \
      default: rwkv::refuse("a head has ", int64_t(K), " channels"); \
    }                                                              \
  }()
