#include "daemon/cli/flags.h"

#include <charconv>
#include <cstdio>

#include "daemon/cli/app.h"
#include "daemon/cli/nearest.h"
#include "daemon/core/device_name.h"

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

CLI::Validator one_of(std::vector<std::string> words) {
  std::string listed;
  for (const std::string& word : words) listed += (listed.empty() ? "" : ", ") + word;
  const auto check = [words, listed](std::string& text) -> std::string {
    for (const std::string& word : words)
      if (word == text) return "";
    const std::string near = nearest(text, words);
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
