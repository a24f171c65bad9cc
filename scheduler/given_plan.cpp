#include "scheduler/given_plan.h"

#include <set>

#include "net/assert.h"
#include "scheduler/planner/evaluator.h"

namespace sidestep::scheduler {
namespace {

constexpr std::size_t rules_told_max = 8;

}  // namespace

Result<PathPlan> given_plan(const JobSpec& job, const Instance& instance,
                            const std::vector<std::string>& nicknames) {
  SIDESTEP_ASSERT(nicknames.size() == instance.node_count() && !job.pipeline.plan.is_null());
  Instance named = instance;
  std::set<std::string> seen;
  for (std::size_t n = 0; n < nicknames.size(); ++n) {
    if (!seen.insert(nicknames[n]).second)
      return Status::refused("pipeline.plan: two nodes are called " + nicknames[n]);
    named.nodes[n].id = nicknames[n];
    named.nodes[n].numeric_id = false;
  }
  Result<PathPlan> plan = parse_path_plan(job.pipeline.plan, named, "pipeline.plan");
  if (!plan.ok()) return Status::refused(plan.status().message());
  const Evaluation evaluation = evaluate(named, plan.value());
  std::string text;
  for (std::size_t i = 0; i < evaluation.broken.size() && i < rules_told_max; ++i)
    text += (i == 0 ? "" : "; ") + evaluation.broken[i].rule + ": " + evaluation.broken[i].text;
  if (evaluation.broken.size() > rules_told_max)
    text += "; and " + std::to_string(evaluation.broken.size() - rules_told_max) + " more";
  if (!text.empty()) return Status::refused("pipeline.plan breaks the job's rules: " + text);
  if (!evaluation.finishes)
    return Status::refused("pipeline.plan: its microbatches wait for each other's slots for ever");
  return plan;
}

}  // namespace sidestep::scheduler
