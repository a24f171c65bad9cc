// How the flat gradient of a stage is cut for in-stage averaging, and which replica reduces which chunk. All
// replicas and learners of a plan cut alike.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "net/node_key.h"

namespace sidestep::daemon {

class ChunkCut {
 public:
  // `replicas`: in key order, at least one. `travels`: somebody else gets the average; else it is one chunk.
  ChunkCut(std::uint64_t elements, std::vector<net::NodeKey> replicas, bool travels, std::int64_t chunk_bytes)
      : elements_(elements), replicas_(std::move(replicas)) {
    const std::uint64_t share = (elements + replicas_.size() - 1) / replicas_.size();
    const auto most = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(chunk_bytes) / sizeof(float));
    chunk_elements_ = std::max<std::uint64_t>(1, travels ? std::min(most, share) : share);
  }

  std::uint64_t elements() const { return elements_; }
  const std::vector<net::NodeKey>& replicas() const { return replicas_; }
  std::uint32_t count() const {
    return static_cast<std::uint32_t>((elements_ + chunk_elements_ - 1) / chunk_elements_);
  }
  std::uint64_t begin(std::uint32_t chunk) const { return chunk * chunk_elements_; }
  std::uint64_t length(std::uint32_t chunk) const {
    return std::min(chunk_elements_, elements_ - begin(chunk));
  }
  const net::NodeKey& owner(std::uint32_t chunk) const { return replicas_[chunk % replicas_.size()]; }

 private:
  std::uint64_t elements_;
  std::vector<net::NodeKey> replicas_;
  std::uint64_t chunk_elements_ = 1;
};

}  // namespace sidestep::daemon
