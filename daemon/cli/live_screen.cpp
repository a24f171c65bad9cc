#include "daemon/cli/live_screen.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

namespace sidestep::cli {
namespace {

void put(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

}  // namespace

LiveScreen::LiveScreen() {
  if (termios now{}; isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &now) == 0) {
    before_ = now;
    now.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    tcsetattr(STDIN_FILENO, TCSANOW, &now);
  }
  put("\033[?1049h\033[?25l");  // the other page, without a cursor
}

LiveScreen::~LiveScreen() {
  put("\033[?25h\033[?1049l");
  if (before_) tcsetattr(STDIN_FILENO, TCSANOW, &*before_);
}

TopSize LiveScreen::size() const {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return {80, 24};
  return {size.ws_col, size.ws_row};
}

// Line by line over what is there, so that nothing flickers. The last line has no end, or the page would
// move.
void LiveScreen::draw(const std::string& page) {
  std::string text = "\033[H";
  for (std::size_t i = 0; i < page.size(); ++i) {
    if (page[i] != '\n')
      text += page[i];
    else
      text += i + 1 < page.size() ? "\033[K\r\n" : "\033[K";
  }
  put(text + "\033[J");
}

std::optional<char> LiveScreen::key() {
  pollfd input{STDIN_FILENO, POLLIN, 0};
  char pressed = 0;
  if (!before_ || poll(&input, 1, 0) != 1 || read(STDIN_FILENO, &pressed, 1) != 1) return std::nullopt;
  return pressed;
}

}  // namespace sidestep::cli
