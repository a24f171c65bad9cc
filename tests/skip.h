#pragma once

#include <cstdio>

/// Leaves the running test case as skipped, with the reason: CTest counts the line as a skip and
/// scripts/test prints how many there were. Use it in the body of a TEST_CASE only.
#define SIDESTEP_SKIP(reason)                      \
  do {                                             \
    std::printf("SIDESTEP-SKIPPED: %s\n", reason); \
    return;                                        \
  } while (false)
