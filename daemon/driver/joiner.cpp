#include "daemon/driver/joiner.h"

#include <chrono>

#include "daemon/driver/link_status.h"
#include "net/clock.h"

namespace sidestep::driver {
namespace {

constexpr std::int64_t join_repeat_us = 500 * net::ms;
constexpr std::int64_t join_slice_us = 20 * net::ms;

}  // namespace

Result<std::unique_ptr<Joiner>> Joiner::create(boost::asio::io_context& io, JoinerOptions options) {
  net::ZmqBusOptions bus_options;
  bus_options.keys = net::key_pair_of(options.invite.secret);
  auto bus = net::ZmqBus::create(io, std::move(bus_options));
  if (!bus.ok()) return bus.status();
  return std::unique_ptr<Joiner>(new Joiner(std::move(options), std::move(bus).value()));
}

Joiner::Joiner(JoinerOptions options, std::unique_ptr<net::ZmqBus> bus)
    : options_(std::move(options)), bus_(std::move(bus)), boot_(net::random_boot_id()) {
  bus_->set_handlers({
      [this](const net::NodeKey&, net::Channel, net::Envelope envelope) {
        if (const auto* in = std::get_if<net::Admitted>(&envelope.message)) {
          if (in->key == options_.key) result_ = Status();
        } else if (const auto* refusal = std::get_if<net::Refusal>(&envelope.message)) {
          result_ = Status::refused("the scheduler at " + options_.address + " refuses: " + refusal->reason);
        }
      },
      [](const net::NodeKey&, net::Channel) {},
      [](const std::string&) {},
  });
  bus_->add_peer(options_.invite.scheduler, net::Channel::control, options_.address);
}

void Joiner::on_tick(std::int64_t now_us) {
  if (result_) return;
  const net::LinkReport link = bus_->link_report(options_.invite.scheduler, net::Channel::control);
  if (link.state == net::LinkState::handshake_failed_auth) {
    result_ =
        Status::refused("the scheduler at " + options_.address +
                        " does not know this invite: it was made by another scheduler, or ended long ago; "
                        "ask for another");
    return;
  }
  if (link.state != net::LinkState::up || now_us < send_at_us_) return;
  bus_->send(options_.invite.scheduler, net::Channel::control,
             {boot_, 0, net::Join{options_.key, options_.nickname}});
  send_at_us_ = now_us + join_repeat_us;
}

Status Joiner::standing() const {
  return explain(bus_->link_report(options_.invite.scheduler, net::Channel::control), options_.address,
                 bus_->key());
}

Status join_by_invite(JoinerOptions options, const std::function<bool()>& interrupted,
                      std::int64_t limit_us) {
  boost::asio::io_context io;
  auto joiner = Joiner::create(io, std::move(options));
  if (!joiner.ok()) return joiner.status();
  const std::int64_t end_us = net::monotonic_us() + limit_us;
  while (!joiner.value()->result()) {
    const std::int64_t now = net::monotonic_us();
    if (interrupted()) return Status::unavailable("interrupted");
    if (now >= end_us) return joiner.value()->standing();
    joiner.value()->on_tick(now);
    io.restart();
    io.run_for(std::chrono::microseconds(join_slice_us));
  }
  return *joiner.value()->result();
}

}  // namespace sidestep::driver
