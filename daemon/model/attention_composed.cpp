#include "daemon/model/attention_composed.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace sidestep::daemon::attention_composed {
namespace {

at::Tensor widened(const at::Tensor& x) { return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat); }

// Shapes of one call. Query heads that read the same key head are taken together, as more rows of it.
struct Shape {
  Shape(const at::Tensor& query, const at::Tensor& key, std::int64_t scores_max)
      : batch(query.size(0)),
        kv_heads(key.size(1)),
        group(query.size(1) / key.size(1)),
        positions(query.size(2)),
        head_dim(query.size(3)),
        block(std::max<std::int64_t>(1, scores_max / (batch * query.size(1) * key.size(2)))),
        scale(1 / std::sqrt(static_cast<double>(head_dim))) {}

  std::int64_t batch, kv_heads, group, positions, head_dim, block;
  double scale;

  // [batch, heads, positions, n] as [batch, kv_heads, group, positions, n].
  at::Tensor grouped(const at::Tensor& heads) const {
    return heads.view({batch, kv_heads, group, positions, heads.size(3)});
  }
  // Positions [first, first + length) of a grouped tensor, as [batch, kv_heads, group * length, n].
  at::Tensor rows(const at::Tensor& grouped, std::int64_t first, std::int64_t length) const {
    return grouped.narrow(3, first, length).reshape({batch, kv_heads, group * length, grouped.size(4)});
  }

  // Scaled scores of those queries by all keys; with the causal mask by those up to the last query, -inf
  // where a key comes later: [batch, kv_heads, group * length, first + length].
  at::Tensor scores(const at::Tensor& query_rows, const at::Tensor& key, std::int64_t first,
                    std::int64_t length, Mask mask) const {
    if (mask == Mask::none) return at::matmul(query_rows, key.transpose(2, 3)).mul_(scale);
    const std::int64_t end = first + length;
    at::Tensor result = at::matmul(query_rows, key.narrow(2, 0, end).transpose(2, 3)).mul_(scale);
    const auto options = at::TensorOptions().dtype(at::kLong).device(key.device());
    const at::Tensor later =
        at::arange(end, options).unsqueeze(0) > at::arange(first, end, options).unsqueeze(1);
    result.view({batch, kv_heads, group, length, end})
        .masked_fill_(later, -std::numeric_limits<double>::infinity());
    return result;
  }
};

}  // namespace

AttentionOutput attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, Mask mask,
                          std::int64_t scores_max) {
  const Shape shape(query, key, scores_max);
  const at::Tensor wide_query = shape.grouped(widened(query.contiguous()));
  const at::Tensor wide_key = widened(key.contiguous());
  const at::Tensor wide_value = widened(value.contiguous());
  const std::int64_t heads = query.size(1);
  AttentionOutput result;
  result.output =
      at::empty({shape.batch, shape.positions, heads, shape.head_dim}, query.options()).transpose(1, 2);
  result.logsumexp = at::empty({shape.batch, heads, shape.positions}, wide_query.options());
  for (std::int64_t first = 0; first < shape.positions; first += shape.block) {
    const std::int64_t length = std::min(shape.block, shape.positions - first);
    at::Tensor scores = shape.scores(shape.rows(wide_query, first, length), wide_key, first, length, mask);
    const at::Tensor total = at::logsumexp(scores, 3, /*keepdim=*/true);
    scores.sub_(total).exp_();
    const at::Tensor output = at::matmul(scores, wide_value.narrow(2, 0, scores.size(3)));
    result.output.narrow(2, first, length).copy_(output.view({shape.batch, heads, length, shape.head_dim}));
    result.logsumexp.narrow(2, first, length).copy_(total.view({shape.batch, heads, length}));
  }
  return result;
}

// With P the probabilities, dP = dO vᵀ and D the rows' sums of dO * O: dS = P * (dP - D), as in Dao and
// others 2022, "FlashAttention", section B.2.
AttentionGradient attention_backward(const at::Tensor& gradient, const at::Tensor& query,
                                     const at::Tensor& key, const at::Tensor& value,
                                     const AttentionOutput& forward, std::int64_t scores_max) {
  const Shape shape(query, key, scores_max);
  const at::Tensor wide_query = shape.grouped(widened(query.contiguous()));
  const at::Tensor wide_key = widened(key.contiguous());
  const at::Tensor wide_value = widened(value.contiguous());
  const at::Tensor wide_gradient = widened(gradient.contiguous());
  const at::Tensor by_output = shape.grouped(wide_gradient);
  const at::Tensor row_sums =
      shape.grouped((wide_gradient * widened(forward.output)).sum(3, /*keepdim=*/true));
  const at::Tensor totals = shape.grouped(forward.logsumexp.unsqueeze(3));
  const at::Tensor by_query = at::empty(wide_query.sizes(), wide_query.options());
  const at::Tensor by_key = at::zeros(wide_key.sizes(), wide_key.options());
  const at::Tensor by_value = at::zeros(wide_value.sizes(), wide_value.options());
  for (std::int64_t first = 0; first < shape.positions; first += shape.block) {
    const std::int64_t length = std::min(shape.block, shape.positions - first);
    const std::int64_t end = first + length;
    const at::Tensor query_rows = shape.rows(wide_query, first, length);
    const at::Tensor gradient_rows = shape.rows(by_output, first, length);
    at::Tensor probability = shape.scores(query_rows, wide_key, first, length, Mask::causal);
    probability.sub_(shape.rows(totals, first, length)).exp_();
    by_value.narrow(2, 0, end).add_(at::matmul(probability.transpose(2, 3), gradient_rows));
    at::Tensor by_scores = at::matmul(gradient_rows, wide_value.narrow(2, 0, end).transpose(2, 3));
    by_scores.sub_(shape.rows(row_sums, first, length)).mul_(probability).mul_(shape.scale);
    by_query.narrow(3, first, length)
        .copy_(at::matmul(by_scores, wide_key.narrow(2, 0, end))
                   .view({shape.batch, shape.kv_heads, shape.group, length, shape.head_dim}));
    by_key.narrow(2, 0, end).add_(at::matmul(by_scores.transpose(2, 3), query_rows));
  }
  const auto type = query.scalar_type();
  return {by_query.view(query.sizes()).to(type), by_key.to(type), by_value.to(type)};
}

}  // namespace sidestep::daemon::attention_composed
