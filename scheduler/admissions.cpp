#include "scheduler/admissions.h"

#include <algorithm>
#include <limits>

#include "scheduler/json_reader.h"

namespace sidestep::scheduler {
namespace {

constexpr std::int64_t invite_kept_us = std::int64_t{30} * 24 * 3600 * 1'000'000;
constexpr std::size_t ended_invites_max = 256;
constexpr std::size_t least_digits = 4;

std::int64_t time_in(JsonReader& reader, const nlohmann::json& json, const char* key) {
  return static_cast<std::int64_t>(
      reader.natural(reader.member(json, key), std::numeric_limits<std::int64_t>::max()));
}

Role role_in(JsonReader& reader, const nlohmann::json& json) {
  const Result<Role> role = role_from_string(reader.text(reader.member(json, "role")));
  if (role.ok()) return role.value();
  reader.fail(role.status().message());
  return Role::node;
}

}  // namespace

std::string_view to_string(Role role) { return role == Role::node ? "node" : "operator"; }

Result<Role> role_from_string(std::string_view name) {
  for (const Role role : {Role::node, Role::operator_})
    if (name == to_string(role)) return role;
  return Status::invalid("\"" + std::string(name) + "\" is neither \"node\" nor \"operator\"");
}

std::string_view InviteRow::state(std::int64_t wall_us) const {
  if (used_by) return "used";
  if (closed_us != 0) return "withdrawn";
  return wall_us >= expires_us ? "expired" : "open";
}

nlohmann::json to_json(const Admission& admission) {
  return {{"key", admission.key.hex()},
          {"role", to_string(admission.role)},
          {"nickname", admission.nickname},
          {"revoked", admission.revoked},
          {"by", admission.by},
          {"wall_us", admission.wall_us}};
}

Result<Admission> parse_admission(const nlohmann::json& json) {
  JsonReader reader("stored admission");
  Admission admission;
  admission.key = reader.key(reader.text(reader.member(json, "key")));
  admission.role = role_in(reader, json);
  admission.nickname = reader.text(reader.member(json, "nickname"));
  admission.revoked = reader.flag(reader.member(json, "revoked"));
  admission.by = reader.text(reader.member(json, "by"));
  admission.wall_us = time_in(reader, json, "wall_us");
  if (!reader.ok()) return reader.status();
  return admission;
}

nlohmann::json to_json(const InviteRow& invite) {
  return {{"key", invite.key.hex()},
          {"role", to_string(invite.role)},
          {"nickname", invite.nickname},
          {"made_us", invite.made_us},
          {"expires_us", invite.expires_us},
          {"closed_us", invite.closed_us},
          {"used_by", invite.used_by ? nlohmann::json(invite.used_by->hex()) : nlohmann::json()},
          {"used_nickname", invite.used_nickname}};
}

Result<InviteRow> parse_invite(const nlohmann::json& json) {
  JsonReader reader("stored invite");
  InviteRow invite;
  invite.key = reader.key(reader.text(reader.member(json, "key")));
  invite.role = role_in(reader, json);
  invite.nickname = reader.text(reader.member(json, "nickname"));
  invite.made_us = time_in(reader, json, "made_us");
  invite.expires_us = time_in(reader, json, "expires_us");
  invite.closed_us = time_in(reader, json, "closed_us");
  if (const nlohmann::json& user = reader.member(json, "used_by"); !user.is_null())
    invite.used_by = reader.key(reader.text(user));
  invite.used_nickname = reader.text(reader.member(json, "used_nickname"));
  if (!reader.ok()) return reader.status();
  return invite;
}

Admissions::Admissions(const std::set<net::NodeKey>& nodes, const std::set<net::NodeKey>& operators,
                       const std::vector<Admission>& decided, const std::vector<InviteRow>& invites) {
  for (const net::NodeKey& key : nodes) known_[key] = {key, Role::node, "", false, "config", 0};
  for (const net::NodeKey& key : operators) known_[key] = {key, Role::operator_, "", false, "config", 0};
  for (const Admission& admission : decided) decide(admission);
  for (const InviteRow& invite : invites) put(invite);
}

std::optional<Role> Admissions::role_of(const net::NodeKey& key) const {
  const Admission* admission = find(key);
  if (admission == nullptr || admission->revoked) return std::nullopt;
  return admission->role;
}

const Admission* Admissions::find(const net::NodeKey& key) const {
  const auto it = known_.find(key);
  return it == known_.end() ? nullptr : &it->second;
}

const InviteRow* Admissions::find_invite(const net::NodeKey& key) const {
  const auto it = invites_.find(key);
  return it == invites_.end() ? nullptr : &it->second;
}

std::vector<net::NodeKey> Admissions::stale_invites(std::int64_t wall_us) const {
  std::vector<const InviteRow*> ended;
  for (const auto& [key, invite] : invites_)
    if (invite.state(wall_us) != "open") ended.push_back(&invite);
  std::sort(ended.begin(), ended.end(),
            [](const InviteRow* a, const InviteRow* b) { return a->end_us() > b->end_us(); });
  std::vector<net::NodeKey> stale;
  for (std::size_t i = 0; i < ended.size(); ++i)
    if (i >= ended_invites_max || wall_us - ended[i]->end_us() > invite_kept_us)
      stale.push_back(ended[i]->key);
  return stale;
}

Result<net::NodeKey> Admissions::find_key(const std::string& text) const {
  if (text.size() < least_digits || text.find_first_not_of("0123456789abcdef") != std::string::npos)
    return Status::invalid("\"" + text +
                           "\" is no key: 64 hexadecimal digits (0-9, a-f), or at least the first " +
                           std::to_string(least_digits));
  std::vector<net::NodeKey> named;
  for (const auto& [key, admission] : known_)
    if (key.hex().starts_with(text)) named.push_back(key);
  for (const auto& [key, invite] : invites_)
    if (key.hex().starts_with(text)) named.push_back(key);
  if (named.empty())
    return Status::not_found(
        "no node, operator or invite has key " + text +
        "; `sidestep admit` without a key lists them, `sidestep invite --list` the invites");
  if (named.size() > 1)
    return Status::invalid(std::to_string(named.size()) + " keys begin with " + text + "; give more digits");
  return named.front();
}

}  // namespace sidestep::scheduler
