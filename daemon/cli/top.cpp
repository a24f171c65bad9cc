// sidestep top: the swarm and its job in the terminal, as they are now.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "daemon/cli/commands.h"
#include "daemon/cli/flags.h"
#include "daemon/cli/live_screen.h"
#include "daemon/cli/operator_config.h"
#include "daemon/cli/report.h"
#include "daemon/cli/snapshot.h"
#include "net/clock.h"

namespace sidestep::cli {
namespace {

constexpr std::int64_t redraw_us = net::second;
constexpr std::int64_t first_limit_us = 10 * net::second;
constexpr std::int64_t live_limit_us = 2 * net::second;  // for an answer, while no key is taken
constexpr std::int64_t key_us = 50 * net::ms;            // how long a key may wait

Result<nlohmann::json> ask_all(driver::Client& client, std::int64_t limit_us) {
  auto snapshot = ask_snapshot(client, "", limit_us);
  if (!snapshot.ok()) return snapshot;
  const auto jobs = client.ask("jobs", nlohmann::json::object(), limit_us);
  if (!jobs.ok()) return jobs.status();
  nlohmann::json all = std::move(snapshot).value();
  all["jobs"] = jobs.value().at("jobs");
  return all;
}

// Until it is time to draw again; false: the user wants to leave.
bool wait_for_next(driver::Client& client, LiveScreen& screen) {
  for (std::int64_t passed_us = 0; passed_us < redraw_us; passed_us += key_us) {
    if (const auto key = screen.key(); key == 'q' || key == 'Q') return false;
    if (interrupted()) return false;
    client.idle(key_us);
  }
  return true;
}

// The last page stays, with a word about it, while the scheduler is away.
int watch(driver::Client& client, nlohmann::json snapshot) {
  LiveScreen screen;
  std::string notice;
  std::int64_t heard_us = net::monotonic_us();
  do {
    screen.draw(top_page(snapshot, screen.size(), notice));
    if (!wait_for_next(client, screen)) break;
    auto next = ask_all(client, live_limit_us);
    if (next.ok()) {
      snapshot = std::move(next).value();
      heard_us = net::monotonic_us();
      notice.clear();
    } else {
      notice = "this was " + duration(static_cast<double>(net::monotonic_us() - heard_us) / 1e6) +
               " ago: " + next.status().message();
    }
  } while (!interrupted());
  return exit_ok;
}

int show_top(const OperatorFlags& flags) {
  const auto client = connect(flags);
  if (!client.ok()) return fail(client.status());
  const auto first = ask_all(*client.value(), first_limit_us);
  if (!first.ok()) return fail(first.status());
  if (!flags.json && isatty(STDOUT_FILENO) == 1) {
    catch_interrupts();
    return watch(*client.value(), first.value());
  }
  std::printf("%s",
              flags.json ? (first.value().dump(2) + "\n").c_str() : top_page(first.value(), {}).c_str());
  return exit_ok;
}

}  // namespace

void add_top(CLI::App& app, Chosen& chosen) {
  auto flags = std::make_shared<OperatorFlags>();
  CLI::App* command = add_command(
      app, "top",
      "Watch the swarm and its job: progress, what each node does, changes, slow links. q or Ctrl-C ends it; "
      "without a terminal the page is printed once.",
      "sidestep top --config run/swarm/operator.json");
  add_operator_flags(*command, *flags);
  command->callback([flags, &chosen] { chosen = [flags] { return show_top(*flags); }; });
}

}  // namespace sidestep::cli
