// sidestep health: does the scheduler or daemon with this data folder still run its loop?
#include <cstdio>
#include <memory>

#include "daemon/cli/commands.h"
#include "daemon/cli/flags.h"
#include "daemon/driver/health.h"
#include "net/clock.h"

namespace sidestep::cli {
namespace {

int report_health(const std::string& data_dir) {
  const auto state = driver::read_health(data_dir, net::wall_us());
  if (!state.ok()) {
    fail(state.status());
    return exit_failed;  // the one status that every health check understands
  }
  std::printf("%s\n", state.value().c_str());
  return exit_ok;
}

}  // namespace

void add_health(CLI::App& app, Chosen& chosen) {
  auto data_dir = std::make_shared<std::string>();
  CLI::App* command =
      add_command(app, "health",
                  "Say whether the scheduler or daemon that keeps this data folder is alive, on "
                  "the same machine; exit status 0 or 1, for health checks.",
                  "sidestep health run/swarm/node-1/data");
  command->add_option("data_dir", *data_dir, "Its data_dir")->required()->type_name("DIR");
  command->callback([data_dir, &chosen] { chosen = [data_dir] { return report_health(*data_dir); }; });
}

}  // namespace sidestep::cli
