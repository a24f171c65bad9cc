// The block "emulate" of a node's config: links and task times of a node elsewhere (docs/emulate.md). Values.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "daemon/driver/task_pace.h"
#include "net/emulated_bus.h"
#include "scheduler/options.h"

namespace sidestep::driver {

inline constexpr double emulated_seconds_max = 1'000;
inline constexpr double emulated_bandwidth_min = 1'000, emulated_bandwidth_max = 1e16;

// What this node sends to another; 0: nothing is emulated.
struct EmulateLink {
  std::string to;  // nickname
  double latency_s = 0;
  double bandwidth_bytes_per_s = 0;
  double transfer_s = 0;
  double jitter_s = 0;
  double loss = 0;

  bool operator==(const EmulateLink&) const = default;
};

struct EmulateBlock {
  double forward_s = 0;
  double backward_s = 0;
  double head_s = 0;
  double task_gap_s = 0;
  bool fifo = false;
  std::uint64_t seed = 1;
  std::vector<EmulateLink> links;

  bool operator==(const EmulateBlock&) const = default;
  // Whether anything is emulated at all.
  bool asked() const { return forward_s + backward_s + head_s + task_gap_s > 0 || !links.empty(); }
  TaskTimes task_times() const;
  // "5 links, forward 0.44 s, backward 0.66 s", for the log.
  std::string text() const;
};

void add_emulate_keys(scheduler::OptionTable& table, EmulateBlock& block);
// Checks what lies between keys: no link to oneself, none twice.
void check_emulate_keys(const EmulateBlock& block, const std::string& nickname,
                        scheduler::Problems& problems);

// The block as JSON, with what it asks for and nothing else.
nlohmann::json to_json(const EmulateBlock& block);

// The link from the node `from` to the node `to`, with a seed of its own; all zeros where the block names
// none.
net::EmulatedLink emulated_link(const EmulateBlock& block, const std::string& from, const std::string& to);

}  // namespace sidestep::driver
