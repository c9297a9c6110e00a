// See network.h.

#include "network.h"

#include <algorithm>
#include <string>
#include <utility>

#include "operators.h"

namespace rwkv {
namespace {

// Reads a flat array from front to back.
class FlatSource {
 public:
  FlatSource(const float *begin, int64_t count) : at_(begin), end_(begin + count) {}

  Map map(int64_t out, int64_t in) { return Map(take(panel_size(in, out)), out, in); }
  const float *vector(const Shape &shape) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    return take(padded(count));
  }

  bool all_taken() const { return at_ == end_; }

 private:
  const float *at_, *end_;

  const float *take(int64_t count) {
    if (count > end_ - at_) refuse("the flat weights are too few for these sizes");
    return std::exchange(at_, at_ + count);
  }
};

// Joins a list of weights into a flat array. What it returns are no weights, and only the order counts.
class ListSource {
 public:
  explicit ListSource(Arrays weights) : weights_(weights) {}

  Map map(int64_t out, int64_t in) {
    const Array &weight = next({out, in});
    const size_t begin = flat.size();
    flat.resize(begin + panel_size(in, out));
    to_panels(read(weight), 1, in, in, out, flat.data() + begin);
    return Map(nullptr, out, in);
  }
  const float *vector(const Shape &shape) {
    const Array &weight = next(shape);
    const size_t begin = flat.size();
    flat.resize(begin + padded(weight.entries()));
    std::copy_n(read(weight), weight.entries(), flat.data() + begin);
    return nullptr;
  }

  bool all_taken() const { return taken_ == weights_.size(); }

  std::vector<float> flat;

 private:
  Arrays weights_;
  size_t taken_ = 0;

  const Array &next(const Shape &shape) {
    if (taken_ == weights_.size()) refuse("there are only ", int64_t(taken_), " weights, too few for these sizes");
    const Array &weight = weights_[taken_++];
    check(weight, ("weight " + std::to_string(taken_)).c_str(), shape);
    return weight;
  }
};

}  // namespace

Sizes::Sizes(const std::vector<int64_t> &s) {
  if (s.size() < 12 || s.size() % 2 != 0) refuse("sizes must be ten numbers and a pair for each stream");
  for (const int64_t size : s) check_columns(size, "a size");
  inputs = s[0], input_hidden = s[1], channels = s[2], heads = s[3], decay_rank = s[4], a_rank = s[5];
  v_rank = s[6], gate_rank = s[7], head_hidden = s[8], curves = s[9];
  if (channels % heads != 0) refuse(channels, " channels for ", heads, " heads");
  check_head_width(width());
  for (size_t i = 10; i < s.size(); i += 2) {
    layers.push_back(s[i]);
    inner.push_back(s[i + 1]);
  }
}

NetworkWeights checked_weights(const Array &flat, const Sizes &sizes) {
  check_dimensions(flat, "weights", 1);
  check(flat, "weights", flat.shape());
  FlatSource source(read(flat), flat.entries());
  auto weights = NetworkWeights::from(sizes, source);
  if (!source.all_taken()) refuse("the flat weights are too many for these sizes");
  return weights;
}

// Joins all weights, [out, in] if they are maps, into the flat array of network_rows.
Array pack_network(const std::vector<Array> &weights, const std::vector<int64_t> &size_list) {
  ListSource source(weights);
  NetworkWeights::from(Sizes(size_list), source);
  if (!source.all_taken()) refuse("there are ", int64_t(weights.size()), " weights, too many for these sizes");
  auto flat = Array::empty({int64_t(source.flat.size())});
  std::copy(source.flat.begin(), source.flat.end(), write(flat));
  return flat;
}

}  // namespace rwkv
