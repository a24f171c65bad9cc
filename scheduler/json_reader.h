// Reads the JSON of plans and run records, which come from peers and files: every type and range is
// checked, the first problem is kept, and reading goes on with defaults, so that the code that reads has no
// branches. A value; used on one thread.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "net/node_key.h"
#include "net/status.h"

namespace sidestep::scheduler {

class JsonReader {
 public:
  explicit JsonReader(std::string what) : what_(std::move(what)) {}

  bool ok() const { return problem_.empty(); }
  Status status() const { return ok() ? Status() : Status::invalid(what_ + ": " + problem_); }
  void fail(const std::string& problem) {
    if (problem_.empty()) problem_ = problem;
  }

  // The member, or null where `json` is no object or has none.
  const nlohmann::json& member(const nlohmann::json& json, const char* key) {
    static const nlohmann::json none;
    if (!json.is_object()) {
      fail("not an object");
      return none;
    }
    const auto it = json.find(key);
    if (it != json.end()) return *it;
    fail(std::string("\"") + key + "\" is missing");
    return none;
  }

  std::uint64_t natural(const nlohmann::json& json,
                        std::uint64_t most = std::numeric_limits<std::uint64_t>::max()) {
    if (json.is_number_unsigned() && json.get<std::uint64_t>() <= most) return json.get<std::uint64_t>();
    // A value built in memory holds small numbers as signed ones.
    if (json.is_number_integer() && json.get<std::int64_t>() >= 0 &&
        static_cast<std::uint64_t>(json.get<std::int64_t>()) <= most)
      return static_cast<std::uint64_t>(json.get<std::int64_t>());
    fail("not a whole number from 0 to " + std::to_string(most));
    return 0;
  }
  std::uint32_t natural32(const nlohmann::json& json) {
    return static_cast<std::uint32_t>(natural(json, std::numeric_limits<std::uint32_t>::max()));
  }
  // JSON has no nan and no infinity; number_json() writes them as strings.
  double number(const nlohmann::json& json) {
    if (json.is_number()) return json.get<double>();
    if (json == "nan") return std::numeric_limits<double>::quiet_NaN();
    if (json == "inf") return std::numeric_limits<double>::infinity();
    if (json == "-inf") return -std::numeric_limits<double>::infinity();
    fail("not a number");
    return 0;
  }
  bool flag(const nlohmann::json& json) {
    if (json.is_boolean()) return json.get<bool>();
    fail("not true or false");
    return false;
  }
  std::string text(const nlohmann::json& json) {
    if (json.is_string()) return json.get<std::string>();
    fail("not a string");
    return {};
  }
  net::NodeKey key(const std::string& hex) {
    const Result<net::NodeKey> key = net::NodeKey::from_hex(hex);
    if (key.ok()) return key.value();
    fail(key.status().message());
    return {};
  }
  // Something to iterate over: empty where `json` is no list (of that length, if one is given).
  const nlohmann::json& list(const nlohmann::json& json, std::size_t length = 0) {
    static const nlohmann::json empty = nlohmann::json::array();
    if (json.is_array() && (length == 0 || json.size() == length)) return json;
    fail(length == 0 ? "not a list" : "not a list of " + std::to_string(length));
    return empty;
  }
  const nlohmann::json& object(const nlohmann::json& json) {
    static const nlohmann::json empty = nlohmann::json::object();
    if (json.is_object()) return json;
    fail("not an object");
    return empty;
  }

 private:
  std::string what_;
  std::string problem_;
};

inline nlohmann::json number_json(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}
// Null where there is none.
inline nlohmann::json optional_json(const std::optional<double>& value) {
  return value ? number_json(*value) : nlohmann::json();
}

}  // namespace sidestep::scheduler
