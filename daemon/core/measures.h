// What tasks and ways take now, out of what each of them took: smoothed, so that a plan can be made by it.
// Pure.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "net/messages.h"

namespace sidestep::daemon {

// A figure that scatters to both sides. Of the last 64 samples it is the mean of those that are no outliers:
// within 3 standard deviations of the median, as the median absolute deviation estimates them (times 1.4826),
// and at least within 5 % (Hampel's rule). So a pause that hits a few tasks does not count, and a machine
// that becomes slower is believed once that holds for half of the samples.
class SmoothedFigure {
 public:
  void add(double sample);
  // Nothing before the first sample.
  std::optional<double> value() const;

 private:
  static constexpr std::size_t window = 64;
  static constexpr double deviations_max = 3, least_share = 0.05;
  static constexpr double deviation_of_median = 1.4826;  // of a normal distribution
  std::deque<double> samples_;
};

// Of this node's tasks in one job, fed a step at a time. A validation microbatch keeps nothing, so it does
// not count. A replica that has added its gradients before the others waits for them, which makes averaging
// take longer and never less: the quickest of the last 16 counts.
class TaskMeasures {
 public:
  void add(const net::StepTimes& step);

  // Of the stages that have been computed so far, ascending.
  std::vector<net::StageSpeed> stages() const;
  std::int64_t head_us() const;          // 0: not measured
  double averaging_bytes_per_s() const;  // 0: not measured

 private:
  struct Stage {
    SmoothedFigure forward_us, backward_us;
  };
  std::map<std::uint32_t, Stage> stages_;
  static constexpr std::size_t averages_kept = 16;
  SmoothedFigure head_us_;
  std::deque<double> averaging_;  // bytes a second
};

// Of the ways to other nodes: what probes said to begin with, then what letters and their Acks say. What a
// round trip takes too long says that it waited for something else, never that the way is fast, so the
// quickest of the last 16 counts, as with probes: half of a small letter's is the latency; a large one's
// bytes over what it took longer than twice the latency, and at least a tenth of its round trip, are the
// bandwidth. Where no small letter ever went, the latency is that of the probes, at most half of the quickest
// large letter, or without probes none, so that a transfer takes what its round trip took.
class LinkMeasures {
 public:
  // Replaces what is known of these ways.
  void probed(const std::vector<net::LinkSpeed>& links);
  // A letter with so many bytes of tensor was acknowledged after this time.
  void round_trip(const net::NodeKey& peer, std::size_t tensor_bytes, std::int64_t us);
  // Only these are there still.
  void keep(const std::vector<net::Member>& members);

  // In key order; those of which enough is known.
  std::vector<net::LinkSpeed> links() const;

 private:
  static constexpr std::size_t window = 16;
  static constexpr std::size_t small_bytes_max = 4096;
  static constexpr std::int64_t least_part_of_bytes = 10;  // one of so many parts

  struct Way {
    std::optional<net::LinkSpeed> probed;
    std::deque<std::int64_t> small_us;
    std::deque<std::pair<std::size_t, std::int64_t>> large;  // bytes, us
  };
  static std::optional<net::LinkSpeed> speed(const net::NodeKey& peer, const Way& way);

  std::map<net::NodeKey, Way> ways_;
};

}  // namespace sidestep::daemon
