#include "daemon/core/device_name.h"

#include <catch2/catch.hpp>

namespace sidestep::daemon {

TEST_CASE("Device name: cpu, or cuda with a number") {
  CHECK_FALSE(parse_device_name("cpu").value().cuda);
  CHECK(parse_device_name("cuda:0").value().cuda);
  CHECK(parse_device_name("cuda:12").value().index == 12);
  for (const char* wrong :
       {"", "CPU", "cuda", "cuda:", "cuda:-1", "cuda:64", "cuda:0x", "cuda:1 ", "rocm:0"}) {
    const auto parsed = parse_device_name(wrong);
    INFO(wrong);
    REQUIRE_FALSE(parsed.ok());
    CHECK(parsed.status().message() ==
          "\"" + std::string(wrong) + "\" is no device; allowed: \"cpu\" and \"cuda:0\" to \"cuda:63\"");
  }
}

}  // namespace sidestep::daemon
