// Attention composed of ATen's operators, for any device and any floating type: where no flash kernel takes
// the tensors. It goes through the queries in blocks, so that memory grows with the positions, not with
// their square. The functions are those of attention.h, with the same contracts; computed in float32 or
// float64.
#pragma once

#include "daemon/model/attention.h"

namespace sidestep::daemon::attention_composed {

// `scores_max`: elements of one block of scores at most, where one query's scores are no more than that.
AttentionOutput attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, Mask mask,
                          std::int64_t scores_max = 1 << 26);

AttentionGradient attention_backward(const at::Tensor& gradient, const at::Tensor& query,
                                     const at::Tensor& key, const at::Tensor& value,
                                     const AttentionOutput& forward, std::int64_t scores_max = 1 << 26);

}  // namespace sidestep::daemon::attention_composed
