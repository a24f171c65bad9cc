// What clouds say before they take an instance back, in documents as their services give them.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "daemon/driver/spot_notice.h"
#include "net/clock.h"

namespace sidestep::driver {
namespace {

using Kind = SpotNotice::Kind;

constexpr std::int64_t noon_us = 1'772'366'400 * net::second;  // 2026-03-01T12:00:00Z

SpotNotice notice_in(const SpotAnswer& answer) {
  INFO(answer.status().message());
  REQUIRE(answer.ok());
  REQUIRE(answer.value().has_value());
  return *answer.value();
}

bool is_calm(const SpotAnswer& answer) { return answer.ok() && !answer.value(); }

std::string problem_of(const SpotAnswer& answer) {
  REQUIRE(!answer.ok());
  CHECK(answer.status().code() == Code::invalid);
  return answer.status().message();
}

std::string azure_document(const std::string& events) {
  return R"({"DocumentIncarnation": 2, "Events": [)" + events + "]}";
}

std::string azure_event(const std::string& type, const std::string& vm, const std::string& not_before) {
  return R"({"EventId": "C7061BAC-AFDC-4513-B24B-AA5F13A16123", "EventStatus": "Scheduled", "EventType": ")" +
         type + R"(", "ResourceType": "VirtualMachine", "Resources": ["other_0", ")" + vm +
         R"("], "NotBefore": ")" + not_before +
         R"(", "Description": "", "EventSource": "Platform", "DurationInSeconds": -1})";
}

// Nothing that any cloud says; some of it is what others say.
const std::vector<std::string> garbage{
    "",
    "{",
    "null",
    "[]",
    "7",
    "\"TRUE\"",
    "true",
    "<html><body>Sign in to the network</body></html>",
    R"({"action": 3, "time": "2026-03-01T12:03:04Z", "noticeTime": null, "Events": {}})",
    R"({"action": "dance", "noticeTime": "soon", "Events": [7]})",
    std::string("TR\0UE", 5),
    std::string(5'000, '['),
    "\xff\xfe\x01",
};

}  // namespace

TEST_CASE("Spot notice: AWS names what it will do and when") {
  for (const char* action : {"terminate", "stop", "hibernate"}) {
    const SpotNotice notice = notice_in(parse_aws_instance_action(std::string(R"({"action": ")") + action +
                                                                  R"(", "time": "2026-03-01T12:03:04Z"})"));
    CHECK(notice.kind == Kind::end);
    CHECK(notice.deadline_us == noon_us + 184 * net::second);
    CHECK(describe(notice, noon_us + 66 * net::second) ==
          std::string("AWS will ") + action + " this instance at 12:03:04Z, in 118 s");
  }
}

TEST_CASE("Spot notice: AWS that ends an instance at an unreadable time ends it all the same") {
  for (const char* document : {R"({"action": "stop"})", R"({"action": "stop", "time": "tomorrow"})"}) {
    const SpotNotice notice = notice_in(parse_aws_instance_action(document));
    CHECK(notice.kind == Kind::end);
    CHECK(!notice.deadline_us);
    CHECK(describe(notice, noon_us) == "AWS will stop this instance at any moment");
  }
}

TEST_CASE("Spot notice: AWS's rebalance recommendation is a warning") {
  const SpotNotice notice = notice_in(parse_aws_rebalance(R"({"noticeTime": "2026-03-01T11:59:00Z"})"));
  CHECK(notice.kind == Kind::warning);
  CHECK(describe(notice, noon_us) ==
        "AWS may soon take this instance back: it has recommended to rebalance since 2026-03-01T11:59:00Z");
}

TEST_CASE("Spot notice: GCP's preemption counts from when it is seen") {
  CHECK(is_calm(parse_gcp_preempted("FALSE", noon_us)));
  CHECK(is_calm(parse_gcp_preempted("FALSE\n", noon_us)));
  const SpotNotice notice = notice_in(parse_gcp_preempted("TRUE", noon_us));
  CHECK(notice.kind == Kind::end);
  CHECK(describe(notice, noon_us) == "GCP will stop this instance at 12:00:30Z, in 30 s");
}

TEST_CASE("Spot notice: GCP's maintenance is a warning") {
  CHECK(is_calm(parse_gcp_maintenance("NONE")));
  for (const auto& [said, text] :
       {std::pair{"TERMINATE_ON_HOST_MAINTENANCE",
                  "GCP will soon stop this instance for the maintenance of its host"},
        std::pair{"MIGRATE_ON_HOST_MAINTENANCE",
                  "GCP will soon move this instance for the maintenance of its host"}}) {
    const SpotNotice notice = notice_in(parse_gcp_maintenance(said));
    CHECK(notice.kind == Kind::warning);
    CHECK(describe(notice, noon_us) == text);
  }
}

TEST_CASE("Spot notice: Azure's events count when they name this VM") {
  CHECK(is_calm(parse_azure_events(azure_document(""), "spot-vm_3")));
  const std::string preempt = azure_event("Preempt", "spot-vm_3", "Sun, 01 Mar 2026 12:00:30 GMT");
  CHECK(is_calm(parse_azure_events(azure_document(preempt), "spot-vm_33")));
  for (const char* name : {"spot-vm_3", "SPOT-VM_3"}) {
    const SpotNotice notice = notice_in(parse_azure_events(azure_document(preempt), name));
    CHECK(notice.kind == Kind::end);
    CHECK(describe(notice, noon_us) == "Azure will evict this VM at 12:00:30Z, in 30 s");
  }
  // An event that has begun has no time any more.
  const std::string begun = azure_document(azure_event("Preempt", "spot-vm_3", ""));
  CHECK(describe(notice_in(parse_azure_events(begun, "spot-vm_3")), noon_us) ==
        "Azure will evict this VM at any moment");
}

TEST_CASE("Spot notice: of several events in Azure the most urgent counts") {
  const std::string reboot = azure_event("Reboot", "vm", "Mon, 02 Mar 2026 12:00:01 GMT");
  const std::string freeze = azure_event("Freeze", "vm", "Sun, 01 Mar 2026 12:00:10 GMT");
  const std::string late = azure_event("Terminate", "vm", "Sun, 01 Mar 2026 12:10:00 GMT");
  const std::string soon = azure_event("Preempt", "vm", "Sun, 01 Mar 2026 12:00:30 GMT");
  const auto text = [](const std::string& events) {
    return describe(notice_in(parse_azure_events(azure_document(events), "vm")), noon_us);
  };
  CHECK(text(reboot) == "Azure has an event \"Reboot\" for this VM at 2026-03-02T12:00:01Z, in 86401 s");
  CHECK(text(reboot + "," + freeze) == "Azure has an event \"Freeze\" for this VM at 12:00:10Z, in 10 s");
  CHECK(text(freeze + "," + late) == "Azure will delete this VM at 12:10:00Z, in 600 s");
  CHECK(text(late + "," + soon + "," + freeze) == "Azure will evict this VM at 12:00:30Z, in 30 s");
  // An end is certain, whatever stands beside it; a warning beside garbage is not.
  CHECK(text("7," + soon) == "Azure will evict this VM at 12:00:30Z, in 30 s");
  CHECK(!parse_azure_events(azure_document("7," + freeze), "vm").ok());
}

TEST_CASE("Spot notice: a deadline that has passed leaves no seconds") {
  CHECK(describe({Kind::end, noon_us, "AWS will stop this instance"}, noon_us + 9 * net::second) ==
        "AWS will stop this instance at 12:00:00Z, in 0 s");
}

TEST_CASE("Spot notice: what no cloud says is refused with its beginning") {
  for (const std::string& document : garbage) {
    INFO(document);
    for (const SpotAnswer& answer : {parse_aws_instance_action(document), parse_aws_rebalance(document),
                                     parse_gcp_preempted(document, noon_us), parse_gcp_maintenance(document),
                                     parse_azure_events(document, "spot-vm_3")})
      CHECK(problem_of(answer).starts_with("not understood: \""));
  }
  CHECK(problem_of(parse_gcp_preempted("MAYBE \x01", noon_us)) == "not understood: \"MAYBE \\u0001\"");
  CHECK(problem_of(parse_gcp_preempted(std::string(61, 'x'), noon_us)) ==
        "not understood: \"" + std::string(60, 'x') + "\"...");
}

TEST_CASE("Spot notice: a token is one printable word") {
  CHECK(parse_word("AQAEAHh3bJ7bVg==\n").value() == "AQAEAHh3bJ7bVg==");
  CHECK(parse_word(std::string(2'048, 'a')).ok());
  for (const std::string& word :
       {std::string(), std::string(" \n"), std::string("two words"), std::string("a\r\nX-Header: b"),
        std::string("caf\xc3\xa9"), std::string("a\0b", 3), std::string(2'049, 'a')}) {
    INFO(word);
    CHECK(!parse_word(word).ok());
  }
}

TEST_CASE("Spot notice: times are read in both ways of writing, and no others") {
  CHECK(parse_wall_time("1970-01-01T00:00:00Z") == 0);
  CHECK(parse_wall_time("2026-03-01T12:00:00Z") == noon_us);
  CHECK(parse_wall_time("Sun, 01 Mar 2026 12:00:00 GMT") == noon_us);
  CHECK(parse_wall_time("2024-02-29T23:59:59Z").has_value());
  for (const char* text :
       {"", "soon", "2026-03-01", "2026-03-01T12:00:00", "2026-03-01T12:00:00Z ", "2026-02-29T12:00:00Z",
        "2026-13-01T12:00:00Z", "2026-03-01T24:00:00Z", "2026-03-01T12:60:00Z", "2026-03-01T12:00:61Z",
        "2026-03-01T-1:00:00Z", "Sun, 01 Mar 2026 12:00:00 CET", "Sun, 01 Mrz 2026 12:00:00 GMT",
        "Sun, 01 arA 2026 12:00:00 GMT", "Sun, 31 Feb 2026 12:00:00 GMT"}) {
    INFO(text);
    CHECK(!parse_wall_time(text));
  }
}

}  // namespace sidestep::driver
