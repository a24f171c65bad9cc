#include "daemon/model/attention.h"

#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>

#include "daemon/model/attention_composed.h"
#include "daemon/model/cuda_attribute.h"

namespace sidestep::daemon {
namespace {

// What the flash kernel for NVIDIA GPUs takes. On an older GPU than it is made for it would throw.
bool flash_takes(const at::Tensor& query) {
  constexpr std::int64_t head_dim_max = 256;
  constexpr int capability_min = 8;
  return query.scalar_type() == at::kBFloat16 && query.size(3) % 8 == 0 && query.size(3) <= head_dim_max &&
         cuda_attribute(CudaAttribute::capability_major, query.device()) >= capability_min;
}

}  // namespace

AttentionOutput attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                          Mask mask) {
  const bool is_causal = mask == Mask::causal;
  if (query.is_cpu()) {
    auto [output, logsumexp] =
        at::_scaled_dot_product_flash_attention_for_cpu(query, key, value, /*dropout_p=*/0.0, is_causal);
    return {std::move(output), std::move(logsumexp), {}, {}};
  }
  if (!flash_takes(query)) return attention_composed::attention(query, key, value, mask);
  auto result = at::_scaled_dot_product_flash_attention(query, key, value, /*dropout_p=*/0.0, is_causal,
                                                        /*return_debug_mask=*/false);
  return {std::move(std::get<0>(result)), std::move(std::get<1>(result)), std::move(std::get<6>(result)),
          std::move(std::get<7>(result))};
}

AttentionGradient attention_backward(const at::Tensor& gradient, const at::Tensor& query,
                                     const at::Tensor& key, const at::Tensor& value,
                                     const AttentionOutput& forward) {
  if (query.is_cpu()) {
    auto [by_query, by_key, by_value] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        gradient, query, key, value, forward.output, forward.logsumexp, /*dropout_p=*/0.0,
        /*is_causal=*/true);
    return {std::move(by_query), std::move(by_key), std::move(by_value)};
  }
  if (!flash_takes(query))
    return attention_composed::attention_backward(gradient, query, key, value, forward);
  auto [by_query, by_key, by_value] = at::_scaled_dot_product_flash_attention_backward(
      gradient, query, key, value, forward.output, forward.logsumexp, /*cum_seq_q=*/{}, /*cum_seq_k=*/{},
      /*max_q=*/query.size(2), /*max_k=*/key.size(2), /*dropout_p=*/0.0, /*is_causal=*/true,
      forward.random_seed, forward.random_offset);
  return {std::move(by_query), std::move(by_key), std::move(by_value)};
}

}  // namespace sidestep::daemon
