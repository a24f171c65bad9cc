// Catch2 beside LibTorch, whose logging header has a CHECK of its own: include this instead of Catch2's.
#pragma once

#include <ATen/ATen.h>
#include <c10/util/Logging.h>

#undef CHECK

#include <catch2/catch.hpp>
