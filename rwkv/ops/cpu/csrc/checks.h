// What every operator checks at its door, before it reads or writes any memory, and how it refuses.
//
// A message is joined from strings, and never goes through a stream: a compiler may link a C++ library of its own into
// the extension, and then a number that is written to a stream, as TORCH_CHECK does with more than one argument, ends
// the process, for want of the locale that belongs to PyTorch's copy of that library.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>

namespace rwkv {

// Of a tensor, where dimensions without entries count as one: what is computed from sizes stays far below 2^63.
constexpr int64_t kMostEntries = int64_t(1) << 40;
// Of a row, or of what a map makes of it: blocks of rows are worked on in scratch memory.
constexpr int64_t kMostColumns = 1 << 16;

inline std::string text(const char *x) { return x; }
inline std::string text(int64_t x) { return std::to_string(x); }
std::string text(at::IntArrayRef sizes);
std::string text(at::ScalarType dtype);

// Raises RuntimeError in Python, from PyTorch's library.
[[noreturn]] void refuse_with(const std::string &message);

template <typename... Parts>
[[noreturn]] void refuse(const Parts &...parts) {
  std::string message;
  (message.append(text(parts)), ...);
  refuse_with(message);
}

// A tensor in memory of its own size: on the CPU, contiguous, of this dtype and these sizes.
void check(const at::Tensor &x, const char *name, at::IntArrayRef sizes, at::ScalarType dtype = at::kFloat);

// Before single sizes are asked for.
void check_dimensions(const at::Tensor &x, const char *name, int64_t dimensions);

// A size of a row, 1 to kMostColumns.
void check_columns(int64_t columns, const char *name);

// The channels of a head.
void check_head_width(int64_t width);

// offsets int64 [G + 1], from 0 to the number of rows, never less than the one before; is_query bool [rows].
void check_groups(const at::Tensor &offsets, const at::Tensor &is_query, int64_t rows);

}  // namespace rwkv
