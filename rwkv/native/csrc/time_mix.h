// Shared by both passes of the time mixer over rows in places of a stream; see rwkv/native/mixers.py.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "formulas.h"
#include "gemm.h"
#include "shift.h"
#include "wkv.h"

namespace rwkv {

// The weights by place; the last three are missing in a stream's first layer. Maps are [out, in], lerps [8, C].
enum TimeWeight {
  kNormWeight, kNormBias, kLerps, kR, kK, kV, kDecayDown, kDecayUp, kDecayBias, kADown, kAUp, kABias, kGateDown, kGateUp,
  kKScale, kKScaleBias, kVScale, kVScaleBias, kBonus, kOutWeight, kOutBias, kOut, kFirstLayerWeights,
  kVMixDown = kFirstLayerWeights, kVMixUp, kVMixBias, kTimeWeights
};

// The interpolations, in the order of the lerps.
enum Lerp { kLerpR, kLerpK, kLerpV, kLerpDecay, kLerpA, kLerpGate, kLerpKScale, kLerpVScale, kLerpCount };

// The arrays kept for the backward pass, in order: r, k, v, out [N, C]; low-rank activations [N, rank];
// scales [N, H]; statistics of the LayerNorm [N, 2]; states of the recurrence. low_v_mix is empty in the first layer.
enum Kept {
  kKeptR, kKeptK, kKeptV, kLowDecay, kLowA, kLowGate, kLowVMix, kKeptKScale, kKeptVScale, kKeptOut, kStatistics,
  kCheckpoints, kKeptCount
};

constexpr float kGroupNormEps = 64e-5f;

// The sizes of a time mixer. Kept by row are columns of `kept_columns`, in order: all but the checkpoints.
struct TimeSizes {
  int64_t channels, heads, decay_rank, a_rank, gate_rank, v_rank;
  bool first_layer;

  int64_t width() const { return channels / heads; }
  int weights() const { return first_layer ? int(kFirstLayerWeights) : int(kTimeWeights); }
  Shape shape_of(int weight) const;
  std::array<int64_t, kCheckpoints> kept_columns() const;
};

bool is_map(int weight);

// The weights, with the maps in panels.
struct TimeWeights {
  TimeSizes sizes;
  std::array<Map, kTimeWeights> maps;
  std::array<const float *, kTimeWeights> vectors{};  // those that are no maps

  // Cuts checked weights into panels for the maps' outputs, or for the gradients of their inputs if `back`.
  TimeWeights(const TimeSizes &sizes, Arrays weights, bool back, int64_t threads);

  // Takes them in order from a source with the functions map(out, in) and vector(count).
  template <typename Source>
  TimeWeights(const TimeSizes &sizes, Source &source) : sizes(sizes) {
    for (int w = 0; w < sizes.weights(); ++w) {
      const Shape shape = sizes.shape_of(w);
      if (is_map(w))
        maps[w] = source.map(shape[0], shape[1]);
      else
        vectors[w] = source.vector(shape);
    }
  }

  const float *at(TimeWeight w) const { return vectors[w]; }
};

// The rows of a time mixer, checked. v0 is null in a stream's first layer.
struct TimeRows {
  ShiftedRows shifted;
  const float *v0;
  const Array &offsets, &is_query;
};

TimeSizes checked_sizes(Arrays weights, int64_t channels);

TimeRows checked(const Array &x, const OptionalArray &v0, Arrays weights, const Array &source, const Array &before,
                 const Array &offsets, const Array &is_query);

// What a time mixer leaves: its output y, or x + y, the normalised x, and what the backward pass needs.
struct TimeResults {
  Array y, normed;
  std::vector<Array> kept;
};

// states: see run_wkv.
TimeResults run_time_mixer(const TimeRows &rows, const TimeWeights &weights, const std::vector<WkvState> &states,
                           bool keeps_checkpoints, bool adds_x, int64_t threads);

// Parts of a block of rows that are cheaper to recompute than to keep: d, a, v_mix and gate [kBlockRows, C].
class Expanded {
 public:
  // weights: in panels for outputs.
  Expanded(const TimeWeights &weights, Arrays kept, const float *v0, int64_t rows);

  void projections(int64_t begin, int64_t end);
  void gates(int64_t begin, int64_t end);

  // Of head h of row i, where the block begins at `begin`.
  ProjectedHead head(int64_t begin, int64_t i, int64_t h) const;
  const float *gate() const { return gate_; }

 private:
  const TimeWeights &weights_;
  Arrays kept_;
  const float *k_, *v_, *v0_, *k_scale_, *v_scale_;
  Scratch memory_;
  float *d_, *a_, *v_mix_, *gate_;
};

}  // namespace rwkv
