// What `sidestep up --emulate FILE` reads (docs/emulate.md): a table of links between regions and of nodes in
// them, or an instance of the planner; and what each node's config says of it. Values.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "daemon/driver/emulate.h"
#include "net/status.h"

namespace sidestep::cli {

struct EmulateRequest {
  std::string file;
  double scale = 1;                    // of all times
  std::vector<std::string> nicknames;  // of the nodes: the first is the first of the file
};

// One block a node. Errors: fewer nodes in the file than there are nicknames; all problems at once, each with
// its place; those of the files that it names.
Result<std::vector<driver::EmulateBlock>> load_emulation(const EmulateRequest& request);

// The keys of the table and of its nodes, for the docs.
std::string emulate_keys_markdown();

}  // namespace sidestep::cli
