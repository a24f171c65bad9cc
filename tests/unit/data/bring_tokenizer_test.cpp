#include "daemon/data/bring_tokenizer.h"

#include "net/digest.h"
#include "tests/unit/data/text_fixture.h"

namespace sidestep::daemon {

using namespace testing;

TEST_CASE("Tokenizer of an export: the job's SentencePiece model, where it is the one that nodes agreed on") {
  const TextFolder folder;
  const std::string model = folder.write("words.model", tiny_model());
  const std::string digest = net::sha256_file(model).value();
  scheduler::DataSpec data = data_spec(folder.path("text"));
  data.tokenizer = "sentencepiece";
  data.tokenizer_path = model;
  // The last of the digests that fill in at submit, or the job's own word.
  for (const bool named : {false, true}) {
    data.tokenizer_digest = named ? digest : "";
    data.digest = named ? "sha256:0" : "sha256:0 " + digest;
    const std::string to = folder.path(named ? "named" : "filled");
    CHECK(bring_tokenizer(data, to).value().empty());
    CHECK(read_file(to + "/tokenizer.model") == tiny_model());
    CHECK(has_tokenizer(to));
  }

  data.tokenizer_digest = "sha256:1";
  CHECK(bring_tokenizer(data, folder.path("none")).value() ==
        "tokenizer.model is not in it: " + model + " is another file here than the job's: it has " + digest +
            ", the job's has sha256:1");
  data.tokenizer_path = folder.path("away.model");
  CHECK(bring_tokenizer(data, folder.path("none")).value() ==
        "tokenizer.model is not in it: " + data.tokenizer_path +
            " cannot be read here; copy it from a node with the data");
  CHECK_FALSE(has_tokenizer(folder.path("none")));
  CHECK(folder.names().count("none") == 0);
}

TEST_CASE("Tokenizer of an export: bytes need none, that of tokens is the user's to add") {
  const TextFolder folder;
  CHECK(bring_tokenizer(data_spec(folder.path("text")), folder.path("to")).value().empty());
  CHECK(bring_tokenizer(data_spec(folder.path("text"), "tokens"), folder.path("to")).value() ==
        "the job was trained on tokens; put their tokenizer beside it");
  CHECK(folder.names().count("to") == 0);
}

}  // namespace sidestep::daemon
