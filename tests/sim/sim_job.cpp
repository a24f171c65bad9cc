#include "tests/sim/sim_job.h"

namespace sidestep::sim {

nlohmann::json job_json(const JobShape& shape) {
  nlohmann::json json = {
      {"name", shape.name},
      {"steps", shape.steps},
      {"seed", shape.seed},
      {"deterministic", shape.deterministic},
      {"gradient_scale", shape.gradient_scale},
      {"model",
       {{"hidden_size", 4},
        {"intermediate_size", 4},
        {"num_hidden_layers", shape.stages},
        {"num_attention_heads", 2},
        {"tie_word_embeddings", shape.tied}}},
      {"pipeline",
       {{"stages", shape.stages},
        {"microbatches_per_step", shape.microbatches},
        {"slots", shape.slots},
        {"skip_ratio", shape.skip_ratio},
        {"warmup_steps", shape.warmup_steps},
        {"max_swaps", shape.max_swaps}}},
      {"data", {{"path", "text.txt"}, {"sequence_length", 2}}},
      {"optimizer", {{"learning_rate", 0.001}}},
      {"recovery", {{"policy", shape.recovery}}},
  };
  if (shape.recovery == "mirror") json["recovery"]["every"] = shape.mirror_every;
  if (shape.checkpoint_every > 0) {
    json["recovery"]["directory"] = "/shared";
    json["recovery"]["checkpoint_every"] = shape.checkpoint_every;
  }
  if (shape.validation_every > 0) {
    json["validation"] = {
        {"every", shape.validation_every}, {"microbatches", 3}, {"skip", shape.validation_skip}};
  }
  return json;
}

scheduler::JobSpec job_spec(const JobShape& shape) {
  Result<scheduler::JobSpec> job = scheduler::parse_job(job_json(shape), "test");
  SIDESTEP_ASSERT(job.ok());
  return std::move(job.value());
}

JobShape long_job() {
  JobShape shape;
  shape.steps = 30;
  shape.stages = 4;
  shape.microbatches = 8;
  return shape;
}

}  // namespace sidestep::sim
