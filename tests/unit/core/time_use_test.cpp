#include "daemon/core/time_use.h"

#include <catch2/catch.hpp>

namespace sidestep::daemon {

TEST_CASE("TimeUse: work by kind, waiting by what ended it") {
  TimeUse use;
  CHECK(use.text().empty());
  use.add(InitJob{}, 9'000'000, 9'000'000);
  CHECK(use.text().empty());
  use.add(Forward{}, 9'000'000, 1'000'000);  // the wait for the first is the swarm's start
  use.add(Head{}, 100'000, 200'000);
  use.add(Backward{}, 300'000, 2'000'000);
  use.add(ExposeGradient{}, 0, 0);
  use.add(Reduce{}, 500'000, 300'000);
  use.add(MeasureAverage{}, 100'000, 100'000);
  use.add(Update{}, 700'000, 600'000);
  use.add(Forward{}, 1'100'000, 1'000'000);
  CHECK(use.text() ==
        "computed 5.2 s (forward 2.0, head 0.2, backward 2.0, averaging 0.4, update 0.6), waited 2.8 s (for "
        "microbatches 1.5, averages 0.6, commits 0.7)");
}

}  // namespace sidestep::daemon
