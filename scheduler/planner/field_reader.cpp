#include "scheduler/planner/field_reader.h"

#include <algorithm>
#include <cmath>

#include "net/assert.h"
#include "net/utf8.h"
#include "scheduler/nearest.h"
#include "scheduler/options.h"

namespace sidestep::scheduler {
namespace {

constexpr std::size_t text_max = 200;  // bytes of a name
constexpr std::size_t brief_max = 60;  // bytes of a value in a message
constexpr std::int64_t exact_max = std::int64_t{1} << 53;

std::string shortened(std::string text) {
  if (text.size() <= brief_max) return text;
  text.resize(brief_max);
  text.resize(text.size() - net::incomplete_utf8(text));
  return text + "...";
}

bool is_plain(std::string_view key) {
  return !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

std::string range_text(const Field& field) {
  if (field.least == 0 && field.most == 0) return std::string(field.value);
  return std::string(field.value) + ", " + std::to_string(field.least) + " to " + std::to_string(field.most);
}

}  // namespace

std::string brief(const nlohmann::json& value) { return shortened(describe(value)); }

std::string in_quotes(std::string_view text) {
  return shortened(nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

std::string Place::text() const {
  if (around_ == nullptr) return {};
  const std::string before = around_->text();
  if (key_.data() == nullptr) return before + '[' + std::to_string(index_) + ']';
  if (!is_plain(key_)) return before + '[' + in_quotes(key_) + ']';
  return before.empty() ? std::string(key_) : before + '.' + shortened(std::string(key_));
}

const Field& field_of(std::span<const Field> fields, std::string_view name) {
  const auto it = std::find_if(fields.begin(), fields.end(), [&](const Field& f) { return f.name == name; });
  SIDESTEP_ASSERT(it != fields.end());
  return *it;
}

std::vector<std::string> names_of(std::span<const Field> fields) {
  std::vector<std::string> names;
  for (const Field& field : fields) names.emplace_back(field.name);
  return names;
}

std::string markdown_rows(std::span<const Field> fields, std::string_view prefix) {
  std::string text;
  for (const Field& field : fields)
    text += "| `" + std::string(prefix) + std::string(field.name) + "` | " + range_text(field) + " | " +
            std::string(field.fallback) + " | " + std::string(field.help) + " |\n";
  return text;
}

void FieldReader::add(const Place& at, const std::string& text) {
  const std::string place = at.text();
  if (!lines_.empty()) lines_ += '\n';
  lines_ += source_ + ": " + (place.empty() ? "" : place + ": ") + text;
}

Status FieldReader::status() const {
  if (ok()) return {};
  if (count_ <= shown_max) return Status::invalid(lines_);
  return Status::invalid(lines_ + '\n' + source_ + ": and " + std::to_string(count_ - shown_max) + " more");
}

bool FieldReader::in_range(double number, const Json& value, const Place& at, const Field& field) {
  if (number >= static_cast<double>(field.least) && number <= static_cast<double>(field.most)) return true;
  return refuse(at, [&] {
    const std::string found = "value " + brief(value) + " is too ";
    if (number > static_cast<double>(field.most))
      return found + "large, at most " + std::to_string(field.most) + " allowed";
    return found + "small, at least " + std::to_string(field.least) + " allowed";
  });
}

bool FieldReader::whole(const Json& value, const Place& at, const Field& field, std::int64_t& out) {
  if (!value.is_number_integer())
    return refuse(at, [&] { return "must be a whole number, found " + brief(value); });
  if (!in_range(value.get<double>(), value, at, field)) return false;
  out = value.get<std::int64_t>();
  return true;
}

bool FieldReader::whole(const Json& value, const Place& at, const Field& field, std::uint32_t& out) {
  std::int64_t number = 0;
  if (!whole(value, at, field, number)) return false;
  out = static_cast<std::uint32_t>(number);
  return true;
}

bool FieldReader::whole(const Json& value, const Place& at, const Field& field, std::uint64_t& out) {
  std::int64_t number = 0;
  if (!whole(value, at, field, number)) return false;
  out = static_cast<std::uint64_t>(number);
  return true;
}

bool FieldReader::number(const Json& value, const Place& at, const Field& field, double& out) {
  if (!value.is_number() || std::isnan(value.get<double>()))
    return refuse(at, [&] { return "must be a number, found " + brief(value); });
  if (!in_range(value.get<double>(), value, at, field)) return false;
  out = value.get<double>();
  return true;
}

bool FieldReader::time(const Json& value, const Place& at, const Field& field, std::int64_t& out) {
  double seconds = 0;
  if (!number(value, at, field, seconds)) return false;
  out = std::llround(seconds * 1e6);
  return true;
}

bool FieldReader::task_time(const Json& value, const Place& at, const Field& field, std::int64_t& out) {
  if (!time(value, at, field, out)) return false;
  out = std::max<std::int64_t>(out, 1);
  return true;
}

bool FieldReader::flag(const Json& value, const Place& at, bool& out) {
  if (!value.is_boolean()) return refuse(at, [&] { return "must be true or false, found " + brief(value); });
  out = value.get<bool>();
  return true;
}

bool FieldReader::text(const Json& value, const Place& at, std::string& out) {
  if (!value.is_string()) return refuse(at, [&] { return "must be a string, found " + brief(value); });
  const auto& given = value.get_ref<const std::string&>();
  if (given.size() > text_max)
    return refuse(at, [&] {
      return "has " + std::to_string(given.size()) + " bytes, at most " + std::to_string(text_max) +
             " allowed";
    });
  if (!net::is_utf8(given)) return refuse(at, "must be UTF-8, found " + brief(value));
  out = given;
  return true;
}

bool FieldReader::id(const Json& value, const Place& at, std::string& out) {
  if (value.is_string()) {
    if (value.get_ref<const std::string&>().empty()) return refuse(at, "must not be empty");
    return text(value, at, out);
  }
  if (!value.is_number_integer())
    return refuse(at, [&] { return "must be a string or a whole number, found " + brief(value); });
  static constexpr Field number{"id", "", 0, exact_max, "", ""};
  std::int64_t whole_number = 0;
  if (!whole(value, at, number, whole_number)) return false;
  out = std::to_string(whole_number);
  return true;
}

bool FieldReader::list(const Json& value, const Place& at) {
  return value.is_array() || refuse(at, [&] { return "must be a list, found " + brief(value); });
}

bool FieldReader::object(const Json& value, const Place& at) {
  return value.is_object() || refuse(at, [&] { return "must be an object, found " + brief(value); });
}

void FieldReader::unknown_keys(const Json& object, const Place& at, const std::vector<std::string>& known) {
  for (const auto& entry : object.items()) {
    const std::string& key = entry.key();
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    refuse(at, [&] {
      const std::string near = nearest(key, known);
      return "unknown key " + in_quotes(key) + (near.empty() ? "" : "; did you mean \"" + near + "\"?");
    });
  }
}

}  // namespace sidestep::scheduler
