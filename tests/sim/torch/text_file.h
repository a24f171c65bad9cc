// A text to train on; to be used within a test case.
#pragma once

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <fstream>
#include <string>

#include "net/random.h"

namespace sidestep::sim {

// Words from a small vocabulary: a text with something to learn in it.
class TextFile {
 public:
  TextFile() {
    char name[] = "/tmp/sidestep-text-XXXXXX";
    const int file = mkstemp(name);
    REQUIRE(file >= 0);
    close(file);
    path = name;
    std::ofstream text(path);
    net::Random random(1);
    const char* words[] = {"and ", "the ", "earth ", "was ", "without ", "form\n"};
    for (int i = 0; i < 4'000; ++i) text << words[random.between(0, 5)];
  }
  ~TextFile() { std::remove(path.c_str()); }
  std::string path;
};

}  // namespace sidestep::sim
