// The channel mixer over rows in places of a stream, for use within other kernels; see channel_mix.cpp.
#pragma once

#include "gemm.h"
#include "shift.h"

namespace rwkv {

// The weights of a channel mixer, with the maps in panels for their outputs.
struct ChannelWeights {
  const float *norm_weight, *norm_bias, *lerp;
  Map to_inner, to_outer;
};

// What a channel mixer leaves: its output y, or x + y, the normalised x, and what the backward pass needs.
struct ChannelResults {
  Array y, normed, h, statistics;
};

ChannelResults run_channel_mixer(const ShiftedRows &rows, const ChannelWeights &weights, bool keeps_h, bool adds_x,
                                 int64_t threads);

}  // namespace rwkv
