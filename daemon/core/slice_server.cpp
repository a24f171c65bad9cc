#include "daemon/core/slice_server.h"

namespace sidestep::daemon {

void SliceServer::answer(const net::NodeKey& peer, net::BootId boot, const net::SliceRequest& request,
                         const std::string& problem, net::Tensor tensor) {
  // Every tensor on the wire has a shape; an answer without one is of no elements.
  if (!problem.empty()) tensor = {net::DType::float32, {0}, {}};
  ports_.send(peer, boot,
              net::Slice{request.job, request.commit, request.stage, request.part, request.begin, problem,
                         std::move(tensor)});
}

void SliceServer::on_request(const net::NodeKey& peer, net::BootId boot, const net::SliceRequest& request) {
  if (request.elements > elements_max)
    return answer(peer, boot, request,
                  "a slice of " + std::to_string(request.elements) + " elements is too large, at most " +
                      std::to_string(elements_max) + " allowed",
                  {});
  if (std::optional<net::Tensor> slice = ports_.find(request))
    return answer(peer, boot, request, "", std::move(*slice));
  const Name name{peer, boot, request.job, request.commit, request.stage, request.part, request.begin};
  if (waiting_.size() >= waiting_max || !waiting_.insert(name).second) return;
  ports_.queue_task(
      ReadSlice{request}, [this, peer, boot, request, name](std::int64_t, const Completion& done) {
        waiting_.erase(name);
        answer(peer, boot, request, done.fault.empty() ? done.problem : done.fault, done.tensor);
      });
}

}  // namespace sidestep::daemon
