#include "daemon/cli/drawing/layers.h"

#include <algorithm>
#include <cmath>

namespace sidestep::cli {
namespace {

constexpr int sweeps = 12;

double gap_between(const LayerItem& above, const LayerItem& below, double box_gap) {
  return above.box || below.box ? box_gap : 0;
}

// Stacks every column by the order that it has.
double stack(Layers& layers, double box_gap) {
  std::vector<double> heights(layers.columns.size(), 0);
  double highest = 0;
  for (std::size_t c = 0; c < layers.columns.size(); ++c) {
    const auto& column = layers.columns[c];
    for (std::size_t i = 0; i < column.size(); ++i) {
      LayerItem& item = layers.items[column[i]];
      if (i > 0) heights[c] += gap_between(layers.items[column[i - 1]], item, box_gap);
      item.y = heights[c];
      heights[c] += item.height;
    }
    highest = std::max(highest, heights[c]);
  }
  for (LayerItem& item : layers.items) item.y += (highest - heights[item.column]) / 2;
  return highest;
}

double wire_length(const Layers& layers) {
  double sum = 0;
  for (const auto& link : layers.links)
    sum += std::abs(layers.items[link.from].middle() - layers.items[link.to].middle());
  return sum;
}

}  // namespace

double arrange(Layers& layers, std::size_t columns, double box_gap) {
  layers.columns.assign(columns, {});
  for (std::uint32_t i = 0; i < layers.items.size(); ++i) layers.columns[layers.items[i].column].push_back(i);
  std::vector<std::vector<std::uint32_t>> neighbours(layers.items.size());
  for (const auto& link : layers.links) {
    neighbours[link.from].push_back(link.to);
    neighbours[link.to].push_back(link.from);
  }
  stack(layers, box_gap);
  auto best = layers.columns;
  double least = wire_length(layers);
  std::vector<double> wanted(layers.items.size());
  for (int sweep = 0; sweep < sweeps; ++sweep) {
    // Rightwards each column looks at the one on its left, leftwards the other way; at the end at both.
    const bool rightwards = sweep % 2 == 0, both = sweep >= sweeps - 4;
    for (std::size_t step = 0; step < columns; ++step) {
      const std::size_t c = rightwards ? step : columns - 1 - step;
      for (const std::uint32_t i : layers.columns[c]) {
        double sum = 0;
        std::size_t count = 0;
        for (const std::uint32_t other : neighbours[i]) {
          if (!both && (layers.items[other].column < c) != rightwards) continue;
          sum += layers.items[other].middle();
          ++count;
        }
        wanted[i] = count > 0 ? sum / static_cast<double>(count) : layers.items[i].middle();
      }
      std::stable_sort(layers.columns[c].begin(), layers.columns[c].end(),
                       [&](std::uint32_t a, std::uint32_t b) { return wanted[a] < wanted[b]; });
      stack(layers, box_gap);
    }
    if (const double length = wire_length(layers); length < least) {
      least = length;
      best = layers.columns;
    }
  }
  layers.columns = best;
  return stack(layers, box_gap);
}

}  // namespace sidestep::cli
