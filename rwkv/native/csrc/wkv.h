// The recurrence over packed groups, for use within other kernels; see wkv.cpp.
#pragma once

#include <vector>

#include "array.h"

namespace rwkv {

// The arguments of the recurrence by row and head, [N, H, K] each; is_query [N].
struct WkvRows {
  const float *r, *log_decay, *k_hat, *v, *b;
  const bool *is_query;
  int64_t stride;  // from a head's row to its next row: H * K
};

// Where each group's checkpoints begin, in whole checkpoints of all heads: [G + 1]. offsets: checked.
std::vector<int64_t> checkpoint_starts(const Array &offsets);

// The state X [H, K (key), K (value)] of a group before its rows, null for zero, and room for that after them, which may
// be null.
struct WkvState {
  const float *before;
  float *after;
};

// Those of G groups, [G, H, K, K].
std::vector<WkvState> states_of(const OptionalArray &before, Array &after);

// Runs all groups, with one state each. out: [N, H, K]. checkpoints: room for them, or null.
void run_wkv(const WkvRows &rows, int64_t heads, int64_t width, const Array &offsets, const std::vector<WkvState> &states,
             float *out, float *checkpoints, int64_t threads);

}  // namespace rwkv
