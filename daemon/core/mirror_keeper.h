// The mirrors that this node keeps for others: of each stage that the plan names, the state after one commit,
// pulled slice by slice beside training and kept in the host's memory as it came. Pure; owned by JobRun.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "daemon/core/job_context.h"
#include "net/digest.h"
#include "recovery/slice_puller.h"

namespace sidestep::daemon {

class MirrorKeeper {
 public:
  struct Ports {
    // Unacknowledged.
    std::function<void(const net::NodeKey& to, net::Message request)> ask;
    // A mirror is whole, or will not be; `source`: whom it is pulled from.
    std::function<void(std::int64_t now_us, const net::NodeKey& source, const net::MirrorKept& kept)> tell;
  };

  MirrorKeeper(JobContext& context, Ports ports) : context_(context), ports_(std::move(ports)) {}

  // Of a stage whose mirror the plan has this node keep. What does not fit is logged and dropped.
  void on_offer(std::int64_t now_us, const net::NodeKey& peer, const net::StateOffer& offer);
  void on_slice(std::int64_t now_us, const net::NodeKey& peer, const net::Slice& slice);
  void on_tick(std::int64_t now_us);
  // The context's plan is another one: what it has this node keep no more is dropped. The mirror of a stage
  // that is out stays as it is.
  void on_plan();

  // For whoever puts the stage back under the context's plan; says so where it is not here.
  net::StateOffer offer_of(std::uint32_t stage) const;
  // That slice of a mirror, if it is whole and here.
  std::optional<net::Tensor> read(const net::SliceRequest& request) const;

 private:
  using Slices = std::map<std::uint64_t, net::Tensor>;  // by first element
  struct Mirror {
    net::StateOffer offer;
    std::vector<Slices> parts;
  };
  struct Coming {
    Mirror mirror;
    net::NodeKey source;
    recovery::SlicePuller pull;  // of the last of the mirror's parts
    net::Checksum digest;        // of its slices before `summed`
    std::uint64_t summed = 0;
  };
  using ComingByStage = std::map<std::uint32_t, Coming>;

  std::size_t parts() const { return context_.spec.recovery.moments == "average" ? net::state_parts : 1; }
  recovery::SlicePuller puller(const net::StateOffer& offer, const net::NodeKey& source,
                               std::size_t part) const;
  void send(const std::vector<recovery::SlicePuller::Outgoing>& requests) const;
  // The part under way is complete.
  void end_part(std::int64_t now_us, ComingByStage::iterator coming);
  void give_up(std::int64_t now_us, ComingByStage::iterator found, const std::string& why);
  std::string objection(const net::NodeKey& peer, const net::StateOffer& offer) const;
  void tell_of_none(std::int64_t now_us, const net::NodeKey& source, const net::StateOffer& offer,
                    const std::string& why);

  JobContext& context_;
  Ports ports_;
  std::map<std::uint32_t, Mirror> kept_;
  ComingByStage coming_;
};

}  // namespace sidestep::daemon
