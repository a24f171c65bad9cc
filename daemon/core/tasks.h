// Work for the executor, as values: the core asks, a completion answers with the same task id. One
// task runs at a time; the core never starts a second before the first has completed. Tensors pass
// through the core unread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "net/messages.h"
#include "net/tensor.h"
#include "scheduler/job.h"

namespace sidestep::daemon {

using TaskId = std::uint64_t;

// Loads the data (if `origin`), creates the weights of the stages as the seed says or reads them from the
// folder that `init_from` names, or with their moments from the checkpoint that the job resumes from,
// allocates the accumulators and optimizer state. Weights of a stage depend on (seed, layer, parameter) or on
// the folder only, so that replicas and solo begin the same. Those learned are added as by AddStage.
struct InitJob {
  scheduler::JobSpec spec;
  std::vector<std::uint32_t> stages;
  bool origin = false;
  std::vector<std::uint32_t> learned = {};
};

// Times one layer and the head of this job's model, and looks at the data and at the folder that `init_from`
// or `resume` names. Nothing is kept.
struct ProbeJob {
  scheduler::JobSpec spec;
};

// Drops everything of the job.
struct DropJob {};

// Runs `stage` on a microbatch. At stage 0 `input` is empty: the tokens of (step, microbatch) are
// embedded; validation microbatches are numbered on their own. `save` keeps activations for the backward;
// otherwise only the input is kept and the backward recomputes. An evaluation keeps nothing.
struct Forward {
  std::uint32_t stage = 0;
  std::uint64_t step = 0;
  std::uint32_t microbatch = 0;
  bool evaluation = false;
  bool save = true;
  net::Tensor input;
};

// Final norm, head and loss at the origin, and unless `evaluation` the gradient by the input; adds the
// gradients of norm and head to stage 0's accumulator if `accumulate`.
struct Head {
  std::uint64_t step = 0;
  std::uint32_t microbatch = 0;
  bool evaluation = false;
  bool accumulate = true;
  net::Tensor input;
};

// Backward of `stage` for a microbatch whose forward ran here; frees what the forward kept. Adds to the
// stage's accumulator if `accumulate`.
struct Backward {
  std::uint32_t stage = 0;
  std::uint64_t step = 0;
  std::uint32_t microbatch = 0;
  bool accumulate = true;
  net::Tensor gradient;
};

// Frees what a forward kept, without a backward.
struct Forget {
  std::uint32_t stage = 0;
  std::uint64_t step = 0;
  std::uint32_t microbatch = 0;
};

// Hands out the stage's accumulator, for other replicas: one flat float32 tensor that stays unchanged until
// Update.
struct ExposeGradient {
  std::uint32_t stage = 0;
};

// Sums the contributions in the order given, times `scale`, into elements [begin, begin + length) of the
// stage's second buffer. An empty contribution is that part of the accumulator held here, which is complete
// by now; the others are flat float32 tensors of that length. Gives the result if it is to be passed on, as a
// copy that later tasks leave as it is.
struct Reduce {
  std::uint32_t stage = 0;
  std::uint64_t begin = 0;
  std::uint64_t length = 0;
  std::vector<net::Tensor> contributions;
  double scale = 1;
  bool give = true;
};

// Stores an average that another replica reduced.
struct StoreAverage {
  std::uint32_t stage = 0;
  std::uint64_t begin = 0;
  net::Tensor values;
};

// L2 norm of the whole averaged gradient.
struct MeasureAverage {
  std::uint32_t stage = 0;
};

// Ends the step for every stage held here: clips the average (norm per stage), updates weights and
// moments, clears accumulators. `updated` lists the stages to update; others only clear.
struct Update {
  std::uint64_t step = 0;
  std::vector<std::uint32_t> updated;
};

// Begins the step anew: forgets what forwards kept and clears the accumulators; weights stay as they are.
struct AbandonStep {
  std::uint64_t step = 0;
};

// Takes one more stage in beside those that the job has here, fresh as InitJob makes it.
struct AddStage {
  std::uint32_t stage = 0;
};

// Drops one stage of the job; the others stay.
struct DropStage {
  std::uint32_t stage = 0;
};

// Copies the stage's weights and moments as they are now, for another node to pull. What memory does not take
// is Completion::problem, not a fault.
struct CopyState {
  std::uint32_t stage = 0;
  bool layers_alone = false;  // without what stage 0 holds beside its layers
};

// Writes a slice over a part of the stage's state: that of another node's copy, or the weighted average of
// several stages' copies.
struct StoreState {
  struct Source {
    net::Tensor values;  // flat, float32, all of one length
    double weight = 1;   // 1 in all
  };
  std::uint32_t stage = 0;
  net::SnapshotPart part = net::SnapshotPart::weights;
  std::uint64_t begin = 0;
  std::vector<Source> sources;
};

// What a stage has beside its weights and moments.
struct StateTraits {
  std::uint64_t updates = 0;       // made so far
  double gradient_norm = 0;        // of the last of them, averaged and clipped; 0: none was made
  double learning_rate_scale = 1;  // times the job's
};

// Every part is stored. What they were made of: a replica's copy, as it was after this commit; other stages'
// copies, as they were after it; or the stage's own state of an earlier commit, at least its weights.
struct FinishState {
  enum class MadeOf : std::uint8_t { replica, others, mirror };
  std::uint32_t stage = 0;
  std::uint64_t commit = 0;
  StateTraits traits;
  MadeOf made_of = MadeOf::replica;
};

// Ends a step for a stage whose average was made elsewhere: stores it, clips, updates; without an average the
// weights stay.
struct CatchUp {
  std::uint64_t step = 0;
  std::uint32_t stage = 0;
  struct Part {
    std::uint64_t begin = 0;
    net::Tensor values;  // flat, float32
  };
  std::vector<Part> average;  // all of it, in order, or nothing
};

// Writes the stage's weights as they are now to this node's disk, named by the commit. What the disk does not
// take is Completion::problem, not a fault: training goes on.
struct SaveSnapshot {
  std::string job;
  std::uint64_t commit = 0;
  std::uint32_t stage = 0;
  std::uint64_t keep = 0;  // the snapshot of this commit stays on the disk; 0: none has to
};

// Reads a slice of a snapshot, of any job. What is not there is Completion::problem.
struct ReadSlice {
  net::SliceRequest request;
};

// Copies the stage's state as it is now, and writes it into a checkpoint while tasks go on. What memory does
// not take is Completion::problem, not a fault; what the disk does not take is told by PollCheckpoints.
struct SaveCheckpoint {
  std::string folder;  // of the checkpoint
  std::uint64_t commit = 0;
  std::uint64_t epoch = 0;
  std::uint32_t stage = 0;
};

// Which stages and manifests that are being written are done. `wait`: all of them. Of an earlier job nothing
// is told.
struct PollCheckpoints {
  bool wait = false;
};

// Writes a checkpoint's manifest while tasks go on, and deletes the folders of `drop`.
struct SealCheckpoint {
  std::string directory;  // of the job's checkpoints
  std::string folder;     // in it
  std::uint64_t commit = 0;
  std::uint64_t epoch = 0;
  std::string manifest;
  std::vector<std::string> drop;
};

// What came of one SaveCheckpoint, or of one SealCheckpoint: that has no stage.
struct WrittenStage {
  std::uint64_t commit = 0;
  std::uint64_t epoch = 0;
  std::optional<std::uint32_t> stage;
  std::uint64_t elements = 0;
  std::string digest;   // of the weights
  std::string problem;  // not empty: it is not written, and why
};

using Task = std::variant<InitJob, ProbeJob, DropJob, Forward, Head, Backward, Forget, ExposeGradient, Reduce,
                          StoreAverage, MeasureAverage, Update, AbandonStep, SaveSnapshot, ReadSlice,
                          AddStage, DropStage, CopyState, StoreState, FinishState, CatchUp, SaveCheckpoint,
                          PollCheckpoints, SealCheckpoint>;

// What came of a task. Only the fields that the task's kind names are set.
struct Completion {
  TaskId id = 0;
  std::string fault;             // not empty: the task failed, and why; the job cannot go on here
  net::Tensor tensor;            // Forward: output; Head, Backward: gradient by the input (empty after
                                 // stage 0's Backward); ExposeGradient: accumulator; Reduce: average
                                 // (if asked for); ReadSlice: the slice
  double loss = 0;               // Head: mean over the microbatch's tokens, nats
  double norm = 0;               // MeasureAverage
  bool finite = true;            // MeasureAverage
  std::int64_t duration_us = 0;  // compute time of the task
  std::string problem;           // ProbeJob, SaveSnapshot, ReadSlice, CopyState, SaveCheckpoint: why not
  // SaveSnapshot
  std::uint64_t elements = 0;
  std::string digest;
  // PollCheckpoints
  std::vector<WrittenStage> written;
  bool writing = false;  // others are not done yet
  // ProbeJob
  bool has_data = false;
  std::string data_problem;
  std::string data_digest;
  std::string init_digest;  // of the folder that init_from or resume names; empty where the job names none
  std::uint64_t init_commit = 0;  // of the checkpoint that resume names
  std::int64_t layer_us = 0;
  std::int64_t head_us = 0;
  std::uint64_t memory_bytes = 0;  // that this process may use
  // ProbeJob, without anything of the job; Update
  std::uint64_t resident_bytes = 0;
  // InitJob, AddStage
  std::vector<std::uint64_t> gradient_elements;  // per stage asked for, in that order, then those learned
  // CopyState
  std::vector<net::Tensor> state;  // flat float32, in the order of SnapshotPart
  StateTraits traits;
  // CopyState, FinishState: of the parts, in that order
  std::vector<std::string> digests;
  // DropJob, from an executor with a clock: TimeUse::text of the job
  std::string time_use;
};

}  // namespace sidestep::daemon
