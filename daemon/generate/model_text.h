// How the text of a model folder becomes tokens, where it begins and where it ends.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/data/hf_folder.h"
#include "daemon/data/tokenizer.h"
#include "net/status.h"
#include "scheduler/job.h"

namespace sidestep::daemon {

struct ModelText {
  std::shared_ptr<const Tokenizer> tokenizer;  // null: the folder has none that this program reads
  std::string why_none;                        // then, for the user
  std::vector<std::int64_t> begin;             // goes before every prompt; mostly nothing
  std::set<std::int64_t> ends;                 // tokens that end a text

  // The prompt's tokens, behind `begin`. An empty one is the token between two documents where there is one.
  // Errors: no tokenizer; the tokenizer's; nothing to begin with.
  Result<std::vector<std::int64_t>> encode(std::string_view prompt) const;
};

// The folder's tokenizer.model; bytes where its notes say so or its model has 256 tokens and no tokenizer of
// its own. Errors name the file: damaged, or with more tokens than the model.
Result<ModelText> open_model_text(const HfFolder& folder);

// The folder's tokenizer for a text file: fills in the tokenizer of a DataSpec. Error: the folder has none.
Status use_tokenizer_of(const HfFolder& folder, const ModelText& text, scheduler::DataSpec& spec);

}  // namespace sidestep::daemon
