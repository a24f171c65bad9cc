// Guests: keys that data sockets admit for a while besides the nodes of the view, and the visits of those who
// look before they join (`sidestep doctor`).
#include "scheduler/scheduler_state.h"

namespace sidestep::scheduler {
namespace {

constexpr std::int64_t visit_us = 60'000'000;
constexpr std::size_t guests_max = 32;

}  // namespace

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::Visit& visit) {
  const auto refuse = [&](const std::string& reason, bool is_final) {
    send(peer, envelope.boot, net::Refusal{reason, is_final});
  };
  const InviteRow* invite = admissions.find_invite(peer);
  if (const std::string ended = invite == nullptr ? "" : why_ended(*invite); !ended.empty())
    return refuse(ended, true);
  if (admissions.find(visit.key) != nullptr || admissions.find_invite(visit.key) != nullptr ||
      visit.key == options.key)
    return refuse("a visit needs a key made for it", false);
  if (!guests.contains(visit.key) && guests.size() >= guests_max)
    return refuse("too many visits at a time; try again in a minute", false);
  admit_guest(visit.key, {visit.data_address, now_us + visit_us, peer});
  const Role role = invite != nullptr ? invite->role : *admissions.role_of(peer);
  send(peer, envelope.boot, net::VisitReply{visit.key, std::string(to_string(role)), wall_us(), view});
}

void SchedulerCore::State::admit_guest(const net::NodeKey& key, Visitor visitor) {
  const auto known = guests.find(key);
  const bool is_news = known == guests.end() || known->second.data_address != visitor.data_address;
  guests[key] = std::move(visitor);
  if (is_news) publish_guests();
}

void SchedulerCore::State::dismiss_guests(const net::NodeKey& by) {
  if (std::erase_if(guests, [&](const auto& guest) { return guest.first == by || guest.second.by == by; }) >
      0)
    publish_guests();
}

void SchedulerCore::State::expire_guests() {
  if (std::erase_if(guests, [&](const auto& guest) { return guest.second.until_us <= now_us; }) > 0)
    publish_guests();
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
  for (const auto& [key, guest] : guests) list.guests.push_back({key, guest.data_address});
  post(node, std::move(list));
}

}  // namespace sidestep::scheduler
