// What a job would live through, and what it pays to be ready for it, before anything happens: said by
// `status` (design.md, Recovery). Pure.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "scheduler/job.h"
#include "scheduler/plan.h"
#include "scheduler/store.h"

namespace sidestep::scheduler {

// Of the loss of one node, or of a stage's last holder.
struct Outlook {
  std::vector<std::uint32_t> covered;   // have several holders: the loss of one loses nothing
  std::vector<std::uint32_t> rebuilt;   // have one, and would be made again out of their neighbours
  std::vector<std::uint32_t> mirrored;  // have one, and would be put back as their mirrors have them
  std::int64_t mirror_every = 0;        // commits; 0: there are no keepers of mirrors
  std::vector<std::uint32_t> fatal;     // have one, and the job ends with it, or goes back
  bool goes_back = false;               // to a checkpoint
  std::vector<std::uint32_t> out;       // have none now
  // Of the holders beyond the first that the policy asks for: of memory, and of gradients that go to each of
  // them in a step and come back. Of mirrors: of memory, and of what goes to them, by step.
  std::uint64_t copies_bytes = 0;
  std::uint64_t copies_step_bytes = 0;
  // What the rebuild of the largest of `rebuilt` moves, out of all its sources.
  std::uint64_t rebuild_bytes = 0;

  bool operator==(const Outlook&) const = default;
};

// `mirrors`: those that are whole.
Outlook outlook(const JobSpec& job, const Plan& plan,
                const std::map<std::uint32_t, KeptMirror>& mirrors = {});

// "the loss of a node of stage 0 loses nothing; stages 1, 2 would be rebuilt out of their neighbours (72 MiB
// to move); to be ready takes 24 MiB of memory, 6 MiB of gradients a step".
std::string describe(const Outlook& outlook);

}  // namespace sidestep::scheduler
