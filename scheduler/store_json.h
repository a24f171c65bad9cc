// What stores have in common: stored jobs and views as JSON, and which steps a query means. Pure.
#pragma once

#include "scheduler/json_reader.h"
#include "scheduler/store.h"

namespace sidestep::scheduler {

nlohmann::json view_to_json(const net::View& view);
net::View read_view(const nlohmann::json& json, JsonReader& reader);

nlohmann::json job_row_to_json(const JobRow& row);
Result<JobRow> parse_job_row(const nlohmann::json& json);

bool in_range(const ReadRecord& query, std::uint64_t step);

}  // namespace sidestep::scheduler
