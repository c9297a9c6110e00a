// See threads.h.

#include "threads.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace rwkv {
namespace {

// Waiting in a loop is faster than sleeping where the next call follows directly.
constexpr std::chrono::microseconds kSpin{40};

template <typename Condition>
bool holds_soon(const Condition &condition) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 64; ++i)
      if (condition()) return true;
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

class Helpers {
 public:
  void run(int64_t threads, const std::function<void()> &work) {
    if (is_used_.exchange(true)) return work();
    if (open(threads, work)) wake_.notify_all();
    attempt(work);
    close();
    const auto error = std::exchange(error_, nullptr);
    is_used_ = false;
    if (error) std::rethrow_exception(error);
  }

 private:
  // One call at a time has helpers; another one meanwhile, of another thread or within its work, runs alone.
  std::atomic<bool> is_used_{false};
  std::mutex mutex_;  // of all that follows
  std::condition_variable wake_, done_;
  const std::function<void()> *work_ = nullptr;  // null between calls
  int64_t helpers_ = 0, places_ = 0;
  std::atomic<int64_t> calls_{0}, working_{0};
  std::exception_ptr error_;

  // Publishes the work, and returns whether there are helpers.
  bool open(int64_t threads, const std::function<void()> &work) {
    const std::lock_guard lock(mutex_);
    try {
      for (; helpers_ < threads - 1; ++helpers_) std::thread([this] { help(); }).detach();
    } catch (const std::system_error &) {
      // The system allows no further thread.
    }
    places_ = std::min(threads - 1, helpers_);
    work_ = &work;
    ++calls_;
    return places_ > 0;
  }

  void close() {
    {
      const std::lock_guard lock(mutex_);
      work_ = nullptr;
    }
    const auto is_done = [this] { return working_ == 0; };
    if (holds_soon(is_done)) return;
    std::unique_lock lock(mutex_);
    done_.wait(lock, is_done);
  }

  void help() {
    for (int64_t seen = 0;;) {
      const auto is_called = [&] { return calls_ != seen; };
      holds_soon(is_called);
      std::unique_lock lock(mutex_);
      wake_.wait(lock, is_called);
      seen = calls_;
      if (work_ == nullptr || places_ == 0) continue;
      --places_, ++working_;
      const auto *work = work_;
      lock.unlock();
      attempt(*work);
      lock.lock();
      if (--working_ == 0) done_.notify_one();
    }
  }

  void attempt(const std::function<void()> &work) noexcept {
    try {
      work();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }
};

// Never destroyed, since its threads never end. A forked process has none of them and gets its own.
Helpers *helpers;

Helpers &the_helpers() {
  static std::once_flag once;
  std::call_once(once, [] {
    helpers = new Helpers;
#if !defined(_WIN32)
    pthread_atfork(nullptr, nullptr, [] { helpers = new Helpers; });
#endif
  });
  return *helpers;
}

}  // namespace

void on_threads(int64_t threads, const std::function<void()> &work) {
  threads = std::min(threads, kMostThreads);
  if (threads <= 1) return work();
  the_helpers().run(threads, work);
}

}  // namespace rwkv
