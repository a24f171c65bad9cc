#include "daemon/core/ledger.h"

#include <algorithm>
#include <cmath>

namespace sidestep::daemon {

void Ledger::begin_step(std::int64_t now_us) {
  // What came of the commit before, the update and its way to the other origins, is part of this step.
  const bool follows = last_commit_ && last_commit_->first + 1 == context_.step;
  began_us_ = follows ? last_commit_->second : now_us;
  committed_ = false;
  closed_.clear();
  evaluated_.clear();
  reports_.clear();
  awaited_.clear();
  // Those that nobody visits say so: nobody is ever left behind by more than one commit.
  for (const auto& [node, stages] : context_.plan.stages_of)
    for (const std::uint32_t stage : stages) awaited_.insert({stage, node});
}

void Ledger::on_closed(std::int64_t now_us, const net::NodeKey& peer, const net::MicrobatchClosed& closed) {
  const auto& routes = closed.evaluation ? context_.plan.evaluations : context_.routes();
  const auto planned = std::find_if(routes.begin(), routes.end(),
                                    [&](const auto& route) { return route.microbatch == closed.microbatch; });
  const bool expected = !closed.evaluation || closed.microbatch < context_.evaluations();
  if (!expected || planned == routes.end() || planned->hops != closed.route || closed.attempt != 1 ||
      planned->hops.front().node != peer) {
    context_.log(now_us, net::LogLevel::warning, std::nullopt,
                 "dropped the end of microbatch " + std::to_string(closed.microbatch) + " from " +
                     context_.name_of(peer) + ": not what the plan says");
    return;
  }
  (closed.evaluation ? evaluated_ : closed_).emplace(closed.microbatch, closed);
}

std::string Ledger::objection(const net::NodeKey& peer, const net::StageReport& report) const {
  if (!context_.plan.holds(peer, report.stage)) return "it does not hold the stage";
  if (report.attempt != 1) return "attempt " + std::to_string(report.attempt);
  if (!report.recovery.is_null()) {
    const auto recovery = scheduler::parse_recovery(report.recovery);
    if (!recovery.ok()) return recovery.status().message();
    double sum = 0;
    for (const auto& source : recovery.value().sources) {
      if (source.stage >= context_.plan.stage_count())
        return "it is recovered from a stage that there is not";
      sum += source.weight;
    }
    if (!recovery.value().sources.empty() && std::abs(sum - 1) > 1e-9)
      return "the weights of its recovery do not add up to 1";
    if (recovery.value().stage != report.stage || recovery.value().node != peer ||
        recovery.value().policy != context_.spec.recovery.policy ||
        (recovery.value().is_own() && !context_.spec.recovery.keeps_mirrors()) ||
        recovery.value().commit >= std::max<std::uint64_t>(context_.step, 1))
      return "its recovery is another one's, or of a commit to come";
  }
  std::vector<net::Added> planned;
  if (context_.trains())
    for (const std::uint32_t microbatch : context_.plan.visits(peer, report.stage, context_.step)) {
      planned.push_back({microbatch, 1, false});
      if (report.stage == 0) planned.push_back({microbatch, 1, true});
    }
  if (!std::is_permutation(planned.begin(), planned.end(), report.added.begin(), report.added.end()))
    return "it has averaged another set of microbatches than the routes say";
  return {};
}

void Ledger::on_report(std::int64_t now_us, const net::NodeKey& peer, const net::StageReport& report) {
  if (const std::string why = objection(peer, report); !why.empty()) {
    context_.log(now_us, net::LogLevel::error, report.stage,
                 "dropped the report of stage " + std::to_string(report.stage) + " from " +
                     context_.name_of(peer) + ": " + why);
    return;
  }
  awaited_.erase({report.stage, peer});
  reports_.emplace(Replica{report.stage, peer}, report);
}

bool Ledger::ready() const {
  return !committed_ && awaited_.empty() && closed_.size() == context_.routes().size() &&
         evaluated_.size() == context_.evaluations();
}

scheduler::RecordRoute Ledger::to_record(const net::MicrobatchClosed& closed) {
  return {closed.microbatch, closed.attempt, closed.loss, closed.route};
}

Ledger::Page Ledger::commit(std::int64_t now_us) {
  SIDESTEP_ASSERT(ready());
  committed_ = true;
  last_commit_ = {context_.step, now_us};
  Page page;
  scheduler::RecordStep& record = page.record;
  record.step = context_.step;
  record.epoch = context_.plan.epoch;
  record.view = context_.view.number;
  record.duration_us = now_us - began_us_;
  double sum = 0;
  for (const auto& [microbatch, closed] : closed_) {
    record.routes.push_back(to_record(closed));
    sum += closed.loss;
    if (!std::isfinite(closed.loss) && !page.skip_update) {
      page.skip_update = true;
      page.skip_reason = "the loss of microbatch " + std::to_string(microbatch) + " at " +
                         context_.name_of(closed.route.front().node) + " is not finite";
    }
  }
  if (!closed_.empty()) {
    record.loss = sum / static_cast<double>(closed_.size());
    record.tokens = static_cast<std::uint64_t>(context_.spec.tokens_per_step());
  }
  for (const auto& [microbatch, closed] : evaluated_) record.evaluations.push_back(to_record(closed));
  scheduler::take_validation(context_.spec, record);
  for (const auto& [replica, report] : reports_) {
    const auto& [stage, node] = replica;
    if (record.stages.empty() || record.stages.back().stage != stage) {
      record.stages.push_back({stage, report.attempt, report.norm, {}});
    } else if (std::abs(report.norm - record.stages.back().norm) >
               1e-6 * std::abs(record.stages.back().norm)) {
      context_.log(now_us, net::LogLevel::error, stage,
                   "step " + std::to_string(context_.step) + ": replicas of stage " + std::to_string(stage) +
                       " disagree on the gradient's norm, " + context_.name_of(node) + " has " +
                       std::to_string(report.norm) + ", the others " +
                       std::to_string(record.stages.back().norm));
    }
    record.stages.back().replicas.push_back({node, report.threads, report.added});
    if (!report.recovery.is_null()) {
      Result<scheduler::RecordRecovery> recovery = scheduler::parse_recovery(report.recovery);
      SIDESTEP_ASSERT(recovery.ok());  // else objected to
      record.recoveries.push_back(std::move(recovery).value());
    }
    if ((!report.finite || !std::isfinite(report.norm)) && !page.skip_update) {
      page.skip_update = true;
      page.skip_reason = "the gradient of stage " + std::to_string(stage) + " at " + context_.name_of(node) +
                         " is not finite";
    }
  }
  record.skipped_update = page.skip_update;
  return page;
}

std::string Ledger::describe() const {
  if (committed_ || ready()) return {};
  if (!awaited_.empty() && closed_.size() == context_.routes().size()) {
    const auto& [stage, node] = *awaited_.begin();
    return "waits for stage " + std::to_string(stage) + " of " + context_.name_of(node) +
           (awaited_.size() > 1 ? " and " + std::to_string(awaited_.size() - 1) + " more" : "");
  }
  if (!context_.trains())
    return std::to_string(evaluated_.size()) + " of " + std::to_string(context_.evaluations()) +
           " validation microbatches done";
  return std::to_string(closed_.size()) + " of " + std::to_string(context_.routes().size()) +
         " microbatches closed";
}

}  // namespace sidestep::daemon
