#include "daemon/core/averager.h"

#include <algorithm>

namespace sidestep::daemon {

Averager::Averager(JobContext& context, std::uint32_t stage, std::uint64_t elements)
    : context_(context),
      stage_(stage),
      learners_(context.plan.learners_of(stage)),
      cut_(context.cut_of(stage, elements)) {}

double Averager::scale() const {
  const auto microbatches = context_.spec.gradient_scale == "step"
                                ? static_cast<double>(context_.spec.pipeline.microbatches_per_step)
                                : static_cast<double>(visits_);
  return 1.0 / microbatches;
}

void Averager::begin_step() {
  SIDESTEP_ASSERT(contributions_.empty());
  begun_ = false;
  added_.clear();
  gathered_.clear();
  chunks_done_ = 0;
  visits_ = 0;
  visits_of_.clear();
  if (!context_.trains()) return;
  for (const net::NodeKey& replica : cut_.replicas())
    visits_ += visits_of_[replica] =
        static_cast<std::uint32_t>(context_.plan.visits(replica, stage_, context_.step).size());
}

bool Averager::failed(std::int64_t now_us, const Completion& completion) const {
  if (completion.fault.empty()) return false;
  context_.fail(now_us, "averaging stage " + std::to_string(stage_) + ": " + completion.fault);
  return true;
}

void Averager::on_gradient_complete(std::int64_t now_us, const std::vector<net::Added>& added) {
  SIDESTEP_ASSERT(!begun_);
  begun_ = true;
  added_ = added;
  if (cut_.elements() == 0 || unvisited()) return report(now_us, Completion{});
  const std::uint64_t replicas = cut_.replicas().size();
  context_.timer.average_begun(now_us, stage_,
                               2 * (replicas - 1) * cut_.elements() * sizeof(float) / replicas);
  if (alone()) return contribute_own();
  context_.queue_task(ExposeGradient{stage_}, [this](std::int64_t now, const Completion& done) {
    if (!failed(now, done)) on_exposed(now, done.tensor);
  });
}

net::AverageChunk Averager::make_chunk(std::uint32_t chunk, net::AveragePhase phase,
                                       net::Tensor tensor) const {
  return {context_.scope(),
          stage_,
          1,
          phase,
          chunk,
          phase == net::AveragePhase::reduce ? visits_of_.at(context_.options->key) : visits_,
          std::move(tensor)};
}

void Averager::on_exposed(std::int64_t now_us, const net::Tensor& gradient) {
  if (gradient.dtype != net::DType::float32 || gradient.payload.size() != cut_.elements() * 4)
    return context_.fail(
        now_us, "stage " + std::to_string(stage_) + ": the executor gave a gradient of another length");
  const net::NodeKey& self = context_.options->key;
  // Others' chunks first: they wait for them, while ours wait for theirs.
  for (std::uint32_t chunk = 0; chunk < cut_.count(); ++chunk) {
    if (cut_.owner(chunk) == self) continue;
    const std::uint64_t length = cut_.length(chunk);
    context_.post(now_us, cut_.owner(chunk),
                  make_chunk(chunk, net::AveragePhase::reduce,
                             {net::DType::float32,
                              {static_cast<std::int64_t>(length)},
                              gradient.payload.slice(cut_.begin(chunk) * 4, length * 4)}));
  }
  contribute_own();
}

// As empty tensors: the accumulator stays where the executor has it.
void Averager::contribute_own() {
  for (std::uint32_t chunk = 0; chunk < cut_.count(); ++chunk) {
    if (cut_.owner(chunk) != context_.options->key) continue;
    contributions_[chunk][context_.options->key] = {};
    reduce_if_ready(chunk);
  }
}

std::string Averager::objection(const net::NodeKey& peer, const net::AverageChunk& chunk) const {
  if (chunk.attempt != 1 || visits_ == 0) return "this step does not average the stage";
  if (std::find(cut_.replicas().begin(), cut_.replicas().end(), peer) == cut_.replicas().end())
    return "it does not hold the stage";
  if (chunk.chunk >= cut_.count()) return "there are only " + std::to_string(cut_.count());
  const bool reduce = chunk.phase == net::AveragePhase::reduce;
  if (cut_.owner(chunk.chunk) != (reduce ? context_.options->key : peer)) return "it is for another owner";
  const auto length = static_cast<std::int64_t>(cut_.length(chunk.chunk));
  if (chunk.tensor.dtype != net::DType::float32 || chunk.tensor.shape != std::vector<std::int64_t>{length})
    return "its length is not " + std::to_string(length);
  const std::uint32_t visits = reduce ? visits_of_.at(peer) : visits_;
  if (chunk.visits != visits)
    return "it counts " + std::to_string(chunk.visits) + " microbatches, the plan " + std::to_string(visits);
  return {};
}

void Averager::on_chunk(std::int64_t now_us, const net::NodeKey& peer, const net::AverageChunk& chunk) {
  if (const std::string why = objection(peer, chunk); !why.empty()) {
    context_.log(now_us, net::LogLevel::warning, stage_,
                 "dropped chunk " + std::to_string(chunk.chunk) + " of the average from " +
                     context_.name_of(peer) + ": " + why);
    return;
  }
  if (chunk.phase == net::AveragePhase::reduce) {
    // A chunk that has been reduced has no entry any more, and a repeat must not make one.
    if (gathered_.count(chunk.chunk) != 0) return;
    if (contributions_[chunk.chunk].emplace(peer, chunk.tensor).second) reduce_if_ready(chunk.chunk);
    return;
  }
  if (!gathered_.insert(chunk.chunk).second) return;
  context_.queue_task(StoreAverage{stage_, cut_.begin(chunk.chunk), chunk.tensor},
                      [this](std::int64_t now, const Completion& done) {
                        if (!failed(now, done)) on_chunk_done();
                      });
}

void Averager::reduce_if_ready(std::uint32_t chunk) {
  const auto it = contributions_.find(chunk);
  if (it->second.size() < cut_.replicas().size()) return;
  Reduce reduce{stage_, cut_.begin(chunk), cut_.length(chunk), {}, scale(), !alone() || !learners_.empty()};
  for (auto& [node, tensor] : it->second) reduce.contributions.push_back(std::move(tensor));
  contributions_.erase(it);
  gathered_.insert(chunk);
  context_.queue_task(std::move(reduce), [this, chunk](std::int64_t now, const Completion& done) {
    if (!failed(now, done)) on_reduced(now, chunk, done.tensor);
  });
}

void Averager::on_reduced(std::int64_t now_us, std::uint32_t chunk, const net::Tensor& average) {
  for (const net::NodeKey& replica : cut_.replicas())
    if (replica != context_.options->key)
      context_.post(now_us, replica, make_chunk(chunk, net::AveragePhase::gather, average));
  for (const net::NodeKey& learner : learners_)
    context_.post(now_us, learner, make_chunk(chunk, net::AveragePhase::gather, average));
  on_chunk_done();
}

void Averager::on_chunk_done() {
  if (++chunks_done_ < cut_.count()) return;
  context_.queue_task(MeasureAverage{stage_}, [this](std::int64_t now, const Completion& done) {
    if (!failed(now, done)) report(now, done);
  });
}

void Averager::report(std::int64_t now_us, const Completion& measured) {
  context_.timer.average_ended(now_us, stage_);
  net::StageReport report;
  report.scope = context_.scope();
  report.stage = stage_;
  report.attempt = 1;
  report.added = added_;
  report.norm = measured.norm;
  report.finite = measured.finite;
  report.threads = context_.spec.deterministic ? 1 : context_.options->resources.threads;
  report.recovery = context_.recovery_of(stage_);
  context_.post(now_us, context_.lead, std::move(report));
}

std::string Averager::describe() const {
  if (!begun_ || unvisited() || chunks_done_ == cut_.count()) return {};
  std::set<net::NodeKey> awaited;
  for (const auto& [chunk, tensors] : contributions_)
    for (const net::NodeKey& replica : cut_.replicas())
      if (tensors.count(replica) == 0) awaited.insert(replica);
  for (std::uint32_t chunk = 0; chunk < cut_.count(); ++chunk)
    if (gathered_.count(chunk) == 0 && cut_.owner(chunk) != context_.options->key)
      awaited.insert(cut_.owner(chunk));
  std::string text = "averages stage " + std::to_string(stage_);
  for (const net::NodeKey& replica : awaited)
    text += (replica == *awaited.begin() ? ", waits for " : ", ") + context_.name_of(replica);
  return text;
}

}  // namespace sidestep::daemon
