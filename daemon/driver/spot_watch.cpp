#include "daemon/driver/spot_watch.h"

#include <chrono>
#include <utility>

#include "net/clock.h"

namespace sidestep::driver {
namespace {

constexpr unsigned status_ok = 200;
constexpr unsigned status_unauthorized = 401;
constexpr unsigned status_not_found = 404;

}  // namespace

SpotWatchOptions spot_watch_options(const SpotBlock& block) {
  return {block.cloud, block.endpoint, block.poll_s * net::second};
}

SpotWatch::SpotWatch(boost::asio::io_context& io, SpotWatchOptions options, Handlers handlers)
    : io_(io),
      options_(std::move(options)),
      handlers_(std::move(handlers)),
      cloud_(spot_cloud(options_.cloud)),
      server_(parse_endpoint(options_.endpoint).value()),
      timer_(io) {
  poll();
}

SpotWatch::~SpotWatch() = default;

void SpotWatch::poll() {
  question_ = 0;
  renewed_ = false;
  go_on();
}

void SpotWatch::go_on() {
  if (questions_.empty()) {
    if (cloud_.introduction) return ask(*cloud_.introduction, &SpotWatch::on_introduction);
    questions_ = cloud_.questions("");
  }
  if (question_ == questions_.size()) return end_poll("");
  ask(questions_[question_].request, &SpotWatch::on_answer);
}

void SpotWatch::ask(const HttpRequest& request, void (SpotWatch::*take_answer)(const HttpAnswer& answer)) {
  asking_ = request.method + " " + request.target;
  exchange_ = std::make_unique<HttpExchange>(io_, server_, request, options_.limits,
                                             [this, take_answer](const Result<HttpAnswer>& answer) {
                                               if (!answer.ok()) return end_poll(answer.status().message());
                                               (this->*take_answer)(answer.value());
                                             });
}

void SpotWatch::on_introduction(const HttpAnswer& answer) {
  if (answer.status != status_ok) return end_poll("status " + std::to_string(answer.status));
  const auto word = parse_word(answer.body);
  if (!word.ok()) return end_poll(word.status().message());
  questions_ = cloud_.questions(word.value());
  go_on();
}

void SpotWatch::on_answer(const HttpAnswer& answer) {
  if (answer.status == status_unauthorized && cloud_.introduction && !renewed_) {
    renewed_ = true;
    questions_.clear();
    return go_on();
  }
  SpotAnswer said = std::optional<SpotNotice>();
  if (answer.status == status_ok)
    said = questions_[question_].parse(answer.body, net::wall_us());
  else if (answer.status != status_not_found || !cloud_.absent_is_no_notice)
    return end_poll("status " + std::to_string(answer.status));
  if (!said.ok()) return end_poll(said.status().message());
  if (take(said.value())) return;
  ++question_;
  go_on();
}

bool SpotWatch::take(const std::optional<SpotNotice>& notice) {
  if (!notice) {
    warned_.erase(question_);
    return false;
  }
  const bool is_end = notice->kind == SpotNotice::Kind::end;
  if (std::exchange(warned_[question_], notice->text) != notice->text || is_end) handlers_.notice(*notice);
  return is_end;
}

void SpotWatch::end_poll(const std::string& problem) {
  const bool answers = problem.empty();
  if (answers_ != answers) {
    const std::string of = cloud_.name + "'s metadata service at " + options_.endpoint;
    if (answers)
      handlers_.standing(net::LogLevel::info, of + " answers: its notices are watched for");
    else
      handlers_.standing(net::LogLevel::warning, of + ": " + asking_ + ": " + problem +
                                                     "; its notices are not seen until it answers");
    answers_ = answers;
  }
  timer_.expires_after(std::chrono::microseconds(options_.poll_us));
  timer_.async_wait([self = std::weak_ptr(self_)](const boost::system::error_code& cancelled) {
    if (const auto watch = self.lock(); watch && !cancelled) (*watch)->poll();
  });
}

}  // namespace sidestep::driver
