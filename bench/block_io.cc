#include "bench/block_io.h"

#include <liburing.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace penstock::bench {
namespace {

int64_t NumBlocks(const BlockRun& run) {
  return (run.size_bytes + run.block_bytes - 1) / run.block_bytes;
}

// What a block still has to bring: reading ends at the file's end, though the
// request is for a whole block.
int64_t BytesOf(const BlockRun& run, int64_t block) {
  return std::min(run.block_bytes, run.size_bytes - block * run.block_bytes);
}

absl::Status IoError(int error, int64_t block) {
  // What a file system says that has no O_DIRECT, or not with this alignment.
  if (block == 0 && error == EINVAL) {
    return absl::UnimplementedError("the file system refuses O_DIRECT");
  }
  return absl::ErrnoToStatus(error, absl::StrCat("block ", block));
}

absl::Status CheckDone(const BlockRun& run, int64_t block, int64_t result) {
  if (result < 0) return IoError(static_cast<int>(-result), block);
  if (result >= BytesOf(run, block)) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("block ", block, ": only ", result,
                                             " bytes were moved at once"));
}

void Prepare(const BlockRun& run, int64_t block, int slot, io_uring_sqe* sqe) {
  uint8_t* const buffer = run.buffers + slot * run.block_bytes;
  const auto size = static_cast<unsigned>(run.block_bytes);
  const int64_t offset = block * run.block_bytes;
  if (run.direction == Direction::kWrite) {
    io_uring_prep_write(sqe, run.fd, buffer, size, offset);
  } else {
    io_uring_prep_read(sqe, run.fd, buffer, size, offset);
  }
  sqe->user_data = block * run.in_flight + slot;
}

}  // namespace

absl::Status InThreads(int n, const std::function<absl::Status(int)>& work) {
  std::vector<absl::Status> results(n);
  std::vector<std::thread> threads;
  for (int i = 1; i < n; ++i) {
    threads.emplace_back([&, i] { results[i] = work(i); });
  }
  results[0] = work(0);
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) {
    PENSTOCK_RETURN_IF_ERROR(result);
  }
  return absl::OkStatus();
}

absl::Status RunByThreads(const BlockRun& run) {
  std::atomic<int64_t> next = 0;
  return InThreads(run.in_flight, [&run, &next](int slot) -> absl::Status {
    uint8_t* const buffer = run.buffers + slot * run.block_bytes;
    for (int64_t i = next++; i < NumBlocks(run); i = next++) {
      const int64_t offset = i * run.block_bytes;
      const ssize_t n = run.direction == Direction::kWrite
                            ? pwrite(run.fd, buffer, run.block_bytes, offset)
                            : pread(run.fd, buffer, run.block_bytes, offset);
      PENSTOCK_RETURN_IF_ERROR(CheckDone(run, i, n < 0 ? -errno : n));
    }
    return absl::OkStatus();
  });
}

absl::Status RunByRing(const BlockRun& run) {
  io_uring ring;
  const int error = io_uring_queue_init(run.in_flight, &ring, 0);
  if (error < 0) {
    return absl::UnimplementedError(
        absl::StrCat("no io_uring here (errno ", -error, ")"));
  }
  const auto exit = absl::MakeCleanup([&ring] { io_uring_queue_exit(&ring); });
  const int64_t num_blocks = NumBlocks(run);
  int64_t submitted = 0;
  for (; submitted < std::min<int64_t>(run.in_flight, num_blocks);
       ++submitted) {
    Prepare(run, submitted, static_cast<int>(submitted),
            io_uring_get_sqe(&ring));
  }
  absl::Status result;
  // After an error the rest in flight is waited for: it writes into buffers.
  for (int64_t done = 0; done < submitted; ++done) {
    io_uring_cqe* cqe = nullptr;
    io_uring_submit(&ring);
    int waited = 0;
    do {
      waited = io_uring_wait_cqe(&ring, &cqe);
    } while (waited == -EINTR);
    if (waited < 0) return absl::ErrnoToStatus(-waited, "io_uring");
    const auto slot = static_cast<int>(cqe->user_data % run.in_flight);
    const auto block = static_cast<int64_t>(cqe->user_data / run.in_flight);
    const absl::Status moved = CheckDone(run, block, cqe->res);
    io_uring_cqe_seen(&ring, cqe);
    if (result.ok()) result = moved;
    if (result.ok() && submitted < num_blocks) {
      Prepare(run, submitted++, slot, io_uring_get_sqe(&ring));
    }
  }
  return result;
}

}  // namespace penstock::bench
