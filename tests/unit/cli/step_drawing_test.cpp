// The picture of a trained step: both lanes of every node, all tasks, nothing outside.
#include "daemon/cli/drawing/step_drawing.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "tests/support/svg_reader.h"

namespace sidestep::cli {
namespace {

using nlohmann::json;
using testing::SvgElement;

// Two nodes, two microbatches; the second node's averaging takes longer than predicted.
json times() {
  return json::parse(R"({
    "job": "j-1", "step": 64, "epoch": 2, "stages": 2, "microbatches": [1, 0],
    "predicted_step_s": 0.3, "measured_step_s": null, "drifted": false,
    "nodes": [{"key": "aa", "nickname": "attic", "stages": [0], "commit_us": 410000},
              {"key": "bb", "nickname": "barn", "stages": [1], "commit_us": 405000}],
    "measured": {"tasks": [[0, "forward", 0, 1, 0, 1000, 40000], [0, "forward", 0, 0, 0, 40000, 90000],
                           [0, "head", 0, 1, 150000, 150000, 170000], [0, "validation", 0, 0, 0, 95000, 120000],
                           [1, "forward", 1, 1, 60000, 60000, 120000], [1, "backward", 1, 1, 180000, 180000, 260000],
                           [0, "backward", 0, 1, 300000, 300000, 390000]],
                 "averages": [[1, 1, 262000, 400000]]},
    "predicted": {"step_us": 330000,
                  "tasks": [[0, "forward", 0, 1, 0, 0, 40000], [1, "forward", 1, 1, 50000, 50000, 110000],
                            [1, "backward", 1, 1, 170000, 170000, 250000], [0, "backward", 0, 1, 260000, 260000, 320000]],
                  "averages": [[1, 1, 250000, 300000]]}})");
}

std::vector<SvgElement> picture(const json& answer) {
  const auto drawn = draw_step(answer);
  REQUIRE(drawn.ok());
  return testing::read_svg(drawn.value());
}

std::size_t count_class(const std::vector<SvgElement>& elements, const std::string& name) {
  return static_cast<std::size_t>(
      std::ranges::count_if(elements, [&](const SvgElement& element) { return element.has_class(name); }));
}

std::size_t count_text(const std::vector<SvgElement>& elements, const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count_if(elements, [&](const SvgElement& element) {
    return element.tag == "text" && element.text.find(text) != std::string::npos;
  }));
}

}  // namespace

TEST_CASE("Step drawing: each node is there as measured and as predicted, with all its tasks") {
  const auto elements = picture(times());
  for (const char* text : {"attic", "barn"}) CHECK(count_text(elements, text) == 2);
  CHECK(count_text(elements, "measured") >= 2);
  CHECK(count_text(elements, "predicted") >= 2);
  CHECK(count_class(elements, "task") == 6 + 4);
  CHECK(count_class(elements, "forward") == 3 + 2);
  CHECK(count_class(elements, "averaging") == 2);
  CHECK(count_class(elements, "validation") == 1);
  CHECK(count_class(elements, "commit-wait") == 2);
  CHECK(count_text(elements, "Job j-1: step 64 under plan 2") >= 1);
  CHECK(count_text(elements, "from begin to Commit 0.410 s") == 1);
  CHECK(count_text(elements, "take now 0.330 s") == 1);
  CHECK(count_text(elements, "when the plan was made 0.300 s") == 1);
  CHECK(count_text(elements, "count from when that node itself began the step") == 1);
  const double width = elements.front().number("width"), height = elements.front().number("height");
  for (const SvgElement& element : elements) {
    if (element.tag != "rect" || element.attributes.count("x") == 0) continue;
    CHECK(element.number("x") + element.number("width") <= width);
    CHECK(element.number("y") + element.number("height") <= height);
  }
}

TEST_CASE("Step drawing: an answer that contradicts itself is told, not drawn") {
  json answer = times();
  answer["measured"]["tasks"].push_back({7, "forward", 0, 1, 0, 1, 2});
  CHECK(draw_step(answer).status().message().find("a node that it does not list") != std::string::npos);
  answer = times();
  answer["predicted"]["tasks"].push_back({0, "forward", 0, 99, 0, 1, 2});
  CHECK(draw_step(answer).status().message().find("a microbatch or stage that is not there") !=
        std::string::npos);
  answer = times();
  answer["measured"]["tasks"].push_back({0, "forward", 2, 1, 0, 1, 2});
  CHECK_FALSE(draw_step(answer).ok());
  answer.erase("nodes");
  CHECK_THROWS_AS(draw_step(answer), json::exception);
}

}  // namespace sidestep::cli
