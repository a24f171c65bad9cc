// A store that forgets with its process: for the simulator and tests. A scheduler "restarts" on it by
// open_term() again.
#pragma once

#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "scheduler/store.h"

namespace sidestep::scheduler {

class MemoryStore : public Store {
 public:
  Result<SavedState> open_term() override;
  Status apply(const StoreChange& change) override;
  StoreRows query(const StoreQuery& query) const override;

 private:
  std::uint64_t term_ = 0;
  net::View view_;
  std::map<std::string, JobRow> jobs_;
  std::map<std::string, std::map<std::uint64_t, nlohmann::json>> records_;
  std::vector<StoredLine> lines_;  // ids ascend
  std::map<net::NodeKey, Admission> admissions_;
  std::map<net::NodeKey, InviteRow> invites_;
  std::set<std::tuple<net::NodeKey, net::BootId, std::uint64_t>> line_names_;
};

}  // namespace sidestep::scheduler
