// Settings read from a JSON file through one table: key, where it goes, range, allowed values, help. Parser,
// defaults, messages, complete files and docs all come from that table.
//
//   OptionTable table;
//   table.add("pipeline.stages", job.pipeline.stages, "how many stages the layers are cut into").range(1,
//   1024); Problems problems("job.json"); table.read(json, problems);          // every problem is noted,
//   none ends the reading Status status = problems.status();
//
// A table points into the object it was made for, which must outlive it. The value that a field has when
// it is added is its default.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "net/status.h"

namespace sidestep::scheduler {

// "the string "abc"", "3.5", "a list": how messages name what was found.
std::string describe(const nlohmann::json& json);

// Everything that is wrong with one file, to be told at once.
class Problems {
 public:
  explicit Problems(std::string source) : source_(std::move(source)) {}

  // Becomes the line "SOURCE: what".
  void add(const std::string& what);
  // "SOURCE: key "pipeline.slots": what".
  void add_key(std::string_view key, const std::string& what);
  void add_missing(const std::string& key, const std::string& help);
  // Runs `read`, whose keys are all within `prefix`: "data.files[2].".
  void within(const std::string& prefix, const std::function<void()>& read);
  // No problem with any of these keys so far: what depends on them can be checked.
  bool sound(std::initializer_list<std::string_view> keys) const;
  bool empty() const { return lines_.empty(); }
  // ok, or invalid with one problem a line.
  Status status() const;

 private:
  friend class OptionTable;

  std::string source_;
  std::string prefix_;
  std::vector<std::string> lines_;
  std::set<std::string, std::less<>> keys_;
};

// A list of objects, each read through a table of its own; made by OptionTable::add_list.
struct ListField {
  std::function<nlohmann::json()> current;
  std::function<void(const nlohmann::json& list, const std::string& key, Problems& problems)> assign;
  std::function<std::string(const std::string& key)> rows;
};

// A value in a form of its own.
struct OwnField {
  std::string type;  // for docs: "a number, or a list of [step, number]"
  std::function<nlohmann::json()> current;
  std::function<std::string(const nlohmann::json& value)> assign;  // why it cannot be taken; empty if it was
};

class Option {
 public:
  using Field = std::variant<bool*, std::int64_t*, std::uint64_t*, double*, std::string*,
                             std::vector<std::string>*, ListField, OwnField>;

  Option(std::string key, std::optional<Field> field, std::string help);

  Option& required();
  // Both ends allowed.
  Option& range(double least, double most);
  Option& at_least(double least);
  // Larger than, for what must not be zero.
  Option& above(double bound);
  Option& below(double bound);
  Option& one_of(std::vector<std::string> values);
  // A key of the agreed format for something that this version cannot do yet: this value asks for nothing
  // and is taken, every other one is refused by name.
  Option& only(nlohmann::json value);
  // For docs, where the default depends on other keys.
  Option& default_text(std::string text);

 private:
  friend class OptionTable;
  std::string type_name() const;
  std::string limits_text() const;
  std::string default_as_text() const;
  nlohmann::json current() const;
  void assign(const nlohmann::json& value, Problems& problems) const;
  bool check_number(double value, const std::string& shown, Problems& problems) const;

  std::string key_;
  std::optional<Field> field_;  // none for an only() key that has no place in the object
  std::string help_;
  bool required_ = false;
  std::optional<double> least_, most_, above_, below_;
  std::vector<std::string> values_;
  std::optional<nlohmann::json> only_;
  std::string default_text_;
  nlohmann::json default_;
};

class OptionTable {
 public:
  // `key` is a dotted path; blocks come about by naming keys in them.
  Option& add(std::string key, Option::Field field, std::string help);
  Option& add(std::string key, bool& field, std::string help) {
    return add(std::move(key), Option::Field(&field), std::move(help));
  }
  Option& add(std::string key, std::int64_t& field, std::string help) {
    return add(std::move(key), Option::Field(&field), std::move(help));
  }
  Option& add(std::string key, std::uint64_t& field, std::string help) {
    return add(std::move(key), Option::Field(&field), std::move(help));
  }
  Option& add(std::string key, double& field, std::string help) {
    return add(std::move(key), Option::Field(&field), std::move(help));
  }
  Option& add(std::string key, std::string& field, std::string help) {
    return add(std::move(key), Option::Field(&field), std::move(help));
  }
  Option& add(std::string key, std::vector<std::string>& field, std::string help) {
    return add(std::move(key), Option::Field(&field), std::move(help));
  }
  // A list of objects; `table` gives the table of one entry.
  template <class Entry>
  Option& add_list(std::string key, std::vector<Entry>& field, OptionTable (*table)(Entry&),
                   std::string help);
  Option& add_own(std::string key, OwnField field, std::string help) {
    return add(std::move(key), Option::Field(std::move(field)), std::move(help));
  }
  // A key without a place in the object; give it only().
  Option& add_unavailable(std::string key, std::string help);

  // Notes every problem; fields whose key is absent or wrong keep their value.
  void read(const nlohmann::json& json, Problems& problems) const;
  // The same for a file of another program: keys that are not in the table are no problem, and null is
  // like an absent key.
  void read_known(const nlohmann::json& json, Problems& problems) const;
  // Whether `json` has that key, for defaults that depend on others.
  static bool has(const nlohmann::json& json, std::string_view key);
  // All fields as they are now, in nested blocks.
  nlohmann::json to_json() const;
  // One row an option: key, type and limits, default, help.
  std::string markdown() const;

 private:
  void find_unknown(const nlohmann::json& json, const std::string& prefix, Problems& problems) const;
  std::string suggestion(const std::string& prefix, const std::string& name) const;
  bool is_block(const std::string& path) const;
  std::string rows(const std::string& prefix) const;

  std::deque<Option> options_;  // references given out by add() stay valid
};

template <class Entry>
Option& OptionTable::add_list(std::string key, std::vector<Entry>& field, OptionTable (*table)(Entry&),
                              std::string help) {
  ListField list;
  list.current = [&field, table] {
    nlohmann::json entries = nlohmann::json::array();
    for (Entry& entry : field) entries.push_back(table(entry).to_json());
    return entries;
  };
  list.assign = [&field, table](const nlohmann::json& entries, const std::string& name, Problems& problems) {
    std::vector<Entry> read(entries.size());
    for (std::size_t i = 0; i < read.size(); ++i) {
      const std::string place = name + "[" + std::to_string(i) + "]";
      if (entries[i].is_object())
        problems.within(place + ".", [&] { table(read[i]).read(entries[i], problems); });
      else
        problems.add_key(place, "must be an object, found " + describe(entries[i]));
    }
    field = std::move(read);
  };
  list.rows = [table](const std::string& name) {
    Entry defaults;
    return table(defaults).rows(name + "[].");
  };
  return add(std::move(key), Option::Field(std::move(list)), std::move(help));
}

// Smallest number of letters to insert, delete, change or swap with a neighbour.
std::size_t edit_distance(std::string_view a, std::string_view b);

// Parses text. Errors: not JSON ("SOURCE:3:17: not JSON: …"), a key twice in one object.
Result<nlohmann::json> parse_json_text(const std::string& text, const std::string& source);
// The same from a file. Errors also: missing, not readable.
Result<nlohmann::json> load_json_file(const std::string& path);

}  // namespace sidestep::scheduler
