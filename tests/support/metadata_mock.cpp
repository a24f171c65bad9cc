#include "tests/support/metadata_mock.h"

namespace sidestep::testing {
namespace {

std::string header(const MockRequest& request, const std::string& name) {
  const auto found = request.headers.find(name);
  return found == request.headers.end() ? "" : found->second;
}

std::string token_text(int number) { return "AQAEAM-" + std::to_string(number) + "=="; }

std::map<std::string, MockAnswer> calm(const std::string& cloud) {
  if (cloud == "gcp") return {{gcp_preempted, {200, "FALSE"}}, {gcp_maintenance, {200, "NONE"}}};
  if (cloud == "azure")
    return {{azure_name, {200, "spot-vm_3"}},
            {azure_events, {200, R"({"DocumentIncarnation":1,"Events":[]})"}}};
  return {};
}

}  // namespace

MetadataMock::MetadataMock(std::string cloud)
    : cloud_(std::move(cloud)),
      documents_(calm(cloud_)),
      server_([this](const MockRequest& request) { return answer(request); }) {}

void MetadataMock::put(const std::string& target, MockAnswer answer) {
  const std::lock_guard lock(mutex_);
  documents_[target] = std::move(answer);
}

void MetadataMock::take_away(const std::string& target) {
  const std::lock_guard lock(mutex_);
  documents_.erase(target);
}

void MetadataMock::expire_token() {
  const std::lock_guard lock(mutex_);
  ++token_;
}

int MetadataMock::asked(const std::string& target) const {
  const std::lock_guard lock(mutex_);
  const auto found = asked_.find(target);
  return found == asked_.end() ? 0 : found->second;
}

MockAnswer MetadataMock::answer(const MockRequest& request) {
  const std::lock_guard lock(mutex_);
  ++asked_[request.target];
  const auto document = documents_.find(request.target);
  if (cloud_ == "aws" && request.target == aws_token && document == documents_.end())
    return give_token(request);
  if (const unsigned status = refusal(request); status != 0) return {status, "refused"};
  return document == documents_.end() ? MockAnswer{404, "Not Found"} : document->second;
}

MockAnswer MetadataMock::give_token(const MockRequest& request) {
  if (request.method != "PUT" || header(request, "x-aws-ec2-metadata-token-ttl-seconds").empty())
    return {400, "Bad Request"};
  return {200, token_text(token_)};
}

unsigned MetadataMock::refusal(const MockRequest& request) const {
  if (cloud_ == "gcp") return header(request, "metadata-flavor") == "Google" ? 0 : 403;
  if (cloud_ == "azure") return header(request, "metadata") == "true" ? 0 : 400;
  if (request.target == aws_token) return 0;  // a test's own answer
  return header(request, "x-aws-ec2-metadata-token") == token_text(token_) ? 0 : 401;
}

}  // namespace sidestep::testing
