// Reads pictures as strictly as an XML parser would, as far as ours go: elements, attributes, text.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace sidestep::testing {

struct SvgElement {
  std::string tag;
  std::map<std::string, std::string> attributes;
  std::string text;  // directly in it, entities resolved
  double number(const std::string& name) const;
  bool has_class(const std::string& name) const;
};

// All elements in order. Throws std::runtime_error with the place where the picture is not well-formed.
std::vector<SvgElement> read_svg(const std::string& text);

struct Box {
  double left = 0, top = 0, right = 0, bottom = 0;
  bool overlaps(const Box& other) const;
};
// Where a text element's letters are, by an estimate of DejaVu Sans.
Box text_box(const SvgElement& text);

}  // namespace sidestep::testing
