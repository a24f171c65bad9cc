#include "net/status.h"

#include <catch2/catch.hpp>
#include <memory>

using namespace sidestep;

TEST_CASE("Status: context goes in front and keeps the code") {
  const Status status = Status::not_found("key x").with_context("file.json").with_context("start");
  CHECK(status.code() == Code::not_found);
  CHECK(status.message() == "start: file.json: key x");
  CHECK(Status().with_context("nothing").ok());
  CHECK(Status().with_context("nothing").message().empty());
}

TEST_CASE("Status: each code has a name and comes back from it") {
  for (const Code code :
       {Code::ok, Code::invalid, Code::not_found, Code::refused, Code::unavailable, Code::io, Code::internal})
    CHECK(code_from_string(to_string(code)) == code);
  CHECK(code_from_string("of a later release") == Code::internal);
}

TEST_CASE("Result: holds a value or the reason") {
  Result<std::unique_ptr<int>> value = std::make_unique<int>(3);
  REQUIRE(value.ok());
  CHECK(value.status().ok());
  CHECK(*std::move(value).value() == 3);
  const Result<int> reason = Status::io("disk full");
  CHECK_FALSE(reason.ok());
  CHECK(reason.status().message() == "disk full");
}
