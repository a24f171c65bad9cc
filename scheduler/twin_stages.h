// CheckFree+'s pairs (CheckFree, section 4): stages 1 and 2, and the last two. Every second microbatch takes
// the two of a pair in the other order, so that each learns what the other does and can stand in for it.
// Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace sidestep::scheduler {

// So that the two pairs have no stage in common, and stage 0 is in neither.
constexpr std::int64_t twins_stages_least = 5;
// Hops back that a route with both pairs reversed has.
constexpr std::int64_t twins_swaps = 2;
// Of a planned step's microbatches, that pass a pair in each of its orders at least, where routes allow it.
// Half of them would leave the planner no choice.
constexpr double twins_share = 0.4;

// The other stage of its pair, of a pipeline of `stages` stages. Precondition: at least twins_stages_least.
std::optional<std::uint32_t> twin_of(std::uint32_t stage, std::uint32_t stages);

// The stages of a microbatch's route, ascending, in the order in which checkfree+ has it visit them: an odd
// one reverses each pair that lies wholly on its route. Precondition: as above.
std::vector<std::uint32_t> in_twin_order(std::vector<std::uint32_t> route, std::uint32_t microbatch,
                                         std::uint32_t stages);

}  // namespace sidestep::scheduler
