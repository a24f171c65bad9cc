// Mirrors of every few commits: a copy of each stage goes to the node that keeps it, and from there to
// whoever puts the stage back when its last holder was lost.
#include <algorithm>

#include "daemon/core/job_run.h"

namespace sidestep::daemon {
namespace {

// So many are left out while one is being pulled; then that one is given up, for its keeper may have done so.
constexpr int passed_max = 3;

}  // namespace

bool JobRun::wants(const scheduler::Plan& plan, const Pupil& pupil) const {
  return pupil.mirror ? plan.keeps(pupil.node, pupil.lesson) && !plan.is_out(pupil.lesson)
                      : plan.learns(pupil.node, pupil.lesson);
}

void JobRun::share_mirrors(std::int64_t now_us, const net::CommitTerms& terms) {
  const scheduler::RecoverySpec& recovery = context_.spec.recovery;
  if (!recovery.keeps_mirrors() || !context_.trains() || terms.last ||
      context_.step % static_cast<std::uint64_t>(recovery.every) != 0)
    return;
  for (const std::uint32_t stage : context_.my_stages) {
    const std::optional<net::NodeKey> keeper = context_.plan.keeper_of(stage);
    if (!keeper || context_.plan.replicas(stage).front() != context_.options->key) continue;
    const auto is_for_mirror = [&](const Pupil& pupil) { return pupil.mirror && pupil.lesson == stage; };
    const bool under_way = std::ranges::any_of(
        shared_, [&](const auto& entry) { return std::ranges::any_of(entry.second.pupils, is_for_mirror); });
    if (under_way && ++mirrors_passed_[stage] <= passed_max) {
      if (mirrors_passed_[stage] == 1)
        context_.log(now_us, net::LogLevel::warning, stage,
                     "the mirror of commit " + std::to_string(context_.step) +
                         " is left out: " + context_.name_of(*keeper) + " still pulls the one before");
      continue;
    }
    mirrors_passed_[stage] = 0;
    for (auto& [name, shared] : shared_) std::erase_if(shared.pupils, is_for_mirror);
    forget_pupils();
    share_state({stage, context_.step, false}, {{*keeper, stage, true}});
  }
}

bool JobRun::take_mirror(std::int64_t now_us, const net::NodeKey& peer, const net::Message& message) {
  if (const auto* kept = std::get_if<net::MirrorKept>(&message)) {
    const auto shared = shared_.find({kept->stage, kept->scope.step, false});
    if (shared == shared_.end()) return true;
    std::erase_if(shared->second.pupils,
                  [&](const Pupil& pupil) { return pupil.mirror && pupil.node == peer; });
    forget_pupils();
    return true;
  }
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
