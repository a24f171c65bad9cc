// Keys that were refused, and whether that is worth a word: nodes learn of each other at different moments,
// so that a refused one may well be known a moment later. Pure: time comes in. One thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "net/node_key.h"

namespace sidestep::net {

class Strangers {
 public:
  // Who stays unknown for this long is told of.
  static constexpr std::int64_t patience_us = 2'000'000;

  // A key that is waited for already is not noted twice. False: too many at a time; tell of it now.
  bool add(std::int64_t now_us, const NodeKey& key, const std::string& what);
  // When to call tell_due(); nothing: nobody is waited for.
  std::optional<std::int64_t> due_us() const;
  // Calls `tell` with what was noted for those whose time is up and who are not known even now.
  void tell_due(std::int64_t now_us, const std::function<bool(const NodeKey&)>& is_known,
                const std::function<void(const std::string&)>& tell);

 private:
  struct Stranger {
    std::int64_t due_us;
    NodeKey key;
    std::string what;
  };

  std::deque<Stranger> waiting_;  // in order of time
};

}  // namespace sidestep::net
