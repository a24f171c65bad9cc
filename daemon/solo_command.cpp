#include "daemon/solo_command.h"

#include <cstdio>
#include <fstream>
#include <thread>

#include "daemon/cli/flags.h"
#include "daemon/cli/operator_config.h"
#include "daemon/data/checkpoint_folder.h"
#include "daemon/executor/torch_runner.h"
#include "daemon/solo/replay.h"
#include "daemon/solo/solo.h"
#include "recovery/weights.h"
#include "scheduler/job.h"

namespace sidestep {
namespace {

using cli::SoloRequest;

// How far a replayed loss may be from the recorded one, relative to it.
constexpr double replay_tolerance = 1e-5;

Status stop_when_interrupted(std::uint64_t step) {
  return cli::interrupted() ? Status::refused("interrupted after step " + std::to_string(step)) : Status();
}

std::string losses(const scheduler::RecordStep& step) {
  char text[96] = "";
  std::string line;
  if (step.loss) {
    std::snprintf(text, sizeof text, "  loss %.6f", *step.loss);
    line += text;
  }
  if (step.validation_loss) {
    std::snprintf(text, sizeof text, "  validation %.6f", *step.validation_loss);
    line += text;
  }
  for (const double loss : step.validation_skip_losses) {
    std::snprintf(text, sizeof text, " %.6f", loss);
    line += text;
  }
  return line;
}

// "  stage 2 is back: 38 % of stage 1, 62 % of stage 3", "  the model is back as of commit 50": what was lost
// and made up for before the step.
std::string recoveries(const scheduler::RecordStep& step) {
  std::string line;
  if (!step.recoveries.empty() && step.recoveries.front().policy == "checkpoint")
    return "  the model is back as of commit " + std::to_string(step.recoveries.front().commit);
  for (const scheduler::RecordRecovery& recovery : step.recoveries)
    line += "  stage " + std::to_string(recovery.stage) + " is back: " +
            (recovery.is_own() ? "as of commit " + std::to_string(recovery.commit)
                               : recovery::describe(recovery.sources));
  return line;
}

daemon::TaskRunnerFactory runner_factory(const std::string& device, std::int64_t threads) {
  daemon::TorchRunnerOptions options;
  options.device = device;
  options.threads =
      static_cast<int>(threads > 0 ? threads : std::max(1u, std::thread::hardware_concurrency()));
  return [options] { return std::make_unique<daemon::TorchRunner>(options); };
}

int run_job(const SoloRequest& request) {
  auto job = scheduler::load_job(request.job);
  if (!job.ok()) {
    std::fprintf(stderr, "%s\n", job.status().message().c_str());
    return cli::exit_failed;
  }
  job.value().resolve_precision(request.device != "cpu");
  if (scheduler::ResumeSpec& resume = job.value().resume; !resume.directory.empty()) {
    const auto checkpoint = daemon::Checkpoint::open(job.value());
    if (!checkpoint.ok()) return cli::fail(checkpoint.status());
    resume.commit = static_cast<std::int64_t>(checkpoint.value().manifest().commit);
    resume.digest = checkpoint.value().digest();
  }
  std::ofstream record;
  if (!request.out.empty()) {
    record.open(request.out, std::ios::trunc);
    if (!record) return cli::fail(Status::io(request.out + ": cannot be written"));
    record << scheduler::to_json(scheduler::RecordHeader{job.value().name, scheduler::to_json(job.value())})
                  .dump()
           << "\n";
  }
  const auto steps = job.value().steps;
  const Status status = daemon::run_solo(
      job.value(), runner_factory(request.device, request.threads), [&](const scheduler::RecordStep& step) {
        if (record.is_open()) record << scheduler::to_json(step).dump() << "\n" << std::flush;
        if (request.json)
          std::printf("%s\n", scheduler::to_json(step).dump().c_str());
        else if (step.step > static_cast<std::uint64_t>(steps))
          std::printf("after the last step%s\n", losses(step).c_str());
        else if (step.step > job.value().first_commit())
          std::printf("step %llu/%lld%s  %.0f ms%s\n", static_cast<unsigned long long>(step.step),
                      static_cast<long long>(steps), losses(step).c_str(),
                      static_cast<double>(step.duration_us) / 1e3, recoveries(step).c_str());
        std::fflush(stdout);
        return stop_when_interrupted(step.step);
      });
  return status.ok() ? static_cast<int>(cli::exit_ok) : cli::fail(status);
}

// The record must be of the job that the user named.
Status check_same_job(const SoloRequest& request, const scheduler::RecordHeader& header) {
  if (request.job.empty()) return {};
  const auto job = scheduler::load_job(request.job);
  if (!job.ok()) return job.status();
  nlohmann::json given = scheduler::to_json(job.value());
  nlohmann::json recorded = header.spec;
  // Filled in when the job was submitted.
  if (job.value().data.digest.empty()) {
    given["data"].erase("digest");
    if (recorded.contains("data")) recorded["data"].erase("digest");
  }
  // Settled when it was known where the job runs.
  if (job.value().precision == "auto") given["precision"] = recorded.value("precision", "auto");
  if (job.value().resume.digest.empty()) {
    given.erase("resume");
    recorded.erase("resume");
  }
  if (job.value().init_from_digest.empty()) {
    given.erase("init_from_digest");
    recorded.erase("init_from_digest");
  }
  if (given == recorded) return {};
  return Status::invalid(request.replay + ": is the record of another job than " + request.job + ": " +
                         nlohmann::json::diff(given, recorded).dump());
}

// Compute threads of the nodes of a record, for the same sums in the same order; 0 when it does not say.
std::int64_t recorded_threads(const std::string& path) {
  auto file = daemon::RecordFile::open(path);
  if (!file.ok()) return 0;
  while (true) {
    const auto step = file.value().next();
    if (!step.ok() || !step.value()) return 0;
    for (const scheduler::RecordStage& stage : step.value()->stages)
      for (const scheduler::RecordReplica& replica : stage.replicas) return replica.threads;
  }
}

int replay_record(const SoloRequest& request) {
  auto file = daemon::RecordFile::open(request.replay);
  if (!file.ok()) return cli::fail(file.status());
  if (const Status same = check_same_job(request, file.value().header()); !same.ok()) return cli::fail(same);
  const std::int64_t threads = request.threads > 0 ? request.threads : recorded_threads(request.replay);
  const auto report = daemon::replay(
      file.value().header(), file.value().recoveries(), [&] { return file.value().next(); },
      runner_factory(request.device, threads),
      [&](const scheduler::RecordStep& recorded, const scheduler::RecordStep& replayed) {
        if (request.json)
          std::printf("%s\n",
                      nlohmann::json{{"step", recorded.step},
                                     {"recorded", recorded.loss ? nlohmann::json(*recorded.loss) : nullptr},
                                     {"replayed", replayed.loss ? nlohmann::json(*replayed.loss) : nullptr}}
                          .dump()
                          .c_str());
        else if (recorded.loss || recorded.validation_loss)
          std::printf("step %llu%s  recorded%s\n", static_cast<unsigned long long>(recorded.step),
                      losses(replayed).c_str(), losses(recorded).c_str());
        std::fflush(stdout);
        return stop_when_interrupted(recorded.step);
      });
  if (!report.ok()) return cli::fail(report.status());
  const auto& result = report.value();
  const bool same = result.largest_difference <= replay_tolerance;
  if (request.json) {
    std::printf("%s\n", nlohmann::json{{"steps", result.steps},
                                       {"losses", result.losses},
                                       {"largest_difference", result.largest_difference},
                                       {"identical", result.identical},
                                       {"first_difference", result.first_difference}}
                            .dump()
                            .c_str());
  } else if (result.identical) {
    std::printf("%llu steps, %llu losses: all equal to the record, bit for bit\n",
                static_cast<unsigned long long>(result.steps),
                static_cast<unsigned long long>(result.losses));
  } else {
    std::printf("%llu steps, %llu losses: largest difference %.2e relative (%s %.0e)\nfirst: %s\n",
                static_cast<unsigned long long>(result.steps), static_cast<unsigned long long>(result.losses),
                result.largest_difference, same ? "within" : "more than", replay_tolerance,
                result.first_difference.c_str());
  }
  return same ? cli::exit_ok : cli::exit_failed;
}

}  // namespace

int run_solo_command(const SoloRequest& request) {
  cli::catch_interrupts();
  return request.replay.empty() ? run_job(request) : replay_record(request);
}

}  // namespace sidestep
