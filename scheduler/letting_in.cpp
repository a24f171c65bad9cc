// Who may come: invites and what is said by them, and operators' admit and revoke.
#include <algorithm>
#include <array>
#include <ctime>

#include "net/utf8.h"
#include "scheduler/options.h"
#include "scheduler/scheduler_state.h"

namespace sidestep::scheduler {
namespace {

constexpr double valid_s_max = 365.0 * 24 * 3600;
constexpr std::size_t nickname_bytes_max = 200;

std::string utc(std::int64_t wall_us) {
  const std::time_t seconds = static_cast<std::time_t>(wall_us / 1'000'000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text.data();
}

// The nickname as far as it may go, in whole characters.
std::string bounded(std::string nickname) {
  if (nickname.size() > nickname_bytes_max) nickname.resize(nickname_bytes_max);
  nickname.resize(nickname.size() - net::incomplete_utf8(nickname));
  return nickname;
}

std::string named(const std::string& nickname, const net::NodeKey& key) {
  return nickname.empty() ? key.short_name() : nickname + " (key " + key.short_name() + ")";
}

const char* a(Role role) { return role == Role::node ? "a node" : "an operator"; }

// The fields that `admit` and `invite` share.
struct Entrant {
  std::string key, as = "node", nickname;
  std::uint64_t valid_s = 0;
};

Result<Admission> read_entrant(const std::string& verb, const nlohmann::json& body, Entrant& entrant) {
  OptionTable table;
  table.add("key", entrant.key, "the public key, 64 hexadecimal digits").required();
  table.add("as", entrant.as, "what it may do").one_of({"node", "operator"});
  table.add("nickname", entrant.nickname, "a name for people");
  if (verb == "invite")
    table.add("valid_s", entrant.valid_s, "how long the invite is valid").required().range(1, valid_s_max);
  Problems problems(verb);
  table.read(body, problems);
  const Result<net::NodeKey> key = net::NodeKey::from_hex(entrant.key);
  if (problems.sound({"key"}) && !key.ok()) problems.add_key("key", key.status().message());
  if (entrant.nickname.size() > nickname_bytes_max)
    problems.add_key("nickname",
                     "is too long, at most " + std::to_string(nickname_bytes_max) + " bytes allowed");
  if (!problems.empty()) return problems.status();
  return Admission{key.value(), role_from_string(entrant.as).value(), entrant.nickname, false, "", 0};
}

}  // namespace

std::string SchedulerCore::State::label(const net::NodeKey& key) const {
  if (const auto node = nodes.find(key); node != nodes.end()) return named(node->second.member.nickname, key);
  const Admission* known = admissions.find(key);
  return named(known == nullptr ? "" : known->nickname, key);
}

void SchedulerCore::State::let_in_at_start() {
  forget_stale_invites();
  for (const auto& [key, admission] : admissions.all())
    if (!admission.revoked) out->push_back(SetAdmitted{key, true});
  // Ended ones too: whoever comes by them is told what became of them.
  for (const auto& [key, invite] : admissions.invites()) out->push_back(SetAdmitted{key, true});
}

void SchedulerCore::State::forget_stale_invites() {
  for (const net::NodeKey& key : admissions.stale_invites(wall_us())) {
    admissions.forget_invite(key);
    persist(DropInvite{key});
    out->push_back(SetAdmitted{key, false});
  }
}

bool SchedulerCore::State::may_say(const net::NodeKey& peer, const net::Message& message) {
  const bool is_join = std::holds_alternative<net::Join>(message);
  if (admissions.find_invite(peer) != nullptr) {
    if (is_join || std::holds_alternative<net::Visit>(message)) return true;
  } else if (admissions.role_of(peer) && !is_join) {
    return true;
  }
  log(net::LogLevel::debug, "",
      "dropped " + std::string(net::name_of(message)) + " from " + peer.short_name() +
          ": it is not admitted, or only to join");
  return false;
}

std::string SchedulerCore::State::why_ended(const InviteRow& invite) const {
  if (invite.used_by)
    return "this invite was used by " + named(invite.used_nickname, *invite.used_by) + " on " +
           utc(invite.closed_us) + "; each lets one in: ask for another";
  if (invite.closed_us != 0)
    return "this invite was withdrawn on " + utc(invite.closed_us) + "; ask for another";
  if (invite.state(wall_us()) == "expired")
    return "this invite expired on " + utc(invite.expires_us) + "; ask for another";
  return "";
}

void SchedulerCore::State::decide(Admission admission) {
  admission.wall_us = wall_us();
  persist(PutAdmission{admission});
  admissions.decide(admission);
}

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::Join& join) {
  InviteRow invite = *admissions.find_invite(peer);
  const auto refuse = [&](const std::string& reason) {
    log(net::LogLevel::warning, "",
        "refused key " + join.key.hex() + ", which came by invite " + invite.name() + ": " + reason);
    send(peer, envelope.boot, net::Refusal{reason, true});
  };
  const auto welcome = [&] {
    send(peer, envelope.boot, net::Admitted{join.key, std::string(to_string(invite.role))});
  };
  const auto use_up = [&](const std::string& nickname) {
    invite.closed_us = wall_us();
    invite.used_by = join.key;
    invite.used_nickname = nickname;
    persist(PutInvite{invite});
    admissions.put(invite);
  };
  const std::string by_invite = "invite " + invite.name();
  const Admission* known = admissions.find(join.key);
  if (known != nullptr && known->revoked)
    return refuse("key " + join.key.hex() + " was revoked on " + utc(known->wall_us) +
                  "; an operator has to run: sidestep admit " + join.key.hex());
  // Its answer may have been lost, however often. Nor is an invite used up by who is in already.
  if (known != nullptr && known->role == invite.role &&
      (invite.used_by == join.key || invite.closed_us == 0)) {
    // Stored as admitted, but not the invite as used up: the scheduler was killed between the two.
    if (invite.closed_us == 0 && known->by == by_invite) use_up(known->nickname);
    return welcome();
  }
  if (const std::string ended = why_ended(invite); !ended.empty()) return refuse(ended);
  if (known != nullptr)
    return refuse("key " + join.key.hex() + " is " + a(known->role) + "'s already, the invite is for " +
                  a(invite.role) + ": use another key");
  if (join.key == options.key || admissions.find_invite(join.key) != nullptr)
    return refuse("key " + join.key.hex() + " is the scheduler's or an invite's: use a key of its own");

  Admission admission{join.key, invite.role, invite.nickname, false, by_invite, 0};
  if (admission.nickname.empty()) admission.nickname = bounded(join.nickname);
  // The admission first: an invite that is used up must have let somebody in, whatever happens in between.
  decide(admission);
  use_up(admission.nickname);
  out->push_back(SetAdmitted{join.key, true});
  log(net::LogLevel::info, "",
      "let in " + std::string(to_string(invite.role)) + " " + named(admission.nickname, join.key) +
          " by invite " + invite.name() + ", key " + join.key.hex());
  welcome();
}

// ---- what operators ask ---------------------------------------------------------------------

Result<nlohmann::json> SchedulerCore::State::admit(const net::NodeKey& by, const nlohmann::json& body) {
  Entrant entrant;
  Result<Admission> wanted = read_entrant("admit", body, entrant);
  if (!wanted.ok()) return wanted.status();
  Admission admission = std::move(wanted).value();
  if (admission.key == options.key || admissions.find_invite(admission.key) != nullptr)
    return Status::refused("key " + admission.key.hex() +
                           " is the scheduler's or an invite's; give the public key of a node or operator");
  const Admission* known = admissions.find(admission.key);
  const bool is_in = known != nullptr && !known->revoked;
  if (is_in && known->role != admission.role)
    return Status::refused("key " + admission.key.hex() + " is " + a(known->role) +
                           "'s already; revoke it first, or use another key");
  if (known != nullptr && admission.nickname.empty()) admission.nickname = known->nickname;
  if (!is_in || known->nickname != admission.nickname) {
    admission.by = "an operator (key " + by.short_name() + ")";
    decide(admission);
  }
  if (!is_in) {
    out->push_back(SetAdmitted{admission.key, true});
    log(net::LogLevel::info, "",
        "admitted " + entrant.as + " " + named(admission.nickname, admission.key) + ", key " +
            admission.key.hex());
  }
  return nlohmann::json{
      {"key", admission.key.hex()}, {"role", to_string(admission.role)}, {"nickname", admission.nickname}};
}

Result<nlohmann::json> SchedulerCore::State::revoke(const net::NodeKey& by, const nlohmann::json& body) {
  std::string text;
  OptionTable table;
  table.add("key", text, "the public key, or its first digits").required();
  Problems problems("revoke");
  table.read(body, problems);
  if (!problems.empty()) return problems.status();
  const Result<net::NodeKey> found = admissions.find_key(text);
  if (!found.ok()) return found.status();
  const net::NodeKey key = found.value();
  if (const InviteRow* row = admissions.find_invite(key)) {
    if (row->state(wall_us()) != "open")
      return Status::refused("invite " + row->name() + " is no longer open: it is " +
                             std::string(row->state(wall_us())));
    InviteRow invite = *row;
    invite.closed_us = wall_us();
    persist(PutInvite{invite});
    admissions.put(invite);
    log(net::LogLevel::info, "", "invite " + invite.name() + " was withdrawn");
    dismiss_guests(key);
    return nlohmann::json{{"key", key.hex()}, {"what", "invite"}};
  }
  if (key == by)
    return Status::refused(
        "this is your own key; another operator can revoke it, so that one always remains");
  Admission admission = *admissions.find(key);
  if (!admission.revoked) {
    const std::string who = std::string(to_string(admission.role)) + " " + label(key);
    admission.revoked = true;
    admission.by = "an operator (key " + by.short_name() + ")";
    decide(admission);
    log(net::LogLevel::warning, "", "revoked " + who + ", key " + key.hex());
    // A node is told in the run that is a member; of an operator no run is known.
    const auto node = nodes.find(key);
    std::vector<net::Send> sends;
    courier.send_once(key, net::Channel::control,
                      net::Refusal{"key " + key.hex() + " was revoked by an operator on " +
                                       utc(admissions.find(key)->wall_us),
                                   true},
                      sends, node == nodes.end() ? std::nullopt : std::optional(node->second.member.boot));
    emit(std::move(sends));
    out->push_back(SetAdmitted{key, false});
    if (node != nodes.end()) declare_dead(key, "its key was revoked by an operator");
    dismiss_guests(key);
  }
  return nlohmann::json{{"key", key.hex()}, {"what", to_string(admission.role)}};
}

Result<nlohmann::json> SchedulerCore::State::invite(const nlohmann::json& body) {
  Entrant entrant;
  const Result<Admission> wanted = read_entrant("invite", body, entrant);
  if (!wanted.ok()) return wanted.status();
  const Admission& who = wanted.value();
  if (admissions.find(who.key) != nullptr || who.key == options.key)
    return Status::refused("key " + who.key.hex() + " is known already; an invite needs a new one");
  if (admissions.find_invite(who.key) == nullptr) {
    forget_stale_invites();
    InviteRow row{who.key, who.role, who.nickname, wall_us(), 0, 0, {}, ""};
    row.expires_us = row.made_us + static_cast<std::int64_t>(entrant.valid_s) * 1'000'000;
    persist(PutInvite{row});
    admissions.put(row);
    out->push_back(SetAdmitted{row.key, true});
    log(net::LogLevel::info, "",
        "invite " + row.name() + " was made for " + a(row.role) + ", valid until " + utc(row.expires_us));
  }
  const InviteRow& row = *admissions.find_invite(who.key);
  return nlohmann::json{{"key", row.key.hex()},
                        {"role", to_string(row.role)},
                        {"expires_us", row.expires_us},
                        {"address", options.advertise}};
}

nlohmann::json SchedulerCore::State::admitted_json() const {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [key, admission] : admissions.all()) {
    nlohmann::json entry = to_json(admission);
    const auto node = nodes.find(key);
    if (node != nodes.end()) entry["nickname"] = node->second.member.nickname;
    entry["alive"] = node != nodes.end();
    list.push_back(std::move(entry));
  }
  return list;
}

nlohmann::json SchedulerCore::State::invites_json() const {
  std::vector<const InviteRow*> rows;
  for (const auto& [key, invite] : admissions.invites()) rows.push_back(&invite);
  std::stable_sort(rows.begin(), rows.end(), [](const InviteRow* left, const InviteRow* right) {
    return left->made_us < right->made_us;
  });
  nlohmann::json list = nlohmann::json::array();
  for (const InviteRow* row : rows) {
    nlohmann::json entry = to_json(*row);
    entry["state"] = row->state(wall_us());
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace sidestep::scheduler
