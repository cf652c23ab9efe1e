#include "tests/fault_file.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/file.h"
#include "core/mutex.h"

namespace penstock {

class FaultFileSystem::State {
 public:
  void Inject(const Fault& fault) {
    const MutexLock lock(mutex_);
    fault_ = fault;
    num_operations_ = 0;
    num_matching_ = 0;
    num_faults_ = 0;
  }

  // Counts an operation. The fault, where it is this one's turn to fail.
  std::optional<Fault> Next(const char* operation) {
    const MutexLock lock(mutex_);
    ++num_operations_;
    if (!fault_.only.empty() && fault_.only != operation) return std::nullopt;
    ++num_matching_;
    const bool fails = fault_.repeat == Fault::Repeat::kOnce
                           ? num_matching_ == fault_.at_operation
                           : num_matching_ >= fault_.at_operation;
    if (fault_.at_operation == 0 || !fails) return std::nullopt;
    ++num_faults_;
    return fault_;
  }

  // Runs `call`, a Status or StatusOr, unless it is its turn to fail.
  template <typename Call>
  auto Run(const char* operation, Call call) -> decltype(call()) {
    const std::optional<Fault> fault = Next(operation);
    if (!fault) return call();
    // The result is lost on the way back.
    if (fault->effect == Fault::Effect::kAll) (void)call();
    return fault->status;
  }

  // The same for `bytes` of a read or a write, which half may reach.
  template <typename Bytes, typename Call>
  absl::Status RunOn(const char* operation, Bytes bytes, Call call) {
    const std::optional<Fault> fault = Next(operation);
    if (!fault) return call(bytes);
    if (fault->effect == Fault::Effect::kAll) (void)call(bytes);
    if (fault->effect == Fault::Effect::kHalf) {
      (void)call(bytes.subspan(0, bytes.size() / 2));
    }
    return fault->status;
  }

  void NoteCallAfterFailedSync() {
    const MutexLock lock(mutex_);
    ++num_calls_after_failed_sync_;
  }

  int64_t num_operations() const {
    const MutexLock lock(mutex_);
    return num_operations_;
  }
  int64_t num_faults() const {
    const MutexLock lock(mutex_);
    return num_faults_;
  }
  int64_t num_calls_after_failed_sync() const {
    const MutexLock lock(mutex_);
    return num_calls_after_failed_sync_;
  }

 private:
  mutable Mutex mutex_;
  Fault fault_ ABSL_GUARDED_BY(mutex_);
  int64_t num_operations_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t num_matching_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t num_faults_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t num_calls_after_failed_sync_ ABSL_GUARDED_BY(mutex_) = 0;
};

class FaultFileSystem::ReadFile : public RandomAccessFile {
 public:
  ReadFile(std::shared_ptr<State> state, std::unique_ptr<RandomAccessFile> file)
      : state_(std::move(state)), file_(std::move(file)) {}

  absl::Status Read(int64_t offset, absl::Span<uint8_t> out) const override {
    return state_->RunOn("read", out, [&](absl::Span<uint8_t> part) {
      return file_->Read(offset, part);
    });
  }
  absl::StatusOr<std::shared_ptr<const uint8_t>> Map(
      int64_t offset, int64_t size_bytes) const override {
    return state_->Run("map", [&] { return file_->Map(offset, size_bytes); });
  }
  int64_t size_bytes() const override { return file_->size_bytes(); }
  FileVersion version() const override { return file_->version(); }
  const std::string& path() const override { return file_->path(); }

 private:
  const std::shared_ptr<State> state_;
  const std::unique_ptr<RandomAccessFile> file_;
};

class FaultFileSystem::WriteFile : public WritableFile {
 public:
  WriteFile(std::shared_ptr<State> state, std::unique_ptr<WritableFile> file)
      : state_(std::move(state)), file_(std::move(file)) {}

  absl::Status Write(int64_t offset, absl::Span<const uint8_t> bytes) override {
    CheckAlive();
    // Half of a direct write would not be aligned: the base would refuse it.
    return state_->RunOn("write", bytes, [&](absl::Span<const uint8_t> part) {
      return file_->Write(offset, part);
    });
  }
  absl::Status Allocate(int64_t size_bytes) override {
    CheckAlive();
    return state_->Run("allocate", [&] { return file_->Allocate(size_bytes); });
  }
  absl::Status Truncate(int64_t size_bytes) override {
    CheckAlive();
    return state_->Run("truncate", [&] { return file_->Truncate(size_bytes); });
  }
  absl::Status Sync() override {
    CheckAlive();
    const absl::Status status =
        state_->Run("sync", [&] { return file_->Sync(); });
    if (!status.ok()) sync_failed_ = true;
    return status;
  }
  absl::Status Close() override {
    return state_->Run("close", [&] { return file_->Close(); });
  }
  bool direct() const override { return file_->direct(); }
  bool sequential() const override { return file_->sequential(); }
  const std::string& path() const override { return file_->path(); }

 private:
  void CheckAlive() {
    if (sync_failed_) state_->NoteCallAfterFailedSync();
  }

  const std::shared_ptr<State> state_;
  const std::unique_ptr<WritableFile> file_;
  bool sync_failed_ = false;
};

FaultFileSystem::FaultFileSystem(FileSystem& base, Direct direct)
    : base_(base), direct_(direct), state_(std::make_shared<State>()) {}
FaultFileSystem::~FaultFileSystem() = default;

void FaultFileSystem::Inject(const Fault& fault) { state_->Inject(fault); }

int64_t FaultFileSystem::num_operations() const {
  return state_->num_operations();
}
int64_t FaultFileSystem::num_faults() const { return state_->num_faults(); }
int64_t FaultFileSystem::num_calls_after_failed_sync() const {
  return state_->num_calls_after_failed_sync();
}

absl::StatusOr<std::unique_ptr<RandomAccessFile>> FaultFileSystem::OpenRead(
    const std::string& path) {
  auto file = state_->Run("open_read", [&] { return base_.OpenRead(path); });
  if (!file.ok()) return file.status();
  return std::make_unique<ReadFile>(state_, *std::move(file));
}

absl::StatusOr<std::unique_ptr<WritableFile>> FaultFileSystem::Create(
    const std::string& path, const CreateOptions& options) {
  CreateOptions allowed = options;
  if (direct_ == Direct::kRefused) allowed.caching = Caching::kBuffered;
  auto file =
      state_->Run("create", [&] { return base_.Create(path, allowed); });
  if (!file.ok()) return file.status();
  return std::make_unique<WriteFile>(state_, *std::move(file));
}

absl::Status FaultFileSystem::Rename(const std::string& from,
                                     const std::string& to) {
  return state_->Run("rename", [&] { return base_.Rename(from, to); });
}

absl::Status FaultFileSystem::SyncDirectory(const std::string& path) {
  return state_->Run("sync_directory",
                     [&] { return base_.SyncDirectory(path); });
}

absl::Status FaultFileSystem::Unlink(const std::string& path) {
  return state_->Run("unlink", [&] { return base_.Unlink(path); });
}

absl::Status FaultFileSystem::SetPermissions(const std::string& path,
                                             uint32_t permissions) {
  return state_->Run("set_permissions",
                     [&] { return base_.SetPermissions(path, permissions); });
}

absl::StatusOr<FileInfo> FaultFileSystem::Stat(const std::string& path) {
  return state_->Run("stat", [&] { return base_.Stat(path); });
}

absl::StatusOr<UnnamedFile> FaultFileSystem::CreateUnnamed(
    const std::string& directory) {
  auto file = state_->Run("create_unnamed",
                          [&] { return base_.CreateUnnamed(directory); });
  if (!file.ok()) return file.status();
  UnnamedFile result;
  result.writer = std::make_unique<WriteFile>(state_, std::move(file->writer));
  result.reader = std::make_unique<ReadFile>(state_, std::move(file->reader));
  return result;
}

absl::StatusOr<int64_t> FaultFileSystem::FreeSpace(
    const std::string& directory) {
  return state_->Run("free_space", [&] { return base_.FreeSpace(directory); });
}

}  // namespace penstock
