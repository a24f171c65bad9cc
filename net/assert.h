// An assertion that stays on in every build: a bug stops the process at once, with its place.
// Never used for what a peer, a file or a user can cause; those are Status values.
#pragma once

#include <cstdio>
#include <cstdlib>

#define SIDESTEP_ASSERT(condition)                                                           \
  do {                                                                                       \
    if (!(condition)) {                                                                      \
      std::fprintf(stderr, "%s:%d: assertion failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                          \
    }                                                                                        \
  } while (false)
