// Every message of Sidestep, as plain structs. The codec (net/codec.h) turns them into frames;
// the cores make and read them. "Acked" below means: sent through a Courier, which repeats it
// until the receiver's Ack or until it is out of date; receivers drop what they have seen.
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>

#include "net/control_messages.h"
#include "net/data_messages.h"

namespace sidestep::net {

// Raised whenever a message or its meaning changes; daemons of another version are refused by name.
inline constexpr std::uint32_t wire_version = 7;

// Receiver -> sender: these envelope ids of your run `boot` have arrived.
struct Ack {
  BootId boot = 0;
  std::vector<std::uint64_t> ids;
  bool operator==(const Ack&) const = default;
};

using Message =
    std::variant<Hello, Welcome, Refusal, Heartbeat, HeartbeatReply, ViewUpdate, Goodbye, PrepareJob,
                 Prepared, StartJob, EndJob, JobFault, CommitReport, LogBatch, Request, Reply, MicrobatchHop,
                 AverageChunk, StageReport, MicrobatchClosed, Commit, Ack, Guests, TakeSnapshot,
                 SnapshotTaken, SliceRequest, Slice, Join, Admitted, Visit, VisitReply, Probe, ProbeReply,
                 CommitKept, Standing, Resume, Leaving, Released, AdoptPlan, StateOffer, Measured, StepTimes,
                 Vanish, CheckpointWritten, SealCheckpoint, CheckpointSealed, MirrorKept>;

// What travels: a message with the sender's boot and, when it wants an Ack, an id unique in that boot.
struct Envelope {
  BootId boot = 0;
  std::uint64_t id = 0;  // 0: no Ack wanted
  Message message;
};

// "MicrobatchHop", "Commit": for logs.
std::string_view name_of(const Message& message);

}  // namespace sidestep::net
