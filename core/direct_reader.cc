#include "core/direct_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "core/mutex.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

class UringReader : public DirectReader {
 public:
  // Null without io_uring.
  static std::unique_ptr<DirectReader> Make(int fd) {
    std::unique_ptr<UringReader> reader(new UringReader(fd));
    if (io_uring_queue_init(kDepth, &reader->ring_, 0) < 0) return nullptr;
    reader->is_open_ = true;
    // A filter may let the ring be made and then refuse to enter it.
    io_uring_prep_nop(io_uring_get_sqe(&reader->ring_));
    io_uring_cqe* cqe = nullptr;
    if (io_uring_submit_and_wait(&reader->ring_, 1) < 0 ||
        io_uring_peek_cqe(&reader->ring_, &cqe) != 0) {
      return nullptr;
    }
    io_uring_cqe_seen(&reader->ring_, cqe);
    return reader;
  }

  ~UringReader() override {
    while (under_way_ > 0) Wait();
    if (is_open_) io_uring_queue_exit(&ring_);
  }

  void Start(int64_t tag, int64_t offset, absl::Span<uint8_t> out) override {
    io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
    // There are as many entries as pieces may be under way.
    PENSTOCK_CHECK(sqe != nullptr);
    io_uring_prep_read(sqe, fd_, out.data(), static_cast<unsigned>(out.size()),
                       static_cast<uint64_t>(offset));
    io_uring_sqe_set_data64(sqe, static_cast<uint64_t>(tag));
    const int submitted = io_uring_submit(&ring_);
    // It takes an entry or it does not, and then the entry stays for the next
    // call: nothing can be taken back, so nobody may count on it.
    PENSTOCK_CHECK(submitted == 1 || submitted == -EINTR ||
                   submitted == -EAGAIN || submitted == -EBUSY);
    ++under_way_;
  }

  Done Wait() override {
    io_uring_cqe* cqe = nullptr;
    int error;
    do {
      // Also submits what the system had no room for before.
      error = io_uring_submit_and_wait(&ring_, 1);
      if (error >= 0) error = io_uring_peek_cqe(&ring_, &cqe);
    } while (error == -EINTR || error == -EAGAIN || error == -EBUSY);
    PENSTOCK_CHECK(error == 0);
    const Done done = {static_cast<int64_t>(io_uring_cqe_get_data64(cqe)),
                       cqe->res < 0 ? -1 : cqe->res};
    io_uring_cqe_seen(&ring_, cqe);
    --under_way_;
    return done;
  }

 private:
  explicit UringReader(int fd) : fd_(fd) {}

  const int fd_;
  io_uring ring_;
  bool is_open_ = false;
  int under_way_ = 0;
};

class ThreadReader : public DirectReader {
 public:
  explicit ThreadReader(ReadPiece read) : read_(std::move(read)) {
    for (int i = 0; i < kDepth; ++i) {
      threads_.emplace_back([this] { Work(); });
    }
  }

  ~ThreadReader() override {
    {
      MutexLock lock(mutex_);
      stopped_ = true;
      changed_.NotifyAll();
    }
    for (std::thread& thread : threads_) thread.join();
  }

  void Start(int64_t tag, int64_t offset, absl::Span<uint8_t> out) override {
    MutexLock lock(mutex_);
    waiting_.push_back({tag, offset, out});
    changed_.NotifyAll();
  }

  Done Wait() override {
    MutexLock lock(mutex_);
    while (done_.empty()) changed_.Wait(mutex_);
    const Done done = done_.front();
    done_.pop_front();
    return done;
  }

 private:
  struct Piece {
    int64_t tag;
    int64_t offset;
    absl::Span<uint8_t> out;
  };

  void Work() {
    while (true) {
      Piece piece;
      {
        MutexLock lock(mutex_);
        while (waiting_.empty() && !stopped_) changed_.Wait(mutex_);
        if (waiting_.empty()) return;
        piece = waiting_.front();
        waiting_.pop_front();
      }
      const int64_t size_bytes = read_(piece.offset, piece.out);
      MutexLock lock(mutex_);
      done_.push_back({piece.tag, size_bytes});
      changed_.NotifyAll();
    }
  }

  const ReadPiece read_;
  std::vector<std::thread> threads_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<Piece> waiting_ ABSL_GUARDED_BY(mutex_);
  std::deque<Done> done_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

// Keeps the descriptor open for the reader that it is read by.
class OwnedReader : public DirectReader {
 public:
  explicit OwnedReader(int fd) : fd_(fd) {
    reader_ = MakeUringReader(fd);
    if (reader_ != nullptr) return;
    reader_ = MakeThreadReader([fd](int64_t offset, absl::Span<uint8_t> out) {
      ssize_t n;
      do {
        n = pread(fd, out.data(), out.size(), offset);
      } while (n < 0 && errno == EINTR);
      return static_cast<int64_t>(n);
    });
  }
  ~OwnedReader() override {
    reader_.reset();
    close(fd_);
  }

  void Start(int64_t tag, int64_t offset, absl::Span<uint8_t> out) override {
    reader_->Start(tag, offset, out);
  }
  Done Wait() override { return reader_->Wait(); }

 private:
  const int fd_;
  std::unique_ptr<DirectReader> reader_;
};

// Whether mincore says so: it knows no ranges, and without the right to write
// the file it says yes.
bool AreResident(int fd, int64_t begin, int64_t size_bytes, int64_t page) {
  void* const pages =
      mmap(nullptr, size_bytes, PROT_READ, MAP_SHARED, fd, begin);
  if (pages == MAP_FAILED) return true;
  std::vector<unsigned char> resident((size_bytes + page - 1) / page);
  const bool known = mincore(pages, size_bytes, resident.data()) == 0;
  munmap(pages, size_bytes);
  return !known || std::all_of(resident.begin(), resident.end(),
                               [](unsigned char in) { return (in & 1) != 0; });
}

}  // namespace

std::unique_ptr<DirectReader> MakeUringReader(int fd) {
  return UringReader::Make(fd);
}

std::unique_ptr<DirectReader> MakeThreadReader(ReadPiece read) {
  return std::make_unique<ThreadReader>(std::move(read));
}

std::unique_ptr<DirectReader> MakeDirectReader(int fd) {
  // A new open file: O_DIRECT set on `fd` would hold for its other reads too.
  const int direct = open(absl::StrCat("/proc/self/fd/", fd).c_str(),
                          O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (direct < 0) return nullptr;
  return std::make_unique<OwnedReader>(direct);
}

bool IsInPageCache(int fd, int64_t offset, int64_t size_bytes) {
  const int64_t page = sysconf(_SC_PAGESIZE);
  const int64_t begin = offset / page * page;
  const int64_t mapped_bytes = offset + size_bytes - begin;
  // Linux 6.5; not yet in the headers of Debian 12.
  constexpr int64_t kCacheStat = 451;
  struct {
    uint64_t offset, size_bytes;
  } range = {static_cast<uint64_t>(begin), static_cast<uint64_t>(mapped_bytes)};
  struct {
    uint64_t cached, dirty, writeback, evicted, recently_evicted;
  } counts = {};
  if (syscall(kCacheStat, fd, &range, &counts, 0) == 0) {
    return static_cast<int64_t>(counts.cached) >=
           (mapped_bytes + page - 1) / page;
  }
  return AreResident(fd, begin, mapped_bytes, page);
}

}  // namespace penstock
