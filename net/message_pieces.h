// What several messages have in common: nodes and views, scopes, log lines.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "net/node_key.h"
#include "net/tensor.h"

namespace sidestep::net {

struct Member {
  NodeKey key;
  BootId boot = 0;
  std::string nickname;
  std::string data_address;  // "host:port", advertised
  bool operator==(const Member&) const = default;
};

// The numbered list of live nodes; the scheduler alone changes it. Members are in key order.
struct View {
  std::uint64_t number = 0;
  std::vector<Member> members;
  bool operator==(const View&) const = default;
};

struct Hop {
  std::uint32_t stage = 0;
  NodeKey node;
  bool operator==(const Hop&) const = default;
};

// What every message about a job's step names.
struct Scope {
  std::string job;
  std::uint64_t view = 0;
  std::uint64_t epoch = 0;  // number of the plan
  std::uint64_t step = 0;   // 1 is the first step; 0 is "weights initialised"
  bool operator==(const Scope&) const = default;
};

// One addition to a stage's gradient accumulator, in the order it was made. At stage 0 a microbatch
// adds twice: final norm and head when its loss is computed, the rest at its backward.
struct Added {
  std::uint32_t microbatch = 0;
  std::uint32_t attempt = 0;
  bool head = false;
  bool operator==(const Added&) const = default;
};

enum class LogLevel : std::uint8_t { debug = 0, info = 1, warning = 2, error = 3 };

struct LogLine {
  std::int64_t wall_us = 0;
  LogLevel level = LogLevel::info;
  std::string job;                     // empty: not about a job
  std::optional<std::uint32_t> stage;  // stage the node held when it wrote this
  std::string text;
  bool operator==(const LogLine&) const = default;
};

// Where a node stands in a job; travels with heartbeats and Hello.
struct JobProgress {
  std::string job;
  std::uint64_t epoch = 0;
  std::uint64_t step = 0;          // last commit applied here
  std::string activity;            // for people: "step 12: waits for stage 2 of microbatch 5 from b3f1"
  std::uint64_t memory_bytes = 0;  // resident in the daemon after the last update; 0: not known
  // Of a learner: it has made every update that it has heard of. Of a node that a plan does without: nothing
  // that it sent is on its way any more.
  bool level = false;
  bool operator==(const JobProgress&) const = default;
};

}  // namespace sidestep::net
