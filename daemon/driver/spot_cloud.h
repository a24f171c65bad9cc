// The clouds whose notices are understood, and how the metadata service of each is asked. Values.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "daemon/driver/http_exchange.h"
#include "daemon/driver/spot_notice.h"

namespace sidestep::driver {

struct SpotQuestion {
  HttpRequest request;
  std::function<SpotAnswer(const std::string& body, std::int64_t wall_us)> parse;
};

struct SpotCloud {
  std::string key;   // in config files
  std::string name;  // for people
  // Asked first, and again when an answer has status 401; its answer, one word, is what the questions are
  // made with: AWS wants a token, Azure's events name the machines that they are about.
  std::optional<HttpRequest> introduction;
  // The most urgent one first.
  std::function<std::vector<SpotQuestion>(const std::string& word)> questions;
  bool absent_is_no_notice = false;  // what status 404 means; else it is a problem
};

// aws, gcp, azure
const std::vector<SpotCloud>& spot_clouds();
// Precondition: one of their keys.
const SpotCloud& spot_cloud(const std::string& key);

}  // namespace sidestep::driver
