#include "daemon/cli/status_report.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "daemon/cli/report.h"
#include "scheduler/plan_model.h"

namespace sidestep::cli {
namespace {

constexpr std::size_t routes_shown = 12, links_shown = 20, links_in_top = 6;

class Names {
 public:
  explicit Names(const nlohmann::json& snapshot) {
    for (const auto& node : snapshot.value("nodes", nlohmann::json::array()))
      names_[text_in(node, "key")] = text_in(node, "nickname");
  }
  std::string of(const nlohmann::json& key) const {
    const std::string text = key.is_string() ? key.get<std::string>() : "";
    const auto known = names_.find(text);
    return known == names_.end() ? text.substr(0, 8) : known->second;
  }

 private:
  std::map<std::string, std::string> names_;
};

nlohmann::json list_in(const nlohmann::json& object, const char* key) {
  if (!object.is_object()) return nlohmann::json::array();
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : nlohmann::json::array();
}

std::string milliseconds(double us) { return scheduler::milliseconds(std::llround(us)); }

std::string and_more(std::size_t all, std::size_t shown, const std::string& what) {
  return all <= shown ? "" : "... and " + std::to_string(all - shown) + " more " + what + "\n";
}

// "predicted step: 412 ms; measured: 520 ms, which is far apart".
std::string step_line(const nlohmann::json& job) {
  const auto predicted = number_in(job, "predicted_step_s"), measured = number_in(job, "measured_step_s");
  if (has_ended(job) || (!predicted && !measured)) return "";
  std::string line = predicted ? "predicted step: " + milliseconds(*predicted * 1e6) : "";
  if (measured) line += (predicted ? "; measured: " : "measured step: ") + milliseconds(*measured * 1e6);
  if (job.value("drifted", false)) line += ", which is far apart";
  return line + "\n";
}

// "recovery (checkfree): the loss of a node of stage 0 loses nothing; ...; 2 stages were rebuilt so far".
std::string recovery_line(const nlohmann::json& job) {
  const nlohmann::json recovery = job.value("recovery", nlohmann::json());
  if (!recovery.is_object()) return "";
  const auto rebuilt = static_cast<std::int64_t>(number_in(job, "recovered").value_or(0));
  return "recovery (" + text_in(recovery, "policy") + "): " + text_in(recovery, "outlook") +
         (rebuilt == 0   ? ""
          : rebuilt == 1 ? "; a stage was rebuilt once so far"
                         : "; stages were rebuilt " + std::to_string(rebuilt) + " times so far") +
         "\n";
}

// "checkpoint: commit 150; went back 2 times".
std::string checkpoint_line(const nlohmann::json& job) {
  const auto commit = number_in(job, "checkpoint");
  const auto went_back = static_cast<std::int64_t>(number_in(job, "went_back").value_or(0));
  if (!commit && went_back == 0) return "";
  return (commit ? "checkpoint: of commit " + std::to_string(static_cast<std::int64_t>(*commit))
                 : std::string("checkpoint: none yet")) +
         (went_back == 0   ? ""
          : went_back == 1 ? "; the job went back once"
                           : "; the job went back " + std::to_string(went_back) + " times") +
         "\n";
}

std::string job_lines(const nlohmann::json& snapshot) {
  const nlohmann::json job = snapshot.value("job", nlohmann::json());
  if (!job.is_object()) return "no job yet\n";
  std::string text = has_ended(job) ? outcome_line(job) + "\n"
                                    : "job " + text_in(job, "id") + ": " + text_in(job, "state") + "  " +
                                          progress_line(job) + "\n";
  if (const std::string precision = text_in(job, "precision"); !precision.empty())
    text += "precision: " + precision + "\n";
  return text + step_line(job) + recovery_line(job) + checkpoint_line(job);
}

std::string waiting_line(const nlohmann::json& snapshot) {
  const std::string waiting = text_in(snapshot, "waiting");
  return waiting.empty() ? "" : "waits: " + waiting + "\n";
}

std::string stages_text(const nlohmann::json& snapshot, const Names& names) {
  const nlohmann::json stages = list_in(snapshot.value("job", nlohmann::json()), "stages");
  if (stages.empty()) return "";
  std::vector<Row> rows;
  for (const auto& replicas : stages) {
    std::string holders;
    for (const auto& key : replicas) holders += (holders.empty() ? "" : ", ") + names.of(key);
    if (holders.empty()) holders = "nobody: routes go around it";
    rows.push_back({std::to_string(rows.size()), std::to_string(replicas.size()), holders});
  }
  return "\n" + table({"STAGE", "REPLICAS", "NODES"}, rows);
}

// "2: 1, 5": how many microbatches, and which.
std::string microbatches_text(const nlohmann::json& microbatches) {
  constexpr std::size_t listed = 6;
  std::string text = std::to_string(microbatches.size()) + ":";
  for (std::size_t i = 0; i < std::min(listed, microbatches.size()); ++i)
    text += (i == 0 ? " " : ", ") + microbatches[i].dump();
  return text + (microbatches.size() > listed ? ", ..." : "");
}

std::string routes_text(const nlohmann::json& snapshot, const Names& names) {
  const nlohmann::json routes = list_in(snapshot, "routes");
  if (routes.empty()) return "";
  std::vector<Row> rows;
  for (std::size_t i = 0; i < std::min(routes_shown, routes.size()); ++i) {
    std::string hops;
    for (const auto& hop : list_in(routes[i], "hops"))
      hops += (hops.empty() ? "" : " > ") + hop.at(0).dump() + " " + names.of(hop.at(1));
    rows.push_back({microbatches_text(list_in(routes[i], "microbatches")), hops});
  }
  return "\n" + table({"MICROBATCHES", "ROUTE: STAGES AND NODES"}, rows) +
         and_more(routes.size(), routes_shown, "routes");
}

std::string us_text(const nlohmann::json& object, const char* key) {
  const double us = number_in(object, key).value_or(0);
  return us > 0 ? milliseconds(us) : "-";
}

std::string measured_text(const nlohmann::json& snapshot, const Names& names) {
  std::vector<Row> rows;
  for (const auto& node : list_in(snapshot, "measured"))
    for (const auto& stage : list_in(node, "stages")) {
      const bool origin = number_in(stage, "stage").value_or(0) == 0;
      const double averaging = number_in(node, "averaging_bytes_per_s").value_or(0);
      rows.push_back({names.of(node.at("node")), stage.at("stage").dump(), us_text(stage, "forward_us"),
                      us_text(stage, "backward_us"), origin ? us_text(node, "head_us") : "-",
                      averaging > 0 ? amount(averaging) + "B/s" : "-"});
    }
  return rows.empty() ? ""
                      : "\n" + table({"NODE", "STAGE", "FORWARD", "BACKWARD", "HEAD", "AVERAGING"}, rows);
}

// The slowest first.
std::string links_text(const nlohmann::json& snapshot, const Names& names, std::size_t shown) {
  std::vector<nlohmann::json> links = list_in(snapshot, "links");
  if (links.empty()) return "";
  const auto transfer = [](const auto& link) { return number_in(link, "transfer_us").value_or(0); };
  std::ranges::stable_sort(links, [&](const auto& a, const auto& b) { return transfer(a) > transfer(b); });
  std::vector<Row> rows;
  for (std::size_t i = 0; i < std::min(shown, links.size()); ++i)
    rows.push_back({names.of(links[i].at("from")), names.of(links[i].at("to")),
                    milliseconds(number_in(links[i], "latency_us").value_or(0)),
                    amount(number_in(links[i], "bytes_per_s").value_or(0)) + "B/s",
                    milliseconds(transfer(links[i]))});
  return "\n" + table({"FROM", "TO", "LATENCY", "BANDWIDTH", "A MICROBATCH TAKES"}, rows) +
         and_more(links.size(), shown, "links, all faster");
}

std::string changes_text(const nlohmann::json& snapshot) {
  std::string text;
  for (const auto& line : list_in(snapshot, "changes")) text += log_line(line) + "\n";
  return text.empty() ? "" : "\nLAST CHANGES\n" + text;
}

std::string view_line(const nlohmann::json& snapshot) {
  return "view " + fixed(number_in(snapshot, "view").value_or(0), 0) + ", scheduler term " +
         fixed(number_in(snapshot, "term").value_or(0), 0) + "\n";
}

// "queued: a-2, b-3".
std::string queue_line(const nlohmann::json& snapshot) {
  std::string text;
  for (const auto& job : list_in(snapshot, "jobs"))
    if (text_in(job, "state") == "queued") text += (text.empty() ? "queued: " : ", ") + text_in(job, "id");
  return text.empty() ? "" : text + "\n";
}

// As much of each node as matters while a job runs.
std::string nodes_text(const nlohmann::json& snapshot) {
  std::vector<Row> rows;
  for (const auto& node : list_in(snapshot, "nodes"))
    rows.push_back({text_in(node, "nickname"), state_of(node), stages_of(node), memory_of(node),
                    text_in(node, "activity")});
  return "\n" + table({"NODE", "STATE", "STAGES", "MEMORY", "DOES"}, rows);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

bool begins_character(char byte) { return (static_cast<unsigned char>(byte) & 0xc0u) != 0x80u; }

}  // namespace

std::string cut(const std::string& text, std::size_t columns) {
  const auto characters = static_cast<std::size_t>(std::ranges::count_if(text, begins_character));
  if (columns == 0 || characters <= columns) return text;
  std::size_t size = 0, begun = 0;
  for (; size < text.size(); ++size) {
    begun += begins_character(text[size]) ? 1 : 0;
    if (begun == columns) break;
  }
  return text.substr(0, size) + "\u2026";
}

std::string status_page(const nlohmann::json& snapshot) {
  const Names names(snapshot);
  return job_lines(snapshot) + waiting_line(snapshot) + stages_text(snapshot, names) +
         routes_text(snapshot, names) + measured_text(snapshot, names) +
         links_text(snapshot, names, links_shown) + "\n" + nodes_table(list_in(snapshot, "nodes")) +
         changes_text(snapshot) + "\n" + view_line(snapshot);
}

std::string top_page(const nlohmann::json& snapshot, const TopSize& size, const std::string& notice) {
  const Names names(snapshot);
  const std::string whole = "sidestep top: " + view_line(snapshot) + (notice.empty() ? "" : notice + "\n") +
                            job_lines(snapshot) + waiting_line(snapshot) + queue_line(snapshot) +
                            nodes_text(snapshot) + stages_text(snapshot, names) + changes_text(snapshot) +
                            links_text(snapshot, names, links_in_top);
  std::vector<std::string> lines = lines_of(whole);
  if (size.rows > 0 && lines.size() > size.rows) {
    const std::size_t hidden = lines.size() - size.rows + 1;
    lines.resize(size.rows - 1);
    lines.push_back("... " + std::to_string(hidden) + " more lines; `sidestep status` shows all");
  }
  std::string page;
  for (const std::string& line : lines) page += cut(line, size.columns) + "\n";
  return page;
}

}  // namespace sidestep::cli
