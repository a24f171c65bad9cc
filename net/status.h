// Errors as values: what is expected to go wrong comes back as a Status or a Result<T>.
// The message is written for the user: which key, value, bound, node or address, and what to do.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "net/assert.h"

namespace sidestep {

enum class Code {
  ok,
  invalid,      // the input is wrong: file, key, value, message
  not_found,    // what was asked for does not exist
  refused,      // understood, but not allowed now or not for this key
  unavailable,  // the other side cannot be reached
  io,           // the operating system said no
  internal,     // a bug that could be contained
};

std::string_view to_string(Code code);
// The code of that name; Code::internal for an unknown one.
Code code_from_string(std::string_view name);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status invalid(std::string m) { return {Code::invalid, std::move(m)}; }
  static Status not_found(std::string m) { return {Code::not_found, std::move(m)}; }
  static Status refused(std::string m) { return {Code::refused, std::move(m)}; }
  static Status unavailable(std::string m) { return {Code::unavailable, std::move(m)}; }
  static Status io(std::string m) { return {Code::io, std::move(m)}; }
  static Status internal(std::string m) { return {Code::internal, std::move(m)}; }

  bool ok() const { return code_ == Code::ok; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }
  // The same error seen from further up: "context: message".
  Status with_context(std::string_view context) const;

 private:
  Code code_ = Code::ok;
  std::string message_;
};

// A value or the reason why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Status status) : state_(std::move(status)) { SIDESTEP_ASSERT(!std::get<Status>(state_).ok()); }

  bool ok() const { return std::holds_alternative<T>(state_); }
  // Precondition of value(): ok().
  const T& value() const& {
    SIDESTEP_ASSERT(ok());
    return std::get<T>(state_);
  }
  T& value() & {
    SIDESTEP_ASSERT(ok());
    return std::get<T>(state_);
  }
  T value() && {
    SIDESTEP_ASSERT(ok());
    return std::move(std::get<T>(state_));
  }
  // ok when there is a value.
  Status status() const { return ok() ? Status() : std::get<Status>(state_); }

 private:
  std::variant<T, Status> state_;
};

}  // namespace sidestep
