// The run record: one line of JSON a step, made by the lead origin at each commit, kept by the scheduler
// as a file of the job. It is an audit (every microbatch exactly once on each stage of its final
// route) and what `solo --replay` follows.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "net/messages.h"
#include "net/status.h"
#include "scheduler/job.h"

namespace sidestep::scheduler {

struct JobRow;

struct RecordRoute {
  std::uint32_t microbatch = 0;
  std::uint32_t attempt = 0;
  double loss = 0;  // of a closed attempt
  std::vector<net::Hop> hops;
  bool operator==(const RecordRoute&) const = default;
};

// What one replica of a stage added to its accumulator, in order.
struct RecordReplica {
  net::NodeKey node;
  std::uint32_t threads = 1;
  std::vector<net::Added> added;
  bool operator==(const RecordReplica&) const = default;
};

struct RecordStage {
  std::uint32_t stage = 0;
  std::uint32_t attempt = 0;            // of the averaging
  double norm = 0;                      // of the averaged gradient, before clipping
  std::vector<RecordReplica> replicas;  // in key order: the order of summing
  bool operator==(const RecordStage&) const = default;
};

// A stage that was lost and put together again out of others, or as it was itself (design.md, Recovery), in
// the record of the first step that it is part of again. Where it was part of the step before as well, it was
// lost between the two.
struct RecordRecovery {
  struct Source {
    std::uint32_t stage = 0;
    double weight = 0;  // not negative; of all of them together 1, or there are none
    bool operator==(const Source&) const = default;
  };
  std::uint32_t stage = 0;
  net::NodeKey node;         // that rebuilt it, and holds it
  std::uint64_t commit = 0;  // whose states of the sources were taken
  std::string policy;
  // None: weights of a fresh job. The stage itself, alone: its state as a mirror, a checkpoint or another
  // holder had it.
  std::vector<Source> sources;
  bool moments = false;       // of the sources too; else zero
  std::uint64_t updates = 0;  // that the moments stand for
  double learning_rate_scale = 1;
  std::uint64_t bytes = 0;       // that were pulled for it
  std::int64_t duration_us = 0;  // from the first offer to the stage being whole
  // As the scheduler saw it; 0 where it was not there to see. From the last sign of life of the stage's last
  // holder to its being declared dead; from there to the plan without it, and to the first commit under that.
  std::int64_t detect_us = 0;
  std::int64_t replan_us = 0;
  std::int64_t first_step_us = 0;

  // Of a state of its own: as the stage was after `commit`, with `moments` in all, else its weights alone.
  bool is_own() const { return sources.size() == 1 && sources.front().stage == stage; }
  bool operator==(const RecordRecovery&) const = default;
};

nlohmann::json to_json(const RecordRecovery& recovery);
Result<RecordRecovery> parse_recovery(const nlohmann::json& json);

struct RecordStep {
  std::uint64_t step = 0;
  std::uint64_t epoch = 0;
  std::uint64_t view = 0;
  bool skipped_update = false;
  std::string end;             // not empty: this was the last step, and the job failed for this
  std::optional<double> loss;  // mean of the training microbatches; none in a step of validation alone
  std::optional<double> validation_loss;       // of the weights after commit step - 1, through every stage
  std::vector<double> validation_skip_losses;  // of the same, by entry of validation.skip
  std::uint64_t tokens = 0;                    // trained on in this step
  std::int64_t duration_us = 0;     // from the commit before to this one, as the lead origin saw it
  std::vector<RecordRoute> routes;  // by microbatch, then attempt
  std::vector<RecordRoute> evaluations;
  std::vector<RecordStage> stages;              // by stage; those that are out are missing
  std::vector<RecordRecovery> recoveries = {};  // by stage
  bool operator==(const RecordStep&) const = default;
};

// "end" only where the job ended early, "recoveries" only where there are some.
nlohmann::json to_json(const RecordStep& step);
Result<RecordStep> parse_record_step(const nlohmann::json& json);

// Fills in the validation losses: means over the evaluations, which are all there or none.
void take_validation(const JobSpec& job, RecordStep& step);
// The job's row follows its record: commit, losses, speed, steps without an update, why it ends.
void take_step(JobRow& job, const RecordStep& step);

// A whole record file: first line a header, then one line a step. Step 0 says who holds each stage.
struct RecordHeader {
  std::string job;
  nlohmann::json spec;  // scheduler::JobSpec, complete
  bool operator==(const RecordHeader&) const = default;
};

nlohmann::json to_json(const RecordHeader& header);
Result<RecordHeader> parse_record_header(const nlohmann::json& json);

}  // namespace sidestep::scheduler
