// The doctor at the scheduler's, and on the ways to and from the nodes.
#include <array>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>

#include "daemon/driver/advertise.h"
#include "daemon/driver/doctor_parts.h"
#include "net/address.h"
#include "net/clock.h"
#include "net/zmq_bus.h"

namespace sidestep::driver {
namespace {

constexpr std::int64_t scheduler_limit_us = 6 * net::second;
constexpr std::int64_t answer_limit_us = 5 * net::second;
constexpr std::int64_t node_limit_us = 5 * net::second;  // to connect, and for the first answer
constexpr std::int64_t transfer_limit_us = 2 * net::second;
constexpr std::int64_t probe_repeat_us = 250 * net::ms;
constexpr std::int64_t probe_slice_us = 5 * net::ms;
constexpr std::int64_t clock_apart_us = net::second;
constexpr std::size_t piece_bytes = 1 << 16;  // every daemon takes so much
constexpr std::size_t transfer_bytes = 4 << 20;
constexpr int round_trips = 5;

template <class... Arguments>
std::string format(const char* pattern, Arguments... arguments) {
  std::array<char, 128> text{};
  std::snprintf(text.data(), text.size(), pattern, arguments...);
  return text.data();
}

std::string speed(double bytes_per_s) { return format("%.1f MB/s", bytes_per_s / 1e6); }

net::Tensor piece(std::size_t bytes) {
  return {net::DType::uint8,
          {static_cast<std::int64_t>(bytes)},
          net::Payload::from_bytes(std::vector<std::byte>(bytes))};
}

class Examiner {
 public:
  Examiner(const DoctorOptions& options, const LocalState& local)
      : options_(options),
        config_(options.config),
        local_(local),
        scheduler_(net::NodeKey::from_hex(config_.scheduler.public_key).value()),
        // Nothing arrives for a key of this visit but what is meant for it, whatever else runs here.
        visitor_(net::generate_key_pair()),
        boot_(net::random_boot_id()) {}

  bool run() {
    const bool can_listen = open_port();
    if (!reach_scheduler()) return false;
    if (!control_ || !visit()) return true;
    examine_clock();
    examine_nodes(can_listen);
    return true;
  }

 private:
  void found(const std::string& what, Verdict verdict, const std::string& text,
             const std::string& cure = "") {
    options_.found({what, verdict, text, cure});
  }

  // Whether the condition came true.
  bool run_until(const std::function<bool()>& condition, std::int64_t limit_us) {
    const std::int64_t end_us = net::monotonic_us() + limit_us;
    while (!condition()) {
      if (options_.interrupted() || net::monotonic_us() >= end_us) return false;
      io_.restart();
      io_.run_one_for(std::chrono::microseconds(probe_slice_us));
    }
    return true;
  }

  // ---- this machine's port

  // Whether what others send to the advertised address comes to us.
  bool open_port() {
    net::ZmqBusOptions options;
    options.keys = visitor_;
    if (!local_.daemon_runs) options.data_bind = config_.bind;
    auto bus = net::ZmqBus::create(io_, options);
    if (bus.ok()) {
      data_ = std::move(bus).value();
      if (local_.daemon_runs) return false;
      advertised_ = advertised_address(config_.advertise, data_->bound_address(net::Channel::data));
      found("port", Verdict::ok,
            "can listen at " + data_->bound_address(net::Channel::data) + ", advertised as " + advertised_);
    } else {
      found("port", Verdict::failed, bus.status().message(),
            "end what uses the port (ss -ltnp shows it), or change bind in the config");
      options.data_bind.clear();
      auto without = net::ZmqBus::create(io_, options);
      if (without.ok()) data_ = std::move(without).value();
    }
    if (data_) listen(*data_);
    return bus.ok();
  }

  void listen(net::ZmqBus& bus) {
    bus.set_handlers({
        [this](const net::NodeKey& peer, net::Channel, net::Envelope envelope) {
          on_message(peer, envelope);
        },
        [](const net::NodeKey&, net::Channel) {},
        [](const std::string&) {},
    });
  }

  void on_message(const net::NodeKey& peer, const net::Envelope& envelope) {
    if (const auto* reply = std::get_if<net::VisitReply>(&envelope.message)) {
      if (peer != scheduler_ || reply->key != visitor_.public_key || answer_) return;
      answer_ = *reply;
      answered_us_ = net::monotonic_us();
      ahead_us_ = options_.wall_us() - reply->wall_us;
    } else if (const auto* refusal = std::get_if<net::Refusal>(&envelope.message)) {
      refusal_ = refusal->reason;
      refusal_is_final_ = refusal->is_final;
    } else if (const auto* echo = std::get_if<net::ProbeReply>(&envelope.message)) {
      if (echo->number >= first_probe_ && peer == probed_) ++echoes_;
    }
  }

  // ---- the scheduler

  // Connects with these keys; how it ended.
  net::LinkReport connect(const net::KeyPair& keys) {
    net::ZmqBusOptions options;
    options.keys = keys;
    auto bus = net::ZmqBus::create(io_, options);
    if (!bus.ok()) return {net::LinkState::connecting, bus.status().message()};
    control_ = std::move(bus).value();
    listen(*control_);
    control_->add_peer(scheduler_, net::Channel::control, config_.scheduler.address);
    const auto link = [&] { return control_->link_report(scheduler_, net::Channel::control); };
    run_until(
        [&] {
          const net::LinkState state = link().state;
          return state == net::LinkState::up || state == net::LinkState::handshake_failed_auth ||
                 state == net::LinkState::handshake_failed_protocol;
        },
        scheduler_limit_us);
    return link();
  }

  // False: it cannot be reached. Leaves control_ empty where nobody is let in.
  bool reach_scheduler() {
    const std::string& address = config_.scheduler.address;
    const bool by_invite = config_.scheduler.invite && !local_.key;
    const net::LinkReport link = by_invite ? connect(net::key_pair_of(config_.scheduler.invite->secret))
                                           : connect(local_.key.value_or(visitor_));
    if (link.state == net::LinkState::handshake_failed_protocol) {
      found("scheduler", Verdict::failed, link.reason,
            "check scheduler.address and scheduler.public_key in the config");
      return false;
    }
    if (link.state != net::LinkState::up && link.state != net::LinkState::handshake_failed_auth) {
      found("scheduler", Verdict::failed, link.reason,
            "start the scheduler, open its port in the firewall, or correct scheduler.address");
      return false;
    }
    found("scheduler", Verdict::ok, "reached " + address + ", which holds the configured key");
    if (link.state == net::LinkState::up) return true;
    control_.reset();
    if (config_.scheduler.invite) {
      if (!by_invite &&
          connect(net::key_pair_of(config_.scheduler.invite->secret)).state == net::LinkState::up)
        return true;
      control_.reset();
      found("admission", Verdict::failed,
            "the scheduler does not know the invite: another scheduler made it, or it ended long ago",
            "ask an operator for another: sidestep invite");
    } else if (local_.key) {
      found("admission", Verdict::failed,
            "key " + local_.key->public_key.hex() + " is not admitted at " + address,
            "ask an operator to run: sidestep admit " + local_.key->public_key.hex());
    }
    return true;
  }

  void ask_to_visit() {
    control_->send(scheduler_, net::Channel::control,
                   {boot_, 0, net::Visit{visitor_.public_key, advertised_}});
  }

  bool visit() {
    std::int64_t next_us = 0;
    run_until(
        [&] {
          if (answer_ || !refusal_.empty()) return true;
          if (net::monotonic_us() < next_us) return false;
          asked_us_ = net::monotonic_us();
          next_us = asked_us_ + 4 * probe_repeat_us;  // an answer belongs to the last question
          ask_to_visit();
          return false;
        },
        answer_limit_us);
    const bool by_invite = !local_.key || control_->key() != local_.key->public_key;
    const std::string who = by_invite ? "the invite" : "key " + local_.key->public_key.short_name();
    if (!refusal_.empty())
      found("admission", Verdict::failed,
            "the scheduler at " + config_.scheduler.address + " refuses: " + refusal_,
            !refusal_is_final_ ? "run this again in a minute"
            : local_.key       ? "ask an operator to run: sidestep admit " + local_.key->public_key.hex()
                               : "ask an operator for another invite");
    else if (!answer_)
      found("admission", Verdict::failed,
            "the scheduler at " + config_.scheduler.address + " lets us in but does not answer",
            "look at the scheduler's log; sidestep health there says whether it runs");
    else if (answer_->role != "node")
      found("admission", Verdict::failed, who + " is for an operator, not for a node",
            "use a node's key: sidestep keygen, then sidestep admit KEY --as node");
    else
      found("admission", Verdict::ok,
            by_invite ? "the invite is good, and still to be used" : who + " is admitted as a node");
    return answer_.has_value();
  }

  void examine_clock() {
    const std::int64_t way_us = (answered_us_ - asked_us_) / 2;
    const std::int64_t ahead_us = ahead_us_ - way_us;
    const double seconds = std::abs(static_cast<double>(ahead_us)) / 1e6;
    const std::string facts = "this clock is " + format("%.1f s ", seconds) +
                              (ahead_us < 0 ? "behind" : "ahead of") + " the scheduler's at " +
                              config_.scheduler.address;
    if (std::abs(ahead_us) > clock_apart_us + way_us)
      found("clock", Verdict::warning, facts, "set both by NTP: timedatectl set-ntp true");
    else
      found("clock", Verdict::ok, facts);
  }

  // ---- the nodes

  void examine_nodes(bool can_listen) {
    if (!data_) return;
    // All at once: they try to reach us from now on, and would find themselves unknown.
    for (const net::Member& member : answer_->view.members)
      data_->add_peer(member.key, net::Channel::data, member.data_address);
    std::size_t tried = 0;
    for (const net::Member& member : answer_->view.members) {
      if (local_.key && member.key == local_.key->public_key) continue;
      if (options_.interrupted()) return;
      ++tried;
      // A visit lasts a minute, and there may be many nodes: each gets a whole one.
      ask_to_visit();
      examine_node(member, can_listen);
    }
    if (tried == 0)
      found("nodes", Verdict::warning,
            "no other node is up, so that nobody could try to reach " +
                (advertised_.empty() ? config_.advertise : advertised_),
            "run this again when another node is up");
  }

  void examine_node(const net::Member& member, bool can_listen) {
    const std::string what = "node " + member.nickname;
    const auto link = [&] { return data_->link_report(member.key, net::Channel::data); };
    // It lets us in as soon as the scheduler has told it to.
    if (!run_until([&] { return link().state == net::LinkState::up; }, node_limit_us)) {
      found(what, Verdict::failed, "cannot be reached from here: " + link().reason,
            "open " + member.data_address + " for this machine, or correct that node's advertise");
    } else if (!can_listen) {
      found(what, Verdict::ok,
            "reached at " + member.data_address + "; the way back was not tried, for we do not listen");
    } else if (const auto round_trip_us = first_round_trip(member)) {
      measure(member, *round_trip_us);
    } else {
      found(what, Verdict::failed,
            "reached at " + member.data_address + ", but it cannot reach us at " + advertised_ +
                ": no answer came back in " + std::to_string(node_limit_us / net::second) + " s",
            "open or forward " + advertised_ + " to this machine's " +
                data_->bound_address(net::Channel::data) + ", or correct advertise");
    }
  }

  void probe(const net::NodeKey& node, std::size_t bytes, std::size_t reply_bytes) {
    data_->send(node, net::Channel::data,
                {boot_, 0, net::Probe{next_probe_++, static_cast<std::uint32_t>(reply_bytes), piece(bytes)}});
  }

  // Answers to what is sent from now on.
  void begin_probing(const net::NodeKey& node) {
    probed_ = node;
    first_probe_ = next_probe_;
    echoes_ = 0;
  }

  std::optional<std::int64_t> round_trip(const net::NodeKey& node, std::int64_t limit_us) {
    begin_probing(node);
    const std::int64_t begin_us = net::monotonic_us();
    probe(node, 0, 0);
    if (!run_until([&] { return echoes_ > 0; }, limit_us)) return std::nullopt;
    return net::monotonic_us() - begin_us;
  }

  // The node's connection to us is made on the way: what it says before is lost.
  std::optional<std::int64_t> first_round_trip(const net::Member& member) {
    const std::int64_t end_us = net::monotonic_us() + node_limit_us;
    while (net::monotonic_us() < end_us && !options_.interrupted())
      if (const auto us = round_trip(member.key, 2 * probe_repeat_us)) return us;
    return std::nullopt;
  }

  // Bytes a second, with everything on the way at once, up to a limit of time.
  double transfer(const net::NodeKey& node, std::size_t bytes, std::size_t reply_bytes) {
    begin_probing(node);
    constexpr std::size_t pieces = transfer_bytes / piece_bytes;
    const std::int64_t begin_us = net::monotonic_us();
    for (std::size_t i = 0; i < pieces; ++i) probe(node, bytes, reply_bytes);
    std::size_t seen = 0;
    std::int64_t seen_us = begin_us;
    run_until(
        [&] {
          if (echoes_ > seen) {
            seen = echoes_;
            seen_us = net::monotonic_us();
          }
          return seen == pieces;
        },
        transfer_limit_us);
    if (seen == 0) return 0;
    return static_cast<double>(seen * piece_bytes) /
           (static_cast<double>(std::max<std::int64_t>(1, seen_us - begin_us)) / 1e6);
  }

  void measure(const net::Member& member, std::int64_t round_trip_us) {
    for (int i = 1; i < round_trips; ++i)
      if (const auto us = round_trip(member.key, probe_repeat_us))
        round_trip_us = std::min(round_trip_us, *us);
    const double there = transfer(member.key, piece_bytes, 0);
    const double back = transfer(member.key, 0, piece_bytes);
    const std::string facts = "reached at " + member.data_address + ", reaches us at " + advertised_ +
                              "; round trip " + format("%.1f ms", static_cast<double>(round_trip_us) / 1e3);
    if (there == 0 || back == 0)
      found("node " + member.nickname, Verdict::warning,
            facts + "; less than " + std::to_string(piece_bytes / 1024) + " KiB got through in " +
                std::to_string(transfer_limit_us / net::second) + " s " + (there == 0 ? "to it" : "from it"),
            "use a faster line: training sends megabytes a step");
    else
      found("node " + member.nickname, Verdict::ok,
            facts + ", " + speed(there) + " to it, " + speed(back) + " from it");
  }

  const DoctorOptions& options_;
  const NodeConfig& config_;
  const LocalState& local_;
  net::NodeKey scheduler_;
  net::KeyPair visitor_;
  net::BootId boot_;
  boost::asio::io_context io_;
  std::unique_ptr<net::ZmqBus> control_;
  std::unique_ptr<net::ZmqBus> data_;
  std::string advertised_;  // where nodes shall reach us; empty: we do not listen
  std::string refusal_;
  bool refusal_is_final_ = false;
  std::optional<net::VisitReply> answer_;
  std::int64_t asked_us_ = 0;
  std::int64_t answered_us_ = 0;
  std::int64_t ahead_us_ = 0;  // our clock as the answer came, less the scheduler's as it was sent
  net::NodeKey probed_;
  std::uint64_t next_probe_ = 1;
  std::uint64_t first_probe_ = 1;
  std::size_t echoes_ = 0;
};

}  // namespace

bool examine_network(const DoctorOptions& options, const LocalState& local) {
  return Examiner(options, local).run();
}

}  // namespace sidestep::driver
