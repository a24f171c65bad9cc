// One table per message: its fields, in the order in which they travel. The encoder and the decoder
// both walk it, so that they cannot disagree. A visitor `v` is called as v(name, field), or as
// v.enumeration(name, field, last) for a field of an enum whose values are 0..last.
#pragma once

#include <array>
#include <concepts>
#include <string_view>
#include <type_traits>
#include <variant>

#include "net/messages.h"

namespace sidestep::net {

template <class M, class T>
concept Is = std::same_as<std::remove_const_t<M>, T>;

// In the order of Message: the place is the kind that travels.
inline constexpr std::array<std::string_view, std::variant_size_v<Message>> message_names{
    "Hello",          "Welcome",
    "Refusal",        "Heartbeat",
    "HeartbeatReply", "ViewUpdate",
    "Goodbye",        "PrepareJob",
    "Prepared",       "StartJob",
    "EndJob",         "JobFault",
    "CommitReport",   "LogBatch",
    "Request",        "Reply",
    "MicrobatchHop",  "AverageChunk",
    "StageReport",    "MicrobatchClosed",
    "Commit",         "Ack",
    "Guests",         "TakeSnapshot",
    "SnapshotTaken",  "SliceRequest",
    "Slice",          "Join",
    "Admitted",       "Visit",
    "VisitReply",     "Probe",
    "ProbeReply",     "CommitKept",
    "Standing",       "Resume",
    "Leaving",        "Released",
    "AdoptPlan",      "StateOffer",
    "Measured",       "StepTimes",
    "Vanish",         "CheckpointWritten",
    "SealCheckpoint", "CheckpointSealed",
    "MirrorKept"};

// ---- pieces -------------------------------------------------------------------------------

void fields(auto& v, Is<Member> auto& m) {
  v("key", m.key);
  v("boot", m.boot);
  v("nickname", m.nickname);
  v("data_address", m.data_address);
}

void fields(auto& v, Is<View> auto& m) {
  v("number", m.number);
  v("members", m.members);
}

void fields(auto& v, Is<Hop> auto& m) {
  v("stage", m.stage);
  v("node", m.node);
}

void fields(auto& v, Is<Scope> auto& m) {
  v("job", m.job);
  v("view", m.view);
  v("epoch", m.epoch);
  v("step", m.step);
}

void fields(auto& v, Is<Added> auto& m) {
  v("microbatch", m.microbatch);
  v("attempt", m.attempt);
  v("head", m.head);
}

void fields(auto& v, Is<LogLine> auto& m) {
  v("wall_us", m.wall_us);
  v.enumeration("level", m.level, LogLevel::error);
  v("job", m.job);
  v("stage", m.stage);
  v("text", m.text);
}

void fields(auto& v, Is<JobProgress> auto& m) {
  v("job", m.job);
  v("epoch", m.epoch);
  v("step", m.step);
  v("activity", m.activity);
  v("memory_bytes", m.memory_bytes);
  v("level", m.level);
}

void fields(auto& v, Is<LinkSpeed> auto& m) {
  v("node", m.node);
  v("latency_us", m.latency_us);
  v("bytes_per_s", m.bytes_per_s);
}

void fields(auto& v, Is<StageSpeed> auto& m) {
  v("stage", m.stage);
  v("forward_us", m.forward_us);
  v("backward_us", m.backward_us);
}

void fields(auto& v, Is<StepTask> auto& m) {
  v.enumeration("kind", m.kind, StepTaskKind::backward);
  v("evaluation", m.evaluation);
  v("microbatch", m.microbatch);
  v("stage", m.stage);
  v("hop", m.hop);
  v("ready_us", m.ready_us);
  v("begin_us", m.begin_us);
  v("end_us", m.end_us);
}

void fields(auto& v, Is<StepAverage> auto& m) {
  v("stage", m.stage);
  v("begin_us", m.begin_us);
  v("end_us", m.end_us);
  v("bytes", m.bytes);
}

void fields(auto& v, Is<Resources> auto& m) {
  v("memory_bytes", m.memory_bytes);
  v("threads", m.threads);
  v("device", m.device);
  v("device_class", m.device_class);
}

void fields(auto& v, Is<Guest> auto& m) {
  v("key", m.key);
  v("data_address", m.data_address);
}

// ---- control ------------------------------------------------------------------------------

void fields(auto& v, Is<Hello> auto& m) {
  v("nickname", m.nickname);
  v("data_address", m.data_address);
  v("resources", m.resources);
  v("progress", m.progress);
  v("wall_us", m.wall_us);
}

void fields(auto& v, Is<Welcome> auto& m) {
  v("term", m.term);
  v("scheduler_boot", m.scheduler_boot);
  v("heartbeat_us", m.heartbeat_us);
  v("view", m.view);
}

void fields(auto& v, Is<Refusal> auto& m) {
  v("reason", m.reason);
  v("is_final", m.is_final);
}

void fields(auto& v, Is<Join> auto& m) {
  v("key", m.key);
  v("nickname", m.nickname);
}

void fields(auto& v, Is<Admitted> auto& m) {
  v("key", m.key);
  v("role", m.role);
}

void fields(auto& v, Is<Visit> auto& m) {
  v("key", m.key);
  v("data_address", m.data_address);
}

void fields(auto& v, Is<VisitReply> auto& m) {
  v("key", m.key);
  v("role", m.role);
  v("wall_us", m.wall_us);
  v("view", m.view);
}

void fields(auto& v, Is<Heartbeat> auto& m) {
  v("sequence", m.sequence);
  v("progress", m.progress);
}

void fields(auto& v, Is<HeartbeatReply> auto& m) {
  v("sequence", m.sequence);
  v("term", m.term);
  v("scheduler_boot", m.scheduler_boot);
  v("view", m.view);
  v("job", m.job);
  v("commit", m.commit);
  v("times_every", m.times_every);
}

void fields(auto& v, Is<ViewUpdate> auto& m) {
  v("term", m.term);
  v("view", m.view);
}

void fields(auto& v, Is<Leaving> auto& m) {
  v("reason", m.reason);
  v("grace_us", m.grace_us);
}

void fields(auto& v, Is<Released> auto& m) { v("reason", m.reason); }

void fields(auto& v, Is<Vanish> auto& m) { v("reason", m.reason); }

void fields(auto& v, Is<Goodbye> auto& m) { v("reason", m.reason); }

void fields(auto& v, Is<PrepareJob> auto& m) {
  v("job", m.job);
  v("spec", m.spec);
}

void fields(auto& v, Is<Prepared> auto& m) {
  v("job", m.job);
  v("problem", m.problem);
  v("has_data", m.has_data);
  v("data_problem", m.data_problem);
  v("data_digest", m.data_digest);
  v("layer_us", m.layer_us);
  v("head_us", m.head_us);
  v("memory_bytes", m.memory_bytes);
  v("daemon_bytes", m.daemon_bytes);
  v("init_digest", m.init_digest);
  v("init_commit", m.init_commit);
  v("links", m.links);
}

void fields(auto& v, Is<StartJob> auto& m) {
  v("job", m.job);
  v("spec", m.spec);
  v("plan", m.plan);
  v("view", m.view);
  v("commit", m.commit);
  v("at_commit", m.at_commit);
}

void fields(auto& v, Is<AdoptPlan> auto& m) {
  v("job", m.job);
  v("epoch", m.epoch);
}

void fields(auto& v, Is<EndJob> auto& m) {
  v("job", m.job);
  v("reason", m.reason);
  v("epoch", m.epoch);
}

void fields(auto& v, Is<JobFault> auto& m) {
  v("scope", m.scope);
  v("reason", m.reason);
  v("learning", m.learning);
}

void fields(auto& v, Is<CommitReport> auto& m) {
  v("scope", m.scope);
  v("record", m.record);
  v("end", m.end);
  v("next_epoch", m.next_epoch);
  v("checkpoint", m.checkpoint);
}

void fields(auto& v, Is<TakeSnapshot> auto& m) {
  v("job", m.job);
  v("keep", m.keep);
}

void fields(auto& v, Is<SnapshotTaken> auto& m) {
  v("scope", m.scope);
  v("stage", m.stage);
  v("elements", m.elements);
  v("digest", m.digest);
  v("problem", m.problem);
}

void fields(auto& v, Is<CheckpointWritten> auto& m) {
  v("scope", m.scope);
  v("stage", m.stage);
  v("elements", m.elements);
  v("digest", m.digest);
  v("problem", m.problem);
}

void fields(auto& v, Is<SealCheckpoint> auto& m) {
  v("job", m.job);
  v("commit", m.commit);
  v("epoch", m.epoch);
  v("manifest", m.manifest);
  v("drop", m.drop);
}

void fields(auto& v, Is<CheckpointSealed> auto& m) {
  v("job", m.job);
  v("commit", m.commit);
  v("epoch", m.epoch);
  v("problem", m.problem);
}

void fields(auto& v, Is<LogBatch> auto& m) {
  v("first", m.first);
  v("lines", m.lines);
}

void fields(auto& v, Is<Request> auto& m) {
  v("number", m.number);
  v("verb", m.verb);
  v("body", m.body);
}

void fields(auto& v, Is<Guests> auto& m) {
  v("number", m.number);
  v("guests", m.guests);
}

void fields(auto& v, Is<Reply> auto& m) {
  v("number", m.number);
  v.enumeration("code", m.code, Code::internal);
  v("message", m.message);
  v("body", m.body);
}

// ---- data ---------------------------------------------------------------------------------

void fields(auto& v, Is<MicrobatchHop> auto& m) {
  v("scope", m.scope);
  v("microbatch", m.microbatch);
  v("attempt", m.attempt);
  v("evaluation", m.evaluation);
  v.enumeration("direction", m.direction, Direction::backward);
  v("hop", m.hop);
  v("route", m.route);
  v("tensor", m.tensor);
}

void fields(auto& v, Is<AverageChunk> auto& m) {
  v("scope", m.scope);
  v("stage", m.stage);
  v("attempt", m.attempt);
  v.enumeration("phase", m.phase, AveragePhase::gather);
  v("chunk", m.chunk);
  v("visits", m.visits);
  v("tensor", m.tensor);
}

void fields(auto& v, Is<StageReport> auto& m) {
  v("scope", m.scope);
  v("stage", m.stage);
  v("attempt", m.attempt);
  v("added", m.added);
  v("norm", m.norm);
  v("finite", m.finite);
  v("threads", m.threads);
  v("recovery", m.recovery);
}

void fields(auto& v, Is<MicrobatchClosed> auto& m) {
  v("scope", m.scope);
  v("microbatch", m.microbatch);
  v("attempt", m.attempt);
  v("evaluation", m.evaluation);
  v("loss", m.loss);
  v("route", m.route);
}

void fields(auto& v, Is<CommitTerms> auto& m) {
  v("skip_update", m.skip_update);
  v("last", m.last);
  v("snapshot", m.snapshot);
  v("keep", m.keep);
  v("checkpoint", m.checkpoint);
}

void fields(auto& v, Is<Commit> auto& m) {
  v("scope", m.scope);
  v("next_epoch", m.next_epoch);
  v("terms", m.terms);
  v("record", m.record);
}

void fields(auto& v, Is<CommitKept> auto& m) { v("scope", m.scope); }

void fields(auto& v, Is<Standing> auto& m) {
  v("scope", m.scope);
  v("terms", m.terms);
  v("records", m.records);
}

void fields(auto& v, Is<Resume> auto& m) {
  v("scope", m.scope);
  v("terms", m.terms);
}

void fields(auto& v, Is<StateOffer> auto& m) {
  v("scope", m.scope);
  v("stage", m.stage);
  v("lesson", m.lesson);
  v("elements", m.elements);
  v("updates", m.updates);
  v("gradient_norm", m.gradient_norm);
  v("learning_rate_scale", m.learning_rate_scale);
  v("digests", m.digests);
  v("problem", m.problem);
  v("mirror", m.mirror);
}

void fields(auto& v, Is<MirrorKept> auto& m) {
  v("scope", m.scope);
  v("stage", m.stage);
  v("problem", m.problem);
}

void fields(auto& v, Is<SliceRequest> auto& m) {
  v("job", m.job);
  v("commit", m.commit);
  v("stage", m.stage);
  v.enumeration("part", m.part, SnapshotPart::layer_second_moment);
  v("begin", m.begin);
  v("elements", m.elements);
}

void fields(auto& v, Is<Slice> auto& m) {
  v("job", m.job);
  v("commit", m.commit);
  v("stage", m.stage);
  v.enumeration("part", m.part, SnapshotPart::layer_second_moment);
  v("begin", m.begin);
  v("problem", m.problem);
  v("tensor", m.tensor);
}

void fields(auto& v, Is<Probe> auto& m) {
  v("number", m.number);
  v("reply_bytes", m.reply_bytes);
  v("tensor", m.tensor);
}

void fields(auto& v, Is<ProbeReply> auto& m) {
  v("number", m.number);
  v("tensor", m.tensor);
}

void fields(auto& v, Is<Measured> auto& m) {
  v("scope", m.scope);
  v("stages", m.stages);
  v("head_us", m.head_us);
  v("averaging_bytes_per_s", m.averaging_bytes_per_s);
  v("links", m.links);
}

void fields(auto& v, Is<StepTimes> auto& m) {
  v("scope", m.scope);
  v("tasks", m.tasks);
  v("averages", m.averages);
  v("commit_us", m.commit_us);
}

void fields(auto& v, Is<Ack> auto& m) {
  v("boot", m.boot);
  v("ids", m.ids);
}

}  // namespace sidestep::net
