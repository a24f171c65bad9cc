#include "daemon/data/byte_source.h"

#include "tests/unit/data/text_fixture.h"

namespace sidestep::daemon {
namespace {

using namespace testing;

struct Read {
  std::string text;
  std::string problem;
};

Read read_all(const std::string& path) {
  ByteSource source(MappedFile::open(path).value());
  Read read;
  while (true) {
    const auto piece = source.next();
    if (!piece.ok()) {
      read.problem = piece.status().message();
      return read;
    }
    if (piece.value().empty()) return read;
    read.text += piece.value();
  }
}

}  // namespace

TEST_CASE("Bytes of a file: plain, compressed, compressed in several frames, empty") {
  const TemporaryFolder folder;
  const std::string text = sample_text(80'000);  // more than a piece
  REQUIRE(text.size() > 2 << 20);
  for (const std::string& bytes :
       {text, compress(text), compress(text.substr(0, 1000)) + compress(text.substr(1000), 19)}) {
    write_bytes(folder.path("f"), bytes);
    const Read read = read_all(folder.path("f"));
    CHECK(read.problem.empty());
    CHECK(read.text == text);
  }
  for (const std::string& bytes : {std::string(), compress("")}) {
    write_bytes(folder.path("f"), bytes);
    CHECK(read_all(folder.path("f")).text.empty());
    CHECK(read_all(folder.path("f")).problem.empty());
  }
}

TEST_CASE("Compressed bytes: cut short anywhere is a problem with its place") {
  const TemporaryFolder folder;
  const std::string whole = compress(sample_text(200));
  for (std::size_t bytes = 4; bytes < whole.size(); bytes += 7) {
    write_bytes(folder.path("f.zst"), whole.substr(0, bytes));
    CHECK(read_all(folder.path("f.zst")).problem ==
          folder.path("f.zst") + ": is cut short: its compressed data goes on after byte " +
              std::to_string(bytes));
  }
}

TEST_CASE("Compressed bytes: damage is reported or harmless, and more after the end is no text") {
  const TemporaryFolder folder;
  const std::string text = sample_text(60);
  const std::string whole = compress(text);
  std::size_t reported = 0;
  for (std::size_t bit = 32; bit < 8 * whole.size(); ++bit) {
    write_bytes(folder.path("f.zst"), flipped(whole, bit));
    const std::string problem = read_all(folder.path("f.zst")).problem;
    if (problem.empty()) continue;
    ++reported;
    CHECK_THAT(problem, Catch::StartsWith(folder.path("f.zst") + ": is damaged at byte ") ||
                            Catch::StartsWith(folder.path("f.zst") + ": is cut short"));
  }
  CHECK(reported > 0);
  write_bytes(folder.path("f.zst"), whole + "more");
  CHECK_THAT(read_all(folder.path("f.zst")).problem, Catch::StartsWith(folder.path("f.zst") + ": is ") &&
                                                         Catch::Contains("zstd says: Unknown frame"));
}

}  // namespace sidestep::daemon
