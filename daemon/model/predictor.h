// A whole model that predicts: its weights once, no gradients, a key-value cache.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "daemon/data/hf_folder.h"
#include "daemon/generate/language_model.h"
#include "daemon/generate/stage_cut.h"
#include "daemon/model/stage.h"

namespace sidestep::daemon {

struct PredictorOptions {
  std::string device = "cpu";
  std::string precision = "float32";  // as of a job
  StageCut cut;                       // stages that are left out take no memory
  std::int64_t positions = 0;         // of the longest sequence: room in the cache, and for score()
};

// Memory: the weights in the compute type (norms in float32), and from the first take() on the cache, 2 *
// positions * key and value heads * head_dim elements a layer.
class Predictor : public LanguageModel {
 public:
  // Reads the weights. Errors: load_stage's. Precondition: the cut is of the folder's model (cut_stages).
  static Result<std::unique_ptr<Predictor>> load(const HfFolder& folder, const PredictorOptions& options);

  std::int64_t vocab_size() const override { return spec_.model.vocab_size; }
  std::span<const float> take(std::span<const std::int64_t> tokens) override;
  void rewind(std::int64_t tokens) override;
  double score(std::span<const std::int64_t> window) override;

 private:
  explicit Predictor(scheduler::JobSpec spec, at::Device device) : spec_(std::move(spec)), device_(device) {}
  at::Tensor to_device(std::span<const std::int64_t> tokens) const;  // [1, tokens]

  scheduler::JobSpec spec_;
  at::Device device_;
  std::vector<Stage> stages_;       // those that are not left out; stage 0 first
  std::vector<StageCache> caches_;  // one each; none before the first take()
  at::Tensor logits_;               // [vocab], float32 on the CPU
};

}  // namespace sidestep::daemon
