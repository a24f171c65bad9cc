#include "net/status.h"

#include <array>

namespace sidestep {
namespace {

constexpr std::array<std::pair<Code, std::string_view>, 7> code_names{{
    {Code::ok, "ok"},
    {Code::invalid, "invalid"},
    {Code::not_found, "not_found"},
    {Code::refused, "refused"},
    {Code::unavailable, "unavailable"},
    {Code::io, "io"},
    {Code::internal, "internal"},
}};

}  // namespace

std::string_view to_string(Code code) {
  for (const auto& [known, name] : code_names)
    if (known == code) return name;
  return "internal";
}

Code code_from_string(std::string_view name) {
  for (const auto& [code, known] : code_names)
    if (known == name) return code;
  return Code::internal;
}

Status Status::with_context(std::string_view context) const {
  if (ok()) return *this;
  return {code_, std::string(context) + ": " + message_};
}

}  // namespace sidestep
