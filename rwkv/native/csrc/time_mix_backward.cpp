// The time mixer's backward pass, which recomputes block by block what the forward pass did not keep.

#include <algorithm>

#include "gradients.h"
#include "operators.h"
#include "time_mix.h"
#include "wkv.h"

namespace rwkv {
namespace {

template <int K>
RWKV_TEMPLATE_CLONES void arguments(const ProjectedHead &in, const Arguments &to) {
  arguments_of_head<K>(in, to);
}

template <int K>
RWKV_TEMPLATE_CLONES void arguments_back(const ProjectedHead &in, const Arguments &from, const ProjectedGradients &to) {
  backward_arguments<K>(in, from, to);
}

// y: the output again.
template <int K>
RWKV_TEMPLATE_CLONES void output_back(const ReadHead &in, const float *grad, const ReadGradients &to, float *y) {
  output_of_head<K>(in, kGroupNormEps, y);
  backward_output<K>(in, kGroupNormEps, grad, to);
}

RWKV_CLONES void sigmoid_back(const float *y, int64_t count, float *grad) {
  for (int64_t i = 0; i < count; ++i) grad[i] *= y[i] * (1.0f - y[i]);
}

RWKV_CLONES void tanh_back(const float *y, int64_t count, float *grad) {
  for (int64_t i = 0; i < count; ++i) grad[i] *= 1.0f - y[i] * y[i];
}

RWKV_CLONES void add(const float *x, int64_t count, float *sum) {
  for (int64_t i = 0; i < count; ++i) sum[i] += x[i];
}

// The state of one backward pass: its inputs, and memory for the gradients between its stages.
class Backward {
 public:
  Backward(const TimeRows &rows, const TimeSizes &sizes, Arrays weights, Arrays kept, const Array &of_y, int64_t threads)
      : shifted_(rows.shifted), threads_(threads), ranges_(rows.shifted.rows()), out_(sizes, weights, false, threads),
        back_(sizes, weights, true, threads), kept_(kept), v0_(rows.v0), of_y_(of_y), sums_(weights, ranges_) {
    const int64_t N = shifted_.rows(), H = sizes.heads, K = sizes.width();
    for (auto *x : {&log_decay_, &k_hat_, &v_, &b_, &of_out_, &of_r_, &of_v_, &of_b_}) *x = Array::empty({N, H, K});
    of_low_gate_ = Array::empty({N, back_.maps[kGateDown].out()});
    for (const Map &map : back_.maps) widest_ = std::max({widest_, map.in(), map.out()});
  }

  // Through the output, the gate and the GroupNorm; also the arguments of the recurrence again.
  void before_recurrence() {
    share(ranges_.count(), threads_, [&](const Queue &queue) {
      RWKV_FOR_WIDTH(out_.sizes.width(), output_ranges<kWidth>(queue));
    });
  }

  void recurrence(const Array &offsets, const Array &is_query) {
    const int64_t N = shifted_.rows(), H = out_.sizes.heads, K = out_.sizes.width();
    through_ = wkv_backward(kept_[kKeptR].view({N, H, K}), log_decay_, k_hat_, v_, b_, offsets, is_query, std::nullopt,
                            kept_[kCheckpoints], of_out_, std::nullopt, threads_);
    // The gradients from the recurrence, added to those from the bonus.
    add_all(through_[0], of_r_), add_all(through_[3], of_v_), add_all(through_[4], of_b_);
  }

  // Through the projections and the token shift, to the gradient of x and those of the weights. of_first_v: the
  // gradient of the first layer's v, or null.
  std::vector<Array> after_recurrence(const float *of_first_v, float *of_v0) {
    auto of_x = Array::zeros(shifted_.x.shape()), of_source = Array::zeros(shifted_.x.shape());
    share(ranges_.count(), threads_, [&](const Queue &queue) {
      RWKV_FOR_WIDTH(out_.sizes.width(), projection_ranges<kWidth>(queue, of_first_v, of_v0, write(of_x), write(of_source)));
    });
    shift_back(shifted_, read(kept_[kStatistics]), read(of_source), write(of_x), sums_, kNormWeight, kNormBias, threads_);
    return sums_.behind(of_x, threads_);
  }

 private:
  const ShiftedRows &shifted_;
  const int64_t threads_;
  const Ranges ranges_;
  const TimeWeights out_, back_;
  const Arrays kept_;
  const float *v0_;
  const Array &of_y_;
  Array log_decay_, k_hat_, v_, b_, of_out_, of_r_, of_v_, of_b_, of_low_gate_;
  std::vector<Array> through_;
  int64_t widest_ = 0;  // most columns of any map's input or output

  GradientSums sums_;

  void add_all(Array &sum, const Array &x) const {
    share(ranges_.count(), threads_, [&](const Queue &queue) {
      ranges_.each_block(queue, [&](int64_t, int64_t begin, int64_t end) {
        add(read(x) + begin * out_.sizes.channels, (end - begin) * out_.sizes.channels, write(sum) + begin * out_.sizes.channels);
      });
    });
  }

  template <int K>
  void output_ranges(const Queue &queue) {
    const int64_t C = out_.sizes.channels, rank = back_.maps[kGateDown].out();
    Expanded expanded(out_, kept_, v0_, shifted_.rows());
    Scratch y(kBlockRows * C), of_gated(kBlockRows * C), of_gate(kBlockRows * C), panels(panel_size(kBlockRows, widest_));
    const float *bonus = out_.at(kBonus), *weight = out_.at(kOutWeight), *bias = out_.at(kOutBias);
    const float *out = read(kept_[kKeptOut]), *r = read(kept_[kKeptR]);
    const Arguments to{write(log_decay_), write(k_hat_), write(v_), write(b_)};
    float *of_out = write(of_out_), *of_r = write(of_r_), *of_v = write(of_v_), *of_b = write(of_b_);
    ranges_.each_block(queue, [&](int64_t range, int64_t begin, int64_t end) {
      const int64_t n = end - begin;
      sums_.begin_block(range);
      float *of_bonus = sums_.at(range, kBonus), *of_weight = sums_.at(range, kOutWeight);
      float *of_bias = sums_.at(range, kOutBias);
      const float *of_y = read(of_y_) + begin * C, *low = read(kept_[kLowGate]) + begin * rank;
      expanded.projections(begin, end);
      expanded.gates(begin, end);
      back_.maps[kOut].apply_back(of_y, n, false, of_gated.data());
      for (int64_t i = begin; i < end; ++i)
        for (int64_t h = 0; h < out_.sizes.heads; ++h) {
          const int64_t c = h * K, at = i * C + c, here = at - begin * C;
          arguments<K>(expanded.head(begin, i, h), {to.log_decay + at, to.k_hat + at, to.v + at, to.b + at});
          output_back<K>({out + at, r + at, to.v + at, to.b + at, expanded.gate() + here, bonus + c, weight + c, bias + c},
                         of_gated.data() + here,
                         {of_out + at, of_r + at, of_v + at, of_b + at, of_gate.data() + here, of_bonus + c,
                          of_weight + c, of_bias + c},
                         y.data() + here);
        }
      add_outer(of_y, y.data(), n, C, C, panels.data(), sums_.at(range, kOut));
      add_outer(of_gate.data(), low, n, C, rank, panels.data(), sums_.at(range, kGateUp));
      float *of_low = write(of_low_gate_) + begin * rank;
      back_.maps[kGateUp].apply_back(of_gate.data(), n, false, of_low);
      sigmoid_back(low, n * rank, of_low);
      sums_.end_block(range);
    });
  }

  template <int K>
  void projection_ranges(const Queue &queue, const float *of_first_v, float *of_v0, float *of_x, float *of_source) {
    const int64_t C = out_.sizes.channels, H = out_.sizes.heads;
    ShiftedBlock block(shifted_);
    Expanded expanded(out_, kept_, v0_, shifted_.rows());
    Scratch mixed(kBlockRows * C), of_mixed(kBlockRows * C), panels(panel_size(kBlockRows, widest_));
    Scratch of_k(kBlockRows * C), of_v(kBlockRows * C), of_v_mix(kBlockRows * C), of_a(kBlockRows * C);
    Scratch of_d(kBlockRows * C), of_low(kBlockRows * widest_), scales(2 * kBlockRows * H), unused(2 * kBlockRows);
    float *of_k_scale = scales.data(), *of_v_scale = of_k_scale + kBlockRows * H;
    const Arguments from{write(through_[1]), write(through_[2]), write(through_[3]), write(through_[4])};
    ranges_.each_block(queue, [&](int64_t range, int64_t begin, int64_t end) {
      const int64_t n = end - begin;
      expanded.projections(begin, end);
      for (int64_t i = begin; i < end; ++i)
        for (int64_t h = 0; h < H; ++h) {
          const int64_t at = i * C + h * K, here = at - begin * C, of_head = (i - begin) * H + h;
          arguments_back<K>(expanded.head(begin, i, h),
                            {from.log_decay + at, from.k_hat + at, from.v + at, from.b + at},
                            {of_k.data() + here, of_v.data() + here, of_v0 + at, of_v_mix.data() + here, of_a.data() + here,
                             of_d.data() + here, of_k_scale + of_head, of_v_scale + of_head});
        }
      if (of_first_v != nullptr) add(of_first_v + begin * C, n * C, of_v.data());
      block.load(begin, end, unused.data());

      const auto sum = [&](TimeWeight w) { return sums_.at(range, w); };
      const auto bias_back = [&](const float *grad, int64_t columns, TimeWeight bias) {
        for (int64_t i = 0; i < n; ++i) add(grad + i * columns, columns, sum(bias));
      };
      // From an expanded low-rank part to its activation, in of_low.
      const auto up_back = [&](const float *grad, TimeWeight up, TimeWeight bias, Kept low) {
        const int64_t rank = back_.maps[up].in();
        add_outer(grad, read(kept_[low]) + begin * rank, n, C, rank, panels.data(), sum(up));
        bias_back(grad, C, bias);
        back_.maps[up].apply_back(grad, n, false, of_low.data());
      };
      // From a map's output to the interpolation that is its input.
      const auto map_back = [&](const float *grad, TimeWeight map, bool add) {
        add_outer(grad, mixed.data(), n, back_.maps[map].out(), C, panels.data(), sum(map));
        back_.maps[map].apply_back(grad, n, add, of_mixed.data());
      };
      const auto mix = [&](Lerp lerp) { block.mix(out_.at(kLerps) + lerp * C, mixed.data()); };
      const auto mix_back = [&](Lerp lerp) {
        block.mix_back(out_.at(kLerps) + lerp * C, of_mixed.data(), sum(kLerps) + lerp * C, of_x + begin * C,
                       of_source + begin * C);
      };
      const auto simple_back = [&](const float *grad, TimeWeight map, Lerp lerp) {
        mix(lerp);
        map_back(grad, map, false);
        mix_back(lerp);
      };

      simple_back(read(through_[0]) + begin * C, kR, kLerpR);
      simple_back(of_k.data(), kK, kLerpK);
      mix(kLerpV);
      map_back(of_v.data(), kV, false);
      if (!out_.sizes.first_layer) {
        up_back(of_v_mix.data(), kVMixUp, kVMixBias, kLowVMix);
        map_back(of_low.data(), kVMixDown, true);
      }
      mix_back(kLerpV);
      up_back(of_d.data(), kDecayUp, kDecayBias, kLowDecay);
      const int64_t rank = back_.maps[kDecayUp].in();
      tanh_back(read(kept_[kLowDecay]) + begin * rank, n * rank, of_low.data());
      simple_back(of_low.data(), kDecayDown, kLerpDecay);
      up_back(of_a.data(), kAUp, kABias, kLowA);
      simple_back(of_low.data(), kADown, kLerpA);
      simple_back(read(of_low_gate_) + begin * back_.maps[kGateDown].out(), kGateDown, kLerpGate);
      bias_back(of_k_scale, H, kKScaleBias);
      simple_back(of_k_scale, kKScale, kLerpKScale);
      bias_back(of_v_scale, H, kVScaleBias);
      simple_back(of_v_scale, kVScale, kLerpVScale);
      sums_.end_block(range);
    });
  }
};

void check_kept(Arrays kept, const TimeSizes &sizes, int64_t rows, const Array &offsets) {
  if (kept.size() != kKeptCount) refuse("the forward pass keeps ", int64_t{kKeptCount}, " arrays, got ", int64_t(kept.size()));
  const auto columns = sizes.kept_columns();
  for (int place = 0; place < kCheckpoints; ++place) check(kept[place], "what is kept", {rows, columns[place]});
  check(kept[kCheckpoints], "checkpoints", {checkpoint_starts(offsets).back(), sizes.heads, sizes.width(), sizes.width()});
}

}  // namespace

// Returns the gradients of x, of v0 (empty in the first layer), and of the weights. kept: from the forward pass.
// of_first_v: the gradient of the first layer's v as the stream's v0, if any.
std::vector<Array> time_mix_backward(const Array &x, const OptionalArray &v0, const std::vector<Array> &weights,
                                     const Array &source, const Array &before, const Array &offsets, const Array &is_query,
                                     const std::vector<Array> &kept, const Array &of_y, const OptionalArray &of_first_v,
                                     int64_t threads) {
  if (before.dimensions() != 2 || before.size(0) != 0) refuse("rows that continue an earlier batch take no gradient");
  check_dimensions(x, "x", 2);
  const TimeSizes sizes = checked_sizes(weights, x.size(1));
  const TimeRows rows = checked(x, v0, weights, source, before, offsets, is_query);
  check_kept(kept, sizes, rows.shifted.rows(), offsets);
  check(of_y, "of_y", x.shape());
  if (of_first_v.has_value() && v0.has_value()) refuse("of_first_v belongs to the first layer");
  if (of_first_v.has_value()) check(*of_first_v, "of_first_v", x.shape());
  Backward pass(rows, sizes, weights, kept, of_y, threads);
  pass.before_recurrence();
  pass.recurrence(offsets, is_query);
  auto of_v0 = Array::empty(v0.has_value() ? x.shape() : Shape{0});
  auto result = pass.after_recurrence(of_first_v.has_value() ? read(*of_first_v) : nullptr, write(of_v0));
  result.insert(result.begin() + 1, of_v0);
  return result;
}

}  // namespace rwkv
