// Who holds which stage, and with which state: given by another holder, rebuilt out of other stages, or put
// back as it was.
#include <algorithm>
#include <utility>

#include "daemon/solo/step_follower.h"

namespace sidestep::daemon {

using net::NodeKey;
using scheduler::RecordRecovery;
using scheduler::RecordReplica;
using scheduler::RecordStage;
using scheduler::RecordStep;

namespace {

using Held = std::map<NodeKey, std::vector<std::uint32_t>>;

bool holds(const Held::value_type& entry, std::uint32_t stage) {
  return std::ranges::find(entry.second, stage) != entry.second.end();
}

Held::const_iterator find_holder(const Held& held, std::uint32_t stage) {
  return std::ranges::find_if(held, [&](const auto& entry) { return holds(entry, stage); });
}

std::string source_name(const RecordRecovery& recovery, std::uint32_t source) {
  return "stage " + std::to_string(recovery.stage) + " is rebuilt out of stage " + std::to_string(source) +
         " of commit " + std::to_string(recovery.commit);
}

}  // namespace

Status StepFollower::take_places(const RecordStep& script) {
  if (script.stages.empty()) return {};  // validation alone
  const auto at_step = [&](const Status& status) {
    return status.with_context("step " + std::to_string(script.step));
  };
  taken_.clear();
  for (const RecordRecovery& recovery : script.recoveries) {
    const std::pair name{recovery.stage, recovery.commit};
    if (!coming_.contains(name)) {
      if (recovery.commit + 1 != script.step && !recovery.is_own())
        return at_step(Status::invalid("stage " + std::to_string(recovery.stage) +
                                       " is back, and its sources of commit " +
                                       std::to_string(recovery.commit) + " were not kept"));
      if (Status status = keep_sources(recovery, script.step); !status.ok()) return at_step(status);
    }
    Coming& coming = coming_.at(name);
    taken_[recovery.stage] = coming;
    if (--coming.uses == 0) coming_.erase(name);
  }
  for (const RecordRecovery& recovery : script.recoveries)
    if (Status status = lose_stage(recovery.stage); !status.ok()) return at_step(status);
  Held held;
  for (const RecordStage& stage : script.stages)
    for (const RecordReplica& replica : stage.replicas) held[replica.node].push_back(stage.stage);
  if (held == stages_of_) return {};
  for (const auto& [node, stages] : held)
    for (const std::uint32_t stage : stages)
      if (Status status = give_stage(node, stage, script.step); !status.ok())
        return at_step(status.with_context("node " + node.short_name()));
  for (const auto& [node, stages] : stages_of_) {
    const auto now = held.find(node);
    if (now == held.end()) {
      const Result<Completion> done = call(node, DropJob{});
      if (!done.ok()) return done.status();
      runners_.erase(node);
      continue;
    }
    for (const std::uint32_t stage : stages) {
      if (holds(*now, stage)) continue;
      const Result<Completion> done = call(node, DropStage{stage});
      if (!done.ok()) return done.status();
    }
  }
  stages_of_ = std::move(held);
  return {};
}

// Nothing of it stays at any node.
Status StepFollower::lose_stage(std::uint32_t stage) {
  for (auto entry = stages_of_.begin(); entry != stages_of_.end();) {
    auto& [node, stages] = *entry;
    if (std::erase(stages, stage) > 0) {
      const Result<Completion> done = stages.empty() ? call(node, DropJob{}) : call(node, DropStage{stage});
      if (!done.ok()) return done.status();
    }
    if (stages.empty()) {
      runners_.erase(node);
      entry = stages_of_.erase(entry);
    } else {
      ++entry;
    }
  }
  return {};
}

// Unless the node has it.
Status StepFollower::give_stage(const NodeKey& node, std::uint32_t stage, std::uint64_t step) {
  if (const auto own = stages_of_.find(node); own != stages_of_.end() && holds(*own, stage)) return {};
  const auto source = find_holder(stages_of_, stage);
  if (source == stages_of_.end() && !taken_.contains(stage))
    return Status::invalid("stage " + std::to_string(stage) + " was held by nobody before");
  Result<Completion> ready = [&] {
    if (runners_.contains(node)) return call(node, AddStage{stage});
    runners_[node] = factory_();
    return call(node, InitJob{job_, {stage}, stage == 0});
  }();
  if (!ready.ok()) return ready.status();
  elements_[stage] = ready.value().gradient_elements.at(0);
  if (source == stages_of_.end()) return store(node, stage, std::move(taken_.extract(stage).mapped()));
  Result<Completion> copy = copy_state(source->first, {stage, false});
  if (!copy.ok()) return copy.status();
  return store(node, stage, whole_state(copy.value(), step - 1));
}

StepFollower::Coming StepFollower::whole_state(const Completion& copy, std::uint64_t commit) {
  Coming coming{{}, copy.traits, commit};
  for (const net::Tensor& part : copy.state) coming.parts.push_back({{part, 1}});
  return coming;
}

Status StepFollower::store(const NodeKey& node, std::uint32_t stage, Coming coming) {
  for (std::size_t part = 0; part < coming.parts.size(); ++part) {
    StoreState task{stage, net::state_part(part), 0, std::move(coming.parts[part])};
    if (const auto stored = call(node, task); !stored.ok()) return stored.status();
  }
  const auto finished = call(node, FinishState{stage, coming.commit, coming.traits, coming.made_of});
  return finished.ok() ? Status() : finished.status();
}

Result<Completion> StepFollower::copy_state(const NodeKey& node, const CopyState& task) {
  Result<Completion> copy = call(node, task);
  if (copy.ok() && !copy.value().problem.empty()) return Status(Code::internal, copy.value().problem);
  return copy;
}

Result<StateTraits> StepFollower::traits_of(std::uint32_t stage) {
  const auto holder = find_holder(stages_of_, stage);
  if (holder == stages_of_.end())
    return Status::invalid("stage " + std::to_string(stage) + " is held by nobody");
  const Result<Completion> copy = copy_state(holder->first, {stage, true});
  if (!copy.ok()) return copy.status();
  return copy.value().traits;
}

Status StepFollower::keep_mirrors(std::uint64_t commit) {
  const scheduler::RecoverySpec& recovery = job_.recovery;
  const bool checkpoints = recovery.policy == "checkpoint";
  const bool keeps = checkpoints || recovery.keeps_mirrors();
  const auto every = static_cast<std::uint64_t>(checkpoints ? recovery.checkpoint_every : recovery.every);
  const bool due = commit % every == 0 || commit == job_.first_commit();
  // After a roll-back there are commits once more that are kept already.
  if (!keeps || !due || (mirrored_ && commit <= *mirrored_)) return {};
  for (const auto& [node, stages] : stages_of_)
    for (const std::uint32_t stage : stages) {
      if (const auto kept = mirrors_.find(stage); kept != mirrors_.end() && kept->second.commit == commit)
        continue;  // of another replica
      Result<Completion> copy = copy_state(node, {stage, false});
      if (!copy.ok()) return copy.status();
      mirrors_[stage] = whole_state(copy.value(), commit);
    }
  mirrored_ = commit;
  return {};
}

std::optional<std::uint64_t> StepFollower::mirror_commit(std::uint32_t stage) const {
  const auto kept = mirrors_.find(stage);
  return kept == mirrors_.end() ? std::nullopt : std::optional(kept->second.commit);
}

Status StepFollower::keep_sources(const RecordRecovery& recovery, std::uint64_t step) {
  const std::pair name{recovery.stage, recovery.commit};
  if (const auto known = coming_.find(name); known != coming_.end()) {
    ++known->second.uses;
    return {};
  }
  Result<Coming> coming = recovery.is_own() ? own_state(recovery, step) : average_of(recovery);
  if (!coming.ok()) return coming.status();
  coming_[name] = std::move(coming).value();
  return {};
}

Result<StepFollower::Coming> StepFollower::average_of(const RecordRecovery& recovery) {
  Coming coming{
      {}, {recovery.updates, 0, recovery.learning_rate_scale}, recovery.commit, FinishState::MadeOf::others};
  for (const RecordRecovery::Source& source : recovery.sources) {
    const auto holder = find_holder(stages_of_, source.stage);
    const std::string what = source_name(recovery, source.stage);
    if (holder == stages_of_.end()) return Status::invalid(what + ", which nobody holds there");
    Result<Completion> copy = copy_state(holder->first, {source.stage, true});
    if (!copy.ok()) return copy.status().with_context(what);
    coming.parts.resize(recovery.moments ? copy.value().state.size() : 1);
    for (std::size_t part = 0; part < coming.parts.size(); ++part)
      coming.parts[part].push_back({std::move(copy.value().state[part]), source.weight});
  }
  return coming;
}

// What is as it was now is copied now; what is of an earlier commit was mirrored.
Result<StepFollower::Coming> StepFollower::own_state(const RecordRecovery& recovery, std::uint64_t step) {
  Coming coming;
  const auto mirror = mirrors_.find(recovery.stage);
  const auto holder = find_holder(stages_of_, recovery.stage);
  if (mirror != mirrors_.end() && mirror->second.commit == recovery.commit) {
    coming = mirror->second;
  } else if (recovery.commit + 1 == step && holder != stages_of_.end()) {
    const Result<Completion> copy = copy_state(holder->first, {recovery.stage, false});
    if (!copy.ok()) return copy.status();
    coming = whole_state(copy.value(), recovery.commit);
  } else {
    return Status::invalid(source_name(recovery, recovery.stage) + ", which was not kept");
  }
  if (!recovery.moments) {
    coming.parts.resize(1);
    coming.traits = {0, 0, coming.traits.learning_rate_scale};
  }
  coming.made_of = FinishState::MadeOf::mirror;
  return coming;
}

}  // namespace sidestep::daemon
