#include "daemon/data/safetensors_header.h"

#include <nlohmann/json.hpp>
#include <set>

namespace sidestep::daemon {
namespace {

using Json = nlohmann::json;

constexpr const char* metadata_name = "__metadata__";
// More dimensions than any tensor has; PyTorch's own limit.
constexpr std::size_t dimensions_max = 64;

// {"NAME": {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, .., "__metadata__": {"KEY":
// "TEXT"}}
class HeaderReader : public Json::json_sax_t {
 public:
  SafetensorsHeader take() { return std::move(header_); }
  const std::string& problem() const { return problem_; }

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("true or false"); }
  bool number_float(number_float_t, const string_t& text) override {
    return unexpected("the number " + text);
  }
  bool number_integer(number_integer_t value) override {
    return unexpected("the number " + std::to_string(value));
  }
  bool binary(binary_t&) override { return unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::list) return unexpected("the number " + std::to_string(value));
    if (numbers_->size() == dimensions_max) return fail(key_text() + " has too many numbers");
    numbers_->push_back(value);
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::metadata) {
      if (!header_.metadata.emplace(key_, std::move(value)).second) return twice();
      return true;
    }
    if (place_ != Place::tensor || key_ != "dtype") return unexpected("a string");
    if (entry().has_type) return twice();
    entry().has_type = true;
    entry().type = std::move(value);
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::outside) {
      place_ = Place::file;
      return true;
    }
    if (place_ != Place::file) return unexpected("an object");
    if (!names_.insert(key_).second) return twice();
    if (key_ == metadata_name) {
      place_ = Place::metadata;
    } else {
      header_.entries.push_back({.name = key_, .type = {}, .shape = {}, .offsets = {}});
      place_ = Place::tensor;
    }
    return true;
  }
  bool end_object() override {
    if (place_ == Place::tensor) {
      const HeaderEntry& done = entry();
      const char* missing = !done.has_type      ? "dtype"
                            : !done.has_shape   ? "shape"
                            : !done.has_offsets ? "data_offsets"
                                                : nullptr;
      if (missing != nullptr) return fail("\"" + std::string(missing) + "\" is missing");
    }
    place_ = place_ == Place::file ? Place::outside : Place::file;
    return true;
  }

  bool start_array(std::size_t) override {
    const bool shape = key_ == "shape";
    if (place_ != Place::tensor || (!shape && key_ != "data_offsets")) return unexpected("a list");
    bool& has = shape ? entry().has_shape : entry().has_offsets;
    if (has) return twice();
    has = true;
    numbers_ = shape ? &entry().shape : &entry().offsets;
    place_ = Place::list;
    return true;
  }
  bool end_array() override {
    place_ = Place::tensor;
    return true;
  }

  bool key(string_t& name) override {
    key_ = std::move(name);
    if (place_ != Place::tensor || key_ == "dtype" || key_ == "shape" || key_ == "data_offsets") return true;
    return fail("unknown key " + key_text());
  }

  bool parse_error(std::size_t position, const std::string&, const Json::exception&) override {
    // What the library says quotes the input, which may hold anything.
    return fail("not JSON at byte " + std::to_string(position));
  }

 private:
  enum class Place { outside, file, metadata, tensor, list };

  HeaderEntry& entry() { return header_.entries.back(); }
  std::string key_text() const { return Json(key_).dump(-1, ' ', true, Json::error_handler_t::replace); }
  bool twice() { return fail("key " + key_text() + " is there twice"); }
  bool unexpected(const std::string& what) {
    if (place_ == Place::outside) return fail("must be an object, found " + what);
    return fail(what + " where " + wanted() + " is expected");
  }
  std::string wanted() const {
    switch (place_) {
      case Place::metadata:
        return "a string for " + key_text();
      case Place::tensor:
        return key_ == "dtype" ? "the name of a type" : "a list for " + key_text();
      case Place::list:
        return "a whole number, not negative, in " + key_text();
      default:
        return "an object for " + key_text();
    }
  }
  bool fail(const std::string& what) {
    if (!problem_.empty()) return false;
    const bool in_tensor = place_ == Place::tensor || place_ == Place::list;
    problem_ = in_tensor ? "tensor " + quoted_name(entry().name) + ": " + what : what;
    return false;
  }

  Place place_ = Place::outside;
  std::string key_;
  std::set<std::string> names_;
  std::vector<std::uint64_t>* numbers_ = nullptr;
  SafetensorsHeader header_;
  std::string problem_;
};

}  // namespace

std::string quoted_name(const std::string& name) {
  return Json(name).dump(-1, ' ', true, Json::error_handler_t::replace);
}

Result<SafetensorsHeader> parse_safetensors_header(std::string_view text) {
  HeaderReader reader;
  if (!Json::sax_parse(text.begin(), text.end(), &reader)) return Status::invalid(reader.problem());
  return reader.take();
}

}  // namespace sidestep::daemon
