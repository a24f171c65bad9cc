#include "daemon/core/time_use.h"

#include <cstdio>
#include <numeric>
#include <optional>

namespace sidestep::daemon {
namespace {

std::string seconds(std::int64_t us) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", static_cast<double>(us) / 1e6);
  return text;
}

template <class Times>
std::int64_t sum(const Times& times) {
  return std::accumulate(times.begin(), times.end(), std::int64_t{0});
}

}  // namespace

void TimeUse::add(const Task& task, std::int64_t waited_us, std::int64_t ran_us) {
  std::optional<Kind> kind;
  if (std::holds_alternative<Forward>(task))
    kind = forward;
  else if (std::holds_alternative<Head>(task))
    kind = head;
  else if (std::holds_alternative<Backward>(task))
    kind = backward;
  else if (std::holds_alternative<ExposeGradient>(task) || std::holds_alternative<Reduce>(task) ||
           std::holds_alternative<StoreAverage>(task) || std::holds_alternative<MeasureAverage>(task))
    kind = averaging;
  else if (std::holds_alternative<Update>(task))
    kind = update;
  if (!kind) return;
  ran_us_[*kind] += ran_us;
  if (begun_) waited_us_[*kind] += waited_us;
  begun_ = true;
}

std::string TimeUse::text() const {
  if (!begun_) return "";
  return "computed " + seconds(sum(ran_us_)) + " s (forward " + seconds(ran_us_[forward]) + ", head " +
         seconds(ran_us_[head]) + ", backward " + seconds(ran_us_[backward]) + ", averaging " +
         seconds(ran_us_[averaging]) + ", update " + seconds(ran_us_[update]) + "), waited " +
         seconds(sum(waited_us_)) + " s (for microbatches " +
         seconds(waited_us_[forward] + waited_us_[head] + waited_us_[backward]) + ", averages " +
         seconds(waited_us_[averaging]) + ", commits " + seconds(waited_us_[update]) + ")";
}

}  // namespace sidestep::daemon
