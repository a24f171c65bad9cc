#include "daemon/model/attention.h"

#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>

namespace sidestep::daemon {

AttentionOutput attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                          Mask mask) {
  auto [output, logsumexp] = at::_scaled_dot_product_flash_attention_for_cpu(
      query, key, value, /*dropout_p=*/0.0, /*is_causal=*/mask == Mask::causal);
  return {std::move(output), std::move(logsumexp)};
}

AttentionGradient attention_backward(const at::Tensor& gradient, const at::Tensor& query,
                                     const at::Tensor& key, const at::Tensor& value,
                                     const AttentionOutput& forward) {
  auto [by_query, by_key, by_value] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      gradient, query, key, value, forward.output, forward.logsumexp, /*dropout_p=*/0.0, /*is_causal=*/true);
  return {std::move(by_query), std::move(by_key), std::move(by_value)};
}

}  // namespace sidestep::daemon
