#include "tests/support/svg_reader.h"

#include <cctype>
#include <cstdlib>
#include <stdexcept>

#include "net/utf8.h"

namespace sidestep::testing {
namespace {

class Reader {
 public:
  explicit Reader(const std::string& text) : text_(text) {
    if (!net::is_utf8(text)) throw std::runtime_error("not UTF-8");
    for (const char c : text)
      if (static_cast<unsigned char>(c) < 0x20 && c != '\n') fail("a control character");
  }

  std::vector<SvgElement> read() {
    while (at_ < text_.size()) text_[at_] == '<' ? read_tag() : read_text();
    if (!open_.empty()) fail("the end, with <" + elements_[open_.back()].tag + "> open");
    return std::move(elements_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error("at byte " + std::to_string(at_) + ": " + what);
  }
  char next() {
    if (at_ >= text_.size()) fail("the end");
    return text_[at_++];
  }
  void expect(char c) {
    if (next() != c) fail(std::string("no ") + c);
  }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  std::string name() {
    std::string word;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '-'))
      word += text_[at_++];
    if (word.empty()) fail("no name");
    return word;
  }
  std::string entity() {
    std::string word;
    for (char c = next(); c != ';'; c = next()) word += c;
    if (word == "amp") return "&";
    if (word == "lt") return "<";
    if (word == "gt") return ">";
    if (word == "quot") return "\"";
    fail("an unknown entity");
  }

  void read_text() {
    std::string text;
    while (at_ < text_.size() && text_[at_] != '<') {
      const char c = next();
      if (c == '>') fail("a bare >");
      text += c == '&' ? entity() : std::string(1, c);
    }
    if (!open_.empty())
      elements_[open_.back()].text += text;
    else if (text.find_first_not_of('\n') != std::string::npos)
      fail("text outside the picture");
  }

  void read_tag() {
    expect('<');
    if (text_[at_] == '/') {
      ++at_;
      if (open_.empty() || name() != elements_[open_.back()].tag) fail("an end tag that nothing began");
      open_.pop_back();
      expect('>');
      return;
    }
    if (open_.empty() && !elements_.empty()) fail("a second root");
    SvgElement element;
    element.tag = name();
    for (skip_space(); text_[at_] != '/' && text_[at_] != '>'; skip_space()) {
      const std::string key = name();
      expect('=');
      expect('"');
      std::string value;
      for (char c = next(); c != '"'; c = next()) {
        if (c == '<') fail("a bare < in an attribute");
        value += c == '&' ? entity() : std::string(1, c);
      }
      if (!element.attributes.emplace(key, value).second) fail("attribute " + key + " twice");
    }
    elements_.push_back(element);
    if (text_[at_] == '/')
      ++at_;
    else
      open_.push_back(elements_.size() - 1);
    expect('>');
  }

  const std::string& text_;
  std::size_t at_ = 0;
  std::vector<SvgElement> elements_;
  std::vector<std::size_t> open_;
};

}  // namespace

double SvgElement::number(const std::string& name) const {
  const auto found = attributes.find(name);
  if (found == attributes.end()) throw std::runtime_error(tag + " has no " + name);
  char* end = nullptr;
  const double value = std::strtod(found->second.c_str(), &end);
  if (found->second.empty() || *end != 0 || value != value || value - value != 0)
    throw std::runtime_error(tag + "." + name + " is no number: " + found->second);
  return value;
}

bool SvgElement::has_class(const std::string& name) const {
  const auto found = attributes.find("class");
  return found != attributes.end() && (" " + found->second + " ").find(" " + name + " ") != std::string::npos;
}

std::vector<SvgElement> read_svg(const std::string& text) { return Reader(text).read(); }

bool Box::overlaps(const Box& other) const {
  return left < other.right && other.left < right && top < other.bottom && other.top < bottom;
}

Box text_box(const SvgElement& text) {
  const double size = text.number("font-size");
  double ems = 0;
  for (const char c : text.text) {
    if ((static_cast<unsigned char>(c) & 0xc0) == 0x80) continue;
    const bool narrow = std::string(" .,:;'|ijl").find(c) != std::string::npos;
    ems += narrow ? 0.32 : std::isupper(static_cast<unsigned char>(c)) ? 0.7 : 0.62;
  }
  const double width = ems * size;
  const auto anchor = text.attributes.find("text-anchor");
  double left = text.number("x");
  if (anchor != text.attributes.end()) left -= anchor->second == "middle" ? width / 2 : width;
  return {left, text.number("y") - 0.75 * size, left + width, text.number("y") + 0.2 * size};
}

}  // namespace sidestep::testing
