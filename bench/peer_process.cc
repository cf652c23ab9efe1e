#include "bench/peer_process.h"

#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

extern char** environ;

namespace penstock::bench {
namespace {

using Json = nlohmann::ordered_json;

absl::Status ErrorOf(const Json& answer) {
  const std::string text = answer["error"].get<std::string>();
  const std::string kind = answer.value("kind", "");
  if (kind == "wrong bytes") return absl::DataLossError(text);
  if (kind == "missing") return absl::UnimplementedError(text);
  return absl::InternalError(text);
}

}  // namespace

PeerProcess::PeerProcess(pid_t pid, Descriptor line)
    : pid_(pid), line_(std::move(line)) {}

PeerProcess::~PeerProcess() {
  line_.Close();
  kill(pid_, SIGTERM);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

absl::StatusOr<std::unique_ptr<PeerProcess>> PeerProcess::Start(
    const std::vector<std::string>& argv) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return absl::ErrnoToStatus(errno, "socketpair");
  }
  Descriptor ours(ends[0]);
  const Descriptor theirs(ends[1]);
  std::vector<char*> pointers;
  for (const std::string& word : argv) {
    pointers.push_back(const_cast<char*>(word.c_str()));  // spawn's signature
  }
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, theirs.get(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, theirs.get(), STDOUT_FILENO);
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, pointers[0], &actions, nullptr,
                                 pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return absl::ErrnoToStatus(error, absl::StrCat("cannot run ", argv[0]));
  }
  return std::unique_ptr<PeerProcess>(new PeerProcess(pid, std::move(ours)));
}

absl::StatusOr<std::string> PeerProcess::ReadLine() {
  while (true) {
    if (const size_t end = read_.find('\n'); end != std::string::npos) {
      std::string line = read_.substr(0, end);
      read_.erase(0, end + 1);
      return line;
    }
    char buffer[4096];
    const ssize_t n = recv(line_.get(), buffer, sizeof(buffer), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return absl::InternalError("the peers' worker has ended");
    read_.append(buffer, n);
  }
}

absl::StatusOr<Json> PeerProcess::Call(const Json& request) {
  std::string text = request.dump() + "\n";
  for (size_t sent = 0; sent < text.size();) {
    const ssize_t n =
        send(line_.get(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return absl::InternalError("the peers' worker has ended");
    sent += n;
  }
  PENSTOCK_ASSIGN_OR_RETURN(const std::string line, ReadLine());
  Json answer = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!answer.is_object()) {
    return absl::InternalError(absl::StrCat("the peers' worker says \"", line,
                                            "\", which is no JSON"));
  }
  if (answer.contains("error") && answer["error"].is_string()) {
    return ErrorOf(answer);
  }
  return answer;
}

}  // namespace penstock::bench
