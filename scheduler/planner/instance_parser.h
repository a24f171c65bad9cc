// How an instance is read from JSON; instance_json.h is for everybody else. Reads key by key, notes every
// problem; what depends on a value that is wrong is not looked at.
#pragma once

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "net/status.h"
#include "scheduler/planner/field_reader.h"
#include "scheduler/planner/instance.h"
#include "scheduler/planner/instance_fields.h"

namespace sidestep::scheduler {

class InstanceParser {
 public:
  using Json = nlohmann::json;

  // `root` must outlive the parser.
  InstanceParser(const Json& root, const std::string& source) : root_(root), read_(source) {}
  Result<Instance> parse();

 private:
  using WholeReader = bool (FieldReader::*)(const Json&, const Place&, const Field&, std::uint32_t&);
  using BytesReader = bool (FieldReader::*)(const Json&, const Place&, const Field&, std::uint64_t&);

  // instance_json.cpp
  void read_stages();
  void read_nodes();
  void read_node(const Json& entry, const Place& at, std::size_t index);
  // instance_placement.cpp: who holds what, and from that how many microbatches there are.
  void read_stages_out();
  void read_stage_sizes();
  void read_stage_of();
  bool read_held(const Json& value, const Place& at, std::uint32_t node);
  std::size_t holders(std::uint32_t stage) const;
  void read_microbatches();
  void share_among_origins();
  // instance_visits.cpp
  void read_visits();
  bool read_weights(const Json& share, const Place& at, std::vector<double>& weights);
  void read_visit_limits(bool can_check);
  // instance_links.cpp: what lies between nodes, and memory.
  template <class Entry>
  void read_matrix(const Json& matrix, const Place& at, const Entry& entry);
  void read_transfers();
  bool together(const std::vector<const char*>& keys);
  void read_bytes(const char* key, std::vector<std::uint64_t>& out);
  void read_averaging();
  void read_memory();

  const Field& field(std::string_view name) const { return field_of(instance_fields(), name); }
  // Null where the key is missing.
  const Json* find(const char* key) const;
  const Json* needed(const char* key);
  template <class Value>
  bool optional_whole(const char* key, Value& out) {
    const Json* value = find(key);
    return value == nullptr || read_.whole(*value, top_[key], field(key), out);
  }
  // False also where it is not known how many stages there are.
  bool read_stage(const Json& value, const Place& at, std::uint32_t& stage);
  bool one_per_stage(const Json& list, const Place& at);
  // A number for all stages, or a list of one per stage.
  template <class Value>
  bool per_stage(const Json& value, const Place& at, const Field& field,
                 bool (FieldReader::*read)(const Json&, const Place&, const Field&, Value&),
                 std::vector<Value>& out) {
    std::vector<Value> values(in_.stages, Value{});
    if (!value.is_array()) {
      if (!(read_.*read)(value, at, field, values[0])) return false;
      std::fill(values.begin(), values.end(), values[0]);
      out = std::move(values);
      return true;
    }
    if (!one_per_stage(value, at)) return false;
    bool good = true;
    for (std::size_t s = 0; s < values.size(); ++s)
      good = (read_.*read)(value[s], at[s], field, values[s]) && good;
    if (good) out = std::move(values);
    return good;
  }

  const Json& root_;
  const Place top_;
  FieldReader read_;
  Instance in_;
  std::map<std::string, std::uint32_t, std::less<>> node_of_;
  bool stages_known_ = false;
  bool stage_of_good_ = false;
  bool microbatches_known_ = false;
};

// "1 node", "3 nodes".
std::string count_text(std::uint64_t count, const char* what);

}  // namespace sidestep::scheduler
