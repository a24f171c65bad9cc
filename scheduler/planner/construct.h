// The plan that a search starts from: stage sizes, a placement along short links, stage sets that keep the
// visits, and nodes for each hop by distance and load. Pure, deterministic, fast: no search.
#pragma once

#include <cstdint>
#include <vector>

#include "net/status.h"
#include "scheduler/planner/draft.h"
#include "scheduler/planner/instance.h"

namespace sidestep::scheduler {

using StageSets = std::vector<std::vector<std::uint32_t>>;  // by microbatch, in the order of the route

// The instance without visits to the stages that are held by draining nodes alone, for as long as the
// placement is given. Precondition: check_feasible, so that these can be skipped.
Instance without_drained_stages(const Instance& instance);

// How many microbatches visit each stage when nothing else is known: within the visit limits, all routes
// full. Precondition: check_feasible.
std::vector<std::uint32_t> visit_targets(const Instance& instance);

// Which stages each microbatch visits. Errors: refused, if no sets that keep the visits, max_skip and the
// swap share are found.
Result<StageSets> choose_stage_sets(const Instance& instance);

// How long the visits of each stage keep one node, if nothing waits: computing, or holding its slots. An
// early stage holds a slot while the microbatch is at all that follow.
std::vector<double> stage_demand(const Instance& instance);

// What follows each other on a tour of short links: the stages of a route, or the replicas of a stage, which
// average over the links between them.
enum class Neighbours { stages, replicas };

// Who holds what, into an empty draft: the instance's placement, or one along a tour of short links, with
// nodes by demand where sizes are free. Errors: refused, with the stage that nobody is left to hold.
Status place_stages(const Instance& instance, const std::vector<double>& demand, Neighbours neighbours,
                    Draft& draft);

// The nodes of one row whose stages are set, by transfers and by the work that the nodes have already, in us.
// Where each origin has its number the row's first hop says which origin it is.
void choose_nodes_of_row(const Instance& instance, const std::vector<std::uint32_t>& stages, std::size_t row,
                         std::vector<std::int64_t>& load_us, Draft& draft);
// What the node is busy for one visit of the stage, there and back, gaps included; at stage 0 with the head.
std::int64_t visit_us(const Instance& instance, std::size_t node, std::uint32_t stage);
// A transfer there and one back, as a route takes each hop twice; very long where there is no link.
std::int64_t both_ways_us(const Instance& instance, std::size_t a, std::size_t b);
// What each node has to do for the draft's rows, gaps included.
std::vector<std::int64_t> loads_us(const Instance& instance, const Draft& draft);

// The step time of a draft, or StepEngine::never. Averaging is `after_us`, by stage, or that of the
// placement.
std::int64_t step_us(const Instance& instance, const Draft& draft,
                     const std::vector<std::int64_t>& after_us = {});

// All of it, for these stage sets or for those chosen. Where sizes are free it is done several times, with
// nodes by the demand that was seen.
Result<Draft> construct(const Instance& instance, const StageSets& sets);
Result<Draft> construct(const Instance& instance);
// The best of each kind of placement that may lead to a good plan, the best of all first: where averaging
// counts, that along the stages and that along the replicas.
Result<std::vector<Draft>> construct_each(const Instance& instance);

}  // namespace sidestep::scheduler
