// The operators of the library, all of them functions of plain arrays. Each is described where it is defined.
//
// `threads`, the last argument: most threads of the call. Results do not depend on it.
#pragma once

#include <vector>

#include "array.h"

namespace rwkv {

std::vector<Array> channel_mix_forward(const Array &x, const std::vector<Array> &weights, const Array &source,
                                       const Array &before, int64_t threads);

std::vector<Array> channel_mix_backward(const Array &x, const std::vector<Array> &weights, const Array &source,
                                        const Array &h, const Array &statistics, const Array &grad, int64_t threads);

std::vector<Array> time_mix_forward(const Array &x, const OptionalArray &v0, const std::vector<Array> &weights,
                                    const Array &source, const Array &before, const Array &offsets, const Array &is_query,
                                    const OptionalArray &initial, bool keep, int64_t threads);

std::vector<Array> time_mix_backward(const Array &x, const OptionalArray &v0, const std::vector<Array> &weights,
                                     const Array &source, const Array &before, const Array &offsets, const Array &is_query,
                                     const std::vector<Array> &kept, const Array &of_y, const OptionalArray &of_first_v,
                                     int64_t threads);

std::vector<Array> wkv_forward(const Array &r, const Array &log_decay, const Array &k_hat, const Array &v, const Array &b,
                               const Array &offsets, const Array &is_query, const OptionalArray &initial, bool keep,
                               int64_t threads);

std::vector<Array> wkv_backward(const Array &r, const Array &log_decay, const Array &k_hat, const Array &v, const Array &b,
                                const Array &offsets, const Array &is_query, const OptionalArray &initial,
                                const Array &checkpoints, const Array &grad_out, const OptionalArray &grad_final,
                                int64_t threads);

Array curve_recall(const Array &curves, const Array &elapsed, const Array &stabilities, const Array &points, double floor,
                   int64_t threads);

Array hash_dropout(const Array &x, int64_t threshold, double scale, const Array &seed, int64_t site,
                   const OptionalArray &residual, int64_t threads);

std::vector<Array> network_step(const Array &weights, const std::vector<int64_t> &sizes, const Array &inputs,
                                const std::vector<Array> &before, const std::vector<int64_t> &seen, int64_t writes);

Array pack_network(const std::vector<Array> &weights, const std::vector<int64_t> &sizes);

std::vector<Array> network_rows(const Array &weights, const std::vector<int64_t> &sizes, const Array &inputs,
                                const Array &is_query, const Array &groups, const std::vector<int64_t> &counts,
                                const std::vector<OptionalArray> &before, bool keep, bool ratings_only, int64_t threads);

}  // namespace rwkv
