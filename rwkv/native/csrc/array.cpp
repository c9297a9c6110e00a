// See array.h.

#include "array.h"

#include <cstring>

namespace rwkv {
namespace {

constexpr size_t kAlignment = kLine * sizeof(float);

// Not set to anything. Aligned by hand, because the allocation of aligned memory is several times as slow.
std::unique_ptr<std::byte[]> bytes_to_align(int64_t count) {
  return std::unique_ptr<std::byte[]>(new std::byte[size_t(count) + kAlignment]);
}

void *aligned(std::byte *data) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  return data + (kAlignment - address % kAlignment) % kAlignment;
}

}  // namespace

int64_t item_size(Dtype dtype) {
  switch (dtype) {
    case Dtype::kFloat: return 4;
    case Dtype::kDouble: case Dtype::kInt64: return 8;
    default: return 1;
  }
}

Array Array::empty(const Shape &shape, Dtype dtype) {
  Array array(nullptr, dtype, shape, true);
  array.owner_ = bytes_to_align(array.bytes());
  array.data_ = aligned(array.owner_.get());
  return array;
}

Array Array::zeros(const Shape &shape, Dtype dtype) {
  Array array = empty(shape, dtype);
  std::memset(array.data_, 0, size_t(array.bytes()));
  return array;
}

Array Array::view(const Shape &shape, int64_t first) const {
  Array other = *this;
  other.shape_ = shape;
  other.data_ = static_cast<std::byte *>(data_) + first * item_size(dtype_);
  return other;
}

int64_t Array::entries() const {
  int64_t count = 1;
  for (const int64_t size : shape_) count *= size;
  return count;
}

int64_t Array::bytes() const { return entries() * item_size(dtype_); }

Scratch::Scratch(int64_t count) : owner_(bytes_to_align(count * int64_t(sizeof(float)))), data_(static_cast<float *>(aligned(owner_.get()))) {}

}  // namespace rwkv
