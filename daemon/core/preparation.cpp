#include "daemon/core/preparation.h"

namespace sidestep::daemon {

void Preparation::begin(std::int64_t now_us, const net::PrepareJob& prepare,
                        const std::vector<net::NodeKey>& peers) {
  if (order_ && order_->job == prepare.job) return;
  net::Prepared answer;
  answer.job = prepare.job;
  Result<scheduler::JobSpec> spec = scheduler::parse_job(prepare.spec, prepare.job);
  if (!spec.ok()) {
    answer.problem = spec.status().message();
    return ports_.post_scheduler(now_us, std::move(answer));
  }
  order_ = prepare;
  peers_ = peers;
  const std::uint64_t bytes = spec.value().activation_bytes();
  ports_.queue_task(ProbeJob{std::move(spec).value()}, [this, answer, bytes](std::int64_t now,
                                                                             const Completion& done) mutable {
    answer.problem = done.fault.empty() ? done.problem : done.fault;
    answer.has_data = done.has_data;
    answer.data_problem = done.data_problem;
    answer.data_digest = done.data_digest;
    answer.init_digest = done.init_digest;
    answer.init_commit = done.init_commit;
    answer.layer_us = done.layer_us;
    answer.head_us = done.head_us;
    answer.memory_bytes = done.memory_bytes;
    answer.daemon_bytes = done.resident_bytes;
    links_.begin(now, peers_, bytes,
                 [this, answer](std::int64_t then, const std::vector<net::LinkSpeed>& links) {
                   order_.reset();
                   net::Prepared whole = answer;
                   whole.links = links;
                   ports_.links_probed(links);
                   ports_.post_scheduler(then, std::move(whole));
                 });
  });
}

void Preparation::begin_again(std::int64_t now_us) {
  if (!order_) return;
  links_.stop();
  const net::PrepareJob order = *std::exchange(order_, std::nullopt);
  begin(now_us, order, std::vector<net::NodeKey>(peers_));
}

}  // namespace sidestep::daemon
