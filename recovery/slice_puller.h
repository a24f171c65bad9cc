// The receiving half of the bulk transfer: pulls one part of one stage of a snapshot, slice by slice, from
// one source at a time, and goes on to the next source when one fails. How much it asks for at a time follows
// how late slices are, so that on a slow line they do not delay what else is on it. Pure: messages and time
// come in, requests go out. Used by whoever wants a snapshot: an operator's export, a node that joins, one
// that rebuilds a stage.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "net/messages.h"
#include "net/status.h"

namespace sidestep::recovery {

struct SliceSource {
  net::NodeKey node;
  std::string name;    // for messages
  std::string digest;  // of the whole part there
};

struct PullRequest {
  std::string job;
  std::uint64_t commit = 0;
  std::uint32_t stage = 0;
  net::SnapshotPart part = net::SnapshotPart::weights;
  std::uint64_t elements = 0;
  std::vector<SliceSource> sources;  // in the order in which they are tried
};

struct PullOptions {
  std::uint64_t slice_elements = 1 << 16;  // 256 KiB
  std::size_t window = 32;                 // slices asked for and not there yet, at most
  std::int64_t queue_us = 50'000;          // by how much slices may be later than the quickest; see pace()
  std::int64_t repeat_us = 2'000'000;      // a request is repeated when it is this late, then twice as late
  std::int64_t offers_wait_us =
      1'000'000;  // so long the first offer of a state waits for those of other replicas
  std::int64_t patience_us = 30'000'000;  // a source that gives nothing for so long is left
};

class SlicePuller {
 public:
  struct Outgoing {
    net::NodeKey to;
    net::SliceRequest request;
  };
  // Takes the bytes of elements [begin, …); each element comes once from a source, in any order, and again
  // from the start when the source changes. An error ends the pull.
  using Write = std::function<Status(std::uint64_t begin, std::span<const std::byte> bytes)>;

  SlicePuller(PullRequest request, PullOptions options, Write write);

  // At least every 100 ms; the first one begins.
  void on_tick(std::int64_t now_us, std::vector<Outgoing>& out);
  void on_slice(std::int64_t now_us, const net::NodeKey& peer, const net::Slice& slice,
                std::vector<Outgoing>& out);

  // Nothing that begins there or later is asked for, until this is called again: whoever takes the slices in
  // step with those of another source has no room for more.
  void hold_at(std::uint64_t element) { hold_at_ = element; }

  // Everything is written; whoever holds the bytes compares them with source().digest.
  bool complete() const { return !failed() && received_ == request_.elements; }
  // Precondition: not failed().
  const SliceSource& source() const { return request_.sources[source_]; }
  // The source's bytes are wrong: the next one is asked for all of them.
  void reject(const std::string& why);

  bool failed() const { return !failure_.ok() || source_ >= request_.sources.size(); }
  // Why: each source with its reason. Precondition: failed().
  Status failure() const;
  std::uint64_t received() const { return received_; }

 private:
  static constexpr std::int64_t never_us = std::numeric_limits<std::int64_t>::max();

  struct Wanted {
    std::int64_t sent_us = 0;
    std::int64_t wait_us = 0;  // until it is repeated
    bool overtaken = false;    // a slice that was asked for later is here
  };

  // After a slice that took this long. The window grows while slices are hardly later than the quickest one
  // of this minute and the one before, and shrinks when they wait for each other, or for others, on the way
  // (as LEDBAT does, RFC 6817, 2.4; its base history for ways that become longer).
  void pace(std::int64_t now_us, std::int64_t round_trip_us);
  void fill_window(std::int64_t now_us, std::vector<Outgoing>& out);
  void ask(std::int64_t now_us, std::uint64_t begin, std::int64_t wait_us, std::vector<Outgoing>& out);
  std::uint64_t length_at(std::uint64_t begin) const;

  PullRequest request_;
  PullOptions options_;
  Write write_;
  std::size_t source_ = 0;
  std::map<std::uint64_t, Wanted> wanted_;  // by first element
  std::uint64_t hold_at_ = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t next_ = 0;  // first element not asked for yet
  std::uint64_t received_ = 0;
  double window_;           // of slices
  bool slow_start_ = true;  // no slice was late so far
  std::int64_t minute_began_us_ = 0;
  std::int64_t quickest_us_ = never_us;         // of this minute
  std::int64_t quickest_before_us_ = never_us;  // of the one before
  std::int64_t heard_us_ = -1;                  // from this source, last; -1: it has not been asked
  std::string reasons_;                         // of the sources before
  Status failure_;                              // of the writer
};

}  // namespace sidestep::recovery
