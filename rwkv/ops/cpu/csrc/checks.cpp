// See checks.h.

#include "checks.h"

#include <algorithm>

namespace rwkv {
namespace {

// Also for a tensor without entries, whose sizes take no memory.
bool has_sane_sizes(const at::Tensor &x) {
  int64_t entries = 1;
  for (const int64_t size : x.sizes()) {
    const int64_t counted = std::max<int64_t>(size, 1);
    if (counted > kMostEntries / entries) return false;
    entries *= counted;
  }
  return true;
}

// The storage may have been shrunk since the tensor was made.
bool is_in_memory(const at::Tensor &x) {
  const int64_t end = (x.storage_offset() + x.numel()) * int64_t(x.element_size());
  return x.numel() == 0 || end <= int64_t(x.storage().nbytes());
}

}  // namespace

std::string text(at::IntArrayRef sizes) {
  std::string joined = "[";
  for (size_t i = 0; i < sizes.size(); ++i) joined += (i > 0 ? ", " : "") + std::to_string(sizes[i]);
  return joined + "]";
}

std::string text(at::ScalarType dtype) { return c10::toString(dtype); }

void refuse_with(const std::string &message) { TORCH_CHECK(false, message.c_str()); }

void check(const at::Tensor &x, const char *name, at::IntArrayRef sizes, at::ScalarType dtype) {
  if (!x.defined() || !x.device().is_cpu() || x.layout() != at::kStrided) refuse(name, " must be a dense tensor on the CPU");
  if (x.scalar_type() != dtype || x.sizes() != sizes || !x.is_contiguous())
    refuse(name, " must be a contiguous CPU tensor ", sizes, " of ", dtype, ", got ", x.is_contiguous() ? "" : "strided ",
           x.sizes(), " of ", x.scalar_type());
  if (!has_sane_sizes(x)) refuse(name, " has sizes beyond memory: ", sizes);
  if (!is_in_memory(x)) refuse(name, " has less memory than its sizes ", sizes, " need");
}

void check_dimensions(const at::Tensor &x, const char *name, int64_t dimensions) {
  if (x.dim() != dimensions) refuse(name, " must have ", dimensions, " dimensions, got ", x.sizes());
}

void check_columns(int64_t columns, const char *name) {
  if (columns < 1 || columns > kMostColumns) refuse(name, " must be 1 to ", kMostColumns, ", got ", columns);
}

void check_head_width(int64_t width) {
  if (width != 16 && width != 32 && width != 64) refuse("a head must have 16, 32 or 64 channels, got ", width);
}

void check_groups(const at::Tensor &offsets, const at::Tensor &is_query, int64_t rows) {
  check(is_query, "is_query", {rows}, at::kBool);
  check_dimensions(offsets, "offsets", 1);
  const int64_t count = offsets.size(0);
  check(offsets, "offsets", {count}, at::kLong);
  if (count < 1) refuse("offsets must have at least one number");
  const int64_t *bound = offsets.const_data_ptr<int64_t>();
  for (int64_t g = 1; g < count; ++g)
    if (bound[g] < bound[g - 1]) refuse("offsets must not decrease, got ", bound[g], " after ", bound[g - 1]);
  if (bound[0] != 0 || bound[count - 1] != rows)
    refuse("offsets must go from 0 to ", rows, " rows, got ", bound[0], " to ", bound[count - 1]);
}

}  // namespace rwkv
