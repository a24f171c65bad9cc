#include "daemon/export_command.h"

#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "daemon/cli/operator_config.h"
#include "daemon/cli/report.h"
#include "daemon/export_job.h"
#include "recovery/weights.h"

namespace sidestep {

int run_export_command(const cli::ExportRequest& request) {
  cli::catch_interrupts();
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error like a full disk
  auto client = cli::connect({request.config, request.json});
  if (!client.ok()) return cli::fail(client.status());
  const auto tell = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
  const auto exported =
      export_job(*client.value(), {request.job, request.out, request.precision, request.rebuild}, tell);
  if (!exported.ok()) return cli::fail(exported.status());
  const ExportReport& report = exported.value();
  if (request.json) {
    nlohmann::json rebuilt = nlohmann::json::array();
    for (const auto& one : report.rebuilt) {
      nlohmann::json sources = nlohmann::json::array();
      for (const auto& source : one.sources)
        sources.push_back({{"stage", source.stage}, {"weight", source.weight}});
      rebuilt.push_back({{"stage", one.stage}, {"sources", std::move(sources)}});
    }
    std::printf("%s\n", nlohmann::json{{"job", report.job},
                                       {"folder", request.out},
                                       {"state", report.state},
                                       {"commit", report.commit},
                                       {"step", report.step},
                                       {"steps", report.steps},
                                       {"precision", request.precision},
                                       {"parameters", report.parameters},
                                       {"bytes", report.bytes},
                                       {"seconds", report.seconds},
                                       {"rebuilt", std::move(rebuilt)},
                                       {"note", report.tokenizer_note}}
                            .dump(2)
                            .c_str());
    return cli::exit_ok;
  }
  std::printf("%s: job %s (%s) at commit %llu, after step %lld of %lld: %lld parameters in %s, %s, %.1f s\n",
              request.out.c_str(), report.job.c_str(), report.state.c_str(),
              static_cast<unsigned long long>(report.commit), static_cast<long long>(report.step),
              static_cast<long long>(report.steps), static_cast<long long>(report.parameters),
              request.precision.c_str(), cli::bytes(report.bytes).c_str(), report.seconds);
  for (const auto& one : report.rebuilt)
    std::printf("note: stage %u was lost, and is made out of its neighbours: %s\n", one.stage,
                recovery::describe(one.sources).c_str());
  if (!report.tokenizer_note.empty()) std::printf("note: %s\n", report.tokenizer_note.c_str());
  return cli::exit_ok;
}

}  // namespace sidestep
