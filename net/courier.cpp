#include "net/courier.h"

#include <algorithm>

namespace sidestep::net {
namespace {

std::size_t tensor_bytes(const Message& message) {
  return std::visit(
      [](const auto& m) -> std::size_t {
        if constexpr (requires { m.tensor; })
          return m.tensor.payload.size();
        else
          return 0;
      },
      message);
}

bool is_bulk(const Message& message) { return std::holds_alternative<AverageChunk>(message); }

}  // namespace

bool Courier::may_go(const Letter& letter) const {
  if (!is_bulk(letter.envelope.message)) return true;
  const auto found = bulk_bytes_.find(letter.peer);
  return found == bulk_bytes_.end() || found->second == 0 ||
         found->second + tensor_bytes(letter.envelope.message) <= options_.bulk_bytes_max;
}

// A large tensor may be on its way for long, and a copy behind it would only make it longer.
void Courier::launch(std::int64_t now_us, Letter& letter, std::vector<Send>& out) {
  const std::size_t bytes = tensor_bytes(letter.envelope.message);
  letter.first_wait_us = options_.first_repeat_us;
  letter.tells_round_trip = !tensors_to_.contains(letter.peer);
  if (bytes > 0) {
    on_way_bytes_ += bytes;
    ++tensors_to_[letter.peer];
    if (is_bulk(letter.envelope.message)) bulk_bytes_[letter.peer] += bytes;
    letter.first_wait_us +=
        static_cast<std::int64_t>(static_cast<double>(on_way_bytes_) / options_.slowest_bytes_per_us);
  }
  letter.held = false;
  letter.sent_us = now_us;
  letter.wait_us = letter.first_wait_us;
  letter.due_us = now_us + letter.wait_us;
  out.push_back({letter.peer, letter.channel, letter.envelope, letter.only_boot});
}

void Courier::forget(const Letter& letter) {
  if (letter.held) return;
  const std::size_t bytes = tensor_bytes(letter.envelope.message);
  if (bytes == 0) return;
  on_way_bytes_ -= bytes;
  if (const auto count = tensors_to_.find(letter.peer); --count->second == 0) tensors_to_.erase(count);
  if (!is_bulk(letter.envelope.message)) return;
  const auto found = bulk_bytes_.find(letter.peer);
  found->second -= bytes;
  if (found->second == 0) bulk_bytes_.erase(found);
}

void Courier::post(std::int64_t now_us, const NodeKey& peer, Channel channel, Message message,
                   std::vector<Send>& out, std::optional<BootId> only_boot) {
  const std::uint64_t id = next_id_++;
  Letter& letter =
      letters_.emplace(id, Letter{peer, channel, Envelope{boot_, id, std::move(message)}, only_boot})
          .first->second;
  const bool others_wait = is_bulk(letter.envelope.message) && held_.contains(peer);
  if (!others_wait && may_go(letter)) return launch(now_us, letter, out);
  letter.held = true;
  held_[peer].push_back(id);
}

void Courier::go_on(std::int64_t now_us, const NodeKey& peer, std::vector<Send>& out) {
  const auto waiting = held_.find(peer);
  if (waiting == held_.end()) return;
  std::deque<std::uint64_t>& ids = waiting->second;
  while (!ids.empty()) {
    const auto letter = letters_.find(ids.front());
    if (letter != letters_.end()) {  // else dropped meanwhile
      if (!may_go(letter->second)) return;
      launch(now_us, letter->second, out);
    }
    ids.pop_front();
  }
  held_.erase(waiting);
}

void Courier::send_once(const NodeKey& peer, Channel channel, Message message, std::vector<Send>& out,
                        std::optional<BootId> only_boot) const {
  out.push_back({peer, channel, Envelope{boot_, 0, std::move(message)}, only_boot});
}

void Courier::acknowledge(const NodeKey& peer, Channel channel, const Envelope& envelope,
                          std::vector<Send>& out) const {
  if (envelope.id != 0) send_once(peer, channel, Ack{envelope.boot, {envelope.id}}, out, envelope.boot);
}

void Courier::on_ack(const NodeKey& peer, const Ack& ack,
                     const std::function<void(const Arrived&)>& arrived) {
  if (ack.boot != boot_) return;  // of an earlier run's letters, whose ids were the same
  for (const std::uint64_t id : ack.ids) {
    const auto it = letters_.find(id);
    if (it == letters_.end() || it->second.peer != peer) continue;
    const Letter& letter = it->second;
    if (arrived && letter.tells_round_trip) arrived({tensor_bytes(letter.envelope.message), letter.sent_us});
    forget(letter);
    letters_.erase(it);
  }
}

void Courier::on_tick(std::int64_t now_us, std::vector<Send>& out) {
  std::vector<NodeKey> peers;
  for (const auto& [peer, ids] : held_) peers.push_back(peer);
  for (const NodeKey& peer : peers) go_on(now_us, peer, out);
  for (auto& [id, letter] : letters_) {
    if (letter.held || letter.due_us > now_us) continue;
    letter.wait_us = std::min(2 * letter.wait_us, std::max(options_.repeat_us_max, 4 * letter.first_wait_us));
    letter.due_us = now_us + letter.wait_us;
    letter.tells_round_trip = false;
    out.push_back({letter.peer, letter.channel, letter.envelope, letter.only_boot});
  }
}

void Courier::hurry(std::int64_t now_us, const NodeKey& peer, std::vector<Send>& out) {
  for (auto& [id, letter] : letters_) {
    if (letter.peer != peer || letter.held) continue;
    letter.wait_us = letter.first_wait_us;
    letter.due_us = now_us + letter.wait_us;
    letter.tells_round_trip = false;
    out.push_back({letter.peer, letter.channel, letter.envelope, letter.only_boot});
  }
}

void Courier::drop_if(const std::function<bool(const NodeKey&, const Message&)>& out_of_date) {
  std::erase_if(letters_, [&](const auto& entry) {
    const Letter& letter = entry.second;
    if (!out_of_date(letter.peer, letter.envelope.message)) return false;
    forget(letter);
    return true;
  });
}

std::size_t Courier::count_if(const std::function<bool(const NodeKey&, const Message&)>& wanted) const {
  std::size_t count = 0;
  for (const auto& [id, letter] : letters_)
    if (wanted(letter.peer, letter.envelope.message)) ++count;
  return count;
}

}  // namespace sidestep::net
