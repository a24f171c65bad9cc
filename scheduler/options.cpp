#include "scheduler/options.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "net/assert.h"

namespace sidestep::scheduler {
namespace {

// Numbers as people write them: no trailing zeros, whole numbers without a point.
std::string show(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15)
    return std::to_string(static_cast<long long>(value));
  std::ostringstream text;
  text.precision(10);
  text << value;
  return text.str();
}

const nlohmann::json* find(const nlohmann::json& json, std::string_view key) {
  const nlohmann::json* at = &json;
  while (true) {
    const std::size_t dot = key.find('.');
    if (!at->is_object()) return nullptr;
    const auto it = at->find(std::string(key.substr(0, dot)));
    if (it == at->end()) return nullptr;
    at = &*it;
    if (dot == std::string_view::npos) return at;
    key.remove_prefix(dot + 1);
  }
}

std::string leaf_of(const std::string& key) {
  const std::size_t dot = key.rfind('.');
  return dot == std::string::npos ? key : key.substr(dot + 1);
}

std::string block_of(const std::string& key) {
  const std::size_t dot = key.rfind('.');
  return dot == std::string::npos ? "" : key.substr(0, dot + 1);
}

// Equal in meaning: 0 and 0.0 are the same number.
bool same_value(const nlohmann::json& a, const nlohmann::json& b) {
  if (a.is_number() && b.is_number()) return a.get<double>() == b.get<double>();
  return a == b;
}

std::string joined(const std::vector<std::string>& values) {
  std::string text;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) text += i + 1 == values.size() ? " and " : ", ";
    text += '"' + values[i] + '"';
  }
  return text;
}

}  // namespace

void Problems::add(const std::string& what) { lines_.push_back(source_ + ": " + what); }

void Problems::add_key(std::string_view key, const std::string& what) {
  const std::string place = prefix_ + std::string(key);
  keys_.insert(place);
  add("key \"" + place + "\": " + what);
}

void Problems::add_missing(const std::string& key, const std::string& help) {
  keys_.insert(prefix_ + key);
  add("missing key \"" + prefix_ + key + "\": " + help);
}

void Problems::within(const std::string& prefix, const std::function<void()>& read) {
  const std::string outer = std::exchange(prefix_, prefix_ + prefix);
  read();
  prefix_ = outer;
}

bool Problems::sound(std::initializer_list<std::string_view> keys) const {
  return std::none_of(keys.begin(), keys.end(), [&](std::string_view key) { return keys_.contains(key); });
}

Status Problems::status() const {
  if (lines_.empty()) return {};
  std::string text;
  for (const std::string& line : lines_) {
    if (!text.empty()) text += '\n';
    text += line;
  }
  return Status::invalid(text);
}

Option::Option(std::string key, std::optional<Field> field, std::string help)
    : key_(std::move(key)), field_(field), help_(std::move(help)) {
  default_ = current();
}

Option& Option::required() {
  required_ = true;
  return *this;
}

Option& Option::range(double least, double most) {
  least_ = least;
  most_ = most;
  return *this;
}

Option& Option::at_least(double least) {
  least_ = least;
  return *this;
}

Option& Option::above(double bound) {
  above_ = bound;
  return *this;
}

Option& Option::below(double bound) {
  below_ = bound;
  return *this;
}

Option& Option::one_of(std::vector<std::string> values) {
  values_ = std::move(values);
  return *this;
}

Option& Option::only(nlohmann::json value) {
  only_ = std::move(value);
  return *this;
}

Option& Option::default_text(std::string text) {
  default_text_ = std::move(text);
  return *this;
}

std::string Option::type_name() const {
  if (!field_) return "";
  struct Names {
    std::string operator()(bool*) const { return "true or false"; }
    std::string operator()(std::int64_t*) const { return "a whole number"; }
    std::string operator()(std::uint64_t*) const { return "a whole number, not negative"; }
    std::string operator()(double*) const { return "a number"; }
    std::string operator()(std::string*) const { return "a string"; }
    std::string operator()(std::vector<std::string>*) const { return "a list of strings"; }
    std::string operator()(const ListField&) const { return "a list of objects"; }
    std::string operator()(const OwnField& own) const { return own.type; }
  };
  return std::visit(Names{}, *field_);
}

std::string Option::limits_text() const {
  if (only_) return "only " + only_->dump() + " in this version";
  std::string text = type_name();
  if (!values_.empty()) return "one of " + joined(values_);
  if (least_ && most_) {
    text += ", " + show(*least_) + " to " + show(*most_);
  } else if (least_) {
    text += ", at least " + show(*least_);
  } else if (most_) {
    text += ", at most " + show(*most_);
  }
  if (above_) text += ", more than " + show(*above_);
  if (below_) text += ", less than " + show(*below_);
  return text;
}

std::string Option::default_as_text() const {
  if (required_) return "required";
  if (!default_text_.empty()) return default_text_;
  if (only_) return only_->dump();
  return default_.dump();
}

nlohmann::json Option::current() const {
  if (!field_) return nullptr;
  return std::visit(
      [](const auto& field) -> nlohmann::json {
        if constexpr (requires { *field; })
          return *field;
        else
          return field.current();
      },
      *field_);
}

bool Option::check_number(double value, const std::string& shown, Problems& problems) const {
  std::string what;
  if (least_ && value < *least_)
    what = "too small, at least " + show(*least_) + " allowed";
  else if (above_ && value <= *above_)
    what = "too small, more than " + show(*above_) + " needed";
  else if (most_ && value > *most_)
    what = "too large, at most " + show(*most_) + " allowed";
  else if (below_ && value >= *below_)
    what = "too large, less than " + show(*below_) + " needed";
  if (what.empty()) return true;
  problems.add_key(key_, "value " + shown + " is " + what);
  return false;
}

void Option::assign(const nlohmann::json& value, Problems& problems) const {
  if (only_) {
    if (!same_value(value, *only_))
      problems.add_key(key_,
                       describe(value) + " is not available in this version; only " + only_->dump() + " is");
    return;
  }
  const auto wrong_type = [&] {
    problems.add_key(key_, "must be " + type_name() + ", found " + describe(value));
  };
  SIDESTEP_ASSERT(field_.has_value());
  if (auto* const* flag = std::get_if<bool*>(&*field_)) {
    if (!value.is_boolean()) return wrong_type();
    **flag = value.get<bool>();
  } else if (auto* const* whole = std::get_if<std::int64_t*>(&*field_)) {
    if (!value.is_number_integer()) return wrong_type();
    if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
      problems.add_key(key_, "value " + value.dump() + " is too large, at most " +
                                 (most_ ? show(*most_) : std::to_string(INT64_MAX)) + " allowed");
      return;
    }
    if (check_number(value.get<double>(), value.dump(), problems)) **whole = value.get<std::int64_t>();
  } else if (auto* const* natural = std::get_if<std::uint64_t*>(&*field_)) {
    // JSON built in memory holds small numbers as signed ones.
    if (!value.is_number_unsigned() && !(value.is_number_integer() && value.get<std::int64_t>() >= 0))
      return wrong_type();
    if (check_number(value.get<double>(), value.dump(), problems)) **natural = value.get<std::uint64_t>();
  } else if (auto* const* real = std::get_if<double*>(&*field_)) {
    if (!value.is_number()) return wrong_type();
    if (check_number(value.get<double>(), value.dump(), problems)) **real = value.get<double>();
  } else if (auto* const* text = std::get_if<std::string*>(&*field_)) {
    if (!value.is_string()) return wrong_type();
    const auto& given = value.get_ref<const std::string&>();
    if (!values_.empty() && std::find(values_.begin(), values_.end(), given) == values_.end()) {
      problems.add_key(key_, "value " + value.dump() + " is not known; allowed: " + joined(values_));
      return;
    }
    if (required_ && given.empty()) {
      problems.add_key(key_, "must not be empty");
      return;
    }
    **text = given;
  } else if (auto* const* list = std::get_if<std::vector<std::string>*>(&*field_)) {
    if (!value.is_array()) return wrong_type();
    std::vector<std::string> entries;
    for (const nlohmann::json& entry : value) {
      if (!entry.is_string()) {
        problems.add_key(key_, "must be a list of strings, found " + describe(entry) + " in it");
        return;
      }
      entries.push_back(entry.get<std::string>());
    }
    **list = std::move(entries);
  } else if (const auto* objects = std::get_if<ListField>(&*field_)) {
    if (!value.is_array()) return wrong_type();
    objects->assign(value, key_, problems);
  } else if (const auto* own = std::get_if<OwnField>(&*field_)) {
    if (const std::string why = own->assign(value); !why.empty()) problems.add_key(key_, why);
  }
}

Option& OptionTable::add(std::string key, Option::Field field, std::string help) {
  return options_.emplace_back(std::move(key), field, std::move(help));
}

Option& OptionTable::add_unavailable(std::string key, std::string help) {
  return options_.emplace_back(std::move(key), std::nullopt, std::move(help));
}

bool OptionTable::is_block(const std::string& path) const {
  return std::any_of(options_.begin(), options_.end(),
                     [&](const Option& option) { return option.key_.starts_with(path + '.'); });
}

std::string OptionTable::suggestion(const std::string& prefix, const std::string& name) const {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, name.size() / 3) + 1;
  // A block's own name is a candidate among its siblings too ("pipelin").
  for (const Option& option : options_) {
    if (!option.key_.starts_with(prefix)) continue;
    const std::string rest = option.key_.substr(prefix.size());
    const std::string candidate = rest.substr(0, rest.find('.'));
    const std::size_t distance = edit_distance(name, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  // The right name in the wrong block is a better guess than a similar one here.
  if (best_distance > 0)
    for (const Option& option : options_)
      if (leaf_of(option.key_) == name && block_of(option.key_) != prefix) return option.key_;
  return best;
}

void OptionTable::find_unknown(const nlohmann::json& json, const std::string& prefix,
                               Problems& problems) const {
  for (const auto& [name, value] : json.items()) {
    const std::string path = prefix + name;
    const bool plain = name.find('.') == std::string::npos;  // dots are between names, never in one
    const bool known = plain && std::any_of(options_.begin(), options_.end(),
                                            [&](const Option& option) { return option.key_ == path; });
    if (known) continue;
    if (plain && is_block(path)) {
      if (value.is_object())
        find_unknown(value, path + '.', problems);
      else
        problems.add_key(path, "must be an object, found " + describe(value));
      continue;
    }
    std::string text = "unknown key \"" + problems.prefix_ + path + '"';
    const std::string best = suggestion(prefix, name);
    if (!best.empty()) text += "; did you mean \"" + best + "\"?";
    problems.add(text);
  }
}

void OptionTable::read(const nlohmann::json& json, Problems& problems) const {
  if (!json.is_object()) {
    problems.add("must be a JSON object, found " + describe(json));
    return;
  }
  find_unknown(json, "", problems);
  for (const Option& option : options_) {
    if (const nlohmann::json* value = find(json, option.key_))
      option.assign(*value, problems);
    else if (option.required_)
      problems.add_missing(option.key_, option.help_);
  }
}

void OptionTable::read_known(const nlohmann::json& json, Problems& problems) const {
  if (!json.is_object()) {
    problems.add("must be a JSON object, found " + describe(json));
    return;
  }
  for (const Option& option : options_) {
    const nlohmann::json* value = find(json, option.key_);
    if (value != nullptr && !value->is_null())
      option.assign(*value, problems);
    else if (option.required_)
      problems.add_missing(option.key_, option.help_);
  }
}

bool OptionTable::has(const nlohmann::json& json, std::string_view key) { return find(json, key) != nullptr; }

nlohmann::json OptionTable::to_json() const {
  nlohmann::json json = nlohmann::json::object();
  for (const Option& option : options_) {
    if (!option.field_) continue;
    std::string pointer = "/" + option.key_;
    std::replace(pointer.begin(), pointer.end(), '.', '/');
    json[nlohmann::json::json_pointer(pointer)] = option.current();
  }
  return json;
}

std::string OptionTable::rows(const std::string& prefix) const {
  std::string text;
  for (const Option& option : options_) {
    text += "| `" + prefix + option.key_ + "` | " + option.limits_text() + " | " + option.default_as_text() +
            " | " + option.help_ + " |\n";
    if (option.field_)
      if (const auto* list = std::get_if<ListField>(&*option.field_))
        text += list->rows(prefix + option.key_);
  }
  return text;
}

std::string OptionTable::markdown() const {
  return "| key | value | default | |\n|---|---|---|---|\n" + rows("");
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> table(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) {
    for (std::size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        table[i][j] = i + j;
        continue;
      }
      table[i][j] = std::min(
          {table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        table[i][j] = std::min(table[i][j], table[i - 2][j - 2] + 1);
    }
  }
  return table[a.size()][b.size()];
}

}  // namespace sidestep::scheduler
