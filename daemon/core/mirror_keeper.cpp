#include "daemon/core/mirror_keeper.h"

#include <algorithm>
#include <cstring>

#include "scheduler/memory.h"

namespace sidestep::daemon {

std::string MirrorKeeper::objection(const net::NodeKey& peer, const net::StateOffer& offer) const {
  const std::uint64_t commit = offer.scope.step;
  if (!context_.plan.holds(peer, offer.lesson) || offer.stage != offer.lesson)
    return "it does not hold the stage";
  if (!offer.problem.empty()) return offer.problem;
  const bool due = commit % static_cast<std::uint64_t>(context_.spec.recovery.every) == 0 &&
                   commit <= static_cast<std::uint64_t>(context_.spec.final_step());
  if (!due || offer.mirror || offer.digests.size() != net::state_parts || offer.updates > commit ||
      offer.elements == 0 || offer.elements > scheduler::stage_parameters(context_.spec, offer.stage))
    return "the offer is malformed";
  return {};
}

void MirrorKeeper::on_offer(std::int64_t now_us, const net::NodeKey& peer, const net::StateOffer& offer) {
  const std::uint32_t stage = offer.lesson;
  const std::uint64_t commit = offer.scope.step;
  const auto kept = kept_.find(stage);
  const auto under_way = coming_.find(stage);
  const bool known = (kept != kept_.end() && commit <= kept->second.offer.scope.step) ||
                     (under_way != coming_.end() && commit <= under_way->second.mirror.offer.scope.step);
  if (known) return;
  if (context_.plan.is_out(stage)) return tell_of_none(now_us, peer, offer, "the stage is out");
  if (const std::string why = objection(peer, offer); !why.empty())
    return tell_of_none(now_us, peer, offer, why);
  coming_.erase(stage);  // of a holder that is none any more
  coming_.emplace(stage, Coming{{offer, {Slices()}}, peer, puller(offer, peer, 0), {}, 0});
  on_tick(now_us);
}

void MirrorKeeper::tell_of_none(std::int64_t now_us, const net::NodeKey& source, const net::StateOffer& offer,
                                const std::string& why) {
  context_.log(now_us, net::LogLevel::warning, offer.lesson,
               "no mirror of stage " + std::to_string(offer.lesson) + " of commit " +
                   std::to_string(offer.scope.step) + " from " + context_.name_of(source) + ": " + why);
  ports_.tell(now_us, source, {context_.scope_of(offer.scope.step), offer.lesson, why});
}

recovery::SlicePuller MirrorKeeper::puller(const net::StateOffer& offer, const net::NodeKey& source,
                                           std::size_t part) const {
  recovery::PullRequest request{context_.job,   offer.scope.step,
                                offer.stage,    net::state_part(part),
                                offer.elements, {{source, context_.name_of(source), offer.digests[part]}}};
  // Slices are taken in on_slice, where their tensors are.
  return recovery::SlicePuller(std::move(request), {},
                               [](std::uint64_t, std::span<const std::byte>) { return Status(); });
}

void MirrorKeeper::send(const std::vector<recovery::SlicePuller::Outgoing>& requests) const {
  for (const recovery::SlicePuller::Outgoing& one : requests) ports_.ask(one.to, one.request);
}

void MirrorKeeper::on_tick(std::int64_t now_us) {
  for (auto next = coming_.begin(); next != coming_.end();) {
    const auto coming = next++;
    std::vector<recovery::SlicePuller::Outgoing> requests;
    coming->second.pull.on_tick(now_us, requests);
    send(requests);
    if (coming->second.pull.failed()) give_up(now_us, coming, coming->second.pull.failure().message());
  }
}

void MirrorKeeper::on_slice(std::int64_t now_us, const net::NodeKey& peer, const net::Slice& slice) {
  const auto found = coming_.find(slice.stage);
  if (found == coming_.end()) return;
  Coming& coming = found->second;
  std::vector<recovery::SlicePuller::Outgoing> requests;
  const std::uint64_t before = coming.pull.received();
  coming.pull.on_slice(now_us, peer, slice, requests);
  send(requests);
  if (coming.pull.failed()) return give_up(now_us, found, coming.pull.failure().message());
  if (coming.pull.received() == before) return;
  Slices& slices = coming.mirror.parts.back();
  slices.emplace(slice.begin, slice.tensor);
  for (auto one = slices.find(coming.summed); one != slices.end(); one = slices.find(coming.summed)) {
    coming.digest.add({one->second.payload.data(), one->second.payload.size()});
    coming.summed += one->second.payload.size() / sizeof(float);
  }
  if (coming.pull.complete()) end_part(now_us, found);
}

void MirrorKeeper::end_part(std::int64_t now_us, ComingByStage::iterator found) {
  Coming& coming = found->second;
  const net::StateOffer& offer = coming.mirror.offer;
  const std::size_t part = coming.mirror.parts.size() - 1;
  if (const std::string digest = coming.digest.finish(); digest != offer.digests[part])
    return give_up(now_us, found,
                   "its digest is " + digest + ", not the " + offer.digests[part] + " that was offered");
  if (part + 1 < parts()) {
    coming.mirror.parts.emplace_back();
    coming.pull = puller(offer, coming.source, part + 1);
    coming.digest = {};
    coming.summed = 0;
    return on_tick(now_us);
  }
  const std::uint32_t stage = offer.lesson;
  const net::MirrorKept kept{context_.scope_of(offer.scope.step), stage};
  const net::NodeKey source = coming.source;
  kept_[stage] = std::move(coming.mirror);
  coming_.erase(found);
  context_.log(
      now_us, net::LogLevel::debug, stage,
      "keeps the mirror of stage " + std::to_string(stage) + " of commit " + std::to_string(kept.scope.step));
  ports_.tell(now_us, source, kept);
}

void MirrorKeeper::give_up(std::int64_t now_us, ComingByStage::iterator found, const std::string& why) {
  const Coming coming = std::move(found->second);
  coming_.erase(found);
  tell_of_none(now_us, coming.source, coming.mirror.offer, why);
}

void MirrorKeeper::on_plan() {
  const scheduler::Plan& plan = context_.plan;
  const net::NodeKey& self = context_.options->key;
  std::erase_if(kept_, [&](const auto& entry) { return !plan.keeps(self, entry.first); });
  std::erase_if(coming_, [&](const auto& entry) {
    return !plan.keeps(self, entry.first) || !plan.holds(entry.second.source, entry.first);
  });
}

net::StateOffer MirrorKeeper::offer_of(std::uint32_t stage) const {
  net::StateOffer offer;
  if (const auto kept = kept_.find(stage); kept != kept_.end()) {
    offer = kept->second.offer;
    offer.mirror = offer.scope.step;
  } else {
    offer.stage = offer.lesson = stage;
    offer.problem = "its mirror is not here";
  }
  offer.scope = context_.scope();
  return offer;
}

std::optional<net::Tensor> MirrorKeeper::read(const net::SliceRequest& request) const {
  const auto kept = kept_.find(request.stage);
  const std::size_t part = net::part_number(request.part);
  if (kept == kept_.end() || kept->second.offer.scope.step != request.commit ||
      part >= kept->second.parts.size() || request.elements == 0 ||
      request.begin > kept->second.offer.elements ||
      request.elements > kept->second.offer.elements - request.begin)
    return std::nullopt;
  const Slices& slices = kept->second.parts[part];
  const std::vector<std::int64_t> shape{static_cast<std::int64_t>(request.elements)};
  const std::uint64_t first = request.begin * sizeof(float), bytes = request.elements * sizeof(float);
  auto slice = std::prev(slices.upper_bound(request.begin));
  if (const std::uint64_t skip = first - slice->first * sizeof(float);
      bytes <= slice->second.payload.size() - skip)
    return net::Tensor{net::DType::float32, shape, slice->second.payload.slice(skip, bytes)};
  // Cut in another way than it was pulled.
  std::vector<std::byte> whole(bytes);
  for (std::uint64_t filled = 0; filled < bytes; ++slice) {
    const std::uint64_t skip = first + filled - slice->first * sizeof(float);
    const std::uint64_t length = std::min(bytes - filled, slice->second.payload.size() - skip);
    std::memcpy(whole.data() + filled, slice->second.payload.data() + skip, length);
    filled += length;
  }
  return net::Tensor{net::DType::float32, shape, net::Payload::from_bytes(std::move(whole))};
}

}  // namespace sidestep::daemon
