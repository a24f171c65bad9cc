// SHA-256, written as "sha256:" and 64 hexadecimal digits: names the content of a file.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "net/status.h"

namespace sidestep::net {

std::string sha256(std::span<const std::byte> bytes);

// Of a file's content, read in pieces of 1 MiB. A file that cannot be read is a Status with its path.
Result<std::string> sha256_file(const std::string& path);

}  // namespace sidestep::net
