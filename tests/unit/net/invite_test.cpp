#include "net/invite.h"

#include <rapidcheck.h>

#include <catch2/catch.hpp>

using namespace sidestep;
using namespace sidestep::net;

namespace {

Invite some_invite(const std::string& address = "192.0.2.10:7000") {
  return {address, generate_key_pair().public_key, generate_key_pair().secret_key};
}

std::string refusal_of(const std::string& token) {
  const auto parsed = parse_invite_token(token);
  return parsed.ok() ? "" : parsed.status().message();
}

}  // namespace

TEST_CASE("Invite: comes back from its token as it went") {
  for (const char* address :
       {"192.0.2.10:7000", "a:1", "[2001:db8::1]:65535", "scheduler.example.org:7000"}) {
    const Invite invite = some_invite(address);
    const std::string token = invite_token(invite);
    CHECK(token.starts_with("sidestep-invite-1-"));
    CHECK(token.find_first_of(" \n\"'$+/=") == std::string::npos);  // safe in a shell and in JSON
    const auto parsed = parse_invite_token("  " + token + "\r\n");
    REQUIRE(parsed.ok());
    CHECK(parsed.value().scheduler_address == address);
    CHECK(parsed.value().scheduler == invite.scheduler);
    CHECK(parsed.value().secret.bytes() == invite.secret.bytes());
  }
}

TEST_CASE("Invite: a token with any one character changed, left out, doubled or swapped is refused") {
  const std::string token = invite_token(some_invite());
  CHECK(rc::check([&] {
    const auto place = *rc::gen::inRange<std::size_t>(0, token.size());
    std::string typed = token;
    switch (*rc::gen::inRange(0, 4)) {
      case 0:
        typed[place] =
            *rc::gen::suchThat(rc::gen::arbitrary<char>(), [&](char c) { return c != token[place]; });
        break;
      case 1:
        typed.erase(place, 1);
        break;
      case 2:
        typed.insert(place, 1, token[place]);
        break;
      default:
        std::swap(typed[place], typed[(place + 1) % typed.size()]);
        RC_PRE(typed != token);
        break;
    }
    RC_ASSERT(!parse_invite_token(typed).ok());
  }));
  CHECK(rc::check([&] {
    const auto length = *rc::gen::inRange<std::size_t>(0, token.size());
    RC_ASSERT(!parse_invite_token(token.substr(0, length)).ok());
  }));
}

TEST_CASE("Invite: a token is refused with the reason") {
  const std::string token = invite_token(some_invite());
  CHECK(refusal_of("") ==
        "not an invite: one begins with \"sidestep-invite-\", as `sidestep invite` prints it");
  CHECK(refusal_of("sidestep-invite-") == "the invite is cut short or mistyped: it has no version");
  CHECK(refusal_of("sidestep-invite-2-" + token.substr(18)) ==
        "the invite is of version 2, this program knows version 1: run the scheduler's release here");
  std::string typed = token;
  typed[40] = typed[40] == 'a' ? 'b' : 'a';
  CHECK(refusal_of(typed) ==
        "the invite is cut short or mistyped: its checksum is wrong; copy the whole line that `sidestep "
        "invite` "
        "printed");
  CHECK(refusal_of(token + token).find("cut short or mistyped") != std::string::npos);
  CHECK(refusal_of(token + std::string(10'000, 'a')).find("cut short or mistyped") != std::string::npos);
}
