#include "daemon/driver/scheduler_block.h"

#include <cstdlib>
#include <filesystem>

namespace sidestep::driver {
namespace {

constexpr const char* address_help =
    "host:port of the scheduler; an `invite`, or $SIDESTEP_INVITE, says it too";
constexpr const char* key_help = "the scheduler's public key, 64 hexadecimal digits";
constexpr const char* default_help = "required, but for an `invite`, which says it";

}  // namespace

void add_scheduler_keys(scheduler::OptionTable& table, SchedulerBlock& block) {
  table.add("scheduler.address", block.address, "host:port of the scheduler").default_text(default_help);
  table.add("scheduler.public_key", block.public_key, key_help).default_text(default_help);
  table
      .add("invite", block.token,
           "what `sidestep invite` printed: lets a key in that the scheduler does not know; used once")
      .default_text("`$SIDESTEP_INVITE`, if set");
}

void finish_scheduler_keys(SchedulerBlock& block, const std::string& token, scheduler::Problems& problems) {
  if (!token.empty()) block.token = token;
  const bool key_given = !block.public_key.empty();
  if (!block.token.empty()) {
    auto invite = net::parse_invite_token(block.token);
    if (invite.ok()) {
      block.invite = std::move(invite).value();
      if (block.address.empty()) block.address = block.invite->scheduler_address;
      if (!key_given) block.public_key = block.invite->scheduler.hex();
    } else {
      problems.add_key("invite", invite.status().message());
    }
  } else {
    if (block.address.empty() && problems.sound({"scheduler.address"}))
      problems.add_missing("scheduler.address", address_help);
    if (!key_given && problems.sound({"scheduler.public_key"}))
      problems.add_missing("scheduler.public_key", key_help);
  }
  if (block.public_key.empty()) return;
  if (const auto key = net::NodeKey::from_hex(block.public_key); !key.ok())
    problems.add_key("scheduler.public_key", key.status().message());
  else if (block.invite && block.invite->scheduler != key.value())
    problems.add_key("scheduler.public_key", "the invite is of another scheduler, with key " +
                                                 block.invite->scheduler.hex() + "; leave one of them out");
}

std::string invite_from_environment() {
  const char* token = std::getenv("SIDESTEP_INVITE");
  return token == nullptr ? "" : token;
}

Result<net::KeyPair> own_key(const std::string& key_file, const SchedulerBlock& block) {
  std::error_code problem;
  if (block.invite && !std::filesystem::exists(key_file, problem)) {
    const std::filesystem::path folder = std::filesystem::path(key_file).parent_path();
    if (!folder.empty()) std::filesystem::create_directories(folder, problem);
    const Status made = net::write_key_file(key_file, net::generate_key_pair());
    // Another process may have made it meanwhile.
    if (!made.ok() && made.code() != Code::refused) return made;
  }
  return net::read_key_file(key_file);
}

}  // namespace sidestep::driver
