// Link tables from JSON.
#include <algorithm>
#include <map>

#include "scheduler/options.h"
#include "scheduler/planner/field_reader.h"
#include "scheduler/planner/wan.h"

namespace sidestep::scheduler {
namespace {

constexpr double gib = 1024.0 * 1024 * 1024;
constexpr double bandwidth_min = 1'000;  // bytes a second, as in instances
constexpr std::size_t links_max = 100'000;
constexpr std::size_t regions_max = 1'000;

constexpr Field link_table[] = {
    {"from", "text", 0, 0, "", ""},
    {"to", "text", 0, 0, "", ""},
    {"latency_ms", "", 0, Instance::time_us_max / 1'000, "", ""},
    {"bandwidth_gib_s", "", 0, 10'000, "", ""},
    {"jitter_ms", "", 0, Instance::time_us_max / 1'000, "", ""},
    {"loss", "", 0, 1, "", ""},
};

class WanParser {
 public:
  using Json = nlohmann::json;

  WanParser(const Json& root, const std::string& source) : root_(root), read_(source) {}

  Result<WanTable> parse() {
    if (!read_.object(root_, top_)) return read_.status();
    read_.unknown_keys(root_, top_, {"note", "same_region", "links"});
    Link same;
    if (const Json* value = needed(root_, top_, "same_region"); value != nullptr)
      if (const Place at = top_["same_region"]; read_.object(*value, at)) {
        read_.unknown_keys(*value, at, {"latency_ms", "bandwidth_gib_s", "jitter_ms", "loss"});
        read_figures(*value, at, same);
      }
    read_links();
    if (read_.ok() && table_.regions.empty()) read_.refuse(top_["links"], "at least 1 is needed");
    if (read_.ok()) fill(same);
    if (!read_.ok()) return read_.status();
    return std::move(table_);
  }

 private:
  struct Link {
    double latency_s = 0, bandwidth = 0;
    std::optional<double> jitter_s = {}, loss = {};
  };

  const Json* needed(const Json& object, const Place& at, const char* key) {
    const auto it = object.find(key);
    if (it != object.end()) return &*it;
    read_.refuse(at[key], "is missing");
    return nullptr;
  }

  bool read_figures(const Json& value, const Place& at, Link& link) {
    double ms = 0, rate = 0;
    const Json* latency = needed(value, at, "latency_ms");
    const Json* bandwidth = needed(value, at, "bandwidth_gib_s");
    bool good = latency != nullptr && bandwidth != nullptr;
    if (latency != nullptr)
      good = read_.number(*latency, at["latency_ms"], field_of(link_table, "latency_ms"), ms) && good;
    if (bandwidth != nullptr &&
        read_.number(*bandwidth, at["bandwidth_gib_s"], field_of(link_table, "bandwidth_gib_s"), rate)) {
      if (rate * gib < bandwidth_min)
        good = read_.refuse(at["bandwidth_gib_s"],
                            "value " + brief(*bandwidth) + " is too small, at least 0.000001 allowed");
    } else {
      good = false;
    }
    link = {ms / 1e3, rate * gib};
    double jitter_ms = 0, loss = 0;
    if (const auto jitter = value.find("jitter_ms"); jitter != value.end()) {
      good = read_.number(*jitter, at["jitter_ms"], field_of(link_table, "jitter_ms"), jitter_ms) && good;
      link.jitter_s = jitter_ms / 1e3;
    }
    if (const auto share = value.find("loss"); share != value.end()) {
      good = read_.number(*share, at["loss"], field_of(link_table, "loss"), loss) && good;
      link.loss = loss;
    }
    return good;
  }

  void read_links() {
    const Json* links = needed(root_, top_, "links");
    const Place at = top_["links"];
    if (links == nullptr || !read_.list(*links, at)) return;
    if (links->size() > links_max) {
      read_.refuse(
          at, std::to_string(links->size()) + " entries, at most " + std::to_string(links_max) + " allowed");
      return;
    }
    for (std::size_t i = 0; i < links->size() && !read_.full(); ++i)
      if (read_.object((*links)[i], at[i])) read_link((*links)[i], at[i]);
  }

  void read_link(const Json& entry, const Place& at) {
    read_.unknown_keys(entry, at, names_of(link_table));
    std::string from, to;
    const Json* from_json = needed(entry, at, "from");
    const Json* to_json = needed(entry, at, "to");
    const bool named = from_json != nullptr && to_json != nullptr &&
                       read_.text(*from_json, at["from"], from) && read_.text(*to_json, at["to"], to);
    Link link;
    if (!read_figures(entry, at, link) || !named) return;
    if (from == to) {
      read_.refuse(at, "a link of " + in_quotes(from) + " to itself: that is same_region");
      return;
    }
    const std::pair<std::uint32_t, std::uint32_t> key{region(from, at), region(to, at)};
    if (!links_.emplace(key, link).second)
      read_.refuse(at, in_quotes(from) + " to " + in_quotes(to) + " is there twice");
  }

  std::uint32_t region(const std::string& name, const Place& at) {
    const auto [it, fresh] = region_of_.try_emplace(name, static_cast<std::uint32_t>(table_.regions.size()));
    if (fresh) {
      if (table_.regions.size() == regions_max)
        read_.refuse(at, "more than " + std::to_string(regions_max) + " regions");
      table_.regions.push_back(name);
    }
    return it->second;
  }

  void fill(const Link& same) {
    const auto regions = static_cast<std::uint32_t>(table_.regions.size());
    for (std::uint32_t from = 0; from < regions; ++from) {
      for (std::uint32_t to = 0; to < regions; ++to) {
        auto link = links_.find({from, to});
        if (link == links_.end()) link = links_.find({to, from});
        if (from != to && link == links_.end() && from < to)
          read_.refuse(top_["links"], "none between " + in_quotes(table_.regions[from]) + " and " +
                                          in_quotes(table_.regions[to]));
        const Link& figures = from == to || link == links_.end() ? same : link->second;
        table_.latency_s.push_back(figures.latency_s);
        table_.bandwidth.push_back(figures.bandwidth);
        table_.jitter_s.push_back(figures.jitter_s);
        table_.loss.push_back(figures.loss);
      }
    }
  }

  const Json& root_;
  const Place top_;
  FieldReader read_;
  WanTable table_;
  std::map<std::string, std::uint32_t> region_of_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, Link> links_;
};

}  // namespace

Result<WanTable> parse_wan(const nlohmann::json& json, const std::string& source) {
  return WanParser(json, source).parse();
}

Result<WanTable> load_wan(const std::string& path) {
  const Result<nlohmann::json> json = load_json_file(path);
  if (!json.ok()) return json.status();
  return parse_wan(json.value(), path);
}

}  // namespace sidestep::scheduler
