// sidestep doctor: will a daemon with this config work, and if not, what to do.
#include <cstdio>
#include <memory>

#include "daemon/cli/commands.h"
#include "daemon/cli/flags.h"
#include "daemon/cli/operator_config.h"
#include "daemon/driver/doctor.h"

namespace sidestep::cli {
namespace {

struct DoctorFlags {
  std::string config;
  bool json = false;
};

int examine_config(const DoctorFlags& flags, const Wiring& wiring) {
  auto config = driver::load_node_config(flags.config, driver::invite_from_environment());
  if (!config.ok()) return fail(config.status());
  catch_interrupts();
  nlohmann::json findings = nlohmann::json::array();
  bool all_well = true;
  const driver::MachineFacts machine = wiring.machine(config.value().device);
  driver::DoctorOptions options{std::move(config).value(), machine, interrupted, {}};
  options.found = [&](const driver::Finding& finding) {
    const std::string verdict(to_string(finding.verdict));
    all_well = all_well && finding.verdict != driver::Verdict::failed;
    findings.push_back(
        {{"what", finding.what}, {"verdict", verdict}, {"text", finding.text}, {"cure", finding.cure}});
    if (flags.json) return;
    std::printf("%-8s %s: %s\n", verdict.c_str(), finding.what.c_str(), finding.text.c_str());
    if (!finding.cure.empty()) std::printf("         cure: %s\n", finding.cure.c_str());
    std::fflush(stdout);
  };
  const bool reached = driver::examine(options);
  if (flags.json)
    std::printf("%s\n", nlohmann::json{{"ok", all_well}, {"findings", findings}}.dump(2).c_str());
  if (!reached) return exit_unreachable;
  return all_well && !interrupted() ? exit_ok : exit_failed;
}

}  // namespace

void add_doctor(CLI::App& app, Chosen& chosen, const Wiring& wiring) {
  auto flags = std::make_shared<DoctorFlags>();
  CLI::App* command =
      add_command(app, "doctor",
                  "Before a node joins: look at its key, device, memory, disk, port and clock, at "
                  "the scheduler, and at the ways to and "
                  "from every node, with a cure for what is wrong. Uses up no invite.",
                  "sidestep doctor --config node.json");
  command->add_option("--config", flags->config, "Node config file")
      ->required()
      ->envname("SIDESTEP_NODE_CONFIG")
      ->type_name("FILE");
  command->add_flag("--json", flags->json, "Report as JSON");
  command->callback(
      [flags, wiring, &chosen] { chosen = [flags, wiring] { return examine_config(*flags, wiring); }; });
}

}  // namespace sidestep::cli
