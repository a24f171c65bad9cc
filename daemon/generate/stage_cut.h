// Into which stages a folder's model is cut, and which of them are left out.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "daemon/data/hf_folder.h"
#include "net/status.h"

namespace sidestep::daemon {

struct StageCut {
  std::int64_t stages = 1;
  bool stage_0_layers = true;
  std::set<std::int64_t> skipped;
};

// `stages`: --stages; without it the folder's notes say, and without notes it is one stage. `skipped`:
// --skip-stages. Errors, with flag or key and bound: the layers do not divide; stage 0 or an unknown stage is
// skipped; nobody says how many stages there are to skip.
Result<StageCut> cut_stages(const HfFolder& folder, std::optional<std::int64_t> stages,
                            const std::vector<std::int64_t>& skipped);

}  // namespace sidestep::daemon
