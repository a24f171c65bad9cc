// A folder with a Hugging Face LLaMA model: config.json, and model.safetensors or the files that
// model.safetensors.index.json lists.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "daemon/data/hf_config.h"
#include "daemon/data/safetensors.h"
#include "net/status.h"
#include "scheduler/job.h"

namespace sidestep::daemon {

inline constexpr const char* config_file_name = "config.json";
// Ours: which stages were lost while the model was trained, and what was made of them.
inline constexpr const char* recoveries_file_name = "sidestep_recoveries.json";
inline constexpr const char* weights_file_name = "model.safetensors";
inline constexpr const char* index_file_name = "model.safetensors.index.json";

// A value; copies share the mapped files. Tensors live as long as one of them. Any thread may read. The
// files must not be cut short meanwhile (mapped_file.h).
class HfFolder {
 public:
  // Reads config, index and headers, no weights. Failures name the file and what is wrong with it: missing,
  // not a model that this program computes (hf_config.h), damaged (safetensors.h), an index that does not
  // agree with its files. Whether the tensors are those of the model is for their reader to see.
  static Result<HfFolder> open(const std::string& path);

  const std::string& path() const { return path_; }
  const scheduler::ModelSpec& model() const { return model_; }
  const ExportNotes& notes() const { return notes_; }
  const SpecialTokens& special_tokens() const { return special_tokens_; }

  std::vector<std::string> names() const;
  // Null where there is none of that name. Its bytes are not looked at.
  const StoredTensor* find(const std::string& name) const;
  // Reads the tensor once and compares it with its digest, where it has one. Failures: not there, damaged.
  Result<StoredTensor> tensor(const std::string& name) const;

  // "sha256:…" of config.json and of the weight files' names, lengths and headers. Folders of ours keep
  // digests of the tensors in the headers, so that it stands for the weights too; of others it stands for
  // their layout.
  const std::string& digest() const { return digest_; }
  // Reads every tensor once; those with a digest are compared with it. Two folders of one content digest hold
  // the same model to the last bit, whoever wrote them; where every tensor has a digest it is digest().
  // Failures: damaged tensors, by name.
  Result<std::string> content_digest() const;
  // Paths of all that the model is read from.
  std::vector<std::string> files() const;

 private:
  HfFolder() = default;
  Status read_config();
  Status read_weights();
  Status read_indexed();
  Status add_file(const std::string& name);

  struct Place {
    std::shared_ptr<const SafetensorsFile> file;
    const StoredTensor* tensor = nullptr;
  };

  std::string path_;
  scheduler::ModelSpec model_;
  ExportNotes notes_;
  SpecialTokens special_tokens_;
  std::map<std::string, std::shared_ptr<const SafetensorsFile>> files_;
  std::map<std::string, Place> places_;
  std::string digest_;
};

}  // namespace sidestep::daemon
