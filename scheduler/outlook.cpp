#include "scheduler/outlook.h"

#include "scheduler/memory.h"

namespace sidestep::scheduler {
namespace {

constexpr std::uint64_t sources_max = 2;        // of a rebuild
constexpr std::uint64_t state_buffers_max = 3;  // weights and two moments

// Whether a stage that nobody holds could be made again.
bool can_be_rebuilt(const JobSpec& job, const Plan& plan, std::uint32_t stage) {
  if (stage == 0 || !job.recovery.rebuilds()) return false;
  for (std::uint32_t other = 0; other < plan.stage_count(); ++other)
    if (other != stage && !plan.is_out(other) && job.layer_count(other) > 0) return true;
  return false;
}

std::uint64_t bytes_of(const JobSpec& job, std::uint32_t stage) {
  return sizeof(float) * stage_parameters(job, stage);
}

}  // namespace

Outlook outlook(const JobSpec& job, const Plan& plan, const std::map<std::uint32_t, KeptMirror>& mirrors) {
  Outlook result;
  result.goes_back = job.recovery.writes_checkpoints();
  result.mirror_every = plan.mirrors.empty() ? 0 : job.recovery.every;
  const std::uint64_t buffers = job.recovery.moments == "average" ? state_buffers_max : 1;
  for (std::uint32_t stage = 0; stage < plan.stage_count(); ++stage) {
    const std::size_t holders = plan.replicas(stage).size();
    if (holders == 0)
      result.out.push_back(stage);
    else if (holders > 1)
      result.covered.push_back(stage);
    else if (mirrors.contains(stage) && plan.keeper_of(stage) == mirrors.at(stage).node)
      result.mirrored.push_back(stage);
    else if (can_be_rebuilt(job, plan, stage))
      result.rebuilt.push_back(stage);
    else
      result.fatal.push_back(stage);
    if (plan.keeper_of(stage)) {
      result.copies_bytes += mirror_bytes(job, stage);
      result.copies_step_bytes +=
          buffers * bytes_of(job, stage) / static_cast<std::uint64_t>(job.recovery.every);
    }
    const std::size_t copies = std::min(holders, job.recovery.holders_wanted(stage));
    for (std::size_t copy = 1; copy < copies; ++copy) {
      result.copies_bytes += memory_need(job, stage, holders).state();
      result.copies_step_bytes += bytes_of(job, stage);
    }
  }
  if (!result.rebuilt.empty())
    result.rebuild_bytes = sources_max * buffers * bytes_of(job, result.rebuilt[0]);
  return result;
}

std::string describe(const Outlook& outlook) {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : "; ") + part; };
  if (!outlook.covered.empty())
    add("the loss of a node of " + stage_list(outlook.covered) + " loses nothing");
  if (!outlook.rebuilt.empty())
    add(stage_list(outlook.rebuilt) + " would be rebuilt out of " +
        (outlook.rebuilt.size() == 1 ? "its" : "their") + " neighbours (" + mebibytes(outlook.rebuild_bytes) +
        " to move)");
  if (!outlook.mirrored.empty())
    add(stage_list(outlook.mirrored) + " would be put back as of " +
        (outlook.mirrored.size() == 1 ? "its last mirror" : "their last mirrors") + ", one of every " +
        std::to_string(outlook.mirror_every) + " commits");
  if (!outlook.fatal.empty())
    add(std::string("the job ") + (outlook.goes_back ? "goes back to a checkpoint" : "ends") +
        " with the last holder of " + stage_list(outlook.fatal) +
        (outlook.fatal.size() == 1 ? ", which has one" : ", which have one each"));
  if (!outlook.out.empty())
    add(stage_list(outlook.out) + (outlook.out.size() == 1 ? " is" : " are") + " lost and being rebuilt");
  if (outlook.copies_bytes > 0)
    add("to be ready takes " + mebibytes(outlook.copies_bytes) + " of memory, " +
        mebibytes(outlook.copies_step_bytes) +
        (outlook.mirror_every == 0 ? " of gradients a step" : " to move a step"));
  return text;
}

}  // namespace sidestep::scheduler
