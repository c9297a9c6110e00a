// See checks.h.

#include "checks.h"

#include <algorithm>

namespace rwkv {
namespace {

// Also for an array without entries, whose sizes take no memory.
bool has_sane_sizes(const Array &x) {
  int64_t entries = 1;
  for (const int64_t size : x.shape()) {
    const int64_t counted = std::max<int64_t>(size, 1);
    if (counted > kMostEntries / entries) return false;
    entries *= counted;
  }
  return true;
}

}  // namespace

std::string text(const Shape &shape) {
  std::string joined = "[";
  for (size_t i = 0; i < shape.size(); ++i) joined += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return joined + "]";
}

std::string text(Dtype dtype) {
  switch (dtype) {
    case Dtype::kFloat: return "float32";
    case Dtype::kDouble: return "float64";
    case Dtype::kInt64: return "int64";
    case Dtype::kBool: return "bool";
    default: return "another dtype";
  }
}

void check(const Array &x, const char *name, const Shape &shape, Dtype dtype) {
  if (x.dtype() != dtype || x.shape() != shape || !x.is_contiguous())
    refuse(name, " must be a contiguous array ", shape, " of ", dtype, ", got ", x.is_contiguous() ? "" : "strided ",
           x.shape(), " of ", x.dtype());
  if (!has_sane_sizes(x)) refuse(name, " has sizes beyond memory: ", shape);
}

void check_dimensions(const Array &x, const char *name, int64_t dimensions) {
  if (x.dimensions() != dimensions) refuse(name, " must have ", dimensions, " dimensions, got ", x.shape());
}

void check_columns(int64_t columns, const char *name) {
  if (columns < 1 || columns > kMostColumns) refuse(name, " must be 1 to ", kMostColumns, ", got ", columns);
}

void check_head_width(int64_t width) {
  if (width != 16 && width != 32 && width != 64) refuse("a head must have 16, 32 or 64 channels, got ", width);
}

void check_groups(const Array &offsets, const Array &is_query, int64_t rows) {
  check(is_query, "is_query", {rows}, Dtype::kBool);
  check_dimensions(offsets, "offsets", 1);
  const int64_t count = offsets.size(0);
  check(offsets, "offsets", {count}, Dtype::kInt64);
  if (count < 1) refuse("offsets must have at least one number");
  const int64_t *bound = offsets.read<int64_t>();
  for (int64_t g = 1; g < count; ++g)
    if (bound[g] < bound[g - 1]) refuse("offsets must not decrease, got ", bound[g], " after ", bound[g - 1]);
  if (bound[0] != 0 || bound[count - 1] != rows)
    refuse("offsets must go from 0 to ", rows, " rows, got ", bound[0], " to ", bound[count - 1]);
}

}  // namespace rwkv
