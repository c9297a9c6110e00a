// What the time mixer shares with the recurrence; see wkv.cpp.
#pragma once

#include <vector>

#include "array.h"

namespace rwkv {

// Where each group's checkpoints begin, in whole checkpoints of all heads: [G + 1]. offsets: checked.
std::vector<int64_t> checkpoint_starts(const Array &offsets);

}  // namespace rwkv
