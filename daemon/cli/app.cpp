#include "daemon/cli/app.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "daemon/cli/commands.h"
#include "daemon/cli/flags.h"
#include "scheduler/nearest.h"

namespace sidestep::cli {
namespace {

constexpr const char* footer_text =
    "Exit status: 0 ok, 1 failed, 2 wrong usage, 3 cannot reach the scheduler.\n"
    "`sidestep COMMAND --help` explains a command and shows an example.";

// The parser's own text for an unknown word names no neighbour; this one does.
std::string unknown_word(const std::string& kind, const std::string& word,
                         const std::vector<std::string>& known, const std::string& help) {
  const std::string near = scheduler::nearest(word, known);
  return "unknown " + kind + " \"" + word + "\"; " +
         (near.empty() ? "see " + help : "did you mean \"" + near + "\"?");
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

std::vector<std::string> flag_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

// What to tell the user about a line that the parser refused.
std::string explain(CLI::App& app, const CLI::ParseError& error) {
  const auto parsed = app.get_subcommands();
  if (parsed.empty()) {
    const auto left = app.remaining();
    if (!left.empty() && left.front().rfind("-", 0) == 0)
      return unknown_word("flag", left.front(), flag_names(app), "sidestep --help");
    if (!left.empty()) return unknown_word("command", left.front(), command_names(app), "sidestep --help");
    return "no command given; see sidestep --help";
  }
  const CLI::App* command = parsed.front();
  std::string name = "sidestep " + command->get_name();
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
    name += " " + command->get_name();
  }
  const std::string help = name + " --help";
  for (const std::string& text : app.remaining(true)) {
    const std::string word = text.substr(0, text.find('='));
    if (word.rfind("-", 0) == 0) return unknown_word("flag", word, flag_names(*command), help);
    const auto known = command_names(*command);
    if (!known.empty()) return unknown_word("command", text, known, help);
    return "unexpected word \"" + text + "\"; see " + help;
  }
  return error.what();
}

}  // namespace

int run(int argc, const char* const* argv, const Wiring& wiring) {
  CLI::App app{"Trains one LLaMa-style model across machines that come and go.", "sidestep"};
  app.set_version_flag("--version", std::string("sidestep ") + SIDESTEP_VERSION);
  app.footer(footer_text);
  app.require_subcommand(1);
  Chosen chosen;
  add_up(app, chosen);
  add_scheduler(app, chosen);
  add_daemon(app, chosen, wiring);
  add_keygen(app, chosen);
  add_doctor(app, chosen, wiring);
  add_health(app, chosen);
  add_submit(app, chosen);
  add_jobs(app, chosen);
  add_status(app, chosen);
  add_top(app, chosen);
  add_cancel(app, chosen);
  add_nodes(app, chosen);
  add_drain(app, chosen);
  add_kill(app, chosen);
  add_invite(app, chosen);
  add_admit(app, chosen);
  add_revoke(app, chosen);
  add_logs(app, chosen);
  add_record(app, chosen);
  add_solo(app, chosen, wiring);
  add_export(app, chosen, wiring);
  add_generate(app, chosen, wiring);
  add_data(app, chosen);
  add_plan(app, chosen);
  add_simulate(app, chosen);
  // Lists for an unknown word come from `remaining`, so extras must not be an error on their own level.
  try {
    app.parse(argc, const_cast<char**>(argv));
  } catch (const CLI::Success& success) {
    return app.exit(success);  // --help, --version
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "%s\n", explain(app, error).c_str());
    return exit_usage;
  }
  try {
    return chosen();
  } catch (const nlohmann::json::exception& problem) {
    return fail(
        Status::internal(std::string("the scheduler's answer was not understood: ") + problem.what()));
  }
}

}  // namespace sidestep::cli
