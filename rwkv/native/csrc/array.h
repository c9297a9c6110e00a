// Plain arrays: views of the caller's memory, and memory of their own for results.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace rwkv {

enum class Dtype { kFloat, kDouble, kInt64, kBool, kOther };

// Most dimensions of an array.
constexpr size_t kMostDimensions = 8;

// The sizes of an array by dimension, without memory of their own, since thousands are made in a call.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) : Shape(sizes.begin(), sizes.end()) {}
  // At most kMostDimensions.
  template <typename Iterator>
  Shape(Iterator begin, Iterator end) : count_(size_t(end - begin)) {
    std::copy(begin, end, sizes_.begin());
  }

  size_t size() const { return count_; }
  int64_t operator[](size_t dimension) const { return sizes_[dimension]; }
  const int64_t *begin() const { return sizes_.data(); }
  const int64_t *end() const { return sizes_.data() + count_; }
  bool operator==(const Shape &other) const = default;

 private:
  std::array<int64_t, kMostDimensions> sizes_{};
  size_t count_ = 0;
};

// Copies share their memory.
class Array {
 public:
  Array() = default;

  // A view; the memory must outlive it.
  Array(void *data, Dtype dtype, const Shape &shape, bool is_contiguous)
      : data_(data), dtype_(dtype), shape_(shape), is_contiguous_(is_contiguous) {}

  // Memory of its own, aligned to cache lines.
  static Array empty(const Shape &shape, Dtype dtype = Dtype::kFloat);
  static Array zeros(const Shape &shape, Dtype dtype = Dtype::kFloat);

  // The same memory in another shape of at most as many entries, from one entry on.
  Array view(const Shape &shape, int64_t first = 0) const;

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
  std::shared_ptr<std::byte[]> owner_;
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

// Floats in a cache line, to which memory is aligned.
constexpr int64_t kLine = 16;
inline int64_t whole_lines(int64_t floats) { return (floats + kLine - 1) / kLine * kLine; }

// Floats for intermediate results, aligned to cache lines and not set to anything.
class Scratch {
 public:
  Scratch() = default;
  explicit Scratch(int64_t count);

  float *data() { return data_; }
  const float *data() const { return data_; }

 private:
  std::unique_ptr<std::byte[]> owner_;
  float *data_ = nullptr;
};

}  // namespace rwkv
