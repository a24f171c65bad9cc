#include "daemon/driver/emulate.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>

namespace sidestep::driver {
namespace {

std::int64_t microseconds(double seconds) { return std::llround(seconds * 1e6); }

scheduler::OptionTable link_table(EmulateLink& link) {
  scheduler::OptionTable table;
  table.add("to", link.to, "nickname of the other node").required();
  table.add("latency_s", link.latency_s, "seconds that each message takes").range(0, emulated_seconds_max);
  table.add("bandwidth_bytes_per_s", link.bandwidth_bytes_per_s, "a message takes its bytes over this longer")
      .range(emulated_bandwidth_min, emulated_bandwidth_max)
      .default_text("no limit");
  table
      .add("transfer_s", link.transfer_s,
           "seconds that a microbatch's activations or gradients take, whatever their size, in place of the "
           "two above")
      .range(0, emulated_seconds_max)
      .default_text("as the two above say");
  table.add("jitter_s", link.jitter_s, "a message takes up to so many seconds longer, drawn evenly")
      .range(0, emulated_seconds_max);
  table.add("loss", link.loss, "share of the messages that never arrive").range(0, 1);
  return table;
}

// FNV-1a.
std::uint64_t hash_of(const std::string& text) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

}  // namespace

TaskTimes EmulateBlock::task_times() const {
  return {microseconds(forward_s), microseconds(backward_s), microseconds(head_s), microseconds(task_gap_s)};
}

std::string EmulateBlock::text() const {
  std::ostringstream text;
  text << links.size() << (links.size() == 1 ? " link" : " links");
  if (fifo) text << " with queues";
  const auto time = [&](const char* name, double seconds) {
    if (seconds > 0) text << ", " << name << ' ' << seconds << " s";
  };
  time("forward", forward_s);
  time("backward", backward_s);
  time("head", head_s);
  time("task gap", task_gap_s);
  return text.str();
}

void add_emulate_keys(scheduler::OptionTable& table, EmulateBlock& block) {
  table
      .add("emulate.forward_s", block.forward_s,
           "a forward takes at least so many seconds ([emulate.md](emulate.md))")
      .range(0, emulated_seconds_max);
  table.add("emulate.backward_s", block.backward_s, "the same for a backward").range(0, emulated_seconds_max);
  table.add("emulate.head_s", block.head_s, "the same for norm, head and loss")
      .range(0, emulated_seconds_max);
  table
      .add("emulate.task_gap_s", block.task_gap_s,
           "after each of the three the node is busy so many seconds more")
      .range(0, emulated_seconds_max);
  table.add("emulate.fifo", block.fifo,
            "messages of one link queue and keep their order; otherwise they share nothing");
  table.add("emulate.seed", block.seed, "jitter and loss are drawn from it");
  table
      .add_list("emulate.links", block.links, link_table,
                "what is sent to other nodes takes as long as over these links")
      .default_text("none");
}

void check_emulate_keys(const EmulateBlock& block, const std::string& nickname,
                        scheduler::Problems& problems) {
  std::set<std::string> named;
  for (std::size_t i = 0; i < block.links.size(); ++i) {
    const std::string& to = block.links[i].to;
    const std::string key = "emulate.links[" + std::to_string(i) + "].to";
    if (to.empty()) continue;  // told already
    if (to == nickname) problems.add_key(key, '"' + to + "\" is this node itself");
    if (!named.insert(to).second) problems.add_key(key, '"' + to + "\" is there twice");
  }
}

nlohmann::json to_json(const EmulateBlock& block) {
  nlohmann::json json = nlohmann::json::object();
  const auto put = [](nlohmann::json& object, const char* key, double value) {
    if (value != 0) object[key] = value;
  };
  put(json, "forward_s", block.forward_s);
  put(json, "backward_s", block.backward_s);
  put(json, "head_s", block.head_s);
  put(json, "task_gap_s", block.task_gap_s);
  if (block.fifo) json["fifo"] = true;
  json["seed"] = block.seed;
  json["links"] = nlohmann::json::array();
  for (const EmulateLink& link : block.links) {
    nlohmann::json entry{{"to", link.to}};
    put(entry, "latency_s", link.latency_s);
    put(entry, "bandwidth_bytes_per_s", link.bandwidth_bytes_per_s);
    put(entry, "transfer_s", link.transfer_s);
    put(entry, "jitter_s", link.jitter_s);
    put(entry, "loss", link.loss);
    json["links"].push_back(std::move(entry));
  }
  return json;
}

net::EmulatedLink emulated_link(const EmulateBlock& block, const std::string& from, const std::string& to) {
  const auto link = std::find_if(block.links.begin(), block.links.end(),
                                 [&](const EmulateLink& entry) { return entry.to == to; });
  if (link == block.links.end()) return {};
  return {.latency_us = microseconds(link->latency_s),
          .bytes_per_us = link->bandwidth_bytes_per_s / 1e6,
          .transfer_us = microseconds(link->transfer_s),
          .jitter_us = microseconds(link->jitter_s),
          .loss = link->loss,
          .fifo = block.fifo,
          .seed = block.seed ^ hash_of(from + '\n' + to)};
}

}  // namespace sidestep::driver
