// What people see of a job that runs: `status`, `status --svg`, `top`.
#include <catch2/catch.hpp>
#include <chrono>

#include "tests/process/swarm_fixture.h"
#include "tests/support/svg_reader.h"

namespace sidestep::testing {
namespace {

// How often the text stands alone in the picture.
std::size_t count_text(const std::vector<SvgElement>& elements, const std::string& text) {
  std::size_t count = 0;
  for (const SvgElement& element : elements) count += element.tag == "text" && element.text == text ? 1 : 0;
  return count;
}

std::size_t count_class(const std::vector<SvgElement>& elements, const std::string& name) {
  std::size_t count = 0;
  for (const SvgElement& element : elements) count += element.has_class(name) ? 1 : 0;
  return count;
}

}  // namespace

TEST_CASE("Local swarm: status, top and the picture of a step show what every node does") {
  LocalSwarm swarm(4);
  const std::string file = swarm.folder() / "step.svg";
  const Finished none = swarm.ask({"status", "--svg", file});
  CHECK(none.status == 1);
  CHECK(none.error.find("no job runs, so no step is timed") != std::string::npos);

  const auto submit = swarm.submit(small_job(swarm.folder(), "long", 2, 1'000'000));
  REQUIRE(submit->wait_for("step ", Seconds(60)));
  // Steps are timed every two seconds.
  const auto end = std::chrono::steady_clock::now() + Seconds(60);
  Finished drawn;
  do drawn = swarm.ask({"status", "long-1", "--svg", file});
  while (drawn.status != 0 && std::chrono::steady_clock::now() < end);
  INFO(drawn.error << swarm.logs());
  REQUIRE(drawn.status == 0);
  const auto elements = read_svg(read_text(file));
  // A plan may leave out a node without which a step is as short.
  std::size_t used = 0;
  const nlohmann::json nodes = swarm.ask_json({"nodes"}).at("nodes");
  for (const auto& node : nodes) {
    CAPTURE(node.dump());
    const bool holds = !node.at("stages").empty();
    used += holds ? 1 : 0;
    CHECK(count_text(elements, node.at("nickname").get<std::string>()) == (holds ? 2 : 0));
  }
  REQUIRE(used >= 2);
  CHECK(count_text(elements, "measured") == used);
  CHECK(count_text(elements, "predicted") == used);
  // 2 stages: each microbatch has two forwards, two backwards and a head, measured and predicted alike.
  CHECK(count_class(elements, "head") >= 2);
  CHECK(count_class(elements, "forward") == 2 * count_class(elements, "head"));
  CHECK(drawn.output.find("ROUTE") != std::string::npos);
  CHECK(drawn.output.find("LATENCY") != std::string::npos);
  CHECK(drawn.output.find("LAST CHANGES") != std::string::npos);
  CHECK(drawn.output.find("measured: ") != std::string::npos);

  const nlohmann::json top = swarm.ask_json({"top"});
  for (const char* field : {"job", "jobs", "nodes", "routes", "links", "changes", "waiting", "view", "term"})
    CHECK(top.contains(field));
  CHECK(top.at("job").at("measured_step_s").is_number());
  CHECK(top.at("job").at("predicted_step_s").is_number());
  CHECK(top.at("nodes").size() == 4);
  CHECK(top.at("links").size() >= 2);
  CHECK(top.at("changes").size() >= 1);
  // Without a terminal: one page, and no escape sequences.
  const Finished page = swarm.ask({"top"});
  CHECK(page.status == 0);
  CHECK(page.output.find("sidestep top: view") == 0);
  CHECK(page.output.find("node-4") != std::string::npos);
  CHECK(page.output.find('\033') == std::string::npos);

  CHECK(swarm.ask({"cancel", "long-1"}).status == 0);
  CHECK(submit->wait_exit(Seconds(30)) == 1);
  const Finished late = swarm.ask({"status", "long-1", "--svg", file});
  CHECK(late.status == 1);
  CHECK(late.error.find("is cancelled; the times of steps are there while a job runs") != std::string::npos);
}

}  // namespace sidestep::testing
