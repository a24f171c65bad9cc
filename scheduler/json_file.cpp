// JSON texts and files that people write.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>

#include "scheduler/options.h"

namespace sidestep::scheduler {

std::string describe(const nlohmann::json& json) {
  if (json.is_string())
    return "the string " + json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (json.is_array()) return "a list";
  if (json.is_object()) return "an object";
  return json.dump();
}

Result<nlohmann::json> parse_json_text(const std::string& text, const std::string& source) {
  std::vector<std::set<std::string>> open;  // keys seen in each object that is open now
  std::string twice;
  const auto note_keys = [&](int, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    if (event == nlohmann::json::parse_event_t::object_start) open.emplace_back();
    if (event == nlohmann::json::parse_event_t::object_end) open.pop_back();
    if (event == nlohmann::json::parse_event_t::key && twice.empty() &&
        !open.back().insert(parsed.get<std::string>()).second)
      twice = parsed.get<std::string>();
    return true;
  };
  try {
    nlohmann::json json = nlohmann::json::parse(text, note_keys);
    if (!twice.empty())
      return Status::invalid(source + ": key \"" + twice + "\" is there twice in one object");
    return json;
  } catch (const nlohmann::json::parse_error& error) {
    // The library counts bytes from 1, up to the one that it could not take.
    const std::size_t end = std::min(text.size(), error.byte == 0 ? 0 : error.byte - 1);
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(end), '\n');
    const std::size_t line_start = end == 0 ? std::string::npos : text.rfind('\n', end - 1);
    const std::size_t column = line_start == std::string::npos ? end + 1 : end - line_start;
    std::string why = error.what();
    const std::size_t colon = why.find(": ");
    if (colon != std::string::npos) why = why.substr(colon + 2);
    return Status::invalid(source + ':' + std::to_string(line) + ':' + std::to_string(column) +
                           ": not JSON: " + why);
  } catch (const nlohmann::json::exception& error) {
    return Status::invalid(source + ": not JSON: " + error.what());
  }
}

Result<nlohmann::json> load_json_file(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return Status::not_found(path + ": cannot be read: " + std::strerror(errno));
  std::string text;
  for (char block[1 << 16]; file.read(block, sizeof block) || file.gcount() > 0;)
    text.append(block, static_cast<std::size_t>(file.gcount()));
  if (file.bad()) return Status::io(path + ": cannot be read: " + std::strerror(errno));
  if (text.empty()) return Status::invalid(path + ": the file is empty");
  return parse_json_text(text, path);
}

}  // namespace sidestep::scheduler
