#include "recovery/slice_puller.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "net/assert.h"

namespace sidestep::recovery {
namespace {

constexpr double first_window = 4;
// Whatever else is on the way.
constexpr double least_window = 2;
constexpr std::int64_t minute_us = 60'000'000;

}  // namespace

SlicePuller::SlicePuller(PullRequest request, PullOptions options, Write write)
    : request_(std::move(request)),
      options_(options),
      write_(std::move(write)),
      window_(std::min(first_window, static_cast<double>(options.window))) {
  SIDESTEP_ASSERT(options_.slice_elements > 0 && options_.window > 0);
}

std::uint64_t SlicePuller::length_at(std::uint64_t begin) const {
  return std::min(options_.slice_elements, request_.elements - begin);
}

void SlicePuller::ask(std::int64_t now_us, std::uint64_t begin, std::int64_t wait_us,
                      std::vector<Outgoing>& out) {
  wanted_[begin] = {now_us, wait_us, false};
  out.push_back({source().node,
                 {request_.job, request_.commit, request_.stage, request_.part, begin, length_at(begin)}});
}

void SlicePuller::pace(std::int64_t now_us, std::int64_t round_trip_us) {
  if (now_us - minute_began_us_ >= minute_us) {
    minute_began_us_ = now_us;
    quickest_before_us_ = std::exchange(quickest_us_, never_us);
  }
  quickest_us_ = std::min(quickest_us_, round_trip_us);
  const double early = 1 - static_cast<double>(round_trip_us - std::min(quickest_us_, quickest_before_us_)) /
                               static_cast<double>(std::max<std::int64_t>(1, options_.queue_us));
  if (early < 0.5) slow_start_ = false;
  window_ += slow_start_ ? 1 : std::max(early, -1.0) / window_;
  window_ = std::clamp(window_, std::min(least_window, static_cast<double>(options_.window)),
                       static_cast<double>(options_.window));
}

void SlicePuller::fill_window(std::int64_t now_us, std::vector<Outgoing>& out) {
  while (!failed() && static_cast<double>(wanted_.size()) < std::floor(window_) &&
         next_ < std::min(request_.elements, hold_at_)) {
    ask(now_us, next_, options_.repeat_us, out);
    next_ += length_at(next_);
  }
}

void SlicePuller::on_tick(std::int64_t now_us, std::vector<Outgoing>& out) {
  if (failed() || complete()) return;
  if (heard_us_ < 0) heard_us_ = now_us;
  if (now_us - heard_us_ >= options_.patience_us) {
    reject("sent nothing for " + std::to_string(options_.patience_us / 1'000'000) + " s");
    if (failed()) return;
    heard_us_ = now_us;
  }
  if (wanted_.empty()) heard_us_ = now_us;  // it was not asked for anything
  // On a slow line slices are on their way for long: only silence, or a later one that came, means a loss.
  const bool silent = now_us - heard_us_ >= options_.repeat_us;
  std::vector<std::pair<std::uint64_t, std::int64_t>> late;
  for (const auto& [begin, slice] : wanted_)
    if ((silent || slice.overtaken) && now_us - slice.sent_us >= slice.wait_us)
      late.emplace_back(begin, slice.wait_us);
  // A line may be slower than any wait: repeats become rare before they fill it.
  for (const auto& [begin, waited_us] : late) ask(now_us, begin, 2 * waited_us, out);
  fill_window(now_us, out);
}

void SlicePuller::on_slice(std::int64_t now_us, const net::NodeKey& peer, const net::Slice& slice,
                           std::vector<Outgoing>& out) {
  if (failed() || peer != source().node || slice.job != request_.job || slice.commit != request_.commit ||
      slice.stage != request_.stage || slice.part != request_.part)
    return;
  const auto found = wanted_.find(slice.begin);
  if (found == wanted_.end()) return;  // a repeat
  heard_us_ = now_us;
  const std::uint64_t length = length_at(slice.begin);
  if (!slice.problem.empty()) {
    reject(slice.problem);
  } else if (slice.tensor.dtype != net::DType::float32 ||
             slice.tensor.shape != std::vector<std::int64_t>{static_cast<std::int64_t>(length)}) {
    reject("sent a slice of another size or type than it was asked for");
  } else {
    const std::int64_t sent_us = found->second.sent_us;
    // Of one that was asked for again it is not known which request it answers.
    if (found->second.wait_us == options_.repeat_us) pace(now_us, now_us - sent_us);
    wanted_.erase(found);
    for (auto& [begin, other] : wanted_)
      if (other.sent_us < sent_us || (other.sent_us == sent_us && begin < slice.begin))
        other.overtaken = true;
    received_ += length;
    failure_ = write_(slice.begin, {slice.tensor.payload.data(), slice.tensor.payload.size()});
  }
  fill_window(now_us, out);
}

void SlicePuller::reject(const std::string& why) {
  SIDESTEP_ASSERT(!failed());
  reasons_ += (reasons_.empty() ? "" : "; ") + source().name + ": " + why;
  ++source_;
  wanted_.clear();
  next_ = received_ = 0;
  heard_us_ = -1;
  window_ = std::min(first_window, static_cast<double>(options_.window));
  slow_start_ = true;
  quickest_us_ = quickest_before_us_ = never_us;
}

Status SlicePuller::failure() const {
  SIDESTEP_ASSERT(failed());
  const std::string what = "stage " + std::to_string(request_.stage) + " at commit " +
                           std::to_string(request_.commit) + " of job " + request_.job;
  if (!failure_.ok()) return failure_.with_context(what);
  return Status::io(what +
                    " cannot be had: " + (reasons_.empty() ? "no node that is here holds it" : reasons_));
}

}  // namespace sidestep::recovery
