// The whole network over rows from given states: the encoder, all streams, and the heads; see rwkv/native/network.py.

#include <algorithm>

#include "network.h"
#include "operators.h"

namespace rwkv {
namespace {

// The rows of one stream, group after group, each in the order of the rows.
struct Places {
  std::vector<int64_t> row;   // of each place
  Array offsets, is_query, source;
  std::vector<int64_t> last;  // place of each group's last review row; -1 if there is none

  // group: of each row. before: by group; not null if it has a review.
  Places(const int64_t *group, const Array &query, const std::vector<const float *> &before)
      : row(query.size(0)), offsets(Array::zeros({int64_t(before.size()) + 1}, Dtype::kInt64)),
        is_query(Array::empty(query.shape(), Dtype::kBool)), source(Array::empty(query.shape(), Dtype::kInt64)),
        last(before.size(), -1) {
    const int64_t rows = query.size(0), groups = int64_t(before.size());
    int64_t *bound = offsets.write<int64_t>();
    for (int64_t i = 0; i < rows; ++i) ++bound[group[i] + 1];
    for (int64_t g = 0; g < groups; ++g) bound[g + 1] += bound[g];
    std::vector<int64_t> next(bound, bound + groups);
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t g = group[i], place = next[g]++;
      row[place] = i;
      is_query.write<bool>()[place] = query.read<bool>()[i];
      source.write<int64_t>()[place] = last[g] >= 0 ? last[g] : (before[g] != nullptr ? rows + g : place);
      if (!query.read<bool>()[i]) last[g] = place;
    }
  }
};

// A stream on its way through its layers.
class StreamPass {
 public:
  // before, after: flat states by group; null for one without a review, or for one that is not kept.
  StreamPass(const Sizes &sizes, const Places &places, const std::vector<const float *> &before,
             const std::vector<float *> &after, int64_t threads)
      : sizes_(sizes), places_(places), before_(before), after_(after), threads_(threads) {}

  // Runs rows in places of the stream, [N, C].
  Array run(const std::vector<Layer> &layers, Array x) const {
    Array v0;
    for (size_t l = 0; l < layers.size(); ++l) {
      const Layer &layer = layers[l];
      const int64_t offset = int64_t(l) * sizes_.layer_state();
      const Array time_shifts = shifts(offset), channel_shifts = shifts(offset + sizes_.channels);
      const ShiftedRows rows{x, layer.time.at(kNormWeight), layer.time.at(kNormBias), places_.source, time_shifts};
      const TimeRows given{rows, l == 0 ? nullptr : read(v0), places_.offsets, places_.is_query};
      const TimeResults mixed = run_time_mixer(given, layer.time, states(offset), false, true, threads_);
      keep_shifts(mixed.normed, offset);
      if (l == 0) v0 = mixed.kept[kKeptV];
      const ShiftedRows inner{mixed.y, layer.channel.norm_weight, layer.channel.norm_bias, places_.source, channel_shifts};
      const ChannelResults out = run_channel_mixer(inner, layer.channel, false, true, threads_);
      keep_shifts(out.normed, offset + sizes_.channels);
      x = out.y;
    }
    return x;
  }

 private:
  const Sizes &sizes_;
  const Places &places_;
  const std::vector<const float *> &before_;
  const std::vector<float *> &after_;
  int64_t threads_;

  // What the groups' first rows are shifted to, [G, C].
  Array shifts(int64_t offset) const {
    const int64_t groups = int64_t(before_.size()), C = sizes_.channels;
    auto all = Array::empty({groups, C});
    for (int64_t g = 0; g < groups; ++g)
      if (before_[g] != nullptr) std::copy_n(before_[g] + offset, C, write(all) + g * C);
    return all;
  }

  std::vector<WkvState> states(int64_t offset) const {
    std::vector<WkvState> all;
    for (size_t g = 0; g < before_.size(); ++g) {
      const int64_t at = offset + 2 * sizes_.channels;
      all.push_back({before_[g] == nullptr ? nullptr : before_[g] + at, after_[g] == nullptr ? nullptr : after_[g] + at});
    }
    return all;
  }

  void keep_shifts(const Array &normed, int64_t offset) const {
    const int64_t C = sizes_.channels;
    for (size_t g = 0; g < after_.size(); ++g) {
      if (after_[g] == nullptr) continue;
      if (places_.last[g] >= 0)
        std::copy_n(read(normed) + places_.last[g] * C, C, after_[g] + offset);
      else if (before_[g] != nullptr)
        std::copy_n(before_[g] + offset, C, after_[g] + offset);
      else
        std::fill_n(after_[g] + offset, C, 0.0f);
    }
  }
};

void gather(const Array &x, const std::vector<int64_t> &row, Array &to) {
  for (size_t i = 0; i < row.size(); ++i) std::copy_n(read(x) + row[i] * x.size(1), x.size(1), write(to) + i * x.size(1));
}

void scatter(const Array &x, const std::vector<int64_t> &row, Array &to) {
  for (size_t i = 0; i < row.size(); ++i) std::copy_n(read(x) + i * x.size(1), x.size(1), write(to) + row[i] * x.size(1));
}

void check_rows(const Sizes &sizes, const Array &inputs, const Array &is_query, const Array &groups,
                const std::vector<int64_t> &counts, const std::vector<OptionalArray> &before) {
  check_dimensions(inputs, "inputs", 2);
  const int64_t rows = inputs.size(0), streams = sizes.streams();
  check(inputs, "inputs", {rows, sizes.inputs});
  check(is_query, "is_query", {rows}, Dtype::kBool);
  check(groups, "groups", {streams, rows}, Dtype::kInt64);
  if (int64_t(counts.size()) != streams) refuse("one number of groups for each of ", streams, " streams");
  size_t state = 0;
  for (int64_t s = 0; s < streams; ++s) {
    const int64_t *group = groups.read<int64_t>() + s * rows;
    for (int64_t i = 0; i < rows; ++i)
      if (group[i] < 0 || group[i] >= counts[s]) refuse("groups[", s, ", ", i, "] = ", group[i], " of ", counts[s], " groups");
    if (counts[s] < 0 || counts[s] > int64_t(before.size() - state)) refuse("one state before for each group of all streams");
    for (int64_t g = 0; g < counts[s]; ++g, ++state)
      if (before[state].has_value()) check(*before[state], "a state", {1, sizes.state(s)});
  }
  if (state != before.size()) refuse("one state before for each group of all streams");
}

}  // namespace

// groups [streams, N]: number of each row's group in each stream, of which there are `counts`. before: the flat state
// [1, state] of all groups of the first stream, then of the others; none for a group without a review.
// Returns the joined outputs [N, 2 * curves + 4], or if `ratings_only` the rating logits [N, 4], then if `keep` the
// states of all groups after the rows.
std::vector<Array> network_rows(const Array &flat, const std::vector<int64_t> &size_list, const Array &inputs,
                                const Array &is_query, const Array &groups, const std::vector<int64_t> &counts,
                                const std::vector<OptionalArray> &before, bool keep, bool ratings_only, int64_t threads) {
  const Sizes sizes(size_list);
  const NetworkWeights weights = checked_weights(flat, sizes);
  check_rows(sizes, inputs, is_query, groups, counts, before);
  std::vector<Array> results(1);
  Array x = encode(weights, inputs, threads), placed = Array::empty(x.shape());
  size_t first = 0;
  for (int64_t s = 0; s < sizes.streams(); first += counts[s++]) {
    std::vector<const float *> known;
    std::vector<float *> after;
    for (int64_t g = 0; g < counts[s]; ++g) {
      const OptionalArray &state = before[first + g];
      known.push_back(state.has_value() ? read(*state) : nullptr);
      after.push_back(keep ? write(results.emplace_back(Array::empty({1, sizes.state(s)}))) : nullptr);
    }
    const Places places(groups.read<int64_t>() + s * inputs.size(0), is_query, known);
    gather(x, places.row, placed);
    scatter(StreamPass(sizes, places, known, after, threads).run(weights.streams[s], placed), places.row, x);
  }
  results[0] = read_out(weights.heads, x, ratings_only, threads);
  return results;
}

}  // namespace rwkv
