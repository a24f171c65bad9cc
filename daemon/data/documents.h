// Text and .jsonl files, taken apart into what a tokenizer gets at a time.
#pragma once

#include <functional>
#include <string_view>

#include "daemon/data/byte_source.h"
#include "net/status.h"
#include "scheduler/job.h"

namespace sidestep::daemon {

// `piece` is text of at most 64 KiB, cut after the last line, else word, else character that fits;
// `ends_document` is set with the last piece, which may be empty, of each document of a .jsonl. A Status of
// the sink ends the reading.
using TextSink = std::function<Status(std::string_view piece, bool ends_document)>;

// Depends on the content alone, not on how it is compressed. Failures name `path` and the line: not JSON, no
// object, no text under `spec.field`, a line of more than 256 MiB, and those of the source.
Status read_documents(const std::string& path, const scheduler::DataSpec& spec, ByteSource& source,
                      const TextSink& sink);

}  // namespace sidestep::daemon
