#include "recovery/rebuild_core.h"

#include <algorithm>

#include "net/assert.h"
#include "net/clock.h"
#include "recovery/weights.h"

namespace sidestep::recovery {
RebuildCore::RebuildCore(RebuildRequest request, PullOptions pull)
    : request_(std::move(request)), pull_(pull) {
  SIDESTEP_ASSERT(!request_.sources.empty());
  for (const scheduler::RebuildSource& source : request_.sources)
    sources_.push_back({source.stage, source.nodes, {}, {}, {}, {}, {}, {}, 0});
}

std::size_t RebuildCore::parts() const {
  return request_.recovery.moments == "average" ? net::state_parts : 1;
}

// What is not stored yet takes its part of the window.
std::uint64_t RebuildCore::limit() const {
  return next_ + (pull_.window - std::min(pull_.window, combining_)) * pull_.slice_elements;
}

std::string RebuildCore::objection(const Source& source, const net::NodeKey& peer,
                                   const net::StateOffer& offer) const {
  if (std::ranges::find(source.replicas, peer) == source.replicas.end()) return "it does not hold that stage";
  if (offer.scope.step > request_.commit_max) return "it is of a commit beyond the job's last";
  if (offer.scope.epoch != request_.epoch) return "it is of plan " + std::to_string(offer.scope.epoch);
  if (request_.commit && *request_.commit != offer.scope.step)
    return "it is of commit " + std::to_string(offer.scope.step) + ", not " +
           std::to_string(*request_.commit);
  if (!offer.problem.empty()) return {};
  if (offer.mirror.has_value() != is_own() || offer.mirror.value_or(0) > offer.scope.step)
    return is_own() ? "it is no mirror" : "it is a mirror";
  if (offer.elements != request_.elements)
    return "its layers have " + std::to_string(offer.elements) + " elements, not " +
           std::to_string(request_.elements);
  if (offer.digests.size() != net::state_parts || offer.updates > offer.scope.step) return "it is malformed";
  const bool differs = !source.offers.empty() && source.offers.front().offer.updates != offer.updates;
  return differs ? "it has made another number of updates than the other replicas" : "";
}

void RebuildCore::on_offer(std::int64_t now_us, const net::NodeKey& peer, const std::string& name,
                           const net::StateOffer& offer, RebuildActions& out) {
  if (begun_ || given_up_ || offer.lesson != request_.stage) return;
  const auto source = std::ranges::find(sources_, offer.stage, &Source::stage);
  const std::string who = "stage " + std::to_string(offer.stage) + " at " + name;
  const std::string why = source == sources_.end() ? "it is no neighbour" : objection(*source, peer, offer);
  if (!why.empty()) {
    out.push_back(Tell{net::LogLevel::warning, "dropped the offer of " + who + ": " + why});
    // No other can offer a mirror.
    const bool only = is_own() && source != sources_.end() && source->replicas.front() == peer;
    if (only && offer.scope.epoch == request_.epoch) give_up("its mirror cannot be had: " + why, out);
    return;
  }
  if (!source->heard.insert(peer).second) return;
  if (!offer.problem.empty()) {
    source->reasons += (source->reasons.empty() ? "" : "; ") + name + ": " + offer.problem;
    out.push_back(Tell{net::LogLevel::warning, who + " cannot be had: " + offer.problem});
  } else {
    request_.commit = offer.scope.step;
    source->offers.push_back({peer, name, offer});
  }
  if (!first_offer_us_) first_offer_us_ = now_us;
  begin_if_offered(now_us, out);
}

void RebuildCore::begin_if_offered(std::int64_t now_us, RebuildActions& out) {
  if (begun_ || given_up_ || !first_offer_us_) return;
  const bool patient = now_us - *first_offer_us_ < pull_.offers_wait_us;
  for (const Source& source : sources_) {
    if (source.heard.size() < source.replicas.size() && (patient || source.offers.empty())) return;
    if (source.offers.empty())
      return give_up(
          "no replica of stage " + std::to_string(source.stage) + " can give its state: " + source.reasons,
          out);
  }
  begun_ = true;
  std::vector<SourceNorm> norms;
  for (const Source& source : sources_) {
    norms.push_back({source.stage, source.offers.front().offer.gradient_norm});
    finish_.updates = std::max(finish_.updates, source.offers.front().offer.updates);
  }
  const net::StateOffer& first = sources_.front().offers.front().offer;
  const bool moments = request_.recovery.moments == "average";
  source_commit_ = first.mirror.value_or(*request_.commit);
  if (is_own()) {
    weighed_ = {{request_.stage, 1}};
    finish_.gradient_norm = moments ? first.gradient_norm : 0;
    finish_.learning_rate_scale = first.learning_rate_scale;
    finish_.from_mirror = true;
  } else {
    weighed_ = weigh(request_.recovery, norms);
    finish_.learning_rate_scale = request_.recovery.lr_scale;
  }
  if (!moments || weighed_.empty()) finish_.updates = 0;
  for (std::size_t i = 0; i < weighed_.size(); ++i) sources_[i].weight = weighed_[i].weight;
  if (weighed_.empty() || request_.elements == 0) {
    part_ = parts();
    return finish_if_combined(out);
  }
  begin_part(now_us, out);
}

void RebuildCore::begin_part(std::int64_t now_us, RebuildActions& out) {
  next_ = 0;
  for (Source& source : sources_) {
    source.waiting.clear();
    source.digest = {};
    const Offer& from = source.offers.front();
    PullRequest request{request_.job,      source_commit_,
                        source.stage,      net::state_part(part_, /*layers_alone=*/true),
                        request_.elements, {{from.node, from.name, from.offer.digests[part_]}}};
    // Slices are taken in on_slice, where their tensors are.
    source.puller.emplace(std::move(request), pull_,
                          [](std::uint64_t, std::span<const std::byte>) { return Status(); });
  }
  tick_pullers(now_us, out);
}

void RebuildCore::tick_pullers(std::int64_t now_us, RebuildActions& out) {
  for (Source& source : sources_) {
    std::vector<SlicePuller::Outgoing> requests;
    source.puller->hold_at(limit());
    source.puller->on_tick(now_us, requests);
    if (source.puller->failed())
      return leave_replica(now_us, source, source.puller->failure().message(), out);
    for (SlicePuller::Outgoing& one : requests) out.push_back(AskSlice{one.to, std::move(one.request)});
  }
}

void RebuildCore::leave_replica(std::int64_t now_us, Source& source, const std::string& why,
                                RebuildActions& out) {
  const Offer left = source.offers.front();
  source.offers.erase(source.offers.begin());
  source.reasons += (source.reasons.empty() ? "" : "; ") + why;
  if (source.offers.empty())
    return give_up("stage " + std::to_string(source.stage) + " cannot be had: " + source.reasons, out);
  out.push_back(Tell{net::LogLevel::warning, "leaves " + left.name + ": " + why});
  begin_part(now_us, out);
}

void RebuildCore::on_tick(std::int64_t now_us, RebuildActions& out) {
  begin_if_offered(now_us, out);
  if (begun_ && !given_up_ && part_ < parts()) tick_pullers(now_us, out);
}

void RebuildCore::on_slice(std::int64_t now_us, const net::NodeKey& peer, const net::Slice& slice,
                           RebuildActions& out) {
  if (!begun_ || given_up_ || part_ >= parts() || slice.part != net::state_part(part_, /*layers_alone=*/true))
    return;
  const auto source = std::ranges::find(sources_, slice.stage, &Source::stage);
  if (source == sources_.end()) return;
  std::vector<SlicePuller::Outgoing> requests;
  const std::uint64_t before = source->puller->received();
  source->puller->on_slice(now_us, peer, slice, requests);
  if (source->puller->failed())
    return leave_replica(now_us, *source, source->puller->failure().message(), out);
  for (SlicePuller::Outgoing& one : requests) out.push_back(AskSlice{one.to, std::move(one.request)});
  if (source->puller->received() == before) return;
  bytes_ += slice.tensor.payload.size();
  source->waiting.emplace(slice.begin, slice.tensor);
  combine_arrived(now_us, out);
}

void RebuildCore::combine_arrived(std::int64_t now_us, RebuildActions& out) {
  const auto is_here = [&](const Source& source) { return source.waiting.contains(next_); };
  const std::uint64_t before = next_;
  while (next_ < request_.elements && std::ranges::all_of(sources_, is_here)) {
    Combine combine{net::state_part(part_), next_, {}};
    std::uint64_t length = 0;
    for (Source& source : sources_) {
      net::Tensor values = std::move(source.waiting.extract(next_).mapped());
      source.digest.add({values.payload.data(), values.payload.size()});
      length = values.payload.size() / sizeof(float);
      combine.slices.emplace_back(std::move(values), source.weight);
    }
    ++combining_;
    out.push_back(std::move(combine));
    next_ += length;
  }
  if (next_ == request_.elements) return end_part(now_us, out);
  if (next_ > before) tick_pullers(now_us, out);
}

void RebuildCore::end_part(std::int64_t now_us, RebuildActions& out) {
  std::vector<std::string> digests;
  for (Source& source : sources_) digests.push_back(source.digest.finish());
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    const std::string& offered = sources_[i].offers.front().offer.digests[part_];
    if (digests[i] != offered)
      return leave_replica(now_us, sources_[i],
                           sources_[i].offers.front().name + ": its digest is " + digests[i] + ", not the " +
                               offered + " that it offered",
                           out);
  }
  ++part_;
  if (part_ < parts()) return begin_part(now_us, out);
  finish_if_combined(out);
}

void RebuildCore::on_combined(std::int64_t now_us, RebuildActions& out) {
  SIDESTEP_ASSERT(combining_ > 0);
  --combining_;
  if (given_up_) return;
  if (part_ < parts()) return tick_pullers(now_us, out);
  finish_if_combined(out);
}

void RebuildCore::finish_if_combined(RebuildActions& out) {
  if (given_up_ || finishing_ || part_ < parts() || combining_ > 0) return;
  finishing_ = true;
  finish_.commit = *request_.commit;
  out.push_back(finish_);
}

void RebuildCore::on_finished(std::int64_t now_us, RebuildActions& out) {
  done_ = true;
  end_us_ = now_us;
  const std::string out_of =
      is_own() ? "its mirror at " + sources_.front().offers.front().name : recovery::describe(weighed_);
  out.push_back(Tell{net::LogLevel::info, "rebuilt stage " + std::to_string(request_.stage) +
                                              " as of commit " + std::to_string(source_commit_) + ": " +
                                              out_of + ", " + std::to_string(bytes_ >> 20) + " MiB in " +
                                              std::to_string((now_us - *first_offer_us_) / net::ms) + " ms"});
}

void RebuildCore::give_up(const std::string& why, RebuildActions& out) {
  given_up_ = true;
  out.push_back(GiveUp{why});
}

scheduler::RecordRecovery RebuildCore::record() const {
  SIDESTEP_ASSERT(done_);
  return {request_.stage,  request_.self,
          source_commit_,  request_.recovery.policy,
          weighed_,        request_.recovery.moments == "average" && !weighed_.empty(),
          finish_.updates, finish_.learning_rate_scale,
          bytes_,          end_us_ - *first_offer_us_};
}

std::string RebuildCore::describe() const {
  const std::string what = "stage " + std::to_string(request_.stage);
  if (done_) return "has rebuilt " + what;
  if (!begun_) return "waits for the states that " + what + " is rebuilt from";
  return "rebuilds " + what + ": " + std::to_string((part_ * request_.elements + next_) >> 18) + " of " +
         std::to_string(parts() * request_.elements >> 18) + " MiB";
}

}  // namespace sidestep::recovery
