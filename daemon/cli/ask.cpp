#include "daemon/cli/ask.h"

#include <cstdio>

#include "daemon/cli/app.h"
#include "daemon/cli/operator_config.h"

namespace sidestep::cli {

int ask_once(const OperatorFlags& flags, const std::string& verb, const nlohmann::json& body,
             const std::function<std::string(const nlohmann::json&)>& show) {
  auto client = connect(flags);
  if (!client.ok()) return fail(client.status());
  const auto reply = client.value()->ask(verb, body);
  if (!reply.ok()) return fail(reply.status());
  std::printf("%s", flags.json ? (reply.value().dump(2) + "\n").c_str() : show(reply.value()).c_str());
  return exit_ok;
}

}  // namespace sidestep::cli
