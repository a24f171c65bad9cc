// Text that has to be tokenized, or decompressed, is turned into a token file once and kept. A kept file is
// named by the digests of the text and of the tokenizer, so that it is never out of date; the folder may be
// deleted at any time.
#pragma once

#include <memory>
#include <string>

#include "daemon/data/mapped_file.h"
#include "daemon/data/token_file.h"
#include "daemon/data/tokenizer.h"
#include "net/status.h"
#include "scheduler/job.h"

namespace sidestep::daemon {

// $SIDESTEP_CACHE, else $XDG_CACHE_HOME/sidestep, else $HOME/.cache/sidestep.
Result<std::string> cache_folder();

// Whether the file has to go through the cache: compressed, .jsonl, or text for another tokenizer than bytes.
bool needs_cache(const scheduler::DataSpec& spec, const MappedFile& file);

// The tokens of `file`, out of the cache or put there now. `digest` is that of `file`; `tokenizer` is null
// for token files. A kept file that is not what its notes say is made anew. Of several processes that want
// the same file one makes it, and the others wait. Failures name the file they are about.
Result<TokenFile> cached_tokens(const scheduler::DataSpec& spec, std::shared_ptr<const MappedFile> file,
                                const std::string& digest, const Tokenizer* tokenizer);

}  // namespace sidestep::daemon
