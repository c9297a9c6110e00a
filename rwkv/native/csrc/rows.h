// Work over rows in blocks of fixed size, whatever the number of threads.
#pragma once

#include <algorithm>
#include <atomic>

#include "checks.h"
#include "threads.h"

namespace rwkv {

constexpr int64_t kBlockRows = 128;

// Rows of the longest block.
inline int64_t block_rows(int64_t rows) { return std::min(rows, kBlockRows); }

inline int64_t blocks_of(int64_t rows) { return (rows + kBlockRows - 1) / kBlockRows; }

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

// Calls work(queue) on up to `threads` threads, for results that do not depend on who takes a task.
template <typename Work>
void share(int64_t tasks, int64_t threads, const Work &work) {
  std::atomic<int64_t> next{0};
  const Queue queue(next, tasks);
  on_threads(std::min(tasks, threads), [&] { work(queue); });
}

// A fixed number of ranges of consecutive blocks, for sums that do not depend on the threads: each range has its own.
class Ranges {
 public:
  explicit Ranges(int64_t rows)
      : rows_(rows), blocks_(blocks_of(rows)), count_(std::min(blocks_, std::clamp<int64_t>(blocks_ / 4, 8, 32))) {}

  int64_t count() const { return count_; }

  // work(range, first row, one past the last row) for every block of the ranges in a queue.
  template <typename Work>
  void each_block(const Queue &queue, const Work &work) const {
    queue.each([&](int64_t range) {
      for (int64_t block = blocks_ * range / count_; block < blocks_ * (range + 1) / count_; ++block)
        work(range, block * kBlockRows, std::min(rows_, (block + 1) * kBlockRows));
    });
  }

 private:
  int64_t rows_, blocks_, count_;
};

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
