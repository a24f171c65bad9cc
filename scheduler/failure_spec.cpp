#include "scheduler/failure_spec.h"

#include <algorithm>
#include <bit>

#include "net/random.h"

namespace sidestep::scheduler {
namespace {

// In [0, 1), for each (seed, step, stage) another one.
double failure_draw(std::uint64_t seed, std::uint64_t step, std::uint32_t stage) {
  const auto mixed = [](std::uint64_t a, std::uint64_t b) {
    return net::Random(a ^ std::rotl(b * 0x9e3779b97f4a7c15u, 31)).next();
  };
  return net::Random(mixed(mixed(seed, step), stage)).uniform();
}

std::string read_lost_stages(const nlohmann::json& value, std::vector<std::uint32_t>& stages) {
  constexpr std::int64_t stage_max = 1'023;
  if (!value.is_array() || value.empty())
    return "must be a list of stages, at least one, found " + describe(value);
  std::vector<std::uint32_t> read;
  for (const nlohmann::json& entry : value) {
    if (!entry.is_number_integer() || entry < 0 || entry > stage_max)
      return "each entry must be a stage, a whole number from 0 to " + std::to_string(stage_max) +
             ", found " + describe(entry);
    read.push_back(entry.get<std::uint32_t>());
  }
  stages = std::move(read);
  return {};
}

OptionTable listed_failure_table(ListedFailure& failure) {
  OptionTable table;
  table.add("step", failure.step, "as this step begins").required().range(1, 100'000'000);
  table
      .add_own("stages",
               {"a list of stages", [&failure] { return nlohmann::json(failure.stages); },
                [&failure](const nlohmann::json& value) { return read_lost_stages(value, failure.stages); }},
               "the stages that are lost")
      .required();
  table
      .add("out_steps", failure.out_steps,
           "in `sidestep solo`: in place of recovery.out_steps, for these stages")
      .range(-1, 1'000'000)
      .default_text("as recovery.out_steps");
  table
      .add("transfer_steps", failure.transfer_steps,
           "in `sidestep solo`: in place of recovery.transfer_steps, for these stages")
      .range(-1, 1'000'000)
      .default_text("as recovery.transfer_steps");
  return table;
}

}  // namespace

std::vector<std::uint32_t> FailureSpec::stages_lost_at(std::uint64_t step, std::uint32_t stages) const {
  std::vector<std::uint32_t> lost;
  for (const ListedFailure& failure : list)
    if (failure.step >= 0 && static_cast<std::uint64_t>(failure.step) == step)
      lost.insert(lost.end(), failure.stages.begin(), failure.stages.end());
  if (probability > 0)
    for (std::uint32_t stage = stage_0 ? 0 : 1; stage < stages; ++stage)
      if (failure_draw(seed, step, stage) < probability) lost.push_back(stage);
  std::ranges::sort(lost);
  lost.erase(std::unique(lost.begin(), lost.end()), lost.end());
  return lost;
}

const ListedFailure* FailureSpec::listed(std::uint64_t step, std::uint32_t stage) const {
  const auto found = std::ranges::find_if(list, [&](const ListedFailure& failure) {
    return failure.step >= 0 && static_cast<std::uint64_t>(failure.step) == step &&
           std::ranges::find(failure.stages, stage) != failure.stages.end();
  });
  return found == list.end() ? nullptr : &*found;
}

void add_failure_keys(OptionTable& table, FailureSpec& failures) {
  table.add_list("failures.list", failures.list, listed_failure_table,
                 "stages that are lost on purpose, for experiments; every policy sees the same losses");
  table
      .add("failures.probability", failures.probability,
           "that a stage is lost as a step begins, each stage on its own")
      .range(0, 1);
  table.add("failures.seed", failures.seed, "of what is drawn with this probability");
  table.add("failures.stage_0", failures.stage_0, "whether stage 0 is drawn too");
}

void check_failures(const FailureSpec& failures, std::int64_t stages, std::int64_t steps,
                    Problems& problems) {
  if (!problems.sound({"failures.list", "pipeline.stages", "steps"})) return;
  for (std::size_t i = 0; i < failures.list.size(); ++i) {
    const ListedFailure& failure = failures.list[i];
    const std::string place = "failures.list[" + std::to_string(i) + "].";
    if (failure.step > steps)
      problems.add_key(place + "step", "value " + std::to_string(failure.step) + " is more than steps, " +
                                           std::to_string(steps));
    for (const std::uint32_t stage : failure.stages)
      if (stage >= stages)
        problems.add_key(place + "stages", "there is no stage " + std::to_string(stage) +
                                               ", the job has stages 0 to " + std::to_string(stages - 1));
  }
}

}  // namespace sidestep::scheduler
