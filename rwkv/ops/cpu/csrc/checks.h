// The checks of every operator before it reads or writes memory, and its errors.
//
// Messages are joined from strings and never written to a stream. A compiler may link its own C++ library into the
// extension. A number written to a stream, as by TORCH_CHECK with several arguments, would then end the process, since
// the locale belongs to PyTorch's copy of the library.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>

namespace rwkv {

// Most entries of a tensor, with empty dimensions counted as one, so that products of sizes stay far below 2^63.
constexpr int64_t kMostEntries = int64_t(1) << 40;
// Most columns of a row or of a map's output, since blocks of rows are processed in scratch memory.
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

// Checks that a tensor is on the CPU, contiguous, and of this dtype and these sizes.
void check(const at::Tensor &x, const char *name, at::IntArrayRef sizes, at::ScalarType dtype = at::kFloat);

// Checks the number of dimensions, before single sizes are read.
void check_dimensions(const at::Tensor &x, const char *name, int64_t dimensions);

// Checks the columns of a row, 1 to kMostColumns.
void check_columns(int64_t columns, const char *name);

// Checks the channels of a head.
void check_head_width(int64_t width);

// Checks offsets, int64 [G + 1], ascending from 0 to the number of rows, and is_query, bool [rows].
void check_groups(const at::Tensor &offsets, const at::Tensor &is_query, int64_t rows);

}  // namespace rwkv
