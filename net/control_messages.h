// Control: node and scheduler, operator and scheduler. See net/messages.h.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "net/message_pieces.h"
#include "net/status.h"

namespace sidestep::net {

struct Resources {
  std::uint64_t memory_bytes = 0;  // what the daemon may use
  std::uint32_t threads = 1;
  std::string device = "cpu";  // "cpu", "cuda:0"
  std::string device_class;    // replicas of one class are identical bit for bit: "cpu-avx512"
  bool operator==(const Resources&) const = default;
};

// node -> scheduler, acked by Welcome or Refusal; repeated until then.
struct Hello {
  std::string nickname;
  std::string data_address;
  Resources resources;
  std::optional<JobProgress> progress;
  std::int64_t wall_us = 0;  // the node's clock as it sent this; 0: it does not say
  bool operator==(const Hello&) const = default;
};

// scheduler -> node.
struct Welcome {
  std::uint64_t term = 0;  // rises at each start of the scheduler
  BootId scheduler_boot = 0;
  std::int64_t heartbeat_us = 0;  // how often to send one
  View view;
  bool operator==(const Welcome&) const = default;
};

// scheduler -> node or operator: not let in, and why ("another daemon with this key is running").
struct Refusal {
  std::string reason;
  bool is_final = false;  // trying again is of no use: the key was revoked, the invite is used up
  bool operator==(const Refusal&) const = default;
};

// Whoever holds an invite -> scheduler, over a connection with the invite's own key: let `key` in.
// Repeated until Admitted or Refusal.
struct Join {
  NodeKey key;  // from now on the sender's name; its secret half stays where it was made
  std::string nickname;
  bool operator==(const Join&) const = default;
};

// scheduler -> whoever sent Join: `key` may connect. Said again to the same key and invite.
struct Admitted {
  NodeKey key;
  std::string role;  // "node" or "operator"
  bool operator==(const Admitted&) const = default;
};

// Whoever is admitted or holds an open invite -> scheduler, before joining: let `key`, made for this visit,
// exchange Probes with the nodes for a short while. Repeated until VisitReply or Refusal.
struct Visit {
  NodeKey key;
  std::string data_address;  // where the nodes shall reach the visitor
  bool operator==(const Visit&) const = default;
};

// scheduler -> whoever sent Visit.
struct VisitReply {
  NodeKey key;
  std::string role;          // what the sender is let in as, or would be by its invite
  std::int64_t wall_us = 0;  // the scheduler's clock
  View view;
  bool operator==(const VisitReply&) const = default;
};

struct Guest {
  NodeKey key;
  std::string data_address;  // where it is answered; empty: on its own connection
  bool operator==(const Guest&) const = default;
};

// scheduler -> node, acked: whom the data socket admits besides the members of the view, for a while and
// for reading and probing only: operators that export, visitors. The whole list each time it changes, and
// after each Welcome; of two lists of one scheduler's run the higher number counts.
struct Guests {
  std::uint64_t number = 0;
  std::vector<Guest> guests;
  bool operator==(const Guests&) const = default;
};

// node -> scheduler, unacked, every heartbeat_us.
struct Heartbeat {
  std::uint64_t sequence = 0;
  std::optional<JobProgress> progress;
  bool operator==(const Heartbeat&) const = default;
};

// scheduler -> node, answers each heartbeat. A node whose view is older asks by Hello.
struct HeartbeatReply {
  std::uint64_t sequence = 0;
  std::uint64_t term = 0;
  BootId scheduler_boot = 0;
  std::uint64_t view = 0;
  // Of the job that the heartbeat names: its record is stored up to this step.
  std::string job = {};
  std::optional<std::uint64_t> commit = {};
  // Of the same job: StepTimes of each step that is a multiple of this are wanted; 0: of none.
  std::uint64_t times_every = 0;
  bool operator==(const HeartbeatReply&) const = default;
};

// scheduler -> node, acked.
struct ViewUpdate {
  std::uint64_t term = 0;
  View view;
  bool operator==(const ViewUpdate&) const = default;
};

// node -> scheduler, acked: this daemon wants to end (SIGTERM, a cloud takes the machine back) and waits for
// Released, so that others take its stages over first.
struct Leaving {
  std::string reason;
  std::int64_t grace_us = 0;  // so long; then it ends whatever has become of them
  bool operator==(const Leaving&) const = default;
};

// scheduler -> node, acked: nothing depends on this node any more; end. The answer to Leaving, or an
// operator's `drain`.
struct Released {
  std::string reason;
  bool operator==(const Released&) const = default;
};

// scheduler -> node, acked: end at this instant, without a word to anybody, as if killed: an operator tries a
// loss.
struct Vanish {
  std::string reason;
  bool operator==(const Vanish&) const = default;
};

// node -> scheduler, unacked: this daemon ends on purpose (SIGTERM); do not wait for silence.
struct Goodbye {
  std::string reason;
  bool operator==(const Goodbye&) const = default;
};

// scheduler -> node, acked: can you take part in this job, and how fast are you at it?
struct PrepareJob {
  std::string job;
  nlohmann::json spec;
  bool operator==(const PrepareJob&) const = default;
};

// The way from the node that says so to another.
struct LinkSpeed {
  NodeKey node;
  std::int64_t latency_us = 0;
  double bytes_per_s = 0;
  bool operator==(const LinkSpeed&) const = default;
};

// node -> scheduler, acked.
struct Prepared {
  std::string job;
  std::string problem;  // empty: can take part. "wants cuda" and the like
  bool has_data = false;
  std::string data_problem;        // why has_data is false
  std::string data_digest;         // "sha256:…" of the file found
  std::int64_t layer_us = 0;       // forward and backward of one layer, one microbatch, measured
  std::int64_t head_us = 0;        // head of one microbatch, measured
  std::uint64_t memory_bytes = 0;  // what this daemon may use
  std::uint64_t daemon_bytes = 0;  // what it takes without a job
  // "sha256:…" of the folder that init_from names, or of the manifest of the checkpoint that the job resumes
  // from, and its commit; empty where neither is named.
  std::string init_digest;
  std::uint64_t init_commit = 0;
  std::vector<LinkSpeed> links = {};  // measured, to those that answered
  bool operator==(const Prepared&) const = default;
};

// scheduler -> node, acked: hold the stages that the plan gives you. The node answers the lead origin
// with a StageReport of step 0 for each of its stages; Commit(0) starts step 1. A plan of the same job with a
// higher epoch takes the place of the one before: the node answers its lead origin with a Standing.
struct StartJob {
  std::string job;
  nlohmann::json spec;
  nlohmann::json plan;  // scheduler::Plan
  View view;
  std::optional<std::uint64_t> commit = {};  // the record is stored up to this step
  // The plan waits: it takes the place of the one before at the Commit that names its epoch. Else at once,
  // and the step under way begins anew.
  bool at_commit = false;
  bool operator==(const StartJob&) const = default;
};

// scheduler -> lead origin, acked: every node has the plan of this number; the next Commit names it.
struct AdoptPlan {
  std::string job;
  std::uint64_t epoch = 0;
  bool operator==(const AdoptPlan&) const = default;
};

// scheduler -> node, acked: drop the job's state. A plan of a higher number takes the node in again.
struct EndJob {
  std::string job;
  std::string reason;
  std::uint64_t epoch = 0;  // the last plan that is over for this node
  bool operator==(const EndJob&) const = default;
};

// scheduler -> lead origin, acked: the next Commit asks for a snapshot.
struct TakeSnapshot {
  std::string job;
  std::uint64_t keep = 0;  // commit of the newest snapshot that is whole, so far; 0: none is
  bool operator==(const TakeSnapshot&) const = default;
};

// node -> scheduler, acked: this node holds its stage as it was after commit scope.step, or could not save
// it.
struct SnapshotTaken {
  Scope scope;
  std::uint32_t stage = 0;
  std::uint64_t elements = 0;
  std::string digest;   // "sha256:…" of the weights, float32
  std::string problem;  // not empty: it was not saved, and why
  bool operator==(const SnapshotTaken&) const = default;
};

// node -> scheduler, acked: what this node wrote of its stage into the checkpoint of commit scope.step, made
// under plan scope.epoch, or why it could not.
struct CheckpointWritten {
  Scope scope;
  std::uint32_t stage = 0;
  std::uint64_t elements = 0;
  std::string digest;   // "sha256:…" of the weights, float32
  std::string problem;  // not empty: it was not written, and why
  bool operator==(const CheckpointWritten&) const = default;
};

// scheduler -> lead origin, acked: every stage of that checkpoint is written. The manifest makes it one that
// can be resumed from; the folders of `drop` are of no use any more.
struct SealCheckpoint {
  std::string job;
  std::uint64_t commit = 0;
  std::uint64_t epoch = 0;  // of the plan under which it was made
  std::string manifest;     // scheduler::CheckpointManifest, as text
  std::vector<std::string> drop;
  bool operator==(const SealCheckpoint&) const = default;
};

// node -> scheduler, acked: its manifest is written, or why it is not.
struct CheckpointSealed {
  std::string job;
  std::uint64_t commit = 0;
  std::uint64_t epoch = 0;
  std::string problem;
  bool operator==(const CheckpointSealed&) const = default;
};

// node -> scheduler, acked: the job cannot go on because of this node; or, where `learning` names a stage,
// this node gives up learning that one and goes on with those that it holds.
struct JobFault {
  Scope scope;
  std::string reason;
  std::optional<std::uint32_t> learning = {};
  bool operator==(const JobFault&) const = default;
};

// lead origin -> scheduler, acked, in order of steps: one line of the run record.
struct CommitReport {
  Scope scope;
  nlohmann::json record;         // scheduler::RecordStep
  std::string end = {};          // not empty: no step follows, the job has failed, and why
  std::uint64_t next_epoch = 0;  // of the plan of the steps that follow
  bool checkpoint = false;       // its nodes write one of it
  bool operator==(const CommitReport&) const = default;
};

// node -> scheduler, acked: `first` numbers the lines within this boot.
struct LogBatch {
  std::uint64_t first = 0;
  std::vector<LogLine> lines;
  bool operator==(const LogBatch&) const = default;
};

// operator -> scheduler, repeated by the client with the same number until the Reply.
struct Request {
  std::uint64_t number = 0;
  std::string verb;  // as scheduler/requests.h lists them: "submit", "nodes"
  nlohmann::json body;
  bool operator==(const Request&) const = default;
};

struct Reply {
  std::uint64_t number = 0;
  Code code = Code::ok;
  std::string message;  // the error when code is not ok
  nlohmann::json body;
  bool operator==(const Reply&) const = default;
};

// ---- how long things take: node -> scheduler, unacked, for what is lost comes again soon -------------

// One microbatch on one of the node's stages, smoothed; 0: not measured.
struct StageSpeed {
  std::uint32_t stage = 0;
  std::int64_t forward_us = 0;
  std::int64_t backward_us = 0;
  bool operator==(const StageSpeed&) const = default;
};

// Every few seconds while a job trains: what tasks and ways take now (daemon/core/measures.h says how it is
// smoothed).
struct Measured {
  Scope scope;  // of the last step that is in it
  std::vector<StageSpeed> stages;
  std::int64_t head_us = 0;          // of one microbatch; 0: not measured
  double averaging_bytes_per_s = 0;  // that a replica sends while it averages; 0: not measured
  std::vector<LinkSpeed> links;
  bool operator==(const Measured&) const = default;
};

enum class StepTaskKind : std::uint8_t { forward = 0, head = 1, backward = 2 };

// A task of a step. Times are microseconds since this node began the step: when its input had arrived, when
// it was given to the executor, when its end was heard.
struct StepTask {
  StepTaskKind kind = StepTaskKind::forward;
  bool evaluation = false;
  std::uint32_t microbatch = 0;
  std::uint32_t stage = 0;
  std::uint32_t hop = 0;  // place in the route; its length for a head
  std::int64_t ready_us = 0;
  std::int64_t begin_us = 0;
  std::int64_t end_us = 0;
  bool operator==(const StepTask&) const = default;
};

// The averaging of a stage as one replica saw it, from its last gradient to its report. Times as above.
struct StepAverage {
  std::uint32_t stage = 0;
  std::int64_t begin_us = 0;
  std::int64_t end_us = 0;
  std::uint64_t bytes = 0;  // that this replica sent for it; 0: it has the stage alone
  bool operator==(const StepAverage&) const = default;
};

// Tasks in one StepTimes; a node with more tells none, the scheduler takes no more.
inline constexpr std::size_t step_tasks_max = 20'000;

// After each step that HeartbeatReply::times_every asks for, and that was not begun anew.
struct StepTimes {
  Scope scope;
  std::vector<StepTask> tasks;        // in order of their ends
  std::vector<StepAverage> averages;  // by stage
  std::int64_t commit_us = 0;         // when its Commit came
  bool operator==(const StepTimes&) const = default;
};

}  // namespace sidestep::net
