#include "core/memory_file_system.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "core/aligned_buffer.h"
#include "core/checked.h"
#include "core/file.h"
#include "core/mutex.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// What a name leads to; lives on while a file is open.
struct Node {
  std::string bytes;
  uint32_t permissions = 0644;
  uint64_t inode = 0;
  int64_t num_writes = 0;
};

absl::Status ReadFrom(const std::string& bytes, const std::string& path,
                      int64_t offset, absl::Span<uint8_t> out) {
  const int64_t size = static_cast<int64_t>(bytes.size());
  const int64_t wanted = static_cast<int64_t>(out.size());
  if (!RangeFits(offset, wanted, size)) {
    return absl::DataLossError(absl::StrFormat(
        "%s: the file of %d bytes ends early: %d bytes at offset %d wanted",
        path, size, wanted, offset));
  }
  if (wanted > 0) std::memcpy(out.data(), bytes.data() + offset, wanted);
  return absl::OkStatus();
}

absl::Status NotFound(const std::string& path) {
  return absl::NotFoundError(absl::StrCat(path, ": no such file"));
}

class StringFile : public RandomAccessFile {
 public:
  StringFile(std::string bytes, std::string path)
      : bytes_(std::move(bytes)), path_(std::move(path)) {}

  absl::Status Read(int64_t offset, absl::Span<uint8_t> out) const override {
    return ReadFrom(bytes_, path_, offset, out);
  }
  int64_t size_bytes() const override {
    return static_cast<int64_t>(bytes_.size());
  }
  const std::string& path() const override { return path_; }

 private:
  const std::string bytes_;
  const std::string path_;
};

}  // namespace

// One lock for all: this is for tests.
struct MemoryFileSystem::State {
  class ReadFile;
  class WriteFile;

  explicit State(const Options& with) : options(with) {
    device = NewDeviceNumber();
  }

  void Record(const char* name, const std::string& path, int64_t offset = 0,
              int64_t size_bytes = 0) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    log.push_back({name, path, offset, size_bytes});
  }

  bool IsDirectory(const std::string& path)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const std::string prefix = absl::StrCat(path, "/");
    const auto below = nodes.lower_bound(prefix);
    return below != nodes.end() && absl::StartsWith(below->first, prefix);
  }

  // Gives `node` another size, if the capacity allows; new bytes are zero.
  absl::Status Resize(Node& node, const std::string& path, int64_t size_bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const int64_t more = size_bytes - static_cast<int64_t>(node.bytes.size());
    if (more > options.capacity_bytes - used_bytes) {
      return absl::ResourceExhaustedError(
          absl::StrFormat("%s: no space for %d bytes (%d bytes are free)", path,
                          size_bytes, options.capacity_bytes - used_bytes));
    }
    used_bytes += more;
    node.bytes.resize(size_bytes);
    return absl::OkStatus();
  }

  std::shared_ptr<Node> MakeNode() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    auto node = std::make_shared<Node>();
    node->inode = ++num_inodes;
    return node;
  }

  const Options options;
  uint64_t device = 0;
  mutable Mutex mutex;
  std::map<std::string, std::shared_ptr<Node>> nodes ABSL_GUARDED_BY(mutex);
  int64_t used_bytes ABSL_GUARDED_BY(mutex) = 0;  // below names
  uint64_t num_inodes ABSL_GUARDED_BY(mutex) = 0;
  std::vector<FileOperation> log ABSL_GUARDED_BY(mutex);
};

class MemoryFileSystem::State::ReadFile : public RandomAccessFile {
 public:
  ReadFile(std::shared_ptr<State> state, std::shared_ptr<Node> node,
           std::string path, int64_t size_bytes)
      : state_(std::move(state)),
        node_(std::move(node)),
        path_(std::move(path)),
        size_bytes_(size_bytes),
        version_{state_->device, node_->inode, node_->num_writes} {}

  absl::Status Read(int64_t offset, absl::Span<uint8_t> out) const override {
    const MutexLock lock(state_->mutex);
    state_->Record("read", path_, offset, out.size());
    return ReadFrom(node_->bytes, path_, offset, out);
  }
  int64_t size_bytes() const override { return size_bytes_; }
  FileVersion version() const override { return version_; }
  const std::string& path() const override { return path_; }

 private:
  const std::shared_ptr<State> state_;
  const std::shared_ptr<Node> node_;
  const std::string path_;
  const int64_t size_bytes_;
  const FileVersion version_;
};

class MemoryFileSystem::State::WriteFile : public WritableFile {
 public:
  WriteFile(std::shared_ptr<State> state, std::shared_ptr<Node> node,
            std::string path, bool direct)
      : state_(std::move(state)),
        node_(std::move(node)),
        path_(std::move(path)),
        direct_(direct) {}

  absl::Status Write(int64_t offset, absl::Span<const uint8_t> bytes) override;
  absl::Status Allocate(int64_t size_bytes) override {
    const MutexLock lock(state_->mutex);
    state_->Record("allocate", path_, 0, size_bytes);
    if (size_bytes - static_cast<int64_t>(node_->bytes.size()) <=
        state_->options.capacity_bytes - state_->used_bytes) {
      return absl::OkStatus();
    }
    return absl::ResourceExhaustedError(
        absl::StrFormat("%s: no space for %d bytes", path_, size_bytes));
  }
  absl::Status Truncate(int64_t size_bytes) override {
    const MutexLock lock(state_->mutex);
    state_->Record("truncate", path_, 0, size_bytes);
    ++node_->num_writes;
    return state_->Resize(*node_, path_, size_bytes);
  }
  absl::Status Sync() override { return Note("sync"); }
  absl::Status Close() override { return Note("close"); }
  bool direct() const override { return direct_; }
  bool sequential() const override { return false; }
  const std::string& path() const override { return path_; }

 private:
  absl::Status Note(const char* operation) {
    const MutexLock lock(state_->mutex);
    state_->Record(operation, path_);
    return absl::OkStatus();
  }

  const std::shared_ptr<State> state_;
  const std::shared_ptr<Node> node_;
  const std::string path_;
  const bool direct_;
};

absl::Status MemoryFileSystem::State::WriteFile::Write(
    int64_t offset, absl::Span<const uint8_t> bytes) {
  const int64_t size = static_cast<int64_t>(bytes.size());
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  if (direct_ &&
      (offset % kBufferAlignment != 0 || size % kBufferAlignment != 0 ||
       address % kBufferAlignment != 0)) {
    return absl::InternalError(absl::StrFormat(
        "%s: direct write of %d bytes at %d is not aligned to %d", path_, size,
        offset, kBufferAlignment));
  }
  const MutexLock lock(state_->mutex);
  state_->Record("write", path_, offset, size);
  if (offset + size > static_cast<int64_t>(node_->bytes.size())) {
    PENSTOCK_RETURN_IF_ERROR(state_->Resize(*node_, path_, offset + size));
  }
  if (size > 0) std::memcpy(node_->bytes.data() + offset, bytes.data(), size);
  ++node_->num_writes;
  return absl::OkStatus();
}

MemoryFileSystem::MemoryFileSystem() : MemoryFileSystem(Options()) {}
MemoryFileSystem::MemoryFileSystem(const Options& options)
    : state_(std::make_shared<State>(options)) {}
MemoryFileSystem::~MemoryFileSystem() = default;

absl::StatusOr<std::unique_ptr<RandomAccessFile>> MemoryFileSystem::OpenRead(
    const std::string& path) {
  const MutexLock lock(state_->mutex);
  state_->Record("open_read", path);
  const auto found = state_->nodes.find(path);
  if (found != state_->nodes.end()) {
    const auto size = static_cast<int64_t>(found->second->bytes.size());
    return std::make_unique<State::ReadFile>(state_, found->second, path, size);
  }
  if (!state_->IsDirectory(path)) return NotFound(path);
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": is a directory, not a regular file"));
}

absl::StatusOr<std::unique_ptr<WritableFile>> MemoryFileSystem::Create(
    const std::string& path, const CreateOptions& options) {
  const MutexLock lock(state_->mutex);
  state_->Record("create", path);
  if (state_->nodes.count(path) > 0 || state_->IsDirectory(path)) {
    return absl::AlreadyExistsError(absl::StrCat(path, ": exists already"));
  }
  auto node = state_->MakeNode();
  node->permissions = options.permissions & 0755;
  state_->nodes[path] = node;
  const bool direct =
      options.caching == Caching::kDirect && state_->options.accept_direct;
  return std::make_unique<State::WriteFile>(state_, std::move(node), path,
                                            direct);
}

absl::Status MemoryFileSystem::Rename(const std::string& from,
                                      const std::string& to) {
  const MutexLock lock(state_->mutex);
  state_->Record("rename", from);
  const auto found = state_->nodes.find(from);
  if (found == state_->nodes.end()) return NotFound(from);
  if (from == to) return absl::OkStatus();
  std::shared_ptr<Node>& target = state_->nodes[to];
  if (target) state_->used_bytes -= target->bytes.size();
  target = std::move(found->second);
  state_->nodes.erase(found);
  return absl::OkStatus();
}

absl::Status MemoryFileSystem::SyncDirectory(const std::string& path) {
  const MutexLock lock(state_->mutex);
  state_->Record("sync_directory", path);
  return absl::OkStatus();
}

absl::Status MemoryFileSystem::Unlink(const std::string& path) {
  const MutexLock lock(state_->mutex);
  state_->Record("unlink", path);
  const auto found = state_->nodes.find(path);
  if (found == state_->nodes.end()) return NotFound(path);
  state_->used_bytes -= found->second->bytes.size();
  state_->nodes.erase(found);
  return absl::OkStatus();
}

absl::Status MemoryFileSystem::SetPermissions(const std::string& path,
                                              uint32_t permissions) {
  const MutexLock lock(state_->mutex);
  state_->Record("set_permissions", path);
  const auto found = state_->nodes.find(path);
  if (found == state_->nodes.end()) return NotFound(path);
  found->second->permissions = permissions & 07777;
  return absl::OkStatus();
}

absl::StatusOr<FileInfo> MemoryFileSystem::Stat(const std::string& path) {
  const MutexLock lock(state_->mutex);
  state_->Record("stat", path);
  FileInfo info;
  info.device = state_->device;
  const auto found = state_->nodes.find(path);
  if (found != state_->nodes.end()) {
    info.type = FileInfo::Type::kRegular;
    info.size_bytes = static_cast<int64_t>(found->second->bytes.size());
    info.permissions = found->second->permissions;
    return info;
  }
  if (!state_->IsDirectory(path)) return NotFound(path);
  info.type = FileInfo::Type::kDirectory;
  info.permissions = 0755;
  return info;
}

absl::StatusOr<UnnamedFile> MemoryFileSystem::CreateUnnamed(
    const std::string& directory) {
  const std::string name = absl::StrCat("temporary in ", directory);
  const MutexLock lock(state_->mutex);
  state_->Record("create_unnamed", directory);
  auto node = state_->MakeNode();
  UnnamedFile file;
  file.writer = std::make_unique<State::WriteFile>(state_, node, name, false);
  file.reader =
      std::make_unique<State::ReadFile>(state_, std::move(node), name, 0);
  return file;
}

absl::StatusOr<int64_t> MemoryFileSystem::FreeSpace(
    const std::string& directory) {
  const MutexLock lock(state_->mutex);
  state_->Record("free_space", directory);
  return state_->options.capacity_bytes - state_->used_bytes;
}

void MemoryFileSystem::Put(const std::string& path, const std::string& bytes) {
  const MutexLock lock(state_->mutex);
  std::shared_ptr<Node>& node = state_->nodes[path];
  if (node) state_->used_bytes -= node->bytes.size();
  node = state_->MakeNode();
  node->bytes = bytes;
  state_->used_bytes += bytes.size();
}

absl::StatusOr<std::string> MemoryFileSystem::Get(
    const std::string& path) const {
  const MutexLock lock(state_->mutex);
  const auto found = state_->nodes.find(path);
  if (found == state_->nodes.end()) return NotFound(path);
  return found->second->bytes;
}

std::vector<std::string> MemoryFileSystem::Names() const {
  const MutexLock lock(state_->mutex);
  std::vector<std::string> names;
  for (const auto& named : state_->nodes) names.push_back(named.first);
  return names;
}

std::vector<FileOperation> MemoryFileSystem::Log() const {
  const MutexLock lock(state_->mutex);
  return state_->log;
}

uint64_t NewDeviceNumber() {
  static std::atomic<uint64_t> num_devices{0};
  return uint64_t{1} << 63 | num_devices++;  // Linux's dev_t leaves it clear
}

std::unique_ptr<RandomAccessFile> FileFromString(std::string bytes,
                                                 std::string path) {
  return std::make_unique<StringFile>(std::move(bytes), std::move(path));
}

}  // namespace penstock
