// Data: node and node. See net/messages.h.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "net/message_pieces.h"

namespace sidestep::net {

enum class Direction : std::uint8_t { forward = 0, backward = 1 };

// A microbatch on its way, acked. `hop` is the receiver's place in the route. Forward: the input of
// that hop's stage, or with hop == route.size() the last stage's output, back at the origin for the
// head. Backward: the gradient of the loss by the output of that hop's stage.
// Tensor: [microbatch_size, sequence_length, hidden_size], float32 or bfloat16.
struct MicrobatchHop {
  Scope scope;
  std::uint32_t microbatch = 0;
  std::uint32_t attempt = 0;
  bool evaluation = false;  // forward only, no gradient
  Direction direction = Direction::forward;
  std::uint32_t hop = 0;
  std::vector<Hop> route;
  Tensor tensor;
};

// In-stage averaging, acked. Reduce: one replica's accumulator for a chunk, to the chunk's owner.
// Gather: the average of a chunk, from its owner. Tensor: [elements], float32; chunk c begins at
// element c * chunk_elements of the stage's flat gradient.
enum class AveragePhase : std::uint8_t { reduce = 0, gather = 1 };

struct AverageChunk {
  Scope scope;
  std::uint32_t stage = 0;
  std::uint32_t attempt = 0;
  AveragePhase phase = AveragePhase::reduce;
  std::uint32_t chunk = 0;
  std::uint32_t visits = 0;  // microbatches in the sender's accumulator (reduce); in the average (gather)
  Tensor tensor;
};

// replica -> lead origin, acked: this replica holds the stage's whole average (step 0: its weights).
struct StageReport {
  Scope scope;
  std::uint32_t stage = 0;
  std::uint32_t attempt = 0;
  std::vector<Added> added;  // by this replica, in order
  double norm = 0;           // L2 norm of the averaged gradient, before clipping
  bool finite = true;
  std::uint32_t threads = 1;  // compute threads of this node, for exact replays
  // scheduler::RecordRecovery, of a stage that was rebuilt before this step; else null.
  nlohmann::json recovery = nullptr;
  bool operator==(const StageReport&) const = default;
};

// origin -> lead origin, acked.
struct MicrobatchClosed {
  Scope scope;
  std::uint32_t microbatch = 0;
  std::uint32_t attempt = 0;
  bool evaluation = false;
  double loss = 0;  // mean over the microbatch's tokens, nats
  std::vector<Hop> route;
  bool operator==(const MicrobatchClosed&) const = default;
};

// What nodes do about a Commit, beside the update itself.
struct CommitTerms {
  bool skip_update = false;
  bool last = false;        // nothing follows this step
  bool snapshot = false;    // save every stage as it is now, before anything else
  std::uint64_t keep = 0;   // with a snapshot: that of this commit is whole and stays; 0: none
  bool checkpoint = false;  // write every stage as it is now to the job's recovery.directory
  bool operator==(const CommitTerms&) const = default;
};

// lead origin -> every node of the plan and its learners, acked: scope.step is done everywhere.
struct Commit {
  Scope scope;
  std::uint64_t next_epoch =
      0;  // the plan of the steps that follow; not scope.epoch: every node has it already
  CommitTerms terms;
  // To the other origins, which get it before anybody else, and to learners of stage 0:
  // {"record": scheduler::RecordStep, "end", "next_epoch"}, as the CommitReport will have it. Else null.
  nlohmann::json record = nullptr;
  bool operator==(const Commit&) const = default;
};

// origin -> lead origin, acked: this Commit will not be lost with the lead origin, which gives it to the rest
// when all other origins have it.
struct CommitKept {
  Scope scope;
  bool operator==(const CommitKept&) const = default;
};

// node -> lead origin of a new plan, acked: scope.step is the step that this node would work on. `terms`: of
// the Commit before it, which may be new to others.
struct Standing {
  Scope scope;
  CommitTerms terms;
  nlohmann::json records;  // [[step, Commit::record]], of an origin: those that may not be stored yet
  bool operator==(const Standing&) const = default;
};

// lead origin of a new plan -> every node of it, acked: begin scope.step anew; whoever is a step behind
// first takes the terms for the Commit that it has missed.
struct Resume {
  Scope scope;
  CommitTerms terms;
  bool operator==(const Resume&) const = default;
};

// replica -> learner, acked: the stage as it is after commit scope.step can be pulled here, in slices of that
// commit. To those that learn this stage all of it; to those that rebuild another out of it, its layers; to
// the one that keeps its mirror all of it, and from that one, should the stage be lost, with `mirror` to
// whoever is to hold it.
// Digests: net::checksum of those parts, in the order of SnapshotPart.
struct StateOffer {
  Scope scope;
  std::uint32_t stage = 0;
  std::uint32_t lesson = 0;    // the stage that the receiver learns or rebuilds
  std::uint64_t elements = 0;  // of a part
  std::uint64_t updates = 0;   // made so far: Adam's bias correction counts these
  double gradient_norm = 0;    // of the last update's gradient, averaged and clipped; 0: none was made
  double learning_rate_scale = 1;
  std::vector<std::string> digests;
  std::string problem;  // not empty: this replica cannot give it, and why
  // The state is not that after the scope's step, but an earlier one after this commit, kept as a mirror.
  std::optional<std::uint64_t> mirror = {};
  bool operator==(const StateOffer&) const = default;
};

// keeper of a mirror -> whom it was pulled from, and if it is whole the scheduler, acked: the stage's state
// after commit scope.step is here, in memory, and takes the place of earlier ones; or it will not be.
struct MirrorKept {
  Scope scope;
  std::uint32_t stage = 0;
  std::string problem = {};  // not empty: why not
  bool operator==(const MirrorKept&) const = default;
};

// ---- bulk state: snapshots named by a commit, pulled in slices -----------------------------------

// What of a stage; each is one flat float32 buffer in the order of the stage's parameters.
// The last three: of the stage's layers alone, without what stage 0 holds beside them; as long for every
// stage.
enum class SnapshotPart : std::uint8_t {
  weights = 0,
  first_moment = 1,
  second_moment = 2,
  layer_weights = 3,
  layer_first_moment = 4,
  layer_second_moment = 5,
};
constexpr std::size_t state_parts = 3;
// The part with that number of those that a stage's state has, or of its layers' alone.
constexpr SnapshotPart state_part(std::size_t number, bool layers_alone = false) {
  return static_cast<SnapshotPart>(number + (layers_alone ? state_parts : 0));
}
constexpr bool is_of_layers_alone(SnapshotPart part) { return part >= SnapshotPart::layer_weights; }
// The number of either.
constexpr std::size_t part_number(SnapshotPart part) { return static_cast<std::size_t>(part) % state_parts; }

// Node or guest -> node that holds the snapshot, unacked: the asker keeps a window of requests open and
// repeats what is late.
struct SliceRequest {
  std::string job;
  std::uint64_t commit = 0;
  std::uint32_t stage = 0;
  SnapshotPart part = SnapshotPart::weights;
  std::uint64_t begin = 0;
  std::uint64_t elements = 0;
  bool operator==(const SliceRequest&) const = default;
};

// The answer, unacked. Tensor: [elements], float32.
struct Slice {
  std::string job;
  std::uint64_t commit = 0;
  std::uint32_t stage = 0;
  SnapshotPart part = SnapshotPart::weights;
  std::uint64_t begin = 0;
  std::string problem;  // not empty: there is no such slice here, and why; the tensor has no elements
  Tensor tensor;
};

// guest or node -> node, unacked: how fast is the way here, and back? Tensor: [bytes], uint8, whatever it
// holds.
struct Probe {
  std::uint64_t number = 0;
  std::uint32_t reply_bytes = 0;
  Tensor tensor;
};

// node -> whoever sent the Probe, to the address that it advertises. Tensor: [reply_bytes of the Probe],
// uint8.
struct ProbeReply {
  std::uint64_t number = 0;
  Tensor tensor;
};

}  // namespace sidestep::net
