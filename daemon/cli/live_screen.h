// A terminal as a page that is drawn over and over. Not pure: owns the terminal until it goes.
#pragma once

#include <termios.h>

#include <optional>
#include <string>

#include "daemon/cli/status_report.h"

namespace sidestep::cli {

class LiveScreen {
 public:
  // Precondition: standard output is a terminal. Shows another page than the shell's, and takes keys without
  // Enter where standard input is a terminal too; Ctrl-C stays what it is.
  LiveScreen();
  // As it was before.
  ~LiveScreen();
  LiveScreen(const LiveScreen&) = delete;
  LiveScreen& operator=(const LiveScreen&) = delete;

  TopSize size() const;
  void draw(const std::string& page);
  // A key that was pressed since; nothing if none was.
  std::optional<char> key();

 private:
  std::optional<termios> before_;  // of standard input
};

}  // namespace sidestep::cli
