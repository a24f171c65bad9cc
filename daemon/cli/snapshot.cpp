#include "daemon/cli/snapshot.h"

namespace sidestep::cli {

Result<nlohmann::json> ask_snapshot(driver::Client& client, const std::string& job, std::int64_t limit_us) {
  constexpr int changes_shown = 6;
  nlohmann::json body = {{"plan", true}};
  if (!job.empty()) body["job"] = job;
  auto status = client.ask("status", body, limit_us);
  if (!status.ok()) return status;
  const auto changes = client.ask(
      "logs", {{"node", "scheduler"}, {"level", "info"}, {"limit", changes_shown}, {"tail", true}}, limit_us);
  if (!changes.ok()) return changes.status();
  nlohmann::json snapshot = std::move(status).value();
  snapshot["changes"] = changes.value().at("lines");
  return snapshot;
}

}  // namespace sidestep::cli
