// sidestep invite, admit, revoke: who may come, at run time.
#include <cstdio>
#include <memory>

#include "daemon/cli/ask.h"
#include "daemon/cli/commands.h"
#include "daemon/cli/operator_config.h"
#include "daemon/cli/report.h"
#include "net/address.h"
#include "net/invite.h"

namespace sidestep::cli {
namespace {

constexpr std::int64_t valid_days_max = 365;

struct InviteFlags : OperatorFlags {
  std::string as = "node";
  std::string valid = "24h";
  std::string advertise;
  std::string nickname;
  bool list = false;
};

// The invite's key pair is made here: its secret half goes into the token and nowhere else.
int invite(const InviteFlags& flags) {
  const auto config = load_operator_config(flags.config, driver::invite_from_environment());
  if (!config.ok()) return fail(config.status());
  auto client = connect(flags);
  if (!client.ok()) return fail(client.status());
  const net::KeyPair pair = net::generate_key_pair();
  nlohmann::json body = {
      {"key", pair.public_key.hex()}, {"as", flags.as}, {"valid_s", parse_duration_s(flags.valid).value()}};
  if (!flags.nickname.empty()) body["nickname"] = flags.nickname;
  const auto reply = client.value()->ask("invite", body);
  if (!reply.ok()) return fail(reply.status());

  const driver::SchedulerBlock& scheduler = config.value().scheduler;
  std::string address = flags.advertise;
  if (address.empty()) address = text_in(reply.value(), "address");
  // Then it is at least known to work from here.
  if (address.empty()) address = scheduler.address;
  const std::string token =
      net::invite_token({address, net::NodeKey::from_hex(scheduler.public_key).value(), pair.secret_key});
  const auto expires_us = reply.value().at("expires_us").get<std::int64_t>();
  if (flags.json) {
    const nlohmann::json report = {
        {"token", token},
        {"key", pair.public_key.hex()},
        {"role", flags.as},
        {"expires_us", expires_us},
        {"scheduler", {{"address", address}, {"public_key", scheduler.public_key}}}};
    std::printf("%s\n", report.dump().c_str());
    return exit_ok;
  }
  std::fprintf(stderr, "lets one %s in, once, until %s; the scheduler is at %s\n", flags.as.c_str(),
               local_time(expires_us).substr(0, 19).c_str(), address.c_str());
  std::printf("%s\n", token.c_str());
  return exit_ok;
}

struct KeyFlags : OperatorFlags {
  std::string key;
  std::string as = "node";
  std::string nickname;
};

int admit(const KeyFlags& flags) {
  if (flags.key.empty())
    return ask_once(flags, "admitted", nlohmann::json::object(),
                    [](const auto& reply) { return admitted_table(reply.at("admitted")); });
  nlohmann::json body = {{"key", flags.key}, {"as", flags.as}};
  if (!flags.nickname.empty()) body["nickname"] = flags.nickname;
  return ask_once(flags, "admit", body, [](const auto& reply) {
    return text_in(reply, "role") + " " + text_in(reply, "key") + " may come\n";
  });
}

int revoke(const KeyFlags& flags) {
  return ask_once(flags, "revoke", {{"key", flags.key}}, [](const auto& reply) {
    const std::string what = text_in(reply, "what");
    return what + " " + text_in(reply, "key") + (what == "invite" ? " is withdrawn\n" : " is shut out\n");
  });
}

void add_role_flags(CLI::App& command, std::string& as, std::string& nickname) {
  command.add_option("--as", as, "What it may do: run a daemon, or submit, ask and let others in")
      ->check(one_of({"node", "operator"}))
      ->capture_default_str();
  command.add_option("--nickname", nickname, "Its name in lists")->type_name("NAME");
}

}  // namespace

void add_invite(CLI::App& app, Chosen& chosen) {
  auto flags = std::make_shared<InviteFlags>();
  CLI::App* command =
      add_command(app, "invite",
                  "Print a token that lets one node or operator in, once. It goes into \"invite\" of their "
                  "config or into "
                  "$SIDESTEP_INVITE; their key is made at their place. `revoke` withdraws it.",
                  "sidestep invite --valid 2h");
  add_role_flags(*command, flags->as, flags->nickname);
  command->add_option("--valid", flags->valid, "How long, as 90s, 30m, 24h or 7d")
      ->check(duration_up_to(valid_days_max))
      ->capture_default_str()
      ->type_name("TIME");
  command
      ->add_option("--advertise", flags->advertise,
                   "The scheduler's host:port as seen from there; default: as the scheduler's config says")
      ->check([](const std::string& text) {
        const auto address = net::parse_address(text, net::AddressUse::connect);
        return address.ok() ? std::string() : address.status().message();
      })
      ->type_name("HOST:PORT");
  command->add_flag("--list", flags->list, "Show the invites that were made, instead");
  add_operator_flags(*command, *flags);
  command->callback([flags, &chosen] {
    chosen = [flags] {
      if (!flags->list) return invite(*flags);
      return ask_once(*flags, "invites", nlohmann::json::object(),
                      [](const auto& reply) { return invites_table(reply.at("invites")); });
    };
  });
}

void add_admit(CLI::App& app, Chosen& chosen) {
  auto flags = std::make_shared<KeyFlags>();
  CLI::App* command = add_command(
      app, "admit", "Let a node or an operator in by its public key; without a key, list who may come.",
      "sidestep admit 5f3a…9c01 --as node --nickname attic");
  command->add_option("key", flags->key, "Public key, 64 hexadecimal digits")->type_name("KEY");
  add_role_flags(*command, flags->as, flags->nickname);
  add_operator_flags(*command, *flags);
  command->callback([flags, &chosen] { chosen = [flags] { return admit(*flags); }; });
}

void add_revoke(CLI::App& app, Chosen& chosen) {
  auto flags = std::make_shared<KeyFlags>();
  CLI::App* command =
      add_command(app, "revoke",
                  "Shut a node or an operator out at once, for good (until `admit`), whatever the "
                  "scheduler's config says; or withdraw an invite.",
                  "sidestep revoke 5f3a9c01");
  command->add_option("key", flags->key, "Public key, or enough of its first digits")
      ->required()
      ->type_name("KEY");
  add_operator_flags(*command, *flags);
  command->callback([flags, &chosen] { chosen = [flags] { return revoke(*flags); }; });
}

}  // namespace sidestep::cli
