// One function per command, each of which declares the command's flags and says what to run when it
// was chosen. The parser runs nothing itself: `chosen` is called after all of the line was understood.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "daemon/cli/app.h"

namespace sidestep::cli {

using Chosen = std::function<int()>;

void add_up(CLI::App& app, Chosen& chosen);
void add_scheduler(CLI::App& app, Chosen& chosen);
void add_daemon(CLI::App& app, Chosen& chosen, const Wiring& wiring);
void add_doctor(CLI::App& app, Chosen& chosen, const Wiring& wiring);
void add_keygen(CLI::App& app, Chosen& chosen);
void add_health(CLI::App& app, Chosen& chosen);
void add_submit(CLI::App& app, Chosen& chosen);
void add_jobs(CLI::App& app, Chosen& chosen);
void add_status(CLI::App& app, Chosen& chosen);
void add_top(CLI::App& app, Chosen& chosen);
void add_cancel(CLI::App& app, Chosen& chosen);
void add_nodes(CLI::App& app, Chosen& chosen);
void add_drain(CLI::App& app, Chosen& chosen);
void add_kill(CLI::App& app, Chosen& chosen);
void add_invite(CLI::App& app, Chosen& chosen);
void add_admit(CLI::App& app, Chosen& chosen);
void add_revoke(CLI::App& app, Chosen& chosen);
void add_logs(CLI::App& app, Chosen& chosen);
void add_record(CLI::App& app, Chosen& chosen);
void add_solo(CLI::App& app, Chosen& chosen, const Wiring& wiring);
void add_export(CLI::App& app, Chosen& chosen, const Wiring& wiring);
void add_generate(CLI::App& app, Chosen& chosen, const Wiring& wiring);
void add_data(CLI::App& app, Chosen& chosen);
void add_plan(CLI::App& app, Chosen& chosen);
void add_simulate(CLI::App& app, Chosen& chosen);

}  // namespace sidestep::cli
