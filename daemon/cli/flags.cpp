#include "daemon/cli/flags.h"

#include <charconv>
#include <cstdio>

#include "daemon/cli/app.h"
#include "daemon/core/device_name.h"
#include "scheduler/nearest.h"

namespace sidestep::cli {

CLI::Validator device_name() {
  const auto check = [](std::string& text) -> std::string {
    const auto name = daemon::parse_device_name(text);
    return name.ok() ? "" : name.status().message();
  };
  return CLI::Validator(check, "DEVICE");
}

CLI::Validator whole_number(std::int64_t low, std::int64_t high) {
  const auto check = [low, high](std::string& text) -> std::string {
    std::int64_t value = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = end == text.data() + text.size() && !text.empty();
    if (problem == std::errc::result_out_of_range && whole)
      return "value " + text +
             (text[0] == '-' ? " is too small, at least " + std::to_string(low)
                             : " is too large, at most " + std::to_string(high)) +
             " allowed";
    if (problem != std::errc() || !whole) return "value \"" + text + "\" is not a whole number";
    if (value < low) return "value " + text + " is too small, at least " + std::to_string(low) + " allowed";
    if (value > high) return "value " + text + " is too large, at most " + std::to_string(high) + " allowed";
    return "";
  };
  return CLI::Validator(check, std::to_string(low) + " to " + std::to_string(high));
}

CLI::Validator number(double low, double high) {
  const auto shown = [](double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", value);
    return std::string(text);
  };
  const auto check = [low, high, shown](std::string& text) -> std::string {
    double value = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (problem != std::errc() || end != text.data() + text.size() || value != value)
      return "value \"" + text + "\" is not a number";
    if (value < low) return "value " + text + " is too small, at least " + shown(low) + " allowed";
    if (value > high) return "value " + text + " is too large, at most " + shown(high) + " allowed";
    return "";
  };
  return CLI::Validator(check, shown(low) + " to " + shown(high));
}

Result<std::int64_t> parse_duration_s(const std::string& text) {
  std::int64_t count = 0;
  const char* end_of_text = text.data() + text.size();
  const auto [end, problem] = std::from_chars(text.data(), end_of_text, count);
  const std::string unit(end, end_of_text);
  const std::int64_t seconds = unit == "s"   ? 1
                               : unit == "m" ? 60
                               : unit == "h" ? 3'600
                               : unit == "d" ? 86'400
                                             : 0;
  std::int64_t total = 0;
  if (problem != std::errc() || seconds == 0 || count < 0 || __builtin_mul_overflow(count, seconds, &total))
    return Status::invalid("value \"" + text +
                           "\" is no length of time: a number and s, m, h or d, as in 24h");
  return total;
}

CLI::Validator duration_up_to(std::int64_t days_max) {
  const auto check = [days_max](std::string& text) -> std::string {
    const auto seconds = parse_duration_s(text);
    if (!seconds.ok()) return seconds.status().message();
    if (seconds.value() < 1) return "value " + text + " is too small, at least 1s allowed";
    if (seconds.value() > days_max * 86'400)
      return "value " + text + " is too large, at most " + std::to_string(days_max) + "d allowed";
    return "";
  };
  return CLI::Validator(check, "");
}

CLI::Validator one_of(std::vector<std::string> words) {
  std::string listed;
  for (const std::string& word : words) listed += (listed.empty() ? "" : ", ") + word;
  const auto check = [words, listed](std::string& text) -> std::string {
    for (const std::string& word : words)
      if (word == text) return "";
    const std::string near = scheduler::nearest(text, words);
    return "unknown value \"" + text + "\"" +
           (near.empty() ? "; one of " + listed : "; did you mean \"" + near + "\"?");
  };
  return CLI::Validator(check, listed);
}

void add_operator_flags(CLI::App& command, OperatorFlags& flags, bool reports) {
  command.add_option("--config", flags.config, "Operator config file: scheduler address and keys")
      ->envname("SIDESTEP_CONFIG")
      ->capture_default_str()
      ->type_name("FILE");
  if (reports) command.add_flag("--json", flags.json, "Report as JSON");
}

CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& description,
                      const std::string& example) {
  CLI::App* command = app.add_subcommand(name, description);
  command->footer("Example:\n  " + example);
  return command;
}

int fail(const Status& status) {
  std::fprintf(stderr, "sidestep: %s\n", status.message().c_str());
  return status.code() == Code::unavailable ? exit_unreachable : exit_failed;
}

}  // namespace sidestep::cli
