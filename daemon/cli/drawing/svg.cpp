#include "daemon/cli/drawing/svg.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "net/utf8.h"

namespace sidestep::cli {
namespace {

constexpr const char* fonts = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif";
constexpr std::string_view ellipsis = "\xe2\x80\xa6";

bool continues_character(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

// In ems, of the character that begins with this byte.
double advance(char first) {
  const auto byte = static_cast<unsigned char>(first);
  if (byte >= 0xe1) return 1.0;  // beyond Latin, Greek and Cyrillic, as wide as an ideograph
  if (byte >= 0x80) return 0.8;
  if (std::string_view("mwMW@%").find(first) != std::string_view::npos) return 1.0;
  if (std::string_view("ijlI.,:;|!' ()[]ftr").find(first) != std::string_view::npos) return 0.42;
  if (first >= 'A' && first <= 'Z') return 0.79;
  return 0.65;
}

}  // namespace

double text_width(std::string_view text, double size) {
  double ems = 0;
  for (const char byte : text)
    if (!continues_character(byte)) ems += advance(byte);
  return ems * size;
}

std::string fitted(const std::string& text, double size, double width) {
  if (text_width(text, size) <= width) return text;
  std::string kept = text;
  do {
    while (!kept.empty() && continues_character(kept.back())) kept.pop_back();
    if (kept.empty()) return "";
    kept.pop_back();
  } while (text_width(kept + std::string(ellipsis), size) > width && !kept.empty());
  return kept.empty() ? "" : kept + std::string(ellipsis);
}

std::string escaped(std::string_view text) {
  std::string safe;
  for (const char c : net::repaired_utf8(text, net::replacement_character)) {
    if (c == '&')
      safe += "&amp;";
    else if (c == '<')
      safe += "&lt;";
    else if (c == '>')
      safe += "&gt;";
    else if (c == '"')
      safe += "&quot;";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      safe += c == '\n' ? ' ' : '?';
    else
      safe += c;
  }
  return safe;
}

std::string px(double value) {
  char text[64];
  const double hundredths = std::round(value * 100) / 100;
  const auto end = std::to_chars(text, text + sizeof text, hundredths == 0 ? 0 : hundredths).ptr;
  return {text, end};
}

void Svg::widen(double x, double y) {
  width_ = std::max(width_, x);
  height_ = std::max(height_, y);
}

void Svg::end(std::string_view tag, const std::string& tip) {
  if (tip.empty())
    body_ += "/>\n";
  else
    body_ += "><title>" + escaped(tip) + "</title></" + std::string(tag) + ">\n";
}

void Svg::rect(double x, double y, double width, double height, std::string_view attributes,
               const std::string& tip) {
  body_ += "<rect x=\"" + px(x) + "\" y=\"" + px(y) + "\" width=\"" + px(width) + "\" height=\"" +
           px(height) + "\" " + std::string(attributes);
  end("rect", tip);
  widen(x + width, y + height);
}

void Svg::path(const std::string& d, std::string_view attributes, const std::string& tip) {
  body_ += "<path d=\"" + d + "\" " + std::string(attributes);
  end("path", tip);
}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view attributes) {
  body_ += "<line x1=\"" + px(x1) + "\" y1=\"" + px(y1) + "\" x2=\"" + px(x2) + "\" y2=\"" + px(y2) + "\" " +
           std::string(attributes) + "/>\n";
  widen(std::max(x1, x2), std::max(y1, y2));
}

void Svg::text(double x, double y, double size, const std::string& text, Anchor anchor,
               std::string_view attributes) {
  if (text.empty()) return;
  body_ += "<text x=\"" + px(x) + "\" y=\"" + px(y) + "\" font-size=\"" + px(size) + "\"";
  if (anchor != Anchor::start)
    body_ += anchor == Anchor::end ? " text-anchor=\"end\"" : " text-anchor=\"middle\"";
  if (!attributes.empty()) body_ += " " + std::string(attributes);
  body_ += ">" + escaped(text) + "</text>\n";
  const double width = text_width(text, size);
  widen(x + (anchor == Anchor::start ? width : anchor == Anchor::middle ? width / 2 : 0), y + size * 0.3);
}

void Svg::open_group(std::string_view attributes) { body_ += "<g " + std::string(attributes) + ">\n"; }

void Svg::close_group() { body_ += "</g>\n"; }

std::string Svg::document(const std::string& title) const {
  const std::string width = px(std::ceil(width_ + margin)), height = px(std::ceil(height_ + margin));
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + width + "\" height=\"" + height +
         "\" viewBox=\"0 0 " + width + " " + height + "\" font-family=\"" + fonts +
         "\" fill=\"#222\">\n<title>" + escaped(title) + "</title>\n<rect width=\"" + width + "\" height=\"" +
         height + "\" fill=\"#fff\"/>\n" + body_ + "</svg>\n";
}

}  // namespace sidestep::cli
