#include "daemon/solo/replay.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>

#include "daemon/solo/step_follower.h"

namespace sidestep::daemon {

using net::NodeKey;
using scheduler::JobSpec;
using scheduler::RecordHeader;
using scheduler::RecordRecovery;
using scheduler::RecordReplica;
using scheduler::RecordRoute;
using scheduler::RecordStage;
using scheduler::RecordStep;

namespace {

using StagesOf = std::map<NodeKey, std::vector<std::uint32_t>>;

StagesOf stages_of(const RecordStep& step) {
  StagesOf result;
  for (const RecordStage& stage : step.stages) {
    for (const RecordReplica& replica : stage.replicas) result[replica.node].push_back(stage.stage);
  }
  return result;
}

std::string digits(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

// Whether the whole model went back to the commit before this step, which runs once more.
bool goes_back(const RecordStep& step) {
  return step.step > 0 && !step.recoveries.empty() &&
         std::ranges::all_of(step.recoveries, [&](const RecordRecovery& recovery) {
           return recovery.is_own() && recovery.commit + 1 == step.step;
         });
}

class Comparison {
 public:
  explicit Comparison(ReplayReport& report) : report_(report) {}

  void compare(const RecordStep& recorded, const RecordStep& replayed) {
    const std::string step = "step " + std::to_string(recorded.step);
    compare(step + ", microbatch ", recorded.routes, replayed.routes);
    compare(step + ", validation microbatch ", recorded.evaluations, replayed.evaluations);
    compare(step, recorded.loss, replayed.loss);
    compare(step + ", validation", recorded.validation_loss, replayed.validation_loss);
    for (std::size_t i = 0; i < recorded.validation_skip_losses.size(); ++i)
      compare(step + ", validation.skip[" + std::to_string(i) + "]",
              std::optional(recorded.validation_skip_losses[i]),
              i < replayed.validation_skip_losses.size() ? std::optional(replayed.validation_skip_losses[i])
                                                         : std::nullopt);
  }

 private:
  // Routes are the same on both sides, in the same order; attempts that were given up have no loss.
  void compare(const std::string& name, const std::vector<RecordRoute>& recorded,
               const std::vector<RecordRoute>& replayed) {
    for (std::size_t i = 0; i < recorded.size(); ++i) {
      const bool closed = std::ranges::none_of(recorded, [&](const RecordRoute& other) {
        return other.microbatch == recorded[i].microbatch && other.attempt > recorded[i].attempt;
      });
      if (closed) compare(name + std::to_string(recorded[i].microbatch), recorded[i].loss, replayed[i].loss);
    }
  }

  void compare(const std::string& name, std::optional<double> recorded, std::optional<double> replayed) {
    if (!recorded && !replayed) return;
    ++report_.losses;
    if (recorded && replayed &&
        std::bit_cast<std::uint64_t>(*recorded) == std::bit_cast<std::uint64_t>(*replayed)) {
      return;
    }
    if (report_.identical) {
      report_.identical = false;
      report_.first_difference = name + ": recorded " + (recorded ? digits(*recorded) : "no loss") +
                                 ", replayed " + (replayed ? digits(*replayed) : "no loss");
    }
    double difference = std::numeric_limits<double>::infinity();
    if (recorded && replayed) {
      const bool both_nan = std::isnan(*recorded) && std::isnan(*replayed);
      difference = both_nan ? 0 : std::abs(*replayed - *recorded) / std::abs(*recorded);
      if (std::isnan(difference)) difference = std::numeric_limits<double>::infinity();
    }
    report_.largest_difference = std::max(report_.largest_difference, difference);
  }

  ReplayReport& report_;
};

}  // namespace

std::vector<RecoveryAt> recoveries_of(const std::vector<RecordStep>& steps) {
  std::vector<RecoveryAt> found;
  for (std::size_t line = 0; line < steps.size(); ++line)
    for (const RecordRecovery& recovery : steps[line].recoveries) found.push_back({line, recovery});
  return found;
}

Result<RecordFile> RecordFile::open(const std::string& path) {
  std::ifstream file(path);
  if (!file) return Status::io(path + ": cannot be opened");
  RecordFile record(path, std::move(file));
  if (Status status = record.find_recoveries(); !status.ok()) return status;
  std::string line;
  if (!std::getline(record.file_, line))
    return Status::invalid(path + ": is empty; a record begins with a header");
  ++record.line_;
  const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
  if (json.is_discarded()) return record.at_line("the header is not JSON");
  Result<RecordHeader> header = scheduler::parse_record_header(json);
  if (!header.ok()) return record.at_line(header.status().message());
  record.header_ = std::move(header.value());
  if (const auto job = scheduler::parse_job(record.header_.spec, path); job.ok())
    record.first_step_ = job.value().first_commit();
  return record;
}

// What is wrong with a line is said when its turn comes.
Status RecordFile::find_recoveries() {
  std::string line;
  std::getline(file_, line);  // the header
  for (std::size_t number = 0; std::getline(file_, line); ++number) {
    if (line.find("\"recoveries\"") == std::string::npos) continue;
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("recoveries") || !json["recoveries"].is_array()) continue;
    for (const nlohmann::json& entry : json["recoveries"])
      if (auto recovery = scheduler::parse_recovery(entry); recovery.ok())
        recoveries_.push_back({number, std::move(recovery).value()});
  }
  if (file_.bad()) return Status::io(path_ + ": cannot be read");
  file_.clear();
  file_.seekg(0);
  return file_ ? Status() : Status::io(path_ + ": cannot be read twice; it has to be a file");
}

Result<std::optional<RecordStep>> RecordFile::next() {
  std::string line;
  if (!std::getline(file_, line)) {
    if (file_.bad()) return Status::io(path_ + ": cannot be read");
    return std::optional<RecordStep>();
  }
  ++line_;
  const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
  if (json.is_discarded()) return at_line("is not JSON; was the file cut short?");
  Result<RecordStep> step = scheduler::parse_record_step(json);
  if (!step.ok()) return at_line(step.status().message());
  const std::uint64_t expected = last_step_ ? *last_step_ + 1 : first_step_;
  const bool again = last_step_ && step.value().step <= *last_step_ && goes_back(step.value());
  if (step.value().step != expected && !again) {
    return at_line("step " + std::to_string(step.value().step) + " where step " + std::to_string(expected) +
                   " should be");
  }
  last_step_ = step.value().step;
  return std::optional<RecordStep>(std::move(step.value()));
}

Status RecordFile::at_line(const std::string& what) const {
  return Status::invalid(path_ + ":" + std::to_string(line_) + ": " + what);
}

Result<ReplayReport> replay(const RecordHeader& header, const std::vector<RecoveryAt>& recoveries,
                            const StepSource& next_step, const TaskRunnerFactory& factory,
                            const ReplayObserver& on_step) {
  Result<JobSpec> job = scheduler::parse_job(header.spec, "the record's job");
  if (!job.ok()) return job.status();
  Result<std::optional<RecordStep>> recorded = next_step();
  if (!recorded.ok()) return recorded.status();
  const std::uint64_t first = job.value().first_commit();
  if (!recorded.value() || recorded.value()->step != first || recorded.value()->stages.empty()) {
    return Status::invalid("the record does not begin with step " + std::to_string(first) +
                           " and the nodes that hold its stages");
  }
  StepFollower follower(std::move(job.value()), factory);
  if (Status status = follower.begin(stages_of(*recorded.value())); !status.ok()) return status;
  // A stage that was rebuilt is in the record when it is back, and made of what was before.
  std::uint64_t reached = 0;
  // Its own state, of a mirror or checkpoint, is kept before the step may lose it, for the step itself too;
  // other stages' when those that come back with the step are here, which it makes for itself before.
  const auto keep_sources = [&](const RecordStep& step, std::size_t line, bool own) -> Status {
    if (step.step <= reached) return {};  // runs once more
    for (const RecoveryAt& later : recoveries)
      if ((own ? later.line >= line : later.line > line) && later.recovery.commit + 1 == step.step &&
          later.recovery.is_own() == own)
        if (Status status = follower.keep_sources(later.recovery, step.step); !status.ok()) return status;
    return {};
  };

  ReplayReport report;
  Comparison comparison(report);
  for (std::size_t line = 1;; ++line) {
    recorded = next_step();
    if (!recorded.ok()) return recorded.status();
    if (!recorded.value()) break;
    const RecordStep& step = *recorded.value();
    if (Status status = keep_sources(step, line, true); !status.ok()) return status;
    if (Status status = follower.take_places(step); !status.ok()) return status;
    if (Status status = keep_sources(step, line, false); !status.ok()) return status;
    reached = std::max(reached, step.step);
    const Result<RecordStep> replayed = follower.run(step);
    if (!replayed.ok()) return replayed.status();
    if (Status status = follower.commit(step, !step.skipped_update); !status.ok()) return status;
    comparison.compare(step, replayed.value());
    ++report.steps;
    if (on_step) {
      if (Status status = on_step(step, replayed.value()); !status.ok()) return status;
    }
  }
  if (Status status = follower.end(); !status.ok()) return status;
  return report;
}

}  // namespace sidestep::daemon
