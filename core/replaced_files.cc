#include "core/replaced_files.h"

#include <deque>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "core/mutex.h"

namespace penstock {
namespace {

// What waits for being closed. The thread ends when nothing does.
class Closing {
 public:
  void Add(std::unique_ptr<RandomAccessFile> file) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    files_.push_back(std::move(file));
    if (running_) return;
    try {
      std::thread([this] { CloseAll(); }).detach();
      running_ = true;
    } catch (const std::system_error&) {
      files_.clear();
    }
  }

  void Wait() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    while (running_) changed_.Wait(mutex_);
  }

 private:
  void CloseAll() ABSL_LOCKS_EXCLUDED(mutex_) {
    mutex_.lock();
    while (!files_.empty()) {
      std::unique_ptr<RandomAccessFile> file = std::move(files_.front());
      files_.pop_front();
      mutex_.unlock();
      file.reset();
      mutex_.lock();
    }
    running_ = false;
    changed_.NotifyAll();
    mutex_.unlock();
  }

  Mutex mutex_;
  CondVar changed_;
  std::deque<std::unique_ptr<RandomAccessFile>> files_ ABSL_GUARDED_BY(mutex_);
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
};

Closing& AllClosing() {
  static Closing* const closing = new Closing;  // outlives its thread
  return *closing;
}

}  // namespace

void CloseInBackground(std::unique_ptr<RandomAccessFile> file) {
  AllClosing().Add(std::move(file));
}

void WaitForReplacedFiles() { AllClosing().Wait(); }

}  // namespace penstock
