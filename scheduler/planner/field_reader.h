// Reads JSON that people write by hand: every problem is noted with its place, reading goes on, and nothing
// is too long or too wrong for it. Values; used on one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/status.h"

namespace sidestep::scheduler {

// Where a value is: "nodes[3].slots". Made for every value, turned into text only for those that are wrong.
// A place refers to the one around it and to its key: each must outlive it.
class Place {
 public:
  Place() = default;
  Place operator[](std::string_view key) const { return {this, key, 0}; }
  Place operator[](std::size_t index) const { return {this, {}, index}; }
  // Empty for the whole file.
  std::string text() const;

 private:
  Place(const Place* around, std::string_view key, std::size_t index)
      : around_(around), key_(key), index_(index) {}

  const Place* around_ = nullptr;
  std::string_view key_;
  std::size_t index_ = 0;
};

// One key of a file, once for parser, messages and docs.
struct Field {
  std::string_view name;
  std::string_view value;            // what is written there, with its unit
  std::int64_t least = 0, most = 0;  // of numbers; both 0: not one
  std::string_view fallback;
  std::string_view help;
};
// The field of that name; precondition: there is one.
const Field& field_of(std::span<const Field> fields, std::string_view name);
std::vector<std::string> names_of(std::span<const Field> fields);
// One row a field: key, value, default, meaning.
std::string markdown_rows(std::span<const Field> fields, std::string_view prefix);

// The functions that read give false where the value is wrong, and then leave `out` as it is.
class FieldReader {
 public:
  using Json = nlohmann::json;
  static constexpr std::size_t shown_max = 50;

  explicit FieldReader(std::string source) : source_(std::move(source)) {}

  // `text` is a string, or makes one.
  template <class Text>
  bool refuse(const Place& at, Text&& text) {
    if (++count_ > shown_max) return false;
    if constexpr (requires { text(); })
      add(at, text());
    else
      add(at, std::forward<Text>(text));
    return false;
  }
  bool ok() const { return count_ == 0; }
  // Whether further problems are only counted.
  bool full() const { return count_ >= shown_max; }
  // Ok, or invalid: the first problems, one a line, and how many more there are.
  Status status() const;

  bool whole(const Json& value, const Place& at, const Field& field, std::int64_t& out);
  bool whole(const Json& value, const Place& at, const Field& field, std::uint32_t& out);
  bool whole(const Json& value, const Place& at, const Field& field, std::uint64_t& out);
  bool number(const Json& value, const Place& at, const Field& field, double& out);
  // Seconds, to whole microseconds.
  bool time(const Json& value, const Place& at, const Field& field, std::int64_t& out);
  // The same, at least one microsecond.
  bool task_time(const Json& value, const Place& at, const Field& field, std::int64_t& out);
  bool flag(const Json& value, const Place& at, bool& out);
  bool text(const Json& value, const Place& at, std::string& out);
  // A node's name, written as a string or as a whole number.
  bool id(const Json& value, const Place& at, std::string& out);
  bool list(const Json& value, const Place& at);
  bool object(const Json& value, const Place& at);
  void unknown_keys(const Json& object, const Place& at, const std::vector<std::string>& known);

 private:
  void add(const Place& at, const std::string& text);
  bool in_range(double number, const Json& value, const Place& at, const Field& field);

  std::string source_;
  std::string lines_;
  std::size_t count_ = 0;
};

// What messages show of a value: one line, not long.
std::string brief(const nlohmann::json& value);
std::string in_quotes(std::string_view text);

}  // namespace sidestep::scheduler
