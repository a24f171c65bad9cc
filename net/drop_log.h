// Counts what was dropped and says so without filling a log: each kind of thing at most once a second,
// with the number of those left out since. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

namespace sidestep::net {

class DropLog {
 public:
  void set_output(std::function<void(const std::string&)> output) { output_ = std::move(output); }

  // `kind` bounds the rate, `what` is for people.
  void add(std::int64_t now_us, const std::string& kind, const std::string& what);

  std::uint64_t total() const { return total_; }

 private:
  struct Kind {
    std::int64_t quiet_until_us = 0;
    std::uint64_t left_out = 0;
  };

  std::function<void(const std::string&)> output_;
  std::map<std::string, Kind> kinds_;
  std::uint64_t total_ = 0;
};

}  // namespace sidestep::net
