// What an operator may ask of the scheduler (net::Request) and what comes back (net::Reply), as JSON.
//
//   verb     body                                          reply body
//   submit   {spec, source}                                {job}                 spec as in the file
//   jobs     {}                                            {jobs: [Summary]}     newest last
//   status   {job?, plan?}  (else the running or the       {job: Summary | null, nodes: [Node], term,
//             newest one)                                   view, waiting: "for what, until when"}, and with
//                                                           "plan": true of the running job {routes: [Route],
//                                                           links: [Link], measured: [Measured]}
//   times    {job?}  the running one                       {job, …: step_report.h, predicted_step_s | null,
//                                                           measured_step_s | null, drifted}
//   cancel   {job}                                         {job}
//   drain    {node}  (nickname or start of a key)          {node, nickname, stages: [those that it holds]}
//   nodes    {}                                            {nodes: [Node]}
//   logs     {job?, node?, level?, after?, limit?, tail?}  {lines: [Line], next, ended}  ended: the job is,
//                                                           and no line follows `next`
//   record   {job, step?, after?, limit?}                  {header, steps: [RecordStep], next, ended}
//
//   export   {job, at_least?}                              {job, ready: false, at_least, waiting} ask again
//                                                           with that at_least, or {job, ready: true, state,
//                                                           commit, spec, stages: [{stage, elements,
//                                                           sources: [{node, nickname, address, digest}]}]}
//                                                           The asker is a guest of all nodes from then on.
//   admit    {key, as: "node" | "operator", nickname?}     {key, role, nickname}
//   revoke   {key}   (or its first digits)                 {key, what: "node" | "operator" | "invite"}
//   admitted {}                                            {admitted: [Admitted]}
//   invite   {key, as, valid_s, nickname?}                 {key, role, expires_us, address}   key: the public
//                                                          half of a pair made for this invite; address: the
//                                                          scheduler's as advertised, or empty
//   invites  {}                                            {invites: [Invite]}   newest last
//
//   Summary {id, name, state, reason, precision, commit | null, steps, loss, validation_loss | null,
//            tokens_per_s, eta_s | null, skipped_updates, snapshot: newest saved commit | null, submitted_us,
//            started_us, ended_us, epoch, stages: [[node key, …], …]}, and of the running job
//            {predicted_step_s | null: when its plan was made, measured_step_s | null: median of the last
//            steps, drifted: the two are far apart}
//   Route   {microbatches: […], hops: [[stage, node key], …]}
//   Measured {node: its key, stages: [{stage, forward_us, backward_us}], head_us, averaging_bytes_per_s}, of
//   one
//            microbatch; 0: not measured
//   Link    {from, to: node keys, latency_us, bytes_per_s, transfer_us: of one microbatch}
//   Node    {key, nickname, address, device, threads, memory_bytes, memory_planned_bytes,
//            memory_used_bytes, state: "alive" | "silent" | "leaving", silent_ms, job | null, stages: […],
//            activity}
//   Admitted {key, role, nickname, revoked, by, wall_us, alive}
//   Invite  {key, role, nickname, state: "open" | "used" | "withdrawn" | "expired", made_us, expires_us,
//            closed_us, used_by | null, used_nickname}
//   Line    {id, time_us, level, node, nickname, job, stage | null, text}
//
// Errors: invalid (a bad spec: every problem, one a line), not_found (no such job: the known ones are
// named), refused (this key is not an operator's).
#pragma once

#include <nlohmann/json.hpp>

#include "scheduler/store.h"

namespace sidestep::scheduler {

nlohmann::json line_to_json(const StoredLine& line);
// "debug", "info", "warning", "error".
std::string_view to_string(net::LogLevel level);
Result<net::LogLevel> log_level_from_string(std::string_view name);

}  // namespace sidestep::scheduler
