// Plain arrays: views of the caller's memory, and memory of their own for results.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace rwkv {

enum class Dtype { kFloat, kDouble, kInt64, kBool, kOther };

using Shape = std::vector<int64_t>;

// Copies share their memory.
class Array {
 public:
  Array() = default;

  // A view; the memory must outlive it.
  Array(void *data, Dtype dtype, Shape shape, bool is_contiguous)
      : data_(data), dtype_(dtype), shape_(std::move(shape)), is_contiguous_(is_contiguous) {}

  // Memory of its own, aligned to cache lines.
  static Array empty(Shape shape, Dtype dtype = Dtype::kFloat);
  static Array zeros(Shape shape, Dtype dtype = Dtype::kFloat);

  // The same memory in another shape of as many entries.
  Array view(Shape shape) const;
  Array copy() const;

  Dtype dtype() const { return dtype_; }
  bool is_contiguous() const { return is_contiguous_; }
  const Shape &shape() const { return shape_; }
  int64_t dimensions() const { return int64_t(shape_.size()); }
  int64_t size(size_t dimension) const { return shape_[dimension]; }
  int64_t entries() const;
  int64_t bytes() const;

  template <typename T>
  const T *read() const { return static_cast<const T *>(data_); }
  template <typename T>
  T *write() { return static_cast<T *>(data_); }

 private:
  std::shared_ptr<void> owner_;
  void *data_ = nullptr;
  Dtype dtype_ = Dtype::kFloat;
  Shape shape_;
  bool is_contiguous_ = true;
};

using Arrays = std::span<const Array>;
using OptionalArray = std::optional<Array>;

int64_t item_size(Dtype dtype);

inline const float *read(const Array &x) { return x.read<float>(); }
inline float *write(Array &x) { return x.write<float>(); }

// Floats for intermediate results, aligned to cache lines and not set to anything.
class Scratch {
 public:
  Scratch() = default;
  explicit Scratch(int64_t count) : array_(Array::empty({count})) {}

  float *data() { return write(array_); }
  const float *data() const { return read(array_); }

 private:
  Array array_;
};

}  // namespace rwkv
