#include "scheduler/dealing.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "net/assert.h"

namespace sidestep::scheduler {
namespace {

std::vector<std::int64_t> shares_of(const std::vector<double>& speeds, std::size_t count) {
  std::vector<std::int64_t> shares(speeds.size(), count >= speeds.size() ? 1 : 0);
  const double whole = std::accumulate(speeds.begin(), speeds.end(), 0.0);
  const auto lack = [&](std::size_t i) {
    return static_cast<double>(count) * speeds[i] / whole - static_cast<double>(shares[i]);
  };
  for (auto given = std::accumulate(shares.begin(), shares.end(), std::int64_t{0});
       given < static_cast<std::int64_t>(count); ++given) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < speeds.size(); ++i)
      if (lack(i) > lack(best)) best = i;
    ++shares[best];
  }
  return shares;
}

}  // namespace

std::vector<std::size_t> deal_out(const std::vector<double>& speeds, std::size_t count) {
  SIDESTEP_ASSERT(!speeds.empty());
  const std::vector<std::int64_t> shares = shares_of(speeds, count);
  std::vector<std::int64_t> credit(speeds.size(), 0);
  std::vector<std::size_t> order;
  for (std::size_t m = 0; m < count; ++m) {
    for (std::size_t i = 0; i < shares.size(); ++i) credit[i] += shares[i];
    const auto most = std::max_element(credit.begin(), credit.end());
    *most -= static_cast<std::int64_t>(count);
    order.push_back(static_cast<std::size_t>(most - credit.begin()));
  }
  return order;
}

}  // namespace sidestep::scheduler
