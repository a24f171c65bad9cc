#include "daemon/data/safetensors.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <limits>

#include "daemon/data/safetensors_writer.h"
#include "tests/unit/data/temporary_folder.h"

namespace sidestep::daemon {
namespace {

using Catch::Contains;
using namespace testing;

std::string with_length(const std::string& header, std::uint64_t length) {
  std::string text(sizeof length, '\0');
  std::memcpy(text.data(), &length, sizeof length);
  return text + header;
}

// A file of this header and so many bytes of data.
std::string file_of(const std::string& header, std::size_t data_bytes) {
  return with_length(header, header.size()) + std::string(data_bytes, '\1');
}

std::string safetensors_problem(const std::string& content) {
  const auto parsed = parse_safetensors(std::as_bytes(std::span(content)), "model.safetensors");
  REQUIRE_FALSE(parsed.ok());
  CHECK(parsed.status().code() == Code::invalid);
  return parsed.status().message();
}

net::Payload payload_of(const std::string& bytes) {
  const auto view = std::as_bytes(std::span(bytes));
  return net::Payload::from_bytes({view.begin(), view.end()});
}

// Each tensor's bytes count up from the number of letters in its name.
Result<net::Payload> counting(const TensorInfo& tensor) {
  std::string bytes(static_cast<std::size_t>(tensor.elements()) * bytes_of(tensor.type), '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(tensor.name.size() + i);
  return payload_of(bytes);
}

const std::vector<TensorInfo> some_tensors{
    {.name = "weight", .type = ElementType::f32, .shape = {3, 5}},
    {.name = "half", .type = ElementType::bf16, .shape = {7}},
    {.name = "nothing", .type = ElementType::f16, .shape = {0, 4}},
    {.name = "one number \"quoted\" \xc3\xa9", .type = ElementType::i64, .shape = {}}};

}  // namespace

TEST_CASE("Safetensors: what is written is read back, with types, shapes and bytes") {
  const TemporaryFolder folder;
  const std::string path = folder.path("a.safetensors");
  REQUIRE(write_safetensors(path, some_tensors, counting).ok());
  CHECK(folder.names() == std::set<std::string>{"a.safetensors"});
  const auto file = SafetensorsFile::open(path);
  INFO(file.status().message());
  REQUIRE(file.ok());
  const SafetensorsContent& content = file.value()->content();
  REQUIRE(content.tensors.size() == some_tensors.size());
  CHECK(content.metadata.at("format") == "pt");
  for (const TensorInfo& wanted : some_tensors) {
    INFO(wanted.name);
    const StoredTensor& read = content.tensors.at(wanted.name);
    CHECK(read.info.type == wanted.type);
    CHECK(read.info.shape == wanted.shape);
    const net::Payload bytes = counting(wanted).value();
    REQUIRE(read.bytes.size() == bytes.size());
    CHECK(std::equal(read.bytes.begin(), read.bytes.end(), bytes.data()));
    CHECK(file.value()->verify(read).ok());
  }
}

TEST_CASE("Safetensors: the data begins at a multiple of 8 bytes") {
  const TemporaryFolder folder;
  for (const std::string name : {"a", "ab", "abc", "abcd"}) {
    REQUIRE(write_safetensors(folder.path(name), {{.name = name, .shape = {2}}}, counting).ok());
    CHECK((read_file(folder.path(name)).size() - 2 * sizeof(float)) % 8 == 0);
  }
}

TEST_CASE("Safetensors: a flipped bit in a tensor is told by name") {
  const TemporaryFolder folder;
  const std::string path = folder.path("a.safetensors");
  REQUIRE(write_safetensors(path, some_tensors, counting).ok());
  std::string content = read_file(path);
  content[content.size() - 8 - 14 - 3] ^= 4;  // before the number and the halves
  write_bytes(path, content);
  const auto file = SafetensorsFile::open(path);
  REQUIRE(file.ok());
  const auto& tensors = file.value()->content().tensors;
  CHECK(file.value()->verify(tensors.at("half")).ok());
  CHECK(file.value()->verify(tensors.at("weight")).message() ==
        path +
            ": tensor \"weight\": its bytes are not the ones that were written; the file is damaged, "
            "copy it again");
}

TEST_CASE("Safetensors: a damaged file is refused with the tensor and what is wrong") {
  const std::string float_type = R"("dtype":"F32",)";
  const auto tensor = [&](const std::string& name, const std::string& shape, int begin, int end) {
    return '"' + name + "\":{" + float_type + "\"shape\":" + shape + ",\"data_offsets\":[" +
           std::to_string(begin) + "," + std::to_string(end) + "]}";
  };
  const std::string a = tensor("a", "[2]", 0, 8);
  struct Row {
    std::string content;
    std::string message;
  };
  const std::vector<Row> rows{
      {"", "has 0 bytes, a safetensors file begins with 8 of header length"},
      {"\1\2\3", "has 3 bytes, a safetensors file begins with 8 of header length"},
      {with_length("{}", std::numeric_limits<std::uint64_t>::max()),
       "the header would be 18446744073709551615 bytes long, at most 100000000 are allowed; is this a "
       "safetensors file?"},
      {with_length("{}", 40), "the header is 40 bytes long, only 2 follow; the file is cut short"},
      {file_of("{" + a, 8), "header: not JSON at byte 54"},
      {file_of("{" + a + "} x", 8), "header: not JSON at byte 56"},
      {file_of("[1]", 0), "header: must be an object, found a list"},
      {file_of(std::string(5000, '['), 0), "header: must be an object, found a list"},
      {file_of(R"({"a":)" + std::string(5000, '['), 0),
       "header: a list where an object for \"a\" is expected"},
      {file_of("{" + a + "," + a + "}", 8), "header: key \"a\" is there twice"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2]}})", 8),
       "header: tensor \"a\": \"data_offsets\" is missing"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2],"shape":[2]}})", 8),
       "header: tensor \"a\": key \"shape\" is there twice"},
      {file_of(R"({"a":{"dtipe":"F32"}})", 8), "header: tensor \"a\": unknown key \"dtipe\""},
      {file_of(R"({"a":{"dtype":7}})", 8),
       "header: tensor \"a\": the number 7 where the name of a type is expected"},
      {file_of(R"({"a":{"shape":[2,-1]}})", 8),
       "header: tensor \"a\": the number -1 where a whole number, not negative, in \"shape\" is expected"},
      {file_of(R"({"__metadata__":{"format":{}}})", 0),
       "header: an object where a string for \"format\" is expected"},
      {file_of(R"({"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}})", 8),
       "tensor \"a\": type \"F33\" is not known; known: BOOL, U8, I8, F8_E4M3, F8_E5M2, U16, I16, F16, BF16, "
       "U32, I32, F32, U64, I64, F64"},
      {file_of("{" + tensor("a", "[2]", 8, 0) + "}", 8),
       "tensor \"a\": data_offsets [8, 0] are no begin and end"},
      {file_of("{" + tensor("a", "[3]", 0, 8) + "}", 8),
       "tensor \"a\": shape [3] of F32 takes 12 bytes, data_offsets give 8"},
      {file_of("{" + tensor("a", "[4294967296,4294967296,4294967296]", 0, 8) + "}", 8),
       "tensor \"a\": shape [4294967296, 4294967296, 4294967296] is too large"},
      {file_of("{" + a + "," + tensor("b", "[2]", 4, 12) + "}", 12),
       "tensor \"b\": overlaps tensor \"a\" by 4 bytes"},
      {file_of("{" + a + "," + tensor("b", "[2]", 12, 20) + "}", 20),
       "tensor \"b\": there is a gap of 4 bytes before it"},
      {file_of("{" + a + "}", 5),
       "tensor \"a\": ends at byte 8 of the data, which has only 5; the file is cut short"},
      {file_of("{" + a + "}", 11), "3 bytes follow the last tensor"},
  };
  for (const Row& row : rows) {
    INFO(row.content.substr(0, 200));
    CHECK(safetensors_problem(row.content) == "model.safetensors: " + row.message);
  }
}

TEST_CASE("Safetensors: no prefix of a file, and no file with one bit flipped, ends the process") {
  const TemporaryFolder folder;
  const std::string path = folder.path("a.safetensors");
  REQUIRE(write_safetensors(path, some_tensors, counting).ok());
  const std::string whole = read_file(path);
  for (std::size_t length = 0; length < whole.size(); ++length)
    CHECK_FALSE(safetensors_problem(whole.substr(0, length)).empty());
  std::size_t refused = 0;
  for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string content = whole;
    content[bit / 8] = static_cast<char>(content[bit / 8] ^ (1 << bit % 8));
    const auto parsed = parse_safetensors(std::as_bytes(std::span(content)), "a");
    if (!parsed.ok()) ++refused;
  }
  CHECK(refused > whole.size());
}

TEST_CASE("Safetensors: a file that is missing or a folder is told by path") {
  const TemporaryFolder folder;
  CHECK(SafetensorsFile::open(folder.path("none")).status().message() ==
        folder.path("none") + ": cannot be opened: No such file or directory");
  CHECK(SafetensorsFile::open(folder.path()).status().message() == folder.path() + ": is not a regular file");
}

TEST_CASE("Safetensors: a failed write leaves the old file and nothing else") {
  const TemporaryFolder folder;
  const std::string path = folder.path("a.safetensors");
  REQUIRE(write_safetensors(path, some_tensors, counting).ok());
  const std::string before = read_file(path);
  const Status failed =
      write_safetensors(path, some_tensors, [](const TensorInfo& tensor) -> Result<net::Payload> {
        if (tensor.name == "half") return Status::unavailable("node b3f1 is gone");
        return counting(tensor);
      });
  CHECK(failed.message() == path + ": tensor \"half\": node b3f1 is gone");
  CHECK_THAT(
      write_safetensors(path, some_tensors, [](const TensorInfo&) { return payload_of("ab"); }).message(),
      Contains("its source gave 2 bytes, shape [3, 5] takes 60"));
  CHECK(read_file(path) == before);
  CHECK(folder.names() == std::set<std::string>{"a.safetensors"});
}

}  // namespace sidestep::daemon
