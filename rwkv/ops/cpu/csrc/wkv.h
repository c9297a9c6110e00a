// The recurrence over packed groups, for use within other kernels; see wkv.cpp.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <tuple>
#include <vector>

namespace rwkv {

// Where each group's checkpoints begin, in whole checkpoints of all heads: [G + 1]. offsets: checked.
std::vector<int64_t> checkpoint_starts(const at::Tensor &offsets);

std::tuple<at::Tensor, at::Tensor, at::Tensor> wkv_forward(const at::Tensor &r, const at::Tensor &log_decay,
                                                           const at::Tensor &k_hat, const at::Tensor &v,
                                                           const at::Tensor &b, const at::Tensor &offsets,
                                                           const at::Tensor &is_query, const std::optional<at::Tensor> &initial,
                                                           bool keep);

std::vector<at::Tensor> wkv_backward(const at::Tensor &r, const at::Tensor &log_decay, const at::Tensor &k_hat,
                                     const at::Tensor &v, const at::Tensor &b, const at::Tensor &offsets,
                                     const at::Tensor &is_query, const std::optional<at::Tensor> &initial,
                                     const at::Tensor &checkpoints, const at::Tensor &grad_out,
                                     const std::optional<at::Tensor> &grad_final);

}  // namespace rwkv
