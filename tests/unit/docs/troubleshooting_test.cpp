// docs/troubleshooting.md quotes what the program says; each quote is held against the sources.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace {

const std::filesystem::path root = SIDESTEP_SOURCE_DIR;
const std::string ellipsis = "…";

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// All sources, with string literals that follow each other joined and escaped quotes as they are printed.
std::string all_messages() {
  std::string text;
  for (const char* folder : {"daemon", "scheduler", "recovery", "net"}) {
    if (!std::filesystem::exists(root / folder)) continue;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root / folder))
      if (entry.path().extension() == ".cpp") text += read_file(entry.path());
  }
  text = std::regex_replace(text, std::regex("\"\\s*\\n\\s*\""), "");
  return std::regex_replace(text, std::regex("\\\\\""), "\"");
}

// The quote in the first column of each row of each table.
std::vector<std::string> quotes(const std::string& page) {
  std::vector<std::string> found;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("| `")) found.push_back(line.substr(3, line.find('`', 3) - 3));
  return found;
}

// What lies between the names and numbers.
std::vector<std::string> fixed_parts(const std::string& quote) {
  std::vector<std::string> parts;
  std::size_t from = 0;
  while (from <= quote.size()) {
    const std::size_t next = std::min(quote.find(ellipsis, from), quote.size());
    if (next > from) parts.push_back(quote.substr(from, next - from));
    from = next + ellipsis.size();
  }
  return parts;
}

}  // namespace

TEST_CASE("Troubleshooting: the program says every message that the page explains") {
  const std::string messages = all_messages();
  const auto all = quotes(read_file(root / "docs/troubleshooting.md"));
  REQUIRE(all.size() > 15);
  for (const std::string& quote : all) {
    const auto parts = fixed_parts(quote);
    REQUIRE_FALSE(parts.empty());
    for (const std::string& part : parts) {
      INFO(quote << ": nothing says \"" << part << '"');
      CHECK(messages.find(part) != std::string::npos);
    }
  }
}
