// Flags that several commands share, and values with bounds, in the words that users see.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "net/status.h"

namespace sidestep::cli {

// "cpu" or "cuda:N".
CLI::Validator device_name();
// A whole number in [low, high]: "--nodes: value 70000 is too large, at most 1024 allowed".
CLI::Validator whole_number(std::int64_t low, std::int64_t high);
// A number in [low, high].
CLI::Validator number(double low, double high);
// A length of time as people write it, "90s", "30m", "24h", "7d", in seconds. Errors: invalid.
Result<std::int64_t> parse_duration_s(const std::string& text);
// The same as a check: at least a second, at most `days_max` days.
CLI::Validator duration_up_to(std::int64_t days_max);
// One of a few words: "--level: unknown value "warn"; did you mean "warning"?".
CLI::Validator one_of(std::vector<std::string> words);

// Where the operator's config file is when neither --config nor $SIDESTEP_CONFIG says so: where
// `sidestep up` writes it.
inline constexpr const char* default_operator_config = "run/swarm/operator.json";

struct OperatorFlags {
  std::string config = default_operator_config;
  bool json = false;
};

// Adds --config and, unless the command reports nothing, --json.
void add_operator_flags(CLI::App& command, OperatorFlags& flags, bool reports = true);

// A command whose help text ends with an example.
CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& description,
                      const std::string& example);

// Prints "sidestep: MESSAGE" to standard error; the exit status that goes with the code.
int fail(const Status& status);

}  // namespace sidestep::cli
