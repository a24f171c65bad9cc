#include "scheduler/nearest.h"

#include <algorithm>

#include "scheduler/options.h"

namespace sidestep::scheduler {

std::string nearest(std::string_view typed, const std::vector<std::string>& known) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, typed.size() / 3) + 1;
  for (const std::string& word : known) {
    if (typed.size() >= 3 && word.starts_with(typed)) return word;
    // The distance is at least the difference of the lengths: a word of a megabyte costs nothing.
    if (typed.size() >= word.size() + best_distance || word.size() >= typed.size() + best_distance) continue;
    const std::size_t distance = edit_distance(typed, word);
    if (distance < best_distance) {
      best_distance = distance;
      best = word;
    }
  }
  return best;
}

}  // namespace sidestep::scheduler
