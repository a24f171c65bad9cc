// The keys of instance files, once for parser, messages and docs (docs/planning.md).
#pragma once

#include <span>
#include <string>

#include "scheduler/planner/field_reader.h"

namespace sidestep::scheduler {

std::span<const Field> instance_fields();
// Of an entry of `nodes`.
std::span<const Field> instance_node_fields();
// The tables of both, for the docs.
std::string instance_keys_markdown();

}  // namespace sidestep::scheduler
