// What a fault says about its task.
#pragma once

#include <string>
#include <string_view>

#include "daemon/core/tasks.h"

namespace sidestep::daemon {

// "forward of stage 2, step 5, microbatch 3"
std::string task_text(const Task& task);

// A failed allocation as "out of memory: 4096 bytes could not be allocated"; any other message as it is,
// without its lines after the first.
std::string memory_text(std::string_view error);

}  // namespace sidestep::daemon
