#include <algorithm>
#include <numeric>

#include "scheduler/planner/instance_parser.h"

namespace sidestep::scheduler {

void InstanceParser::read_stages_out() {
  const Json* out = find("stages_out");
  const Place at = top_["stages_out"];
  if (out == nullptr || !read_.list(*out, at)) return;
  for (std::size_t i = 0; i < out->size(); ++i) {
    std::uint32_t stage = 0;
    if (!read_stage((*out)[i], at[i], stage)) continue;
    if (stage == 0)
      read_.refuse(at[i], "stage 0 cannot be out: every microbatch visits it");
    else if (in_.stage_out[stage] != 0)
      read_.refuse(at[i], "stage " + std::to_string(stage) + " is there twice");
    else
      in_.stage_out[stage] = 1;
  }
}

void InstanceParser::read_stage_sizes() {
  const Json* sizes = find("stage_sizes");
  const Place at = top_["stage_sizes"];
  if (sizes == nullptr || !read_.list(*sizes, at) || !one_per_stage(*sizes, at)) return;
  std::vector<std::uint32_t> read(in_.stages, 0);
  bool good = true;
  for (std::uint32_t s = 0; s < in_.stages; ++s) {
    if (!read_.whole((*sizes)[s], at[s], field("stage_sizes"), read[s]))
      good = false;
    else if ((read[s] != 0) == (in_.stage_out[s] != 0))
      good = read_.refuse(at[s], read[s] == 0 ? "a stage needs at least 1 node"
                                              : "stage " + std::to_string(s) + " is out, nobody holds it");
  }
  if (!good) return;
  in_.stage_sizes = std::move(read);
  const std::uint64_t sum = std::accumulate(in_.stage_sizes.begin(), in_.stage_sizes.end(), std::uint64_t{0});
  std::uint64_t room = 0;
  for (const InstanceNode& node : in_.nodes) room += node.max_stages;
  if (find("stage_of") == nullptr && !in_.nodes.empty() && sum > room)
    read_.refuse(at, "the sum is " + std::to_string(sum) + ", " + count_text(in_.nodes.size(), "node") +
                         " can hold " + count_text(room, "stage"));
}

void InstanceParser::read_stage_of() {
  const Json* stage_of = find("stage_of");
  const Place at = top_["stage_of"];
  if (stage_of == nullptr || !read_.object(*stage_of, at)) return;
  stage_of_good_ = stages_known_ && !in_.nodes.empty();
  if (!stage_of_good_) return;
  in_.stage_of.resize(in_.nodes.size());
  for (const auto& entry : stage_of->items()) {
    const Place place = at[entry.key()];
    const auto it = node_of_.find(entry.key());
    if (it == node_of_.end())
      stage_of_good_ = read_.refuse(place, "no node " + in_quotes(entry.key()));
    else if (!read_held(entry.value(), place, it->second))
      stage_of_good_ = false;
  }
  if (!stage_of_good_) return;
  if (holders(0) == 0) stage_of_good_ = read_.refuse(at, "no node holds stage 0");
  for (std::uint32_t s = 0; s < in_.stage_sizes.size(); ++s)
    if (holders(s) != in_.stage_sizes[s])
      read_.refuse(at, "stage " + std::to_string(s) + " is held by " + count_text(holders(s), "node") +
                           ", stage_sizes says " + std::to_string(in_.stage_sizes[s]));
}

bool InstanceParser::read_held(const Json& value, const Place& at, std::uint32_t node) {
  std::vector<std::uint32_t>& held = in_.stage_of[node];
  const auto read_one = [&](const Json& number, const Place& place) {
    std::uint32_t stage = 0;
    if (!read_stage(number, place, stage)) return false;
    if (in_.stage_out[stage] != 0)
      return read_.refuse(place, "stage " + std::to_string(stage) + " is out, nobody holds it");
    if (stage == 0 && !in_.nodes[node].can_be_origin)
      return read_.refuse(place, "this node cannot be an origin, so it cannot hold stage 0");
    if (std::find(held.begin(), held.end(), stage) != held.end())
      return read_.refuse(place, "stage " + std::to_string(stage) + " is there twice");
    held.push_back(stage);
    return true;
  };
  if (!value.is_array()) return read_one(value, at);
  bool good = true;
  for (std::size_t i = 0; i < value.size() && !read_.full(); ++i) good = read_one(value[i], at[i]) && good;
  std::sort(held.begin(), held.end());
  return good;
}

std::size_t InstanceParser::holders(std::uint32_t stage) const {
  return static_cast<std::size_t>(
      std::count_if(in_.stage_of.begin(), in_.stage_of.end(), [&](const std::vector<std::uint32_t>& held) {
        return std::binary_search(held.begin(), held.end(), stage);
      }));
}

void InstanceParser::read_microbatches() {
  const Json* each = find("microbatches_per_origin");
  const Json* all = find("microbatches_per_step");
  if (each == nullptr && all == nullptr) {
    read_.refuse(top_, R"("microbatches_per_step" or "microbatches_per_origin" is missing)");
  } else if (each == nullptr) {
    microbatches_known_ = optional_whole("microbatches_per_step", in_.microbatches);
  } else if (all != nullptr) {
    read_.refuse(top_["microbatches_per_step"], R"(not together with "microbatches_per_origin")");
  } else if (optional_whole("microbatches_per_origin", in_.microbatches_per_origin)) {
    share_among_origins();
  }
}

void InstanceParser::share_among_origins() {
  const Place at = top_["microbatches_per_origin"];
  std::uint64_t origins = 0;
  if (find("stage_of") != nullptr) {
    if (!stage_of_good_) return;
    for (std::size_t n = 0; n < in_.nodes.size(); ++n)
      if (!in_.stage_of[n].empty() && in_.stage_of[n][0] == 0 && !in_.nodes[n].draining) ++origins;
    if (origins == 0) {
      read_.refuse(at, "every node that holds stage 0 is draining");
      return;
    }
  } else if (find("stage_sizes") != nullptr) {
    if (in_.stage_sizes.empty()) return;
    origins = in_.stage_sizes[0];
  } else {
    read_.refuse(at, R"(how many origins there are is not known: give "stage_sizes" or "stage_of", or )"
                     R"("microbatches_per_step" in its place)");
    return;
  }
  const std::uint64_t product = origins * in_.microbatches_per_origin;
  if (product > Instance::microbatches_max) {
    read_.refuse(at, std::to_string(origins) + " origins make " + std::to_string(product) +
                         " microbatches, at most " + std::to_string(Instance::microbatches_max) + " allowed");
    return;
  }
  in_.microbatches = static_cast<std::uint32_t>(product);
  microbatches_known_ = true;
}

}  // namespace sidestep::scheduler
