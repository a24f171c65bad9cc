// One order of work that does what all nodes of a recorded step did: every replica adds in its own order, and
// every microbatch goes back through its hops in turn. Pure.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "net/messages.h"
#include "net/status.h"
#include "scheduler/record.h"

namespace sidestep::daemon {

struct Move {
  enum class Kind {
    start,     // forwards over all hops, then the head: as late as can be, so that few activations are kept
    backward,  // of hop `hop`
    forget,    // what hop `hop` kept: this attempt got no further
  };
  Kind kind = Kind::start;
  std::size_t route = 0;  // index in RecordStep::routes
  std::size_t hop = 0;
  bool accumulate = true;  // else it only passes the gradient through: an earlier attempt has added here
  bool operator==(const Move&) const = default;
};

// `stages_of`: what each node holds. Checks that each microbatch is added exactly once on each stage of its
// last attempt's route, and that nothing else is added. Errors: invalid, naming step, stage, node and
// microbatch.
Result<std::vector<Move>> order_moves(const scheduler::RecordStep& step,
                                      const std::map<net::NodeKey, std::vector<std::uint32_t>>& stages_of);

// "step 5, stage 2, node b3f1, microbatch 3".
std::string place_name(std::uint64_t step, const net::Hop& hop, std::uint32_t microbatch);

}  // namespace sidestep::daemon
