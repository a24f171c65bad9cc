#include "net/strangers.h"

#include <algorithm>

namespace sidestep::net {
namespace {

constexpr std::size_t strangers_max = 64;

}  // namespace

bool Strangers::add(std::int64_t now_us, const NodeKey& key, const std::string& what) {
  const bool is_waited_for =
      std::any_of(waiting_.begin(), waiting_.end(), [&](const Stranger& one) { return one.key == key; });
  if (is_waited_for) return true;
  if (waiting_.size() >= strangers_max) return false;
  waiting_.push_back({now_us + patience_us, key, what});
  return true;
}

std::optional<std::int64_t> Strangers::due_us() const {
  if (waiting_.empty()) return std::nullopt;
  return waiting_.front().due_us;
}

void Strangers::tell_due(std::int64_t now_us, const std::function<bool(const NodeKey&)>& is_known,
                         const std::function<void(const std::string&)>& tell) {
  while (!waiting_.empty() && waiting_.front().due_us <= now_us) {
    const Stranger one = std::move(waiting_.front());
    waiting_.pop_front();
    if (!is_known(one.key)) tell(one.what);
  }
}

}  // namespace sidestep::net
