#include "daemon/generate/perplexity.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "net/assert.h"

namespace sidestep::daemon {

double Perplexity::perplexity() const { return std::exp(loss); }

Result<Perplexity> measure_perplexity(
    LanguageModel& model, const Dataset& data, std::int64_t sequence_length,
    const std::function<Status(std::uint64_t done, std::uint64_t total)>& on_window) {
  SIDESTEP_ASSERT(data.tokens() >= 2 && sequence_length >= 1);
  const std::uint64_t total = data.tokens() - 1;
  std::vector<std::int64_t> window;
  double sum = 0;
  for (std::uint64_t first = 0; first < total; first += window.size() - 1) {
    window.resize(std::min(static_cast<std::uint64_t>(sequence_length), total - first) + 1);
    data.read(first, window);
    const double loss = model.score(window);
    if (!std::isfinite(loss))
      return Status::invalid("the model's loss on tokens " + std::to_string(first + 1) + " to " +
                             std::to_string(first + window.size() - 1) +
                             " is not finite: its training failed, or it needs --precision float32");
    sum += loss;
    if (Status status = on_window(first + window.size() - 1, total); !status.ok()) return status;
  }
  return Perplexity{total, sum / static_cast<double>(total)};
}

}  // namespace sidestep::daemon
