#include "daemon/data/bring_tokenizer.h"

#include <filesystem>

#include "net/digest.h"

namespace sidestep::daemon {

namespace fs = std::filesystem;

Result<std::string> bring_tokenizer(const scheduler::DataSpec& data, const std::string& folder) {
  if (data.format == "tokens")
    return std::string("the job was trained on tokens; put their tokenizer beside it");
  if (data.tokenizer != "sentencepiece") return std::string();
  const std::string missing = "tokenizer.model is not in it: ";
  // The digest that all nodes have agreed on: the last of the job's.
  const std::string wanted =
      !data.tokenizer_digest.empty() ? data.tokenizer_digest : data.digest.substr(data.digest.rfind(' ') + 1);
  const auto digest = net::sha256_file(data.tokenizer_path);
  if (!digest.ok())
    return missing + data.tokenizer_path + " cannot be read here; copy it from a node with the data";
  if (digest.value() != wanted)
    return missing + data.tokenizer_path + " is another file here than the job's: it has " + digest.value() +
           ", the job's has " + wanted;
  std::error_code error;
  fs::create_directories(folder, error);
  if (error || !fs::copy_file(data.tokenizer_path, fs::path(folder) / "tokenizer.model", error))
    return Status::io(data.tokenizer_path + ": cannot be copied: " + error.message());
  return std::string();
}

bool has_tokenizer(const std::string& folder) {
  std::error_code error;
  return fs::exists(fs::path(folder) / "tokenizer.model", error) ||
         fs::exists(fs::path(folder) / "tokenizer.json", error);
}

}  // namespace sidestep::daemon
