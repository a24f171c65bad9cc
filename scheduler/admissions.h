// Who may come: the keys in the scheduler's config, and over them what was decided at run time. A decision
// about a key wins over the config until the next one, over restarts too. Pure values; owned by
// SchedulerCore, stored by a Store.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "net/node_key.h"
#include "net/status.h"

namespace sidestep::scheduler {

enum class Role : std::uint8_t { node, operator_ };

std::string_view to_string(Role role);  // "node", "operator"
Result<Role> role_from_string(std::string_view name);

// What was decided about a key last.
struct Admission {
  net::NodeKey key;
  Role role = Role::node;
  std::string nickname;  // for people; may be empty
  bool revoked = false;
  std::string by;            // for people: "an operator (key 1f2e)", "invite 88ab03c1"
  std::int64_t wall_us = 0;  // when; 0: in the config
  bool operator==(const Admission&) const = default;
};

// An invite as the scheduler knows it: by the public half of a key made for it alone.
struct InviteRow {
  net::NodeKey key;
  Role role = Role::node;
  std::string nickname;  // for whoever joins by it; empty: what they say
  std::int64_t made_us = 0;
  std::int64_t expires_us = 0;
  std::int64_t closed_us = 0;           // used or withdrawn then; 0: not yet
  std::optional<net::NodeKey> used_by;  // closed without: withdrawn
  std::string used_nickname;
  bool operator==(const InviteRow&) const = default;

  // "open", "used", "withdrawn", "expired".
  std::string_view state(std::int64_t wall_us) const;
  // When it ended, or will.
  std::int64_t end_us() const { return closed_us != 0 ? closed_us : expires_us; }
  // How people name it: the first eight digits of its key.
  std::string name() const { return key.hex().substr(0, 8); }
};

nlohmann::json to_json(const Admission& admission);
Result<Admission> parse_admission(const nlohmann::json& json);
nlohmann::json to_json(const InviteRow& invite);
Result<InviteRow> parse_invite(const nlohmann::json& json);

class Admissions {
 public:
  // The sets are those of the config.
  Admissions(const std::set<net::NodeKey>& nodes, const std::set<net::NodeKey>& operators,
             const std::vector<Admission>& decided, const std::vector<InviteRow>& invites);

  // Nothing: this key may not come.
  std::optional<Role> role_of(const net::NodeKey& key) const;
  // Null: nobody ever decided about it.
  const Admission* find(const net::NodeKey& key) const;
  const std::map<net::NodeKey, Admission>& all() const { return known_; }
  void decide(const Admission& admission) { known_[admission.key] = admission; }

  const InviteRow* find_invite(const net::NodeKey& key) const;
  const std::map<net::NodeKey, InviteRow>& invites() const { return invites_; }
  void put(const InviteRow& invite) { invites_[invite.key] = invite; }
  void forget_invite(const net::NodeKey& key) { invites_.erase(key); }
  // Invites that ended so long ago, or so many ended ones ago, that nobody asks about them.
  std::vector<net::NodeKey> stale_invites(std::int64_t wall_us) const;

  // The key of a known node, operator or invite that `text` names: all 64 digits, or the first ones if they
  // name one key alone. Errors: invalid, not_found.
  Result<net::NodeKey> find_key(const std::string& text) const;

 private:
  std::map<net::NodeKey, Admission> known_;
  std::map<net::NodeKey, InviteRow> invites_;
};

}  // namespace sidestep::scheduler
