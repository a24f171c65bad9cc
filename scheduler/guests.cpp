// Guests: keys that data sockets admit for a while besides the nodes of the view.
#include "scheduler/scheduler_state.h"

namespace sidestep::scheduler {

void SchedulerCore::State::admit_guest(const net::NodeKey& key) {
  const bool known = guests.contains(key);
  guests[key] = now_us + options.guest_us;
  if (!known) publish_guests();
}

void SchedulerCore::State::expire_guests() {
  if (std::erase_if(guests, [&](const auto& guest) { return guest.second <= now_us; }) > 0) publish_guests();
}

void SchedulerCore::State::publish_guests() {
  ++guests_number;
  for (const auto& [key, node] : nodes)
    if (node.greeted) post_guests(node);
}

// In place of older lists that have not been acknowledged.
void SchedulerCore::State::post_guests(const Node& node) {
  courier.drop_if([&](const net::NodeKey& peer, const net::Message& message) {
    return peer == node.member.key && std::holds_alternative<net::Guests>(message);
  });
  net::Guests list{guests_number, {}};
  for (const auto& [key, until_us] : guests) list.keys.push_back(key);
  post(node, std::move(list));
}

}  // namespace sidestep::scheduler
