#include "tests/support/capture.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>

namespace sidestep::testing {
namespace {

std::string capture(std::FILE* stream, const std::function<void()>& code) {
  std::FILE* file = std::tmpfile();
  REQUIRE(file != nullptr);
  std::fflush(stream);
  const int kept = dup(fileno(stream));
  dup2(fileno(file), fileno(stream));
  code();
  std::fflush(stream);
  dup2(kept, fileno(stream));
  close(kept);
  std::rewind(file);
  std::string text;
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) text += static_cast<char>(c);
  std::fclose(file);
  return text;
}

}  // namespace

std::string capture_stderr(const std::function<void()>& code) { return capture(stderr, code); }

std::string capture_stdout(const std::function<void()>& code) { return capture(stdout, code); }

}  // namespace sidestep::testing
