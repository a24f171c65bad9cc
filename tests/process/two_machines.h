// Two network namespaces and a cable between them: two machines as far as addresses and ports go. Needs root.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <string>

#include "tests/process/process.h"

namespace sidestep::testing {

// All gone when it goes. `subnet` is the third part of the addresses: 10.213.SUBNET.1 and .2.
class TwoMachines {
 public:
  explicit TwoMachines(int subnet)
      : left_("sidestep-" + std::to_string(getpid()) + "-l" + std::to_string(subnet)),
        right_("sidestep-" + std::to_string(getpid()) + "-r" + std::to_string(subnet)),
        net_("10.213." + std::to_string(subnet) + "."),
        made_(ip("netns add " + left_) && ip("netns add " + right_) &&
              ip("link add sl0 netns " + left_ + " type veth peer name sr0 netns " + right_) &&
              set_up(left_, "sl0", left_host()) && set_up(right_, "sr0", right_host())) {}
  ~TwoMachines() {
    ip("netns delete " + left_);
    ip("netns delete " + right_);
  }
  TwoMachines(const TwoMachines&) = delete;
  TwoMachines& operator=(const TwoMachines&) = delete;

  // False: this machine does not allow it.
  bool made() const { return made_; }
  std::string left_host() const { return net_ + "1"; }
  std::string right_host() const { return net_ + "2"; }
  ProcessOptions left() const { return {{"ip", "netns", "exec", left_}}; }
  ProcessOptions right() const { return {{"ip", "netns", "exec", right_}}; }

 private:
  static bool ip(const std::string& arguments) {
    return std::system(("ip " + arguments + " 2>/dev/null").c_str()) == 0;
  }
  static bool set_up(const std::string& name, const std::string& device, const std::string& host) {
    return ip("-n " + name + " address add " + host + "/24 dev " + device) &&
           ip("-n " + name + " link set " + device + " up") && ip("-n " + name + " link set lo up");
  }

  std::string left_;
  std::string right_;
  std::string net_;
  bool made_;
};

}  // namespace sidestep::testing
