// An SVG picture under way, in pixels from the top left. It grows as shapes are added, so that nothing is
// cut off, and its texts are escaped. Pure; no text is wider than text_width() says in any common sans font.
#pragma once

#include <string>
#include <string_view>

namespace sidestep::cli {

enum class Anchor { start, middle, end };

// An upper estimate, of the widest of the fonts that the picture asks for.
double text_width(std::string_view text, double size);
// The text, or as much of it as is no wider, with an ellipsis.
std::string fitted(const std::string& text, double size, double width);
// As text and attributes of XML want it; control characters and what is no UTF-8 are replaced.
std::string escaped(std::string_view text);
// "12.35", "12": at most two decimals.
std::string px(double value);

class Svg {
 public:
  // `attributes` are XML: `fill="#fff"`. An empty `tip` is none; else what a browser shows under the mouse.
  void rect(double x, double y, double width, double height, std::string_view attributes,
            const std::string& tip = "");
  // A line through what `d` says; it must lie within what other shapes cover.
  void path(const std::string& d, std::string_view attributes, const std::string& tip = "");
  void line(double x1, double y1, double x2, double y2, std::string_view attributes);
  // `y` is the base line.
  void text(double x, double y, double size, const std::string& text, Anchor anchor = Anchor::start,
            std::string_view attributes = "");
  void open_group(std::string_view attributes);
  void close_group();

  double width() const { return width_; }
  double height() const { return height_; }
  // The whole file, with a margin around what was drawn.
  std::string document(const std::string& title) const;

  static constexpr double margin = 24;

 private:
  void widen(double x, double y);
  void end(std::string_view tag, const std::string& tip);

  std::string body_;
  double width_ = 0;
  double height_ = 0;
};

}  // namespace sidestep::cli
