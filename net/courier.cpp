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

}  // namespace

// A large tensor may be on its way for long, and a copy behind it would only make it longer.
std::int64_t Courier::first_wait_us(const Message& message) const {
  return options_.first_repeat_us + static_cast<std::int64_t>(static_cast<double>(tensor_bytes(message)) /
                                                              options_.slowest_bytes_per_us);
}

void Courier::post(std::int64_t now_us, const NodeKey& peer, Channel channel, Message message,
                   std::vector<Send>& out, std::optional<BootId> only_boot) {
  const std::uint64_t id = next_id_++;
  Letter letter{peer,
                channel,
                Envelope{boot_, id, std::move(message)},
                only_boot,
                now_us,
                0,
                0,
                !tensors_to_.contains(peer)};
  letter.wait_us = first_wait_us(letter.envelope.message);
  letter.due_us = now_us + letter.wait_us;
  if (tensor_bytes(letter.envelope.message) > 0) ++tensors_to_[peer];
  out.push_back({peer, channel, letter.envelope, only_boot});
  letters_.emplace(id, std::move(letter));
}

void Courier::send_once(const NodeKey& peer, Channel channel, Message message, std::vector<Send>& out,
                        std::optional<BootId> only_boot) const {
  out.push_back({peer, channel, Envelope{boot_, 0, std::move(message)}, only_boot});
}

void Courier::acknowledge(const NodeKey& peer, Channel channel, const Envelope& envelope,
                          std::vector<Send>& out) const {
  if (envelope.id != 0) send_once(peer, channel, Ack{envelope.boot, {envelope.id}}, out, envelope.boot);
}

void Courier::forget(const Letter& letter) {
  if (tensor_bytes(letter.envelope.message) == 0) return;
  const auto count = tensors_to_.find(letter.peer);
  if (--count->second == 0) tensors_to_.erase(count);
}

void Courier::on_ack(const NodeKey& peer, const Ack& ack,
                     const std::function<void(const Arrived&)>& arrived) {
  if (ack.boot != boot_) return;  // of an earlier run's letters, whose ids were the same
  for (const std::uint64_t id : ack.ids) {
    const auto it = letters_.find(id);
    if (it == letters_.end() || it->second.peer != peer) continue;
    const Letter& letter = it->second;
    if (arrived && letter.tells_round_trip)
      arrived({tensor_bytes(letter.envelope.message), letter.posted_us});
    forget(letter);
    letters_.erase(it);
  }
}

void Courier::on_tick(std::int64_t now_us, std::vector<Send>& out) {
  for (auto& [id, letter] : letters_) {
    if (letter.due_us > now_us) continue;
    letter.wait_us = std::min(2 * letter.wait_us,
                              std::max(options_.repeat_us_max, 4 * first_wait_us(letter.envelope.message)));
    letter.due_us = now_us + letter.wait_us;
    letter.tells_round_trip = false;
    out.push_back({letter.peer, letter.channel, letter.envelope, letter.only_boot});
  }
}

void Courier::hurry(std::int64_t now_us, const NodeKey& peer, std::vector<Send>& out) {
  for (auto& [id, letter] : letters_) {
    if (letter.peer != peer) continue;
    letter.wait_us = first_wait_us(letter.envelope.message);
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
