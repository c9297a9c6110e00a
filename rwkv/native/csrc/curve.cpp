// The forgetting curve at one time for each of N rows, defined by rwkv/ops/curve.py.

#include <algorithm>
#include <cmath>

#include "operators.h"
#include "rows.h"

namespace rwkv {
namespace {

struct Grid {
  const double *stabilities, *points;
  int64_t curves;
  double floor;
};

// The last logit holds beyond the last point.
double correction(const float *logits, double t, const Grid &grid) {
  t = std::min(t, grid.points[grid.curves - 1]);
  const int64_t point = std::lower_bound(grid.points, grid.points + grid.curves, t) - grid.points;
  const int64_t right = std::clamp<int64_t>(point, 1, grid.curves - 1), left = right - 1;
  const double share = (t - grid.points[left]) / (grid.points[right] - grid.points[left]);
  return logits[left] + share * (logits[right] - logits[left]);
}

// Sums recall and its complement separately, since a difference from 1 would lose precision near 1.
double recall(const float *w_logits, const float *ahead_logits, double elapsed, const Grid &grid) {
  const double t = std::max(elapsed, 1.0), share = 1 - 2 * grid.floor, log_recall = std::log(0.9);
  const float most = *std::max_element(w_logits, w_logits + grid.curves);
  double total = 0, kept = 0, lost = 0;
  for (int64_t i = 0; i < grid.curves; ++i) {
    const double weight = std::exp(double(w_logits[i]) - most), loss = -std::expm1(t / grid.stabilities[i] * log_recall);
    total += weight;
    kept += weight * (1 - loss);
    lost += weight * loss;
  }
  const double raw = std::log(grid.floor + share * kept / total) - std::log(grid.floor + share * lost / total);
  return 1 / (1 + std::exp(-(raw + grid.floor + share * correction(ahead_logits, t, grid))));
}

}  // namespace

// curves [N, at least 2 * n]: w_logits and ahead_logits of n curves. elapsed [N]: seconds, at least 1.
Array curve_recall(const Array &curves, const Array &elapsed, const Array &stabilities, const Array &points, double floor,
                   int64_t threads) {
  check_dimensions(curves, "curves", 2);
  check_dimensions(stabilities, "stabilities", 1);
  const int64_t rows = curves.size(0), n = stabilities.size(0), width = curves.size(1);
  check(curves, "curves", {rows, width});
  check(elapsed, "elapsed", {rows}, Dtype::kDouble);
  check(stabilities, "stabilities", {n}, Dtype::kDouble);
  check(points, "points", {n}, Dtype::kDouble);
  if (n < 2 || width < 2 * n) refuse("curves must have twice ", n, " columns, at least 4, got ", width);
  const Grid grid{stabilities.read<double>(), points.read<double>(), n, floor};
  auto p = Array::empty({rows});
  const float *from = read(curves);
  const double *t = elapsed.read<double>();
  float *to = write(p);
  share(blocks_of(rows), threads, [&](const Queue &queue) {
    queue.each_block(rows, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = recall(from + i * width, from + i * width + n, t[i], grid);
    });
  });
  return p;
}

}  // namespace rwkv
