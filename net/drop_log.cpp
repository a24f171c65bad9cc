#include "net/drop_log.h"

#include <utility>

#include "net/clock.h"

namespace sidestep::net {
namespace {

constexpr std::size_t kinds_max = 1'000;  // kinds may name peers, and those come and go

}  // namespace

void DropLog::add(std::int64_t now_us, const std::string& kind, const std::string& what) {
  ++total_;
  if (!output_) return;
  if (kinds_.size() >= kinds_max && !kinds_.contains(kind)) kinds_.clear();
  Kind& entry = kinds_[kind];
  if (now_us < entry.quiet_until_us) {
    ++entry.left_out;
    return;
  }
  const std::uint64_t left_out = std::exchange(entry.left_out, 0);
  entry.quiet_until_us = now_us + second;
  output_(left_out == 0 ? what : what + " (and " + std::to_string(left_out) + " more like this)");
}

}  // namespace sidestep::net
