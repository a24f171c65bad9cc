// What may happen to a node or the scheduler at a given moment: processes that are really killed, stopped and
// cut off. Used by the tests that go through all of it, of which each commit runs a tenth.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/process/machines.h"

namespace sidestep::testing {

enum class Fault { kill, restart, pause_half, pause_twice, drain, cut, scheduler };

// With the words for it: "node-2 is killed".
const std::vector<std::pair<Fault, std::string>>& all_faults();

// SIDESTEP_CHURN: "all", or a number, which picks a tenth of the cases; 0 where it is not set.
bool is_chosen(std::size_t number);

// Asking takes its time each time; the pause is the process that asks. Null: there is no such node.
nlohmann::json node_json(const Machines& machines, int node);
// Until the node says that it does this.
void wait_for_activity(const Machines& machines, int node, const std::string& activity, Seconds limit);

// Returns when the fault is over; what is to come back has been started.
void strike(Machines& machines, Fault fault, int node);

// The job, which was submitted so, reaches its last step, and the replay of its record has the same losses.
// Gives the record's text.
std::string require_end_and_replay(const Machines& machines, Process& submit, const std::string& job,
                                   int steps, Seconds limit);

}  // namespace sidestep::testing
