#include "daemon/cli/drawing/colours.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace sidestep::cli {
namespace {

constexpr std::array<Colour, 7> hues = {{{0, 114, 178},
                                         {230, 159, 0},
                                         {0, 158, 115},
                                         {213, 94, 0},
                                         {86, 180, 233},
                                         {170, 51, 119},
                                         {186, 172, 60}}};
// How far the outermost shades go; beyond, hues vanish in black or on white paper.
constexpr double darkest = 0.45, lightest = 0.4;

double linear(double channel) {
  const double share = channel / 255;
  return share <= 0.04045 ? share / 12.92 : std::pow((share + 0.055) / 1.055, 2.4);
}

}  // namespace

std::string Colour::hex() const {
  const auto byte = [](double value) {
    return static_cast<unsigned>(std::lround(std::clamp(value, 0.0, 255.0)));
  };
  char text[8];
  std::snprintf(text, sizeof text, "#%02x%02x%02x", byte(red) & 0xff, byte(green) & 0xff, byte(blue) & 0xff);
  return text;
}

Colour Colour::mixed(const Colour& other, double share) const {
  const auto mix = [share](double a, double b) { return a + (b - a) * share; };
  return {mix(red, other.red), mix(green, other.green), mix(blue, other.blue)};
}

std::string Colour::text_on() const {
  // Relative luminance (WCAG 2); equal contrast with black and white is at 0.179.
  const double luminance = 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  return luminance > 0.2 ? "#000" : "#fff";
}

Colour series_colour(std::size_t index, std::size_t count) {
  const Colour hue = hues[index % hues.size()];
  const std::size_t shades = (count + hues.size() - 1) / hues.size(), shade = index / hues.size();
  if (shades < 2 || shade == 0) return hue;
  // The plain hues first, then ever further from them, darker and lighter in turn.
  const std::size_t ring = (shade + 1) / 2, rings = shades / 2;
  const double share = static_cast<double>(ring) / static_cast<double>(std::max<std::size_t>(rings, 1));
  return shade % 2 == 1 ? hue.mixed(black, darkest * std::min(share, 1.0))
                        : hue.mixed(white, lightest * std::min(share, 1.0));
}

}  // namespace sidestep::cli
