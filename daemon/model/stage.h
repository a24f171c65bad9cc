// One stage of the model: its weights, the accumulator of their gradients, and its share of the forward and
// backward of a microbatch. Stage 0 also embeds the tokens, and its head ends the microbatch. A stage that
// only predicts has no accumulator, and its matrices in the compute type alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "daemon/model/kernels.h"
#include "daemon/model/layer.h"
#include "daemon/model/parameters.h"
#include "scheduler/job.h"

namespace sidestep::daemon {

// Where a stage's first weights come from.
enum class FirstWeights {
  seed,    // the job's, as parameters.h says
  caller,  // undefined until the caller has written them
};

struct StageOptions {
  at::Device device = at::kCPU;
  at::ScalarType compute = at::kFloat;  // of matrix products and activations
  at::ScalarType master = at::kFloat;   // of weights and accumulator; float64 in tests
  FirstWeights first_weights = FirstWeights::seed;
  bool trains = true;  // false: no backward, no head with a gradient
};

// Of the job's matrix products and activations.
at::ScalarType compute_type(const scheduler::JobSpec& spec);

// What a forward leaves for its backward. With recomputation: the input alone.
struct StageActivations {
  at::Tensor input;  // [batch, positions] tokens at stage 0, else [batch, positions, hidden]
  std::vector<LayerActivations> layers;
  bool recompute = false;
};

// What a stage remembers of the positions that it has seen.
struct StageCache {
  std::vector<LayerCache> layers;
  std::int64_t positions = 0;  // seen; less, to go back
};

struct HeadResult {
  double loss = 0;      // mean over the microbatch's tokens, nats
  at::Tensor gradient;  // of the loss by the head's input, its type and shape; undefined if not asked for
};

// Owner: the runner. Not thread-safe; one thread at a time. Throws c10::Error when ATen does, which means no
// memory or a bug; shapes are the caller's to check.
class Stage {
 public:
  // Creates the weights and a zero accumulator.
  Stage(const scheduler::JobSpec& spec, std::int64_t stage, const StageOptions& options);

  const ParameterLayout& layout() const { return layout_; }
  // Flat, [layout().elements], of the master type; precondition: the stage trains. After writing to the
  // weights call weights_changed().
  at::Tensor& weights() { return weights_; }
  at::Tensor& gradient() { return gradient_; }
  void weights_changed();
  // One of the weights, to read or write, whether the stage trains or not. Precondition: of its layout.
  at::Tensor weight(const Parameter& parameter);

  // input: tokens [batch, positions] int64 at stage 0, else activations [batch, positions, hidden]; the
  // output is [batch, positions, hidden]. With `kept` it holds what backward needs: all activations, or with
  // `recompute` the input alone. Both give the same output and gradients, bit for bit.
  at::Tensor forward(const at::Tensor& input, StageActivations* kept, bool recompute);

  // Room for the keys and values of `positions` positions of `batch` sequences.
  StageCache make_cache(std::int64_t batch, std::int64_t positions) const;
  // forward() of the positions behind those in the cache, which it then holds as well: the first ones, or one
  // at a time. Precondition: the cache has room for them.
  at::Tensor extend(const at::Tensor& input, StageCache& cache);

  // gradient: of the loss by this forward's output. Returns that by its input, undefined at stage 0. Adds the
  // weights' gradients to the accumulator if `accumulate`. Uses up `kept`.
  at::Tensor backward(StageActivations& kept, const at::Tensor& gradient, bool accumulate);

  // Final norm, head and cross entropy; precondition: stage 0. input: [batch, positions, hidden]; targets:
  // [batch, positions] int64. The gradient is of this microbatch's mean loss.
  HeadResult head(const at::Tensor& input, const at::Tensor& targets, bool with_gradient, bool accumulate);

  // Final norm and head; precondition: stage 0. input: [batch, positions, hidden]; gives [batch, positions,
  // vocab] of the master type.
  at::Tensor logits(const at::Tensor& input) const;

 private:
  LayerContext context(std::int64_t batch, std::int64_t positions) const {
    return {model_, rotation_, batch, positions};
  }
  // What comes in, as rows for the layers: [batch * positions, hidden].
  at::Tensor rows_of(const at::Tensor& input) const;
  at::Tensor run_layers(const at::Tensor& rows, std::int64_t batch, std::int64_t positions,
                        std::vector<LayerActivations>* kept);

  scheduler::ModelSpec model_;
  StageOptions options_;
  bool first_ = false;  // stage 0
  std::int64_t first_layer_ = 0;
  std::int64_t layer_count_ = 0;
  ParameterLayout layout_;
  at::Tensor weights_;   // undefined unless the stage trains
  at::Tensor gradient_;  // undefined unless the stage trains
  at::Tensor matrices_;  // in the compute type: a part of weights_ where that is the master type
  at::Tensor norms_;     // in the master type: a part of weights_ where the stage trains
  std::vector<LayerTensors> layer_weights_;
  std::vector<LayerTensors> layer_gradients_;
  EdgeTensors edge_weights_;
  EdgeTensors edge_gradients_;
  kernels::Rotation rotation_;
};

}  // namespace sidestep::daemon
