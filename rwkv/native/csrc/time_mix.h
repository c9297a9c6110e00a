// Shared by both passes of the time mixer over rows in places of a stream; see rwkv/ops/cpu/mixers.py.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "formulas.h"
#include "gemm.h"
#include "shift.h"

namespace rwkv {

// The weights by place; the last three are missing in a stream's first layer. Maps are [out, in], lerps [8, C].
enum TimeWeight {
  kNormWeight, kNormBias, kLerps, kR, kK, kV, kDecayDown, kDecayUp, kDecayBias, kADown, kAUp, kABias, kGateDown, kGateUp,
  kKScale, kKScaleBias, kVScale, kVScaleBias, kBonus, kOutWeight, kOutBias, kOut, kFirstLayerWeights,
  kVMixDown = kFirstLayerWeights, kVMixUp, kVMixBias, kTimeWeights
};

// Those that are linear maps.
constexpr TimeWeight kMaps[] = {kR, kK, kV, kDecayDown, kDecayUp, kADown, kAUp, kGateDown, kGateUp, kKScale, kVScale,
                                kOut, kVMixDown, kVMixUp};

// The interpolations, in the order of the lerps.
enum Lerp { kLerpR, kLerpK, kLerpV, kLerpDecay, kLerpA, kLerpGate, kLerpKScale, kLerpVScale, kLerpCount };

// The tensors kept for the backward pass, in order: r, k, v, out [N, C]; low-rank activations [N, rank];
// scales [N, H]; statistics of the LayerNorm [N, 2]; states of the recurrence. low_v_mix is empty in the first layer.
enum Kept {
  kKeptR, kKeptK, kKeptV, kLowDecay, kLowA, kLowGate, kLowVMix, kKeptKScale, kKeptVScale, kKeptOut, kStatistics,
  kCheckpoints, kKeptCount
};

constexpr float kGroupNormEps = 64e-5f;

// The columns of each of these tensors with a row for each row of x, in order: all but the checkpoints.
std::array<int64_t, kCheckpoints> kept_columns(Arrays weights);

// Checks the arguments of both passes. Returns the number of rows. v0 is missing in a stream's first layer.
ShiftedRows checked(const Array &x, const OptionalArray &v0, Arrays weights,
                    const Array &source, const Array &before, const Array &offsets,
                    const Array &is_query);

// The checked weights, with the maps in panels.
struct TimeWeights {
  Arrays weights;
  std::vector<Map> maps;  // by TimeWeight
  int64_t channels, heads;

  // back: panels for the gradients of the maps' inputs instead of their outputs. channels: C.
  TimeWeights(Arrays weights, int64_t channels, bool back, int64_t threads);

  bool first_layer() const { return weights.size() == kFirstLayerWeights; }
  int64_t width() const { return channels / heads; }
  const float *at(TimeWeight w) const { return weights[w].read<float>(); }
};

// Parts of a block of rows that are cheaper to recompute than to keep: d, a, v_mix and gate [kBlockRows, C].
class Expanded {
 public:
  // weights: in panels for outputs.
  Expanded(const TimeWeights &weights, Arrays kept, const float *v0);

  void projections(int64_t begin, int64_t end);
  void gates(int64_t begin, int64_t end);

  // Of head h of row i, where the block begins at `begin`.
  ProjectedHead head(int64_t begin, int64_t i, int64_t h) const;
  const float *gate() const { return gate_.data(); }

 private:
  const TimeWeights &weights_;
  Arrays kept_;
  const float *k_, *v_, *v0_, *k_scale_, *v_scale_;
  Scratch d_, a_, v_mix_, gate_;
};

}  // namespace rwkv
