#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

TEST(SmokeTest, LinksAbseil) {
  absl::flat_hash_map<std::string, int> map;
  map["a"] = 1;
  absl::Mutex mutex;
  absl::MutexLock lock(&mutex);
  absl::StatusOr<int> value = absl::NotFoundError(absl::StrFormat("%d %s", map["a"], absl::FormatTime(absl::Now())));
  EXPECT_FALSE(value.ok());
  EXPECT_THAT(value.status().ToString(), testing::HasSubstr("NOT_FOUND"));
}

}  // namespace
}  // namespace penstock
