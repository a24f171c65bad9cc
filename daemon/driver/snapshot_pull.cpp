#include "daemon/driver/snapshot_pull.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "net/clock.h"
#include "net/digest.h"

namespace sidestep::driver {
namespace {

constexpr std::int64_t turn_us = 20 * net::ms;
// A node may hear of its new guest a little later than the guest does.
constexpr std::int64_t connect_limit_us = 10 * net::second;

class File {
 public:
  explicit File(std::string path)
      : path_(std::move(path)), file_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) {
    if (file_ < 0) opened_ = failed();
  }
  ~File() {
    if (file_ >= 0) ::close(file_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const Status& opened() const { return opened_; }

  Status write(std::uint64_t offset, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::pwrite(file_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return failed();
      bytes = bytes.subspan(static_cast<std::size_t>(count));
      offset += static_cast<std::uint64_t>(count);
    }
    return {};
  }

 private:
  Status failed() const { return Status::io(path_ + ": cannot be written: " + std::strerror(errno)); }

  std::string path_;
  int file_ = -1;
  Status opened_;
};

}  // namespace

Status pull_stage(Client& client, const recovery::PullRequest& request, const std::string& path,
                  std::function<void()> meanwhile) {
  File file(path);
  if (!file.opened().ok()) return file.opened();
  recovery::SlicePuller puller(request, {}, [&](std::uint64_t begin, std::span<const std::byte> bytes) {
    return file.write(begin * sizeof(float), bytes);
  });
  const auto send = [&](const std::vector<recovery::SlicePuller::Outgoing>& outgoing) {
    for (const auto& [to, slice] : outgoing) client.send_data(to, slice);
  };
  // Taken off before the puller goes, however this ends.
  struct Handler {
    Client& client;
    ~Handler() { client.set_data_handler({}); }
  } handler{client};
  client.set_data_handler([&](const net::NodeKey& peer, const net::Message& message) {
    const auto* slice = std::get_if<net::Slice>(&message);
    if (slice == nullptr) return;
    std::vector<recovery::SlicePuller::Outgoing> out;
    puller.on_slice(net::monotonic_us(), peer, *slice, out);
    send(out);
  });

  std::int64_t down_since_us = net::monotonic_us();
  while (!puller.failed()) {
    if (client.interrupted()) return Status::refused("interrupted");
    if (puller.complete()) {
      const auto digest = net::sha256_file(path);
      if (!digest.ok()) return digest.status();
      if (digest.value() == puller.source().digest) return {};
      puller.reject("its snapshot of stage " + std::to_string(request.stage) + " is damaged: it has " +
                    digest.value() + ", when it was saved it had " + puller.source().digest);
      down_since_us = net::monotonic_us();
      continue;
    }
    const std::int64_t now_us = net::monotonic_us();
    const net::LinkReport link = client.data_link(puller.source().node);
    if (link.state == net::LinkState::up) {
      down_since_us = now_us;
      std::vector<recovery::SlicePuller::Outgoing> out;
      puller.on_tick(now_us, out);
      send(out);
    } else if (now_us - down_since_us >= connect_limit_us) {
      puller.reject(link.reason);
      down_since_us = now_us;
    }
    meanwhile();
    client.idle(turn_us);
  }
  return puller.failure();
}

}  // namespace sidestep::driver
