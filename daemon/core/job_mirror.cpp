// Mirrors of every few commits: a copy of each stage goes to the node that keeps it, and from there to
// whoever puts the stage back when its last holder was lost.
#include <algorithm>

#include "daemon/core/job_run.h"

namespace sidestep::daemon {

bool JobRun::wants(const scheduler::Plan& plan, const Pupil& pupil) const {
  if (!pupil.mirror) return plan.learns(pupil.node, pupil.lesson);
  const std::vector<net::NodeKey> holders = plan.replicas(pupil.lesson);
  return plan.keeps(pupil.node, pupil.lesson) && !holders.empty() && holders.front() == context_.options->key;
}

void JobRun::share_mirrors(std::int64_t now_us, const net::CommitTerms& terms) {
  const scheduler::RecoverySpec& recovery = context_.spec.recovery;
  if (!recovery.keeps_mirrors() || !context_.trains() || terms.last ||
      context_.step % static_cast<std::uint64_t>(recovery.every) != 0)
    return;
  for (const std::uint32_t stage : context_.my_stages) {
    const std::optional<net::NodeKey> keeper = context_.plan.keeper_of(stage);
    if (!keeper || context_.plan.replicas(stage).front() != context_.options->key) continue;
    const bool under_way = std::ranges::any_of(shared_, [&](const auto& entry) {
      return std::ranges::any_of(entry.second.pupils,
                                 [&](const Pupil& pupil) { return pupil.mirror && pupil.lesson == stage; });
    });
    if (under_way) {
      if (mirrors_late_.insert(stage).second)
        context_.log(now_us, net::LogLevel::warning, stage,
                     "the mirror of commit " + std::to_string(context_.step) +
                         " is left out, as those after it: " + context_.name_of(*keeper) +
                         " still pulls the one before");
      continue;
    }
    mirrors_late_.erase(stage);
    share_state({stage, context_.step, false}, {{*keeper, stage, true}});
  }
}

void JobRun::on_mirror_kept(const net::NodeKey& peer, const net::MirrorKept& kept) {
  const auto shared = shared_.find({kept.stage, kept.scope.step, false});
  if (shared == shared_.end()) return;  // another plan does without it
  std::erase_if(shared->second.pupils,
                [&](const Pupil& pupil) { return pupil.mirror && pupil.node == peer; });
  forget_pupils();
}

bool JobRun::take_mirror_offer(std::int64_t now_us, const net::NodeKey& peer, const net::Message& message) {
  const auto* offer = std::get_if<net::StateOffer>(&message);
  if (offer == nullptr || context_.plan.learns(context_.options->key, offer->lesson) ||
      !context_.plan.keeps(context_.options->key, offer->lesson))
    return false;
  mirrors_.on_offer(now_us, peer, *offer);
  return true;
}

void JobRun::offer_mirrors(std::int64_t now_us) {
  for (const std::uint32_t stage : context_.plan.mirrored)
    if (context_.plan.keeps(context_.options->key, stage))
      for (const Pupil& pupil : beginners(stage)) context_.post(now_us, pupil.node, mirrors_.offer_of(stage));
}

}  // namespace sidestep::daemon
