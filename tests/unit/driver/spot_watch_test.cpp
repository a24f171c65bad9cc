// Metadata services that are asked over and over, each in its own way, whatever they answer.
#include <boost/asio/io_context.hpp>
#include <catch2/catch.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "daemon/driver/spot_watch.h"
#include "net/clock.h"
#include "tests/support/metadata_mock.h"

namespace sidestep::driver {
namespace {

using namespace sidestep::testing;
using Kind = SpotNotice::Kind;

constexpr std::int64_t limit_us = 10 * net::second;  // of every wait

struct Standing {
  net::LogLevel level;
  std::string text;
};

// A watch and all that it has said.
class Watched {
 public:
  Watched(const std::string& cloud, const std::string& endpoint, const HttpLimits& limits = {})
      : watch_(std::make_unique<SpotWatch>(
            io_, SpotWatchOptions{cloud, endpoint, 5 * net::ms, limits},
            SpotWatch::Handlers{[this](net::LogLevel level, const std::string& text) {
                                  standings.push_back({level, text});
                                },
                                [this](const SpotNotice& notice) { notices.push_back(notice); }})) {}

  bool run_until(const std::function<bool()>& condition) {
    const std::int64_t end_us = net::monotonic_us() + limit_us;
    while (!condition()) {
      if (net::monotonic_us() >= end_us) return false;
      io_.restart();
      io_.run_one_for(std::chrono::milliseconds(5));
    }
    return true;
  }
  bool run_until_asked(const MetadataMock& mock, const std::string& target, int more) {
    const int wanted = mock.asked(target) + more;
    return run_until([&] { return mock.asked(target) >= wanted; });
  }
  bool run_until_standing(std::size_t count) {
    return run_until([&] { return standings.size() >= count; });
  }
  bool run_until_notice() {
    return run_until([&] { return !notices.empty(); });
  }

  void end() { watch_.reset(); }
  boost::asio::io_context& io() { return io_; }

  std::vector<Standing> standings;
  std::vector<SpotNotice> notices;

 private:
  boost::asio::io_context io_;
  std::unique_ptr<SpotWatch> watch_;
};

struct Place {
  const char* cloud;
  const char* name;
  const char* first;  // what is asked last before a notice can be known
  const char* last;   // what a poll asks last
  MockAnswer notice;  // at `first`
};

const std::vector<Place> places{
    {"aws", "AWS", aws_action, aws_rebalance, {200, R"({"action":"stop","time":"2099-01-01T00:00:00Z"})"}},
    {"gcp", "GCP", gcp_preempted, gcp_maintenance, {200, "TRUE"}},
    {"azure",
     "Azure",
     azure_events,
     azure_events,
     {200, R"({"DocumentIncarnation":2,"Events":[{"EventId":"A","EventStatus":"Scheduled",)"
           R"("EventType":"Preempt","ResourceType":"VirtualMachine","Resources":["Spot-VM_3"],)"
           R"("NotBefore":"Thu, 01 Jan 2099 00:00:00 GMT"}]})"}},
};

std::string service(const Place& place, const MetadataMock& mock) {
  return std::string(place.name) + "'s metadata service at " + mock.address();
}

}  // namespace

TEST_CASE("Spot watch: while nothing is coming there is one line, however often it asks") {
  for (const Place& place : places) {
    INFO(place.cloud);
    const MetadataMock mock(place.cloud);
    Watched watched(place.cloud, mock.address());
    REQUIRE(watched.run_until_asked(mock, place.last, 5));
    REQUIRE(watched.standings.size() == 1);
    CHECK(watched.standings[0].level == net::LogLevel::info);
    CHECK(watched.standings[0].text == service(place, mock) + " answers: its notices are watched for");
    CHECK(watched.notices.empty());
    // What does not change is asked once.
    CHECK(mock.asked(aws_token) == (place.name == std::string("AWS") ? 1 : 0));
    CHECK(mock.asked(azure_name) == (place.name == std::string("Azure") ? 1 : 0));
  }
}

TEST_CASE("Spot watch: a notice comes once, and is the last thing") {
  for (const Place& place : places) {
    INFO(place.cloud);
    MetadataMock mock(place.cloud);
    Watched watched(place.cloud, mock.address());
    REQUIRE(watched.run_until_standing(1));
    mock.put(place.first, place.notice);
    const std::int64_t begin_us = net::wall_us();
    REQUIRE(watched.run_until_notice());
    CHECK(watched.notices[0].kind == Kind::end);
    REQUIRE(watched.notices[0].deadline_us.has_value());
    CHECK(*watched.notices[0].deadline_us >= begin_us);
    CHECK(watched.notices[0].text.starts_with(place.name));
    // Nothing is left to do.
    watched.io().restart();
    watched.io().run_for(std::chrono::microseconds(limit_us));
    CHECK(watched.io().stopped());
    CHECK(watched.notices.size() == 1);
    CHECK(watched.standings.size() == 1);
  }
}

TEST_CASE("Spot watch: an expired token is renewed without a word") {
  MetadataMock mock("aws");
  Watched watched("aws", mock.address());
  REQUIRE(watched.run_until_asked(mock, aws_rebalance, 1));
  for (int tokens = 2; tokens <= 3; ++tokens) {
    mock.expire_token();
    REQUIRE(watched.run_until_asked(mock, aws_rebalance, 3));
    CHECK(mock.asked(aws_token) == tokens);
  }
  CHECK(watched.standings.size() == 1);
  mock.expire_token();
  mock.put(aws_action, places[0].notice);
  CHECK(watched.run_until_notice());
}

TEST_CASE("Spot watch: tokens that are never good are no endless loop") {
  MetadataMock mock("aws");
  mock.put(aws_token, {200, "another"});
  Watched watched("aws", mock.address());
  REQUIRE(watched.run_until_standing(1));
  CHECK(watched.standings[0].level == net::LogLevel::warning);
  CHECK(watched.standings[0].text.find("GET " + std::string(aws_action) + ": status 401") !=
        std::string::npos);
  CHECK(mock.asked(aws_token) == 2);
  CHECK(mock.asked(aws_action) == 2);
}

TEST_CASE("Spot watch: a warning is told once while it stands, and does not end the watch") {
  MetadataMock mock("aws");
  mock.put(aws_rebalance, {200, R"({"noticeTime": "2026-03-01T11:59:00Z"})"});
  Watched watched("aws", mock.address());
  REQUIRE(watched.run_until_asked(mock, aws_rebalance, 4));
  REQUIRE(watched.notices.size() == 1);
  CHECK(watched.notices[0].kind == Kind::warning);
  mock.put(aws_action, places[0].notice);
  REQUIRE(watched.run_until([&] { return watched.notices.size() == 2; }));
  CHECK(watched.notices[1].kind == Kind::end);
}

TEST_CASE("Spot watch: Azure's events for other machines are none of ours") {
  MetadataMock mock("azure");
  mock.put(azure_name, {200, "spot-vm_4"});
  mock.put(azure_events, places[2].notice);
  Watched watched("azure", mock.address());
  REQUIRE(watched.run_until_asked(mock, azure_events, 3));
  CHECK(watched.notices.empty());
}

TEST_CASE("Spot watch: an answer that is no good is told once, and so is the next good one") {
  const std::vector<std::pair<MockAnswer, std::string>> bad{
      {{200, "<html>"}, "not understood: \"<html>\""},
      {{200, ""}, "not understood: \"\""},
      {{503, "later"}, "status 503"},
      {{200, std::string(3'000, 'x')}, "the answer is larger than 2000 bytes"},
      {{200, std::string(300'000, 'x')}, "the answer is larger than 2000 bytes"},
      {{200, "", false, "HTTP/1.1 200 OK\r\n\r\n" + std::string(300'000, 'x')},
       "the answer is larger than 2000 bytes"},
      {{200, "", false,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nbb8\r\n" + std::string(3'000, 'x') +
            "\r\n0\r\n\r\n"},
       "the answer is larger than 2000 bytes"},
      {{200, "", false, "HTTP/1.1 200 OK\r\nX-Long: " + std::string(3'000, 'x') + "\r\n\r\n"},
       "the answer is larger than 2000 bytes"},
      {{200, "", false, "SSH-2.0-OpenSSH_9.2p1\r\n"}, "the answer is not HTTP"},
      {{200, "", false, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nTR"},
       "the connection was closed before the end of the answer"},
  };
  for (const Place& place : places)
    for (const auto& [answer, words] : bad) {
      INFO(place.cloud << ": " << words);
      MetadataMock mock(place.cloud);
      mock.put(place.first, answer);
      Watched watched(place.cloud, mock.address(), {2 * net::second, 2'000});
      REQUIRE(watched.run_until_asked(mock, place.first, 4));
      REQUIRE(watched.standings.size() == 1);
      INFO(watched.standings[0].text);
      CHECK(watched.standings[0].level == net::LogLevel::warning);
      CHECK(watched.standings[0].text.starts_with(service(place, mock) + ": GET " + place.first + ": " +
                                                  words));
      CHECK(watched.standings[0].text.ends_with("; its notices are not seen until it answers"));
      mock.put(place.first, place.notice);
      REQUIRE(watched.run_until_notice());
      CHECK(watched.standings.size() == 1);
    }
}

TEST_CASE("Spot watch: a service that comes back is told") {
  MetadataMock mock("gcp");
  mock.take_away(gcp_preempted);
  Watched watched("gcp", mock.address());
  REQUIRE(watched.run_until_standing(1));
  CHECK(watched.standings[0].text.find(": status 404") != std::string::npos);
  mock.put(gcp_preempted, {200, "FALSE"});
  REQUIRE(watched.run_until_standing(2));
  CHECK(watched.standings[1].level == net::LogLevel::info);
}

TEST_CASE("Spot watch: a token or a name that would break a request is refused") {
  for (const auto& [cloud, target] : {std::pair{"aws", aws_token}, std::pair{"azure", azure_name}}) {
    INFO(cloud);
    MetadataMock mock(cloud);
    mock.put(target, {200, "a\r\nX-Header: b"});
    Watched watched(cloud, mock.address());
    REQUIRE(watched.run_until_standing(1));
    CHECK(watched.standings[0].text.find("not understood: \"a\\r\\nX-Header: b\"") != std::string::npos);
  }
}

TEST_CASE("Spot watch: a service that never answers is left after the time limit, and asked again") {
  for (const Place& place : places) {
    INFO(place.cloud);
    MetadataMock mock(place.cloud);
    mock.put(place.first, {200, "", true});
    Watched watched(place.cloud, mock.address(), {50 * net::ms});
    REQUIRE(watched.run_until_asked(mock, place.first, 3));
    REQUIRE(watched.standings.size() == 1);
    CHECK(watched.standings[0].text.find(std::string(place.first) + ": no answer within 0.05 s;") !=
          std::string::npos);
    mock.put(place.first, place.notice);
    CHECK(watched.run_until_notice());
  }
}

TEST_CASE("Spot watch: where nothing listens is told once") {
  std::string address;
  {
    const MetadataMock gone("gcp");
    address = gone.address();
  }
  Watched watched("gcp", address);
  REQUIRE(watched.run_until_standing(1));
  CHECK(watched.standings[0].text.find(address + ": GET " + gcp_preempted + ": nothing listens there") !=
        std::string::npos);
}

TEST_CASE("Spot watch: one that goes while it waits for an answer is told nothing") {
  MetadataMock mock("gcp");
  mock.put(gcp_preempted, {200, "", true});
  Watched watched("gcp", mock.address());
  REQUIRE(watched.run_until_asked(mock, gcp_preempted, 1));
  watched.end();
  watched.io().restart();
  watched.io().run_for(std::chrono::microseconds(limit_us));
  CHECK(watched.io().stopped());
  CHECK(watched.standings.empty());
}

TEST_CASE("Spot watch: an endpoint is an address by number") {
  for (const char* good : {"169.254.169.254:80", "[fd00:ec2::254]:80", "127.0.0.1:65535"})
    CHECK(parse_endpoint(good).ok());
  for (const char* bad : {"", "169.254.169.254", "metadata.google.internal:80", "169.254.169.254:0",
                          "http://169.254.169.254:80", "[zz]:80", "*:80"}) {
    INFO(bad);
    REQUIRE(!parse_endpoint(bad).ok());
    CHECK(parse_endpoint(bad).status().message().find("\"" + std::string(bad) + "\"") != std::string::npos);
  }
}

}  // namespace sidestep::driver
