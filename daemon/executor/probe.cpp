// How fast one layer and the head of a job run here, and whether its data and first weights are here.
#include <ATen/ops/arange.h>
#include <malloc.h>

#include <algorithm>
#include <array>

#include "daemon/executor/device.h"
#include "daemon/executor/tensor_pool.h"
#include "daemon/executor/torch_runner.h"
#include "net/clock.h"
#include "scheduler/memory.h"

namespace sidestep::daemon {
namespace {

// Median of three runs after one that warms up, in microseconds.
template <class Run>
std::int64_t median_us(const HostLink& link, const Run& run) {
  run();
  link.wait();
  std::array<std::int64_t, 3> times{};
  for (std::int64_t& time : times) {
    const std::int64_t start_us = net::monotonic_us();
    run();
    link.wait();
    time = net::monotonic_us() - start_us;
  }
  std::sort(times.begin(), times.end());
  return times[1];
}

// The same job with one layer, which stage 1 holds; stage 0 holds the embedding and the head.
scheduler::JobSpec one_layer_of(scheduler::JobSpec spec) {
  spec.model.num_hidden_layers = 1;
  spec.pipeline.stages = 2;
  spec.pipeline.stage_0_layers = false;
  return spec;
}

}  // namespace

Status TorchRunner::perform(const ProbeJob& task, Completion& done) {
  if (const Status status = open(); !status.ok()) {
    done.problem = status.message();
    return {};
  }
  done.memory_bytes = memory_bytes();
  const auto data = open_data(task.spec);
  done.has_data = data.ok();
  if (data.ok())
    done.data_digest = data.value()->digest();
  else
    done.data_problem = data.status().message();

  use_threads(task.spec);
  scheduler::JobSpec spec = one_layer_of(task.spec);
  spec.resolve_precision(link_->device().is_cuda());
  if (!task.spec.init_from.empty()) {
    if (const auto folder = init_folder_.open(task.spec); !folder.ok()) {
      done.problem = folder.status().message();
      return {};
    }
    done.init_digest = init_folder_.digest();
  }
  if (!task.spec.resume.directory.empty()) {
    const auto checkpoint = Checkpoint::open(task.spec);
    if (!checkpoint.ok()) {
      done.problem = checkpoint.status().message();
      return {};
    }
    done.init_digest = checkpoint.value().digest();
    done.init_commit = checkpoint.value().manifest().commit;
  }
  const std::uint64_t needed =
      scheduler::memory_need(spec, 0, 1).state() + scheduler::memory_need(spec, 1, 1).state();
  if (done.memory_bytes != 0 && needed > done.memory_bytes) {
    done.problem = "embedding, head and one layer need " + scheduler::mebibytes(needed) +
                   " with gradients and optimizer state, this node may use " +
                   scheduler::mebibytes(done.memory_bytes);
    return {};
  }
  measure_speed(spec, done);
  TensorPool::install().trim();
  ::malloc_trim(0);
  release_cached_memory(link_->device());
  done.resident_bytes = held_bytes(link_->device());
  return {};
}

void TorchRunner::measure_speed(const scheduler::JobSpec& spec, Completion& done) const {
  const std::int64_t batch = spec.pipeline.microbatch_size;
  const std::int64_t positions = spec.data.sequence_length;
  const at::Tensor tokens =
      link_->to_device(at::arange(batch * positions, at::TensorOptions().dtype(at::kLong))
                           .remainder(spec.model.vocab_size)
                           .view({batch, positions}));
  Stage edge(spec, 0, stage_options(spec));
  Stage layer(spec, 1, stage_options(spec));
  const at::Tensor input = edge.forward(tokens, nullptr, false);
  done.layer_us = median_us(*link_, [&] {
    StageActivations kept;
    const at::Tensor output = layer.forward(input, &kept, false);
    layer.backward(kept, output, /*accumulate=*/true);
  });
  done.head_us =
      median_us(*link_, [&] { edge.head(input, tokens, /*with_gradient=*/true, /*accumulate=*/true); });
}

}  // namespace sidestep::daemon
