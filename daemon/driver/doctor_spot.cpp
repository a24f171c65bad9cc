// The doctor at the metadata service of the cloud whose notices the config asks for.
#include <boost/asio/io_context.hpp>
#include <chrono>

#include "daemon/driver/doctor_parts.h"
#include "daemon/driver/spot_watch.h"
#include "net/clock.h"

namespace sidestep::driver {
namespace {

constexpr std::chrono::microseconds slice(5 * net::ms);
constexpr const char* cure =
    "set spot.cloud to the cloud that this machine is of, or to \"none\"; in a container on AWS, allow the "
    "instance's metadata a hop more (HttpPutResponseHopLimit 2)";

}  // namespace

void examine_spot(const DoctorOptions& options) {
  if (!options.config.spot.is_watched()) return;
  boost::asio::io_context io;
  bool is_done = false;
  const SpotWatch watch(
      io, spot_watch_options(options.config.spot),
      {[&](net::LogLevel level, const std::string& text) {
         const bool answers = level == net::LogLevel::info;
         options.found({"spot", answers ? Verdict::ok : Verdict::warning, text, answers ? "" : cure});
         is_done = true;
       },
       [&](const SpotNotice& notice) {
         const bool is_end = notice.kind == SpotNotice::Kind::end;
         options.found({"spot", is_end ? Verdict::failed : Verdict::warning, describe(notice, net::wall_us()),
                        is_end ? "start another instance" : ""});
         is_done = is_done || is_end;
       }});
  while (!is_done && !options.interrupted()) io.run_one_for(slice);
}

}  // namespace sidestep::driver
