// The threads of this library: a caller and helpers that sleep between calls.
#pragma once

#include <cstdint>
#include <functional>

namespace rwkv {

// Most threads of one call.
constexpr int64_t kMostThreads = 256;

// Calls work on up to `threads` threads at once, the caller being one of them, and returns when all of them are done.
// A helper that has not begun when the caller is done is not waited for, so that a busy core delays nothing. While
// another call uses the helpers, the caller works alone. The first exception is thrown again here.
void on_threads(int64_t threads, const std::function<void()> &work);

}  // namespace rwkv
