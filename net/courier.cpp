#include "net/courier.h"

#include <algorithm>

namespace sidestep::net {

void Courier::post(std::int64_t now_us, const NodeKey& peer, Channel channel, Message message,
                   std::vector<Send>& out, std::optional<BootId> only_boot) {
  const std::uint64_t id = next_id_++;
  Letter letter{peer,
                channel,
                Envelope{boot_, id, std::move(message)},
                only_boot,
                now_us + options_.first_repeat_us,
                options_.first_repeat_us};
  out.push_back({peer, channel, letter.envelope, only_boot});
  letters_.emplace(id, std::move(letter));
}

void Courier::send_once(const NodeKey& peer, Channel channel, Message message, std::vector<Send>& out,
                        std::optional<BootId> only_boot) const {
  out.push_back({peer, channel, Envelope{boot_, 0, std::move(message)}, only_boot});
}

void Courier::acknowledge(const NodeKey& peer, Channel channel, const Envelope& envelope,
                          std::vector<Send>& out) const {
  if (envelope.id != 0) send_once(peer, channel, Ack{{envelope.id}}, out, envelope.boot);
}

void Courier::on_ack(const NodeKey& peer, const Ack& ack) {
  for (const std::uint64_t id : ack.ids) {
    const auto it = letters_.find(id);
    if (it != letters_.end() && it->second.peer == peer) letters_.erase(it);
  }
}

void Courier::on_tick(std::int64_t now_us, std::vector<Send>& out) {
  for (auto& [id, letter] : letters_) {
    if (letter.due_us > now_us) continue;
    letter.wait_us = std::min(2 * letter.wait_us, options_.repeat_us_max);
    letter.due_us = now_us + letter.wait_us;
    out.push_back({letter.peer, letter.channel, letter.envelope, letter.only_boot});
  }
}

void Courier::hurry(std::int64_t now_us, const NodeKey& peer, std::vector<Send>& out) {
  for (auto& [id, letter] : letters_) {
    if (letter.peer != peer) continue;
    letter.wait_us = options_.first_repeat_us;
    letter.due_us = now_us + letter.wait_us;
    out.push_back({letter.peer, letter.channel, letter.envelope, letter.only_boot});
  }
}

void Courier::drop_if(const std::function<bool(const NodeKey&, const Message&)>& out_of_date) {
  std::erase_if(letters_, [&](const auto& entry) {
    return out_of_date(entry.second.peer, entry.second.envelope.message);
  });
}

std::size_t Courier::count_if(const std::function<bool(const NodeKey&, const Message&)>& wanted) const {
  std::size_t count = 0;
  for (const auto& [id, letter] : letters_)
    if (wanted(letter.peer, letter.envelope.message)) ++count;
  return count;
}

}  // namespace sidestep::net
