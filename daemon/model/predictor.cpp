#include "daemon/model/predictor.h"

#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "daemon/model/weights.h"
#include "net/assert.h"

namespace sidestep::daemon {

Result<std::unique_ptr<Predictor>> Predictor::load(const HfFolder& folder, const PredictorOptions& options) {
  const c10::InferenceMode no_autograd;
  scheduler::JobSpec spec;
  spec.model = folder.model();
  spec.precision = options.precision;
  spec.pipeline.stages = options.cut.stages;
  spec.pipeline.stage_0_layers = options.cut.stage_0_layers;
  spec.data.sequence_length = options.positions;
  std::unique_ptr<Predictor> predictor(new Predictor(spec, at::Device(options.device)));
  const StageOptions stage_options{.device = predictor->device_,
                                   .compute = compute_type(spec),
                                   .first_weights = FirstWeights::caller,
                                   .trains = false};
  for (std::int64_t i = 0; i < options.cut.stages; ++i) {
    if (options.cut.skipped.contains(i)) continue;
    Stage& stage = predictor->stages_.emplace_back(spec, i, stage_options);
    if (Status status = load_stage(folder, stage); !status.ok()) return status;
  }
  return predictor;
}

at::Tensor Predictor::to_device(std::span<const std::int64_t> tokens) const {
  at::Tensor rows = at::empty({1, std::ssize(tokens)}, at::TensorOptions().dtype(at::kLong));
  std::copy(tokens.begin(), tokens.end(), rows.mutable_data_ptr<std::int64_t>());
  return rows.to(device_);
}

std::span<const float> Predictor::take(std::span<const std::int64_t> tokens) {
  const c10::InferenceMode no_autograd;
  SIDESTEP_ASSERT(!tokens.empty());
  if (caches_.empty())
    for (const Stage& stage : stages_) caches_.push_back(stage.make_cache(1, spec_.data.sequence_length));
  at::Tensor x = to_device(tokens);
  for (std::size_t i = 0; i < stages_.size(); ++i) x = stages_[i].extend(x, caches_[i]);
  const at::Tensor last = x.narrow(1, x.size(1) - 1, 1);
  logits_ = stages_.front().logits(last).view({-1}).to(at::kCPU, at::kFloat).contiguous();
  return {logits_.const_data_ptr<float>(), static_cast<std::size_t>(logits_.numel())};
}

void Predictor::rewind(std::int64_t tokens) {
  for (StageCache& cache : caches_) {
    SIDESTEP_ASSERT(tokens <= cache.positions);
    cache.positions = tokens;
  }
}

double Predictor::score(std::span<const std::int64_t> window) {
  const c10::InferenceMode no_autograd;
  SIDESTEP_ASSERT(window.size() >= 2);
  at::Tensor x = to_device(window.first(window.size() - 1));
  for (Stage& stage : stages_) x = stage.forward(x, nullptr, /*recompute=*/false);
  const HeadResult head =
      stages_.front().head(x, to_device(window.last(window.size() - 1)), /*with_gradient=*/false,
                           /*accumulate=*/false);
  return head.loss * static_cast<double>(window.size() - 1);
}

}  // namespace sidestep::daemon
