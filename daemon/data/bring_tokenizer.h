// The tokenizer that belongs beside a job's export. Functions; any thread.
#pragma once

#include <string>

#include "net/status.h"
#include "scheduler/job.h"

namespace sidestep::daemon {

// Puts the job's tokenizer into `folder`, which is made for it, under the name that transformers looks for.
// Gives a note where it cannot: trained on tokens; the file is missing here or is another one. Empty: it is
// there, or the job needs none. Errors: io.
Result<std::string> bring_tokenizer(const scheduler::DataSpec& data, const std::string& folder);

// Whether a model folder has a tokenizer of any kind.
bool has_tokenizer(const std::string& folder);

}  // namespace sidestep::daemon
