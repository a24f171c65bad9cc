// A GPU against the CPU. Skipped, with the reason, where cuda:0 cannot be opened.
#include <c10/core/InferenceMode.h>

#include "daemon/executor/device.h"
#include "daemon/executor/host_link.h"
#include "daemon/executor/torch_runner.h"
#include "daemon/model/attention_composed.h"
#include "tests/skip.h"
#include "tests/unit/model/small_job.h"
#include "tests/unit/torch/catch.h"

namespace sidestep::daemon {
namespace {

using Catch::Contains;
using namespace testing;

const at::Device gpu(at::kCUDA, 0);

#define NEEDS_GPU()                                                   \
  const auto opened = open_device("cuda:0");                          \
  if (!opened.ok()) SIDESTEP_SKIP(opened.status().message().c_str()); \
  const c10::InferenceMode no_autograd

struct Step {
  double loss = 0;
  at::Tensor gradient;  // of both stages, on the CPU
  at::Tensor weights;   // after an update
};

// One microbatch through two stages and back, and an update.
Step run_step(const scheduler::JobSpec& spec, const StageOptions& options) {
  const at::Tensor tokens = random_tokens(spec, 1).to(options.device);
  Stage first(spec, 0, options), second(spec, 1, options);
  StageActivations kept[2];
  const at::Tensor x = first.forward(inputs_of(tokens), &kept[0], false);
  const HeadResult head = first.head(second.forward(x, &kept[1], true), targets_of(tokens), true, true);
  first.backward(kept[0], second.backward(kept[1], head.gradient, true), true);
  Step step{head.loss, at::cat({first.gradient(), second.gradient()}).cpu(), {}};
  AdamW optimizer(spec.optimizer, first.layout(), first.weights());
  optimizer.average().copy_(first.gradient());
  optimizer.update(first.weights(), 1e-2);
  first.weights_changed();
  step.weights = first.weights().cpu();
  return step;
}

double relative_norm(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).norm().item<double>() / b.norm().item<double>();
}

}  // namespace

TEST_CASE("Device that is not there: the reason and a cure") {
  CHECK_THAT(open_device("gpu").status().message(), Contains("\"gpu\" is no device"));
  CHECK_THAT(open_device("cuda:64").status().message(), Contains("\"cuda:64\" is no device"));
  const auto far = open_device("cuda:63");
  REQUIRE_FALSE(far.ok());
  CHECK_THAT(far.status().message(), Catch::StartsWith("device \"cuda:63\": "));
  CHECK_THAT(far.status().message(), Catch::EndsWith(", or set \"device\" to \"cpu\""));
  CHECK(open_device("cpu").value() == at::Device(at::kCPU));
  CHECK_THAT(device_class(at::kCPU), Catch::StartsWith("cpu-"));
}

TEST_CASE("GPU: its class and memory are known") {
  NEEDS_GPU();
  CHECK_THAT(device_class(gpu), Catch::Matches("cuda-sm[1-9][0-9]+-[1-9][0-9]*"));
  CHECK(device_memory_bytes(gpu) > (1u << 30));
  CHECK_THAT(open_device("cuda:63").status().message(), Contains("this process sees "));
}

TEST_CASE("GPU: tensors come back as they were sent") {
  NEEDS_GPU();
  HostLink link(gpu);
  for (const std::int64_t size : {1, 1000, 3'000'000}) {
    const at::Tensor host = random_normal({size}, 1);
    const at::Tensor there = link.to_device(host);
    CHECK(there.is_cuda());
    const at::Tensor back = link.to_host(there * 2);
    CHECK(back.is_pinned());
    CHECK(back.equal(host * 2));
    CHECK(link.to_host(link.to_device(back)).equal(back));  // from pinned memory
  }
}

TEST_CASE("GPU: attention agrees with float64") {
  NEEDS_GPU();
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  const std::int64_t head_dim = GENERATE(6, 32, 128);  // 6: none of the flash kernel's
  const std::int64_t kv_heads = GENERATE(1, 2, 4);
  const double near = type == at::kFloat ? 1e-5 : 2e-2;
  const auto drawn = [&](std::int64_t heads, std::uint64_t seed) {
    return random_normal({2, 70, heads, head_dim}, seed, type).to(gpu).transpose(1, 2);
  };
  const at::Tensor query = drawn(4, 1), key = drawn(kv_heads, 2), value = drawn(kv_heads, 3);
  const at::Tensor gradient = drawn(4, 4);
  const auto exact = [](const at::Tensor& x) { return x.cpu().to(at::kDouble); };
  const AttentionOutput expected =
      attention_composed::attention(exact(query), exact(key), exact(value), Mask::causal);
  const AttentionOutput found = attention(query, key, value, Mask::causal);
  CHECK(difference(found.output.cpu(), expected.output) < near);
  CHECK(found.output.transpose(1, 2).is_contiguous());
  const AttentionGradient wanted = attention_composed::attention_backward(exact(gradient), exact(query),
                                                                          exact(key), exact(value), expected);
  const AttentionGradient by = attention_backward(gradient, query, key, value, found);
  CHECK(difference(by.query.cpu(), wanted.query) < near);
  CHECK(difference(by.key.cpu(), wanted.key) < near);
  CHECK(difference(by.value.cpu(), wanted.value) < near);
}

TEST_CASE("GPU: a step agrees with the CPU's") {
  NEEDS_GPU();
  auto spec = small_job(2);
  spec.model.tie_word_embeddings = GENERATE(false, true);
  const Step cpu = run_step(spec, {});
  const Step wide = run_step(spec, {.device = gpu});
  CHECK(wide.loss == Approx(cpu.loss).epsilon(1e-5));
  CHECK(relative_norm(wide.gradient, cpu.gradient) < 1e-4);
  CHECK(relative_norm(wide.weights, cpu.weights) < 1e-4);
  const Step narrow = run_step(spec, {.device = gpu, .compute = at::kBFloat16});
  CHECK(narrow.loss == Approx(cpu.loss).epsilon(0.01));
  CHECK(relative_norm(narrow.gradient, cpu.gradient) < 0.05);
  CHECK(narrow.gradient.scalar_type() == at::kFloat);
}

TEST_CASE("GPU: a probe and tasks of a runner work, bfloat16 by default") {
  NEEDS_GPU();
  const auto spec = small_job(2);
  TorchRunner runner({.device = "cuda:0"});
  const auto run = [&](const Task& task) {
    Completion done = runner.run(1, task);
    INFO(done.fault);
    REQUIRE(done.fault.empty());
    return done;
  };
  const Completion probe = run(ProbeJob{spec});
  CHECK(probe.problem.empty());
  CHECK(probe.layer_us > 0);
  CHECK(probe.memory_bytes > (1u << 30));
  const Completion init = run(InitJob{spec, {1}, false});
  at::Tensor x = random_normal({3, 12, 32}, 1, at::kBFloat16);
  const Completion forward = run(Forward{1, 1, 0, false, true, to_wire(x)});
  CHECK(forward.tensor.dtype == net::DType::bfloat16);
  CHECK(from_wire(forward.tensor, true).value().isfinite().all().item<bool>());
  const Completion backward = run(Backward{1, 1, 0, true, forward.tensor});
  CHECK(backward.tensor.shape == forward.tensor.shape);
  const at::Tensor gradient = from_wire(run(ExposeGradient{1}).tensor, true).value();
  CHECK(gradient.norm().item<double>() > 0);

  const auto elements = init.gradient_elements.at(0);
  const net::Tensor other = to_wire(at::ones({static_cast<std::int64_t>(elements)}, at::kFloat));
  const Completion sum = run(Reduce{1, 0, elements, {net::Tensor(), other}, 0.5});
  CHECK(from_wire(sum.tensor, true).value().equal((gradient + 1) * 0.5));
  run(StoreAverage{1, 0, run(ExposeGradient{1}).tensor});
  CHECK(run(MeasureAverage{1}).norm == Approx(gradient.norm().item<double>()).epsilon(1e-5));
  run(Update{1, {1}});
  run(DropJob{});
}

}  // namespace sidestep::daemon
