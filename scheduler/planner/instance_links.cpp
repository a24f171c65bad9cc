#include <algorithm>

#include "scheduler/planner/instance_parser.h"

namespace sidestep::scheduler {

// Calls entry(value, place, index) for each entry off the diagonal of a matrix over the nodes.
template <class Entry>
void InstanceParser::read_matrix(const Json& matrix, const Place& at, const Entry& entry) {
  const std::size_t nodes = in_.nodes.size();
  if (!read_.list(matrix, at) || nodes == 0) return;
  if (matrix.size() != nodes) {
    read_.refuse(at, count_text(matrix.size(), "row") + ", " + count_text(nodes, "node"));
    return;
  }
  for (std::size_t from = 0; from < nodes; ++from) {
    const Place row = at[from];
    if (!read_.list(matrix[from], row)) continue;
    if (matrix[from].size() != nodes) {
      read_.refuse(row, std::to_string(matrix[from].size()) +
                            (matrix[from].size() == 1 ? " entry, " : " entries, ") +
                            count_text(nodes, "node"));
      continue;
    }
    for (std::size_t to = 0; to < nodes; ++to)
      if (from != to) entry(matrix[from][to], row[to], from * nodes + to);
  }
}

void InstanceParser::read_transfers() {
  in_.transfer_us.assign(in_.nodes.size() * in_.nodes.size(), 0);
  const Json* transfers = needed("transfer_s");
  if (transfers == nullptr) return;
  const Field& limits = field("transfer_s");
  read_matrix(*transfers, top_["transfer_s"], [&](const Json& value, const Place& at, std::size_t index) {
    std::int64_t us = Instance::no_link;
    if (value.is_null() || read_.time(value, at, limits, us))
      in_.transfer_us[index] = static_cast<std::int32_t>(us);
  });
}

// Whether to read them: keys that come together or not at all.
bool InstanceParser::together(const std::vector<const char*>& keys) {
  const auto missing = [&](const char* key) { return find(key) == nullptr; };
  if (std::all_of(keys.begin(), keys.end(), missing)) return false;
  const char* there = *std::find_if_not(keys.begin(), keys.end(), missing);
  for (const char* key : keys)
    if (missing(key)) read_.refuse(top_[key], std::string("is missing, \"") + there + "\" needs it");
  return true;
}

void InstanceParser::read_bytes(const char* key, std::vector<std::uint64_t>& out) {
  if (const Json* value = find(key))
    per_stage(*value, top_[key], field(key), static_cast<BytesReader>(&FieldReader::whole), out);
}

void InstanceParser::read_averaging() {
  if (!together({"stage_bytes", "latency_s", "bandwidth_bytes_per_s"})) return;
  read_bytes("stage_bytes", in_.stage_bytes);
  const std::size_t entries = in_.nodes.size() * in_.nodes.size();
  const Field &times = field("latency_s"), &rates = field("bandwidth_bytes_per_s");
  in_.latency_us.assign(entries, 0);
  in_.bandwidth.assign(entries, 0);
  // Null is for nodes that cannot reach each other: their ring is never done.
  const auto has_number = [&](const Json& value, const Place& at, std::size_t index) {
    if (!value.is_null()) return true;
    return in_.transfer_us[index] != Instance::no_link &&
           read_.refuse(at, "null only where transfer_s is null");
  };
  if (const Json* latency = find("latency_s"))
    read_matrix(*latency, top_["latency_s"], [&](const Json& value, const Place& at, std::size_t index) {
      if (has_number(value, at, index)) read_.time(value, at, times, in_.latency_us[index]);
    });
  if (const Json* bandwidth = find("bandwidth_bytes_per_s"))
    read_matrix(*bandwidth, top_["bandwidth_bytes_per_s"],
                [&](const Json& value, const Place& at, std::size_t index) {
                  if (has_number(value, at, index)) read_.number(value, at, rates, in_.bandwidth[index]);
                });
}

void InstanceParser::read_memory() {
  if (together({"stage_memory_bytes", "slot_memory_bytes"})) {
    read_bytes("stage_memory_bytes", in_.stage_memory_bytes);
    read_bytes("slot_memory_bytes", in_.slot_memory_bytes);
    return;
  }
  for (std::size_t n = 0; n < in_.nodes.size(); ++n) {
    const Place nodes = top_["nodes"], node = nodes[n];
    if (in_.nodes[n].memory_bytes > 0) read_.refuse(node["memory_bytes"], R"(needs "stage_memory_bytes")");
  }
}

}  // namespace sidestep::scheduler
