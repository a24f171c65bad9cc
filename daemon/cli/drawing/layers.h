// Places boxes and the wires between them in columns so that wires cross little: the ordering step of
// Sugiyama's method. A wire that passes a column has an item of its own there, so that no box lies on it.
// Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sidestep::cli {

struct LayerItem {
  std::uint32_t column = 0;
  double height = 0;
  bool box = false;  // else the place where a wire passes
  double y = 0;      // of its top; set by arrange()
  double middle() const { return y + height / 2; }
};

struct Layers {
  std::vector<LayerItem> items;
  std::vector<std::vector<std::uint32_t>> columns;  // items from top to bottom; set by arrange()
  struct Link {
    std::uint32_t from = 0, to = 0;  // items in neighbouring columns
  };
  std::vector<Link> links;
};

// Orders the items of each column, and stacks them from 0 with columns in the middle of the highest one;
// gives that one's height. Boxes have `box_gap` to their neighbours.
double arrange(Layers& layers, std::size_t columns, double box_gap);

}  // namespace sidestep::cli
