#include "net/emulated_bus.h"

#include <algorithm>
#include <cmath>

#include "net/codec.h"

namespace sidestep::net {
namespace {

std::size_t bytes_of(const Envelope& envelope) {
  std::size_t bytes = 0;
  for (const Payload& frame : encode(envelope)) bytes += frame.size();
  return bytes;
}

}  // namespace

void EmulatedBus::set_link(const NodeKey& peer, Channel channel, const EmulatedLink& link) {
  links_.insert_or_assign({peer, channel}, Link{link, Random(link.seed)});
}

void EmulatedBus::remove_peer(const NodeKey& peer, Channel channel) {
  const LinkName name{peer, channel};
  links_.erase(name);
  std::erase_if(held_, [&](const auto& entry) { return entry.second.link == name; });
  bus_.remove_peer(peer, channel);
}

void EmulatedBus::send(const NodeKey& peer, Channel channel, const Envelope& envelope) {
  pass({peer, channel}, envelope, [=, this] { bus_.send(peer, channel, envelope); });
}

void EmulatedBus::send_to_boot(const NodeKey& peer, BootId boot, Channel channel, const Envelope& envelope) {
  pass({peer, channel}, envelope, [=, this] { bus_.send_to_boot(peer, boot, channel, envelope); });
}

void EmulatedBus::pass(const LinkName& name, const Envelope& envelope, std::function<void()> forward) {
  const auto found = links_.find(name);
  if (found == links_.end()) return forward();
  const std::int64_t now_us = clock_();
  // The draws are the same whatever comes of them, so that one loss does not shift all later ones.
  const bool lost = found->second.random.chance(found->second.options.loss);
  const std::int64_t due_us = arrival_us(found->second, now_us, envelope);
  if (lost) return;
  const auto held = held_.emplace(std::pair(due_us, next_held_++), Held{name, std::move(forward)}).first;
  if (due_us <= now_us)
    on_timer();  // with those before it, should the timer be late
  else if (held == held_.begin())
    timer_(due_us);
}

std::int64_t EmulatedBus::arrival_us(Link& link, std::int64_t now_us, const Envelope& envelope) {
  const EmulatedLink& options = link.options;
  std::int64_t taken_us = 0, latency_us = options.latency_us;
  // Probes stand for microbatches where the way is measured.
  const bool as_microbatch = std::holds_alternative<MicrobatchHop>(envelope.message) ||
                             std::holds_alternative<Probe>(envelope.message) ||
                             std::holds_alternative<ProbeReply>(envelope.message);
  if (options.transfer_us > 0 && as_microbatch) {
    taken_us = options.transfer_us;
    latency_us = 0;
  } else if (options.bytes_per_us > 0) {
    taken_us = std::llround(static_cast<double>(bytes_of(envelope)) / options.bytes_per_us);
  }
  const std::int64_t late_us = latency_us + link.random.between(0, options.jitter_us);
  if (!options.fifo) return now_us + taken_us + late_us;
  link.free_at_us = std::max(link.free_at_us, now_us) + taken_us;
  link.last_arrival_us = std::max(link.last_arrival_us, link.free_at_us + late_us);
  return link.last_arrival_us;
}

void EmulatedBus::on_timer() {
  const std::int64_t now_us = clock_();
  while (!held_.empty() && held_.begin()->first.first <= now_us) {
    const auto next = held_.extract(held_.begin());
    next.mapped().forward();
  }
  if (!held_.empty()) timer_(held_.begin()->first.first);
}

}  // namespace sidestep::net
