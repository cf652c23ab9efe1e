#include "tests/throttled_file.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/types/span.h"
#include "core/memory_file_system.h"
#include "core/mutex.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

class ThrottledFileSystem::Device {
 public:
  Device(double bytes_per_second, std::chrono::microseconds latency)
      : bytes_per_second_(bytes_per_second), latency_(latency) {
    PENSTOCK_CHECK(bytes_per_second > 0);
  }

  uint64_t number() const { return number_; }

  // Queues a transfer: when it will be over.
  Clock::time_point Enqueue(size_t size_bytes) ABSL_LOCKS_EXCLUDED(mutex_) {
    const std::chrono::duration<double> takes(static_cast<double>(size_bytes) /
                                              bytes_per_second_);
    const MutexLock lock(mutex_);
    free_at_ = std::max(free_at_, Clock::now()) +
               std::chrono::duration_cast<Clock::duration>(takes);
    return free_at_ + latency_;
  }

 private:
  const double bytes_per_second_;
  const std::chrono::microseconds latency_;
  const uint64_t number_ = NewDeviceNumber();
  Mutex mutex_;
  Clock::time_point free_at_ ABSL_GUARDED_BY(mutex_);
};

class ThrottledFileSystem::WriteFile : public WritableFile {
 public:
  WriteFile(std::shared_ptr<Device> device, std::unique_ptr<WritableFile> file)
      : device_(std::move(device)), file_(std::move(file)) {}

  absl::Status Write(int64_t offset, absl::Span<const uint8_t> bytes) override {
    const Clock::time_point end = device_->Enqueue(bytes.size());
    PENSTOCK_RETURN_IF_ERROR(file_->Write(offset, bytes));
    std::this_thread::sleep_until(end);
    return absl::OkStatus();
  }
  absl::Status Allocate(int64_t size_bytes) override {
    return file_->Allocate(size_bytes);
  }
  absl::Status Truncate(int64_t size_bytes) override {
    return file_->Truncate(size_bytes);
  }
  absl::Status Sync() override {
    const Clock::time_point end = device_->Enqueue(0);
    PENSTOCK_RETURN_IF_ERROR(file_->Sync());
    std::this_thread::sleep_until(end);
    return absl::OkStatus();
  }
  absl::Status Close() override { return file_->Close(); }
  bool direct() const override { return file_->direct(); }
  bool sequential() const override { return file_->sequential(); }
  const std::string& path() const override { return file_->path(); }

 private:
  const std::shared_ptr<Device> device_;
  const std::unique_ptr<WritableFile> file_;
};

ThrottledFileSystem::ThrottledFileSystem(FileSystem& base,
                                         double bytes_per_second,
                                         std::chrono::microseconds latency)
    : base_(base),
      device_(std::make_shared<Device>(bytes_per_second, latency)) {}
ThrottledFileSystem::~ThrottledFileSystem() = default;

absl::StatusOr<std::unique_ptr<WritableFile>> ThrottledFileSystem::Create(
    const std::string& path, const CreateOptions& options) {
  auto file = base_.Create(path, options);
  if (!file.ok()) return file.status();
  return std::make_unique<WriteFile>(device_, *std::move(file));
}

absl::StatusOr<UnnamedFile> ThrottledFileSystem::CreateUnnamed(
    const std::string& directory) {
  auto file = base_.CreateUnnamed(directory);
  if (!file.ok()) return file.status();
  file->writer = std::make_unique<WriteFile>(device_, std::move(file->writer));
  return file;
}

absl::StatusOr<std::unique_ptr<RandomAccessFile>> ThrottledFileSystem::OpenRead(
    const std::string& path) {
  return base_.OpenRead(path);
}

absl::Status ThrottledFileSystem::Rename(const std::string& from,
                                         const std::string& to) {
  return base_.Rename(from, to);
}

absl::Status ThrottledFileSystem::SyncDirectory(const std::string& path) {
  return base_.SyncDirectory(path);
}

absl::Status ThrottledFileSystem::Unlink(const std::string& path) {
  return base_.Unlink(path);
}

void ThrottledFileSystem::CloseReplaced(
    std::unique_ptr<RandomAccessFile> file) {
  base_.CloseReplaced(std::move(file));
}

absl::Status ThrottledFileSystem::SetPermissions(const std::string& path,
                                                 uint32_t permissions) {
  return base_.SetPermissions(path, permissions);
}

absl::StatusOr<FileInfo> ThrottledFileSystem::Stat(const std::string& path) {
  absl::StatusOr<FileInfo> info = base_.Stat(path);
  if (info.ok()) info->device = device_->number();
  return info;
}

absl::StatusOr<int64_t> ThrottledFileSystem::FreeSpace(
    const std::string& directory) {
  return base_.FreeSpace(directory);
}

}  // namespace penstock
