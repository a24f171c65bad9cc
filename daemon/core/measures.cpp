#include "daemon/core/measures.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sidestep::daemon {
namespace {

// Of an odd count the middle one, else the upper of the two. Precondition: not empty.
double median_of(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

template <class T>
void push(std::deque<T>& window, T sample, std::size_t size) {
  window.push_back(std::move(sample));
  if (window.size() > size) window.pop_front();
}

std::int64_t whole(const SmoothedFigure& figure) { return std::llround(figure.value().value_or(0)); }

}  // namespace

void SmoothedFigure::add(double sample) { push(samples_, sample, window); }

std::optional<double> SmoothedFigure::value() const {
  if (samples_.empty()) return std::nullopt;
  const double median = median_of({samples_.begin(), samples_.end()});
  std::vector<double> apart;
  for (const double sample : samples_) apart.push_back(std::abs(sample - median));
  const double apart_max = std::max(deviations_max * deviation_of_median * median_of(std::move(apart)),
                                    least_share * std::abs(median));
  double sum = 0, count = 0;
  for (const double sample : samples_) {
    if (std::abs(sample - median) > apart_max) continue;
    sum += sample;
    ++count;
  }
  return sum / count;
}

void TaskMeasures::add(const net::StepTimes& step) {
  for (const net::StepTask& task : step.tasks) {
    if (task.evaluation) continue;
    const auto us = static_cast<double>(task.end_us - task.begin_us);
    switch (task.kind) {
      case net::StepTaskKind::forward:
        stages_[task.stage].forward_us.add(us);
        break;
      case net::StepTaskKind::backward:
        stages_[task.stage].backward_us.add(us);
        break;
      case net::StepTaskKind::head:
        head_us_.add(us);
        break;
    }
  }
  for (const net::StepAverage& average : step.averages)
    if (average.bytes > 0)
      push(averaging_,
           static_cast<double>(average.bytes) * 1e6 /
               static_cast<double>(std::max<std::int64_t>(1, average.end_us - average.begin_us)),
           averages_kept);
}

std::vector<net::StageSpeed> TaskMeasures::stages() const {
  std::vector<net::StageSpeed> list;
  for (const auto& [stage, times] : stages_)
    list.push_back({stage, whole(times.forward_us), whole(times.backward_us)});
  return list;
}

std::int64_t TaskMeasures::head_us() const { return whole(head_us_); }

double TaskMeasures::averaging_bytes_per_s() const {
  return averaging_.empty() ? 0 : std::ranges::max(averaging_);
}

void LinkMeasures::probed(const std::vector<net::LinkSpeed>& links) {
  for (const net::LinkSpeed& link : links) ways_[link.node] = {link, {}, {}};
}

void LinkMeasures::round_trip(const net::NodeKey& peer, std::size_t tensor_bytes, std::int64_t us) {
  Way& way = ways_[peer];
  if (tensor_bytes <= small_bytes_max)
    push(way.small_us, us, window);
  else
    push(way.large, std::pair(tensor_bytes, us), window);
}

void LinkMeasures::keep(const std::vector<net::Member>& members) {
  std::erase_if(ways_, [&](const auto& entry) {
    return std::ranges::none_of(members, [&](const auto& member) { return member.key == entry.first; });
  });
}

std::vector<net::LinkSpeed> LinkMeasures::links() const {
  std::vector<net::LinkSpeed> list;
  for (const auto& [peer, way] : ways_)
    if (const auto link = speed(peer, way)) list.push_back(*link);
  return list;
}

std::optional<net::LinkSpeed> LinkMeasures::speed(const net::NodeKey& peer, const Way& way) {
  net::LinkSpeed link = way.probed.value_or(net::LinkSpeed{peer, 0, 0});
  if (!way.small_us.empty()) link.latency_us = std::ranges::min(way.small_us) / 2;
  for (const auto& [bytes, us] : way.large) link.latency_us = std::min(link.latency_us, us / 2);
  if (!way.large.empty()) link.bytes_per_s = 0;
  for (const auto& [bytes, us] : way.large) {
    const std::int64_t on_top_us =
        std::max({us - 2 * link.latency_us, us / least_part_of_bytes, std::int64_t{1}});
    link.bytes_per_s =
        std::max(link.bytes_per_s, static_cast<double>(bytes) * 1e6 / static_cast<double>(on_top_us));
  }
  if (link.bytes_per_s <= 0) return std::nullopt;  // small letters alone do not say
  return link;
}

}  // namespace sidestep::daemon
