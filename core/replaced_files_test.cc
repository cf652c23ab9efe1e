#include "core/replaced_files.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/mutex.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

// Takes until `gate` is open to be closed, and counts.
class SlowFile : public RandomAccessFile {
 public:
  SlowFile(Mutex& gate, std::atomic<int>& num_closed)
      : gate_(gate), num_closed_(num_closed) {}
  ~SlowFile() override {
    MutexLock lock(gate_);
    ++num_closed_;
  }
  absl::Status Read(int64_t, absl::Span<uint8_t>) const override {
    return absl::OkStatus();
  }
  int64_t size_bytes() const override { return 0; }
  const std::string& path() const override { return path_; }

 private:
  Mutex& gate_;
  std::atomic<int>& num_closed_;
  const std::string path_ = "slow";
};

TEST(ReplacedFilesTest, NobodyWaitsUntilAsked) {
  Mutex gate;
  std::atomic<int> num_closed{0};
  {
    MutexLock closed_gate(gate);
    for (int i = 0; i < 3; ++i) {
      CloseInBackground(std::make_unique<SlowFile>(gate, num_closed));
    }
    EXPECT_EQ(num_closed, 0);
  }
  WaitForReplacedFiles();
  EXPECT_EQ(num_closed, 3);
  WaitForReplacedFiles();
  CloseInBackground(std::make_unique<SlowFile>(gate, num_closed));
  WaitForReplacedFiles();
  EXPECT_EQ(num_closed, 4);
}

TEST(ReplacedFilesTest, ManyThreadsMayCloseAndWait) {
  Mutex gate;
  std::atomic<int> num_closed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 50; ++j) {
        CloseInBackground(std::make_unique<SlowFile>(gate, num_closed));
        if (j % 10 == 0) WaitForReplacedFiles();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  WaitForReplacedFiles();
  EXPECT_EQ(num_closed, 400);
}

}  // namespace
}  // namespace penstock
