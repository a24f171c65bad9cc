#include "daemon/driver/spot_notice.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "net/clock.h"

namespace sidestep::driver {
namespace {

constexpr std::int64_t gcp_notice_us = 30 * net::second;
constexpr std::int64_t day_us = 24 * 3600 * net::second;
constexpr std::size_t word_bytes_max = 2048;
constexpr std::size_t shown_bytes_max = 60;
constexpr const char* blanks = " \t\r\n";

// Printable, whatever the text holds.
std::string shown(const std::string& text) {
  const bool is_long = text.size() > shown_bytes_max;
  return nlohmann::json(text.substr(0, shown_bytes_max))
             .dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) +
         (is_long ? "..." : "");
}

SpotAnswer coming(SpotNotice::Kind kind, std::optional<std::int64_t> deadline_us, std::string text) {
  return std::optional<SpotNotice>({kind, deadline_us, std::move(text)});
}

SpotAnswer nothing_coming() { return std::optional<SpotNotice>(); }

Status not_understood(const std::string& body) { return Status::invalid("not understood: " + shown(body)); }

std::string trimmed(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(blanks);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(blanks) + 1 - begin);
}

// Empty where `json` has no such text.
std::string text_at(const nlohmann::json& json, const char* key) {
  if (!json.is_object()) return "";
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

// Azure tells names apart by letters, not by their case.
bool same_name(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char left, char right) { return lower(left) == lower(right); });
}

bool concerns(const nlohmann::json& event, const std::string& vm_name) {
  const auto resources = event.find("Resources");
  return resources != event.end() && resources->is_array() &&
         std::any_of(resources->begin(), resources->end(), [&](const nlohmann::json& name) {
           return name.is_string() && same_name(name.get<std::string>(), vm_name);
         });
}

SpotNotice azure_notice(const std::string& type, const std::string& not_before) {
  // The time of an event that has begun is empty.
  const std::optional<std::int64_t> deadline_us = parse_wall_time(not_before);
  if (type == "Preempt") return {SpotNotice::Kind::end, deadline_us, "Azure will evict this VM"};
  if (type == "Terminate") return {SpotNotice::Kind::end, deadline_us, "Azure will delete this VM"};
  return {SpotNotice::Kind::warning, deadline_us, "Azure has an event " + shown(type) + " for this VM"};
}

bool more_urgent(const SpotNotice& a, const SpotNotice& b) {
  if (a.kind != b.kind) return a.kind == SpotNotice::Kind::end;
  constexpr std::int64_t at_once = std::numeric_limits<std::int64_t>::min();
  return a.deadline_us.value_or(at_once) < b.deadline_us.value_or(at_once);
}

// 1 to 12; 0: no month.
unsigned month_of(std::string_view name) {
  static constexpr std::array<std::string_view, 12> names{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? 0 : static_cast<unsigned>(found - names.begin() + 1);
}

std::string clock_text(std::int64_t us, const char* pattern) {
  const std::time_t seconds = static_cast<std::time_t>(us / net::second);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), pattern, &parts);
  return text.data();
}

}  // namespace

std::string describe(const SpotNotice& notice, std::int64_t wall_us) {
  if (!notice.deadline_us)
    return notice.text + (notice.kind == SpotNotice::Kind::end ? " at any moment" : "");
  const std::int64_t left_us = *notice.deadline_us - wall_us;
  const bool is_near = std::abs(left_us) < day_us;
  return notice.text + " at " +
         clock_text(*notice.deadline_us, is_near ? "%H:%M:%SZ" : "%Y-%m-%dT%H:%M:%SZ") + ", in " +
         std::to_string(std::max<std::int64_t>(0, left_us) / net::second) + " s";
}

SpotAnswer parse_aws_instance_action(const std::string& body) {
  const auto json = nlohmann::json::parse(body, nullptr, false);
  const std::string action = text_at(json, "action");
  if (action != "terminate" && action != "stop" && action != "hibernate") return not_understood(body);
  return coming(SpotNotice::Kind::end, parse_wall_time(text_at(json, "time")),
                "AWS will " + action + " this instance");
}

SpotAnswer parse_aws_rebalance(const std::string& body) {
  const auto json = nlohmann::json::parse(body, nullptr, false);
  const std::string time = text_at(json, "noticeTime");
  if (!parse_wall_time(time)) return not_understood(body);
  return coming(SpotNotice::Kind::warning, std::nullopt,
                "AWS may soon take this instance back: it has recommended to rebalance since " + time);
}

SpotAnswer parse_gcp_preempted(const std::string& body, std::int64_t wall_us) {
  const std::string said = trimmed(body);
  if (said == "FALSE") return nothing_coming();
  if (said != "TRUE") return not_understood(body);
  return coming(SpotNotice::Kind::end, wall_us + gcp_notice_us, "GCP will stop this instance");
}

SpotAnswer parse_gcp_maintenance(const std::string& body) {
  const std::string said = trimmed(body);
  if (said == "NONE") return nothing_coming();
  const char* what = said == "TERMINATE_ON_HOST_MAINTENANCE" ? "GCP will soon stop this instance"
                     : said == "MIGRATE_ON_HOST_MAINTENANCE" ? "GCP will soon move this instance"
                                                             : nullptr;
  if (what == nullptr) return not_understood(body);
  return coming(SpotNotice::Kind::warning, std::nullopt,
                std::string(what) + " for the maintenance of its host");
}

SpotAnswer parse_azure_events(const std::string& body, const std::string& vm_name) {
  const auto json = nlohmann::json::parse(body, nullptr, false);
  if (!json.is_object() || !json.contains("Events") || !json.at("Events").is_array())
    return not_understood(body);
  std::optional<SpotNotice> found;
  bool is_garbled = false;
  for (const nlohmann::json& event : json.at("Events")) {
    const std::string type = text_at(event, "EventType");
    if (type.empty()) {
      is_garbled = true;
    } else if (concerns(event, vm_name)) {
      const SpotNotice notice = azure_notice(type, text_at(event, "NotBefore"));
      if (!found || more_urgent(notice, *found)) found = notice;
    }
  }
  // What is certain counts, whatever else there is.
  if (is_garbled && !(found && found->kind == SpotNotice::Kind::end)) return not_understood(body);
  return found;
}

Result<std::string> parse_word(const std::string& body) {
  const std::string word = trimmed(body);
  const bool is_printable = std::all_of(word.begin(), word.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (word.empty() || word.size() > word_bytes_max || !is_printable) return not_understood(body);
  return word;
}

std::optional<std::int64_t> parse_wall_time(const std::string& text) {
  int year = 0, end = 0;
  unsigned month = 0, day = 0, hour = 0, minute = 0, second = 0;
  std::array<char, 4> name{};
  std::sscanf(text.c_str(), "%4d-%2u-%2uT%2u:%2u:%2uZ%n", &year, &month, &day, &hour, &minute, &second, &end);
  if (end == 0) {
    std::sscanf(text.c_str(), "%*3[A-Za-z], %2u %3[A-Za-z] %4d %2u:%2u:%2u GMT%n", &day, name.data(), &year,
                &hour, &minute, &second, &end);
    month = month_of(name.data());
  }
  if (end == 0 || static_cast<std::size_t>(end) != text.size()) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(month),
                                         std::chrono::day(day)};
  if (!date.ok() || hour > 23 || minute > 59 || second > 60) return std::nullopt;
  const auto time = std::chrono::sys_days(date) + std::chrono::hours(hour) + std::chrono::minutes(minute) +
                    std::chrono::seconds(second);
  return std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
}

}  // namespace sidestep::driver
