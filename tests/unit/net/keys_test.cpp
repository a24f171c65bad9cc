#include "net/keys.h"

#include <sys/stat.h>
#include <zmq.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

using namespace sidestep;
using namespace sidestep::net;

namespace {

// A folder that goes with the test.
struct Folder {
  std::string path;
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "sidestep-keys-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string file(const std::string& name) const { return path + "/" + name; }
};

void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
  REQUIRE(::chmod(path.c_str(), 0600) == 0);
}

std::string hex_of(const SecretKey& key) {
  NodeKey as_key;
  as_key.bytes = key.bytes();
  return as_key.hex();
}

}  // namespace

TEST_CASE("Key pair: CurveZMQ derives the same public key") {
  const KeyPair keys = generate_key_pair();
  char secret_text[41];
  char public_text[41];
  REQUIRE(zmq_z85_encode(secret_text, keys.secret_key.bytes().data(), 32) != nullptr);
  REQUIRE(zmq_curve_public(public_text, secret_text) == 0);
  NodeKey derived;
  REQUIRE(zmq_z85_decode(derived.bytes.data(), public_text) != nullptr);
  CHECK(derived == keys.public_key);
  CHECK(generate_key_pair().public_key != keys.public_key);
}

TEST_CASE("Key file: what was written is read, and only its owner can") {
  const Folder folder;
  const std::string path = folder.file("node.key");
  const KeyPair keys = generate_key_pair();
  REQUIRE(write_key_file(path, keys).ok());
  struct stat about {};
  REQUIRE(::stat(path.c_str(), &about) == 0);
  CHECK((about.st_mode & 07777) == 0600);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 1);

  const auto read = read_key_file(path);
  REQUIRE(read.ok());
  CHECK(read.value().public_key == keys.public_key);
  CHECK(read.value().secret_key.bytes() == keys.secret_key.bytes());
}

TEST_CASE("Key file: an existing one is not overwritten") {
  const Folder folder;
  const std::string path = folder.file("node.key");
  const KeyPair keys = generate_key_pair();
  REQUIRE(write_key_file(path, keys).ok());
  const Status second = write_key_file(path, generate_key_pair());
  CHECK(second.code() == Code::refused);
  CHECK(second.message() == path + ": exists already; a key is never overwritten");
  CHECK(read_key_file(path).value().public_key == keys.public_key);
}

TEST_CASE("Key file: one that others may use is refused with its cure") {
  const Folder folder;
  const std::string path = folder.file("node.key");
  REQUIRE(write_key_file(path, generate_key_pair()).ok());
  for (const mode_t mode : {0644, 0640, 0620, 0604, 0601}) {
    REQUIRE(::chmod(path.c_str(), mode) == 0);
    CHECK(read_key_file(path).status().code() == Code::refused);
  }
  REQUIRE(::chmod(path.c_str(), 0644) == 0);
  CHECK(read_key_file(path).status().message() ==
        path + ": has mode 0644, so that others than its owner may use the secret key; run: chmod 600 " +
            path);
}

TEST_CASE("Key file: missing, unwritable and no file are told apart") {
  const Folder folder;
  CHECK(read_key_file(folder.file("none")).status().code() == Code::not_found);
  CHECK(read_key_file(folder.file("none")).status().message() ==
        folder.file("none") + ": no such key file; make one with: sidestep keygen");
  CHECK(read_key_file(folder.path).status().message() ==
        folder.path + ": not a key file: it is no regular file");
  const Status unwritable = write_key_file(folder.file("no/such/folder/k"), generate_key_pair());
  CHECK(unwritable.code() == Code::io);
  CHECK(unwritable.message() ==
        folder.file("no/such/folder/k") + ": cannot create the key file: No such file or directory");
}

TEST_CASE("Key file: wrong content is named") {
  const Folder folder;
  const std::string path = folder.file("node.key");
  const KeyPair keys = generate_key_pair();
  const KeyPair other = generate_key_pair();
  const std::string secret = hex_of(keys.secret_key);
  const std::string not_a_key_file =
      path +
      ": not a key file: expected two lines, \"public_key HEX\" and \"secret_key HEX\" with 64 digits each";
  const auto text = [](const std::string& a, const std::string& b) {
    return "public_key " + a + "\nsecret_key " + b + "\n";
  };

  for (const std::string& wrong :
       {std::string(), std::string("{}\n"), text(keys.public_key.hex(), secret) + "more\n",
        text(keys.public_key.hex(), secret.substr(1)), text(secret, "").substr(1)}) {
    write_text(path, wrong);
    CHECK(read_key_file(path).status().message() == not_a_key_file);
  }
  write_text(path, text(std::string(64, 'X'), secret));
  CHECK(read_key_file(path).status().message() ==
        path + ": public_key: a key is 64 hexadecimal digits (0-9, a-f), found 'X'");
  write_text(path, text(other.public_key.hex(), secret));
  CHECK(read_key_file(path).status().message() ==
        path + ": public_key " + other.public_key.hex() +
            " does not belong to the secret_key, whose public key is " + keys.public_key.hex());
}

TEST_CASE("Boot id: is drawn anew and never 0") {
  CHECK(random_boot_id() != 0);
  CHECK(random_boot_id() != random_boot_id());
}
