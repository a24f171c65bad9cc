// Pictures of plans: well-formed, complete, no text on another, nothing outside.
#include "daemon/cli/drawing/plan_drawing.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "daemon/cli/drawing/colours.h"
#include "daemon/cli/drawing/gantt.h"
#include "daemon/cli/drawing/layers.h"
#include "daemon/cli/drawing/route_map.h"
#include "daemon/cli/drawing/svg.h"
#include "scheduler/planner/instance_json.h"
#include "tests/support/svg_reader.h"
#include "tests/unit/planner/published.h"
#include "tests/unit/planner/random_json.h"

namespace sidestep::cli {
namespace {

using scheduler::Evaluation;
using scheduler::Instance;
using scheduler::PathPlan;
using testing::Box;
using testing::SvgElement;

struct Text {
  std::string text;
  Box box;
};

std::vector<Text> texts_of(const std::vector<SvgElement>& elements) {
  std::vector<Text> texts;
  for (const SvgElement& element : elements)
    if (element.tag == "text") texts.push_back({element.text, testing::text_box(element)});
  return texts;
}

// Sorted by their left ends, so that thousands are compared in no time.
std::vector<std::string> overlaps(std::vector<Text> texts) {
  std::sort(texts.begin(), texts.end(), [](const Text& a, const Text& b) { return a.box.left < b.box.left; });
  std::vector<std::string> pairs;
  for (std::size_t i = 0; i < texts.size(); ++i)
    for (std::size_t j = i + 1; j < texts.size() && texts[j].box.left < texts[i].box.right; ++j)
      if (texts[i].box.overlaps(texts[j].box)) pairs.push_back(texts[i].text + " | " + texts[j].text);
  return pairs;
}

// What holds for every picture.
std::vector<SvgElement> check_picture(const Instance& instance, const PathPlan& plan,
                                      const std::string& title) {
  const Evaluation evaluation = scheduler::evaluate(instance, plan);
  const auto elements = testing::read_svg(draw_plan(instance, plan, evaluation, title));
  REQUIRE(elements.front().tag == "svg");
  const double width = elements.front().number("width"), height = elements.front().number("height");
  std::size_t tasks = 0;
  for (const SvgElement& element : elements) {
    tasks += element.tag == "rect" && element.has_class("task") ? 1 : 0;
    if (element.tag != "rect" || element.attributes.count("x") == 0) continue;
    CHECK(element.number("x") >= 0);
    CHECK(element.number("width") >= 0);
    CHECK(element.number("x") + element.number("width") <= width);
    CHECK(element.number("y") + element.number("height") <= height);
  }
  CHECK(tasks == evaluation.tasks.size());
  const auto texts = texts_of(elements);
  CHECK(overlaps(texts) == std::vector<std::string>{});
  for (const auto& [text, box] : texts) {
    CAPTURE(text);
    CHECK(box.left >= 0);
    CHECK(box.right <= width);
    CHECK(box.top >= 0);
    CHECK(box.bottom <= height);
  }
  for (const SvgElement& element : elements)
    if (element.tag == "text") CHECK(element.number("font-size") >= 9);
  return elements;
}

bool says(const std::vector<SvgElement>& elements, const std::string& text) {
  return std::any_of(elements.begin(), elements.end(), [&](const SvgElement& element) {
    return element.tag == "text" && element.text.find(text) != std::string::npos;
  });
}

std::size_t count_class(const std::vector<SvgElement>& elements, const std::string& name) {
  return static_cast<std::size_t>(std::count_if(
      elements.begin(), elements.end(), [&](const SvgElement& element) { return element.has_class(name); }));
}

// A node for each stage in turn, routes that skip and swap.
struct Made {
  Instance instance;
  PathPlan plan;
};
Made made(std::uint32_t nodes, std::uint32_t stages, std::uint32_t length, std::uint32_t microbatches) {
  net::Random random(nodes + stages);
  Made it;
  Instance& instance = it.instance;
  instance.stages = stages;
  instance.stages_per_path = length;
  instance.max_swaps = 1;
  instance.microbatches = microbatches;
  instance.min_visits.assign(stages, 0);
  instance.max_visits.assign(stages, microbatches);
  instance.stage_out.assign(stages, 0);
  instance.transfer_us.assign(static_cast<std::size_t>(nodes) * nodes, 500'000);
  for (std::uint32_t n = 0; n < nodes; ++n) {
    scheduler::InstanceNode node;
    node.id = "node-" + std::to_string(n);
    node.location = "Singapore";
    node.forward_us.assign(stages, 400'000);
    node.backward_us.assign(stages, 600'000);
    node.head_us = 100'000;
    node.slots = microbatches;
    instance.nodes.push_back(node);
    it.plan.stage_of.push_back({n % stages});
    it.plan.slots.push_back(microbatches);
  }
  for (std::uint32_t m = 0; m < microbatches; ++m) {
    scheduler::Path path{m, {{0, m % ((nodes + stages - 1) / stages) * stages}}};
    std::vector<std::uint32_t> order;
    for (std::uint32_t s = 1; s < stages; ++s) order.push_back(s);
    while (order.size() + 1 > length)
      order.erase(order.begin() + random.between(0, static_cast<std::int64_t>(order.size()) - 1));
    if (order.size() > 1 && random.chance(0.3)) std::swap(order[0], order[1]);
    for (const std::uint32_t s : order) {
      const std::uint32_t holders = (nodes - s + stages - 1) / stages;
      path.hops.push_back({s, s + stages * static_cast<std::uint32_t>(random.between(0, holders - 1))});
    }
    it.plan.paths.push_back(path);
  }
  return it;
}

}  // namespace

TEST_CASE("Plan drawing: the published plans") {
  const Instance instance = scheduler::testing::published20();
  for (const std::size_t index : {0, 1, 2}) {
    const auto elements = check_picture(instance, scheduler::testing::published_plan(index), "published20");
    CHECK(count_class(elements, "wire") == 90);
    CHECK(count_class(elements, "node") == 20);
    CHECK(says(elements, "Singapore"));
    CHECK(says(elements, "8 Singapore"));
    CHECK(says(elements, "stage 5"));
    CHECK(says(elements, "backward"));
  }
  const auto elements = check_picture(instance, scheduler::testing::published_plan(0), "published20");
  CHECK(says(elements, "makespan 33.57 s"));
  CHECK(count_class(elements, "head") == 30);
  // Every third route of SkipPipe's plan or so goes back once.
  CHECK(count_class(elements, "swap") == 18);
}

TEST_CASE("Plan drawing: any plan, also one that breaks rules or never ends") {
  std::size_t stuck = 0;
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    CAPTURE(seed);
    net::Random random(seed);
    const auto instance =
        scheduler::parse_instance(scheduler::testing::random_instance_json(random), "random");
    if (!instance.ok()) continue;
    const PathPlan plan = scheduler::testing::random_plan(instance.value(), random);
    const auto elements = check_picture(instance.value(), plan, "random");
    stuck += says(elements, "does not finish") ? 1 : 0;
  }
  CHECK(stuck > 0);
}

TEST_CASE("Plan drawing: large plans are drawn with less detail") {
  const Made hundred = made(100, 8, 6, 150);
  CHECK(map_detail(hundred.instance, hundred.plan) == MapDetail::nodes);
  const auto drawn = check_picture(hundred.instance, hundred.plan, "hundred");
  CHECK(says(drawn, "width: microbatches that go this way"));
  CHECK(says(drawn, "node-99"));
  const Made large = made(600, 16, 11, 600);
  CHECK(map_detail(large.instance, large.plan) == MapDetail::stages);
  const auto small = check_picture(large.instance, large.plan, "large");
  CHECK(says(small, "stage 15: 37 nodes"));
  CHECK_FALSE(says(small, "node-99"));
  const Made deep = made(64, 60, 50, 40);
  check_picture(deep.instance, deep.plan, "deep");
}

TEST_CASE("Plan drawing: names are text, however they look") {
  Made it = made(6, 3, 2, 4);
  it.instance.nodes[0].id =
      "<b>&\"quoted\" \x01 \xff a name that is far too long for its column, and goes on";
  it.instance.nodes[1].location = "\xe6\x9d\xb1\xe4\xba\xac";
  const auto elements = check_picture(it.instance, it.plan, "a < b & \"c\"");
  CHECK(says(elements, "a < b & \"c\""));
  CHECK(says(elements, "<b>&\"quoted\""));
  CHECK(says(elements, "\xe2\x80\xa6"));
}

TEST_CASE("Plan drawing: averaging is drawn after a stage's last backward") {
  Made it = made(6, 3, 3, 6);
  it.instance.stage_bytes.assign(3, 1'000'000);
  it.instance.latency_us.assign(36, 10'000);
  it.instance.bandwidth.assign(36, 1e6);
  const auto elements = check_picture(it.instance, it.plan, "averaging");
  CHECK(count_class(elements, "averaging") == 6);
  CHECK(says(elements, "step with averaging"));
}

TEST_CASE("Plan drawing: no microbatch at all") {
  Made it = made(3, 3, 2, 1);
  it.plan.paths.clear();
  check_picture(it.instance, it.plan, "nothing");
}

TEST_CASE("Text: escaped, fitted, never wider than said") {
  CHECK(escaped("a<b & \"c\"\n\x02") == "a&lt;b &amp; &quot;c&quot; ?");
  CHECK(fitted("short", 10, 100) == "short");
  const std::string cut = fitted("\xc3\xb6\xc3\xb6\xc3\xb6\xc3\xb6\xc3\xb6\xc3\xb6\xc3\xb6\xc3\xb6", 10, 40);
  CHECK(text_width(cut, 10) <= 40);
  CHECK(cut.substr(cut.size() - 3) == "\xe2\x80\xa6");
  CHECK(fitted("abc", 10, 1).empty());
  CHECK(px(12.345) == "12.35");
  CHECK(px(-0.0001) == "0");
  CHECK(px(3) == "3");
}

TEST_CASE("Axis: ticks are round and about as many as wanted") {
  CHECK(round_ticks(33.57, 14) == std::vector<double>{0, 5, 10, 15, 20, 25, 30});
  CHECK(round_ticks(10, 10) == std::vector<double>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  for (double end = 1e-6; end < 1e7; end *= 1.7) {
    const auto ticks = round_ticks(end, 12);
    CHECK(ticks.size() >= 4);
    CHECK(ticks.size() <= 13);
  }
}

TEST_CASE("Colours: as many as are asked for, neighbours of other hues") {
  for (const std::size_t count : {1, 7, 30, 150}) {
    std::set<std::string> seen;
    for (std::size_t i = 0; i < count; ++i) seen.insert(series_colour(i, count).hex());
    CHECK(seen.size() == count);
  }
  CHECK(series_colour(0, 30).hex() == "#0072b2");
  CHECK(black.text_on() == "#fff");
  CHECK(white.text_on() == "#000");
}

TEST_CASE("Layers: wires that cross are uncrossed, columns stand in the middle") {
  Layers layers;
  for (std::uint32_t i = 0; i < 6; ++i) layers.items.push_back({i % 2, 10, true});
  // Left 0, 2, 4; right 1, 3, 5, each linked to the one in the other order.
  layers.links = {{0, 5}, {2, 3}, {4, 1}};
  CHECK(arrange(layers, 2, 5) == 40);
  for (const auto& link : layers.links) CHECK(layers.items[link.from].y == layers.items[link.to].y);
}

}  // namespace sidestep::cli
