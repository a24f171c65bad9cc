#include "daemon/core/progress_line.h"

#include <algorithm>
#include <cstdio>

#include "net/clock.h"

namespace sidestep::daemon {
namespace {

constexpr std::int64_t every_us = 2 * net::second;

std::string number(double value, const char* format) {
  char text[48];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

}  // namespace

// ", 1.9123 without 0.33 of the stages".
std::string ProgressLine::skip_losses(const scheduler::RecordStep& record) const {
  std::string text;
  for (std::size_t i = 0; i < record.validation_skip_losses.size(); ++i)
    text += ", " + number(record.validation_skip_losses[i], "%.4f") + " without " +
            number(context_.spec.validation.skip[i], "%.2g") + " of the stages";
  return text;
}

void ProgressLine::on_commit(std::int64_t now_us, const scheduler::RecordStep& record, bool last) {
  if (record.validation_loss)
    context_.log(now_us, net::LogLevel::info, std::nullopt,
                 "validation loss " + number(*record.validation_loss, "%.4f") + " after step " +
                     std::to_string(record.step - 1) + skip_losses(record));
  if (context_.begins()) {
    logged_us_ = now_us;
    context_.log(now_us, net::LogLevel::info, std::nullopt,
                 "all " + std::to_string(context_.spec.pipeline.stages) + " stages ready on " +
                     std::to_string(context_.plan.stages_of.size()) + " nodes, training begins");
    return;
  }
  if (!record.loss) return;
  tokens_since_ += record.tokens;
  time_since_us_ += record.duration_us;
  const auto steps = static_cast<std::uint64_t>(context_.spec.steps);
  if (!last && record.step != context_.spec.first_commit() + 1 && record.step != steps &&
      now_us - logged_us_ < every_us)
    return;
  logged_us_ = now_us;
  const double seconds = static_cast<double>(std::max<std::int64_t>(1, time_since_us_)) / 1e6;
  const double tokens_per_s = static_cast<double>(tokens_since_) / seconds;
  const double left_s = static_cast<double>(steps - record.step) *
                        static_cast<double>(context_.spec.tokens_per_step()) / std::max(1.0, tokens_per_s);
  context_.log(now_us, net::LogLevel::info, std::nullopt,
               "step " + std::to_string(record.step) + " of " + std::to_string(steps) + ": loss " +
                   number(*record.loss, "%.4f") + ", " + number(tokens_per_s, "%.0f") + " tokens/s, " +
                   number(left_s, "%.0f") + " s left");
  tokens_since_ = 0;
  time_since_us_ = 0;
}

}  // namespace sidestep::daemon
