// Colours for any number of microbatches that most colour-blind people tell apart, too: seven hues in turn
// (after Okabe and Ito, and Tol), then the same ones darker and lighter.
#pragma once

#include <cstddef>
#include <string>

namespace sidestep::cli {

struct Colour {
  double red = 0, green = 0, blue = 0;  // 0 to 255

  std::string hex() const;
  // 0 is none of `other`, 1 nothing else.
  Colour mixed(const Colour& other, double share) const;
  // Black or white, whichever is easier to read on it.
  std::string text_on() const;
};

inline constexpr Colour white{255, 255, 255};
inline constexpr Colour black{0, 0, 0};

// Of the `index`th of `count`; neighbours differ in hue.
Colour series_colour(std::size_t index, std::size_t count);

}  // namespace sidestep::cli
