// The checks of every operator before it reads or writes memory, and its errors.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

#include "array.h"

namespace rwkv {

// Most entries of an array, with empty dimensions counted as one, so that products of sizes stay far below 2^63.
constexpr int64_t kMostEntries = int64_t(1) << 40;
// Most columns of a row or of a map's output, since blocks of rows are processed in scratch memory.
constexpr int64_t kMostColumns = 1 << 16;

// An argument that does not fit. RuntimeError in Python.
struct Refusal : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline std::string text(const char *x) { return x; }
inline std::string text(int64_t x) { return std::to_string(x); }
std::string text(const Shape &shape);
std::string text(Dtype dtype);

template <typename... Parts>
[[noreturn]] void refuse(const Parts &...parts) {
  std::string message;
  (message.append(text(parts)), ...);
  throw Refusal(message);
}

// Checks that an array is contiguous and of this dtype and shape.
void check(const Array &x, const char *name, const Shape &shape, Dtype dtype = Dtype::kFloat);

// Checks the number of dimensions, before single sizes are read.
void check_dimensions(const Array &x, const char *name, int64_t dimensions);

// Checks the columns of a row, 1 to kMostColumns.
void check_columns(int64_t columns, const char *name);

// Checks the channels of a head.
void check_head_width(int64_t width);

// Checks offsets, int64 [G + 1], ascending from 0 to the number of rows, and is_query, bool [rows].
void check_groups(const Array &offsets, const Array &is_query, int64_t rows);

}  // namespace rwkv
