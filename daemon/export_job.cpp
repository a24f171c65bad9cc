#include "daemon/export_job.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <vector>

#include "daemon/data/bring_tokenizer.h"
#include "daemon/data/hf_export.h"
#include "daemon/driver/snapshot_pull.h"
#include "daemon/model/parameters.h"
#include "daemon/model/stage_files.h"
#include "daemon/model/weights.h"
#include "daemon/scratch_folder.h"
#include "net/clock.h"
#include "recovery/weights.h"
#include "scheduler/job.h"
#include "scheduler/sources.h"

namespace sidestep {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t poll_us = 300 * net::ms;
constexpr std::int64_t snapshot_limit_us = 1'800 * net::second;
// The scheduler makes us a guest at the nodes for ten minutes.
constexpr std::int64_t renew_us = 60 * net::second;

// Asks until the snapshot is there; its answer.
Result<nlohmann::json> wait_for_snapshot(driver::Client& client, const ExportTarget& target,
                                         const std::function<void(const std::string&)>& tell) {
  const std::string& job = target.job;
  nlohmann::json body = {{"job", job}, {"rebuild", target.rebuild}};
  const std::int64_t end_us = net::monotonic_us() + snapshot_limit_us;
  std::string told;
  while (true) {
    auto reply = client.ask("export", body);
    if (!reply.ok() || reply.value().at("ready").get<bool>()) return reply;
    const auto waiting = reply.value().at("waiting").get<std::string>();
    if (waiting != told) tell("waits for " + waiting);
    told = waiting;
    if (net::monotonic_us() >= end_us)
      return Status::refused("job " + job + ": no snapshot in " +
                             std::to_string(snapshot_limit_us / net::second) + " s, still waits for " +
                             waiting);
    body["at_least"] = reply.value().at("at_least");
    client.idle(poll_us);
    if (client.interrupted()) return Status::refused("interrupted");
  }
}

Result<recovery::PullRequest> pull_request(driver::Client& client, const nlohmann::json& answer,
                                           const nlohmann::json& stage) {
  recovery::PullRequest request;
  request.job = answer.at("job").get<std::string>();
  request.commit = answer.at("commit").get<std::uint64_t>();
  request.stage = stage.at("stage").get<std::uint32_t>();
  request.elements = stage.at("elements").get<std::uint64_t>();
  for (const auto& source : stage.at("sources")) {
    const auto key = net::NodeKey::from_hex(source.at("node").get<std::string>());
    if (!key.ok()) return key.status();
    const auto address = source.at("address").get<std::string>();
    request.sources.push_back({key.value(),
                               "node " + key.value().short_name() + " (" +
                                   source.at("nickname").get<std::string>() + ", " + address + ")",
                               source.at("digest").get<std::string>()});
    client.connect_data(key.value(), address);
  }
  return request;
}

// Stages that nobody can give, out of those whose files are there.
Result<std::vector<scheduler::RecordRecovery>> rebuild_stages(
    driver::Client& client, const nlohmann::json& answer, const scheduler::JobSpec& spec,
    const std::vector<std::string>& files, const std::function<void(const std::string&)>& tell) {
  std::vector<std::uint32_t> out;
  for (std::size_t stage = 0; stage < files.size(); ++stage)
    if (answer.at("stages")[stage].at("sources").empty()) out.push_back(static_cast<std::uint32_t>(stage));
  std::vector<scheduler::RecordRecovery> rebuilt;
  if (out.empty()) return rebuilt;
  const auto commit = answer.at("commit").get<std::uint64_t>();
  // The last step may be one of validation alone, which has no gradients.
  const std::uint64_t trained = std::min(commit, static_cast<std::uint64_t>(spec.steps));
  const auto reply = client.ask("record", {{"job", answer.at("job")}, {"step", trained}});
  if (!reply.ok()) return reply.status();
  std::map<std::uint32_t, double> norms;
  for (const auto& entry : reply.value().at("steps")) {
    const auto step = scheduler::parse_record_step(entry);
    if (!step.ok()) return step.status();
    const double most = spec.optimizer.clip_norm > 0 ? spec.optimizer.clip_norm : HUGE_VAL;
    for (const auto& stage : step.value().stages) norms[stage.stage] = std::min(stage.norm, most);
  }
  for (const std::uint32_t stage : out) {
    std::vector<recovery::SourceNorm> sources;
    for (const std::uint32_t source : scheduler::sources_of(spec, out, stage))
      sources.push_back({source, norms[source]});
    if (sources.empty() || stage == 0)
      return Status::not_found("job " + answer.at("job").get<std::string>() + ", commit " +
                               std::to_string(commit) + ": nobody has stage " + std::to_string(stage) +
                               ", and there is nothing to make it from");
    scheduler::RecordRecovery& one = rebuilt.emplace_back();
    one.stage = stage;
    one.commit = commit;
    one.policy = spec.recovery.rebuilds() ? spec.recovery.policy : "checkfree";
    one.sources = recovery::weigh(spec.recovery, sources);
    tell("nobody has stage " + std::to_string(stage) + ": " + recovery::describe(one.sources));
    if (Status status = daemon::write_rebuilt_stage(spec, stage, one.sources, files); !status.ok())
      return status;
  }
  return rebuilt;
}

Status pull_stages(driver::Client& client, const nlohmann::json& answer, const scheduler::JobSpec& spec,
                   const std::vector<std::string>& files,
                   const std::function<void(const std::string&)>& tell) {
  // Each request makes us a guest anew. Whatever comes back, or nothing: nodes give until they are told not
  // to.
  auto stay_guest = [&, next_us = net::monotonic_us() + renew_us]() mutable {
    if (net::monotonic_us() < next_us) return;
    const auto ignored = client.ask("export", {{"job", answer.at("job")}, {"at_least", answer.at("commit")}});
    next_us = net::monotonic_us() + renew_us;
  };
  const auto& stages = answer.at("stages");
  if (stages.size() != files.size())
    return Status::internal("the scheduler names " + std::to_string(stages.size()) + " stages, the job has " +
                            std::to_string(files.size()));
  for (std::size_t stage = 0; stage < files.size(); ++stage) {
    if (stages[stage].at("sources").empty()) continue;
    const auto request = pull_request(client, answer, stages[stage]);
    if (!request.ok()) return request.status();
    const auto elements = static_cast<std::uint64_t>(
        daemon::ParameterLayout::of_stage(spec, static_cast<std::int64_t>(stage)).elements);
    if (request.value().stage != stage || request.value().elements != elements)
      return Status::invalid("stage " + std::to_string(stage) + " was saved with " +
                             std::to_string(request.value().elements) + " parameters, the job's has " +
                             std::to_string(elements));
    tell("stage " + std::to_string(stage) + " from " + request.value().sources.front().name + ", " +
         std::to_string(elements) + " parameters");
    if (Status status = driver::pull_stage(client, request.value(), files[stage], std::ref(stay_guest));
        !status.ok())
      return status;
  }
  return {};
}

// Which stages were lost and what was made of them; null where none was.
nlohmann::json provenance(const nlohmann::json& answer,
                          const std::vector<scheduler::RecordRecovery>& rebuilt) {
  nlohmann::json recoveries = answer.at("recoveries");
  for (const scheduler::RecordRecovery& one : rebuilt) recoveries.push_back(scheduler::to_json(one));
  if (recoveries.empty()) return nullptr;
  return {{"job", answer.at("job")},
          {"commit", answer.at("commit")},
          {"recovered", answer.at("recovered")},
          {"recoveries", std::move(recoveries)}};
}

std::uint64_t folder_bytes(const std::string& folder) {
  std::uint64_t bytes = 0;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error))
    bytes += entry.file_size(error);
  return bytes;
}

}  // namespace

Result<ExportReport> export_job(driver::Client& client, const ExportTarget& target,
                                const std::function<void(const std::string&)>& tell) {
  const std::int64_t begin_us = net::monotonic_us();
  // Before anything is asked of anybody.
  if (Status status = daemon::check_export_place(target.out); !status.ok()) return status;
  const auto answer = wait_for_snapshot(client, target, tell);
  if (!answer.ok()) return answer.status();
  const auto parsed = scheduler::parse_job(answer.value().at("spec"), target.job);
  if (!parsed.ok()) return parsed.status();
  const scheduler::JobSpec& spec = parsed.value();

  // For the stages on their way into the export.
  auto work = ScratchFolder::beside(target.out);
  if (!work.ok()) return work.status();
  std::vector<std::string> files;
  for (std::int64_t stage = 0; stage < spec.pipeline.stages; ++stage)
    files.push_back(work.value() / ("stage-" + std::to_string(stage)));
  if (Status status = pull_stages(client, answer.value(), spec, files, tell); !status.ok()) return status;
  auto rebuilt = rebuild_stages(client, answer.value(), spec, files, tell);
  if (!rebuilt.ok()) return rebuilt.status();

  ExportReport report;
  report.rebuilt = std::move(rebuilt).value();
  daemon::HfExportOptions options;
  const std::string companions = work.value() / "companions";
  auto note = daemon::bring_tokenizer(spec.data, companions);
  if (!note.ok()) return note.status();
  report.tokenizer_note = std::move(note).value();
  if (!report.tokenizer_note.empty() && daemon::has_tokenizer(target.out))
    report.tokenizer_note = "the tokenizer in it is the one that was beside the older export";
  options.recoveries = provenance(answer.value(), report.rebuilt);
  if (fs::exists(companions)) options.companions = companions;

  options.notes = {spec.pipeline.stages, spec.pipeline.stage_0_layers,
                   spec.data.format == "tokens" ? "" : spec.data.tokenizer};

  const auto type = target.precision == "bfloat16" ? daemon::ElementType::bf16 : daemon::ElementType::f32;
  const auto tensors = daemon::model_tensors(spec.model, type);
  const auto source = daemon::stage_file_source(spec, files);
  if (!source.ok()) return source.status();
  if (Status status = daemon::write_hf_folder(target.out, spec.model, tensors, source.value(), options);
      !status.ok())
    return status;

  report.job = answer.value().at("job").get<std::string>();
  report.state = answer.value().at("state").get<std::string>();
  report.commit = answer.value().at("commit").get<std::uint64_t>();
  report.steps = spec.steps;
  report.step = std::min(static_cast<std::int64_t>(report.commit), spec.steps);
  for (const daemon::TensorInfo& tensor : tensors) report.parameters += tensor.elements();
  report.bytes = folder_bytes(target.out);
  report.seconds = static_cast<double>(net::monotonic_us() - begin_us) / 1e6;
  return report;
}

}  // namespace sidestep
