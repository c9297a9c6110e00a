// See array.h.

#include "array.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace rwkv {
namespace {

constexpr std::align_val_t kCacheLine{64};

}  // namespace

int64_t item_size(Dtype dtype) {
  switch (dtype) {
    case Dtype::kFloat: return 4;
    case Dtype::kDouble: case Dtype::kInt64: return 8;
    default: return 1;
  }
}

Array Array::empty(Shape shape, Dtype dtype) {
  Array array(nullptr, dtype, std::move(shape), true);
  const size_t bytes = std::max<int64_t>(array.bytes(), 1);
  array.owner_ = std::shared_ptr<void>(::operator new(bytes, kCacheLine), [](void *data) { ::operator delete(data, kCacheLine); });
  array.data_ = array.owner_.get();
  return array;
}

Array Array::zeros(Shape shape, Dtype dtype) {
  Array array = empty(std::move(shape), dtype);
  std::memset(array.data_, 0, size_t(array.bytes()));
  return array;
}

Array Array::view(Shape shape) const {
  Array other = *this;
  other.shape_ = std::move(shape);
  return other;
}

Array Array::copy() const {
  Array other = empty(shape_, dtype_);
  if (bytes() > 0) std::memcpy(other.data_, data_, size_t(bytes()));
  return other;
}

int64_t Array::entries() const {
  int64_t count = 1;
  for (const int64_t size : shape_) count *= size;
  return count;
}

int64_t Array::bytes() const { return entries() * item_size(dtype_); }

}  // namespace rwkv
