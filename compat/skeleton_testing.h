// For tests of readers: skeleton + extents == file (conversion.md 1).

#ifndef PENSTOCK_COMPAT_SKELETON_TESTING_H_
#define PENSTOCK_COMPAT_SKELETON_TESTING_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "compat/foreign_file.h"
#include "core/storage.h"
#include "gtest/gtest.h"

namespace penstock {

// Extents ascend, overlap nowhere, lie in the file, name each storage at most
// once, and the file's bytes there are those that the source gives.
inline void ExpectExtentsHold(const ForeignFile& foreign) {
  ASSERT_NE(foreign.file, nullptr);
  const auto storages = foreign.root.graph()->storages();
  std::vector<bool> seen(storages.size());
  const std::unique_ptr<ForeignSource> source = foreign.new_source();
  int64_t end = 0;
  for (const FileExtent& extent : foreign.extents) {
    ASSERT_GE(extent.file_offset, end);
    ASSERT_GE(extent.storage, 0);
    ASSERT_LT(extent.storage, static_cast<int64_t>(storages.size()));
    EXPECT_FALSE(seen[extent.storage]);
    seen[extent.storage] = true;
    const Storage& storage = *storages[extent.storage];
    ASSERT_GT(storage.size_bytes(), 0);
    end = extent.file_offset + storage.size_bytes();
    ASSERT_LE(end, foreign.file->size_bytes());
    std::vector<uint8_t> in_file(storage.size_bytes());
    std::vector<uint8_t> given(storage.size_bytes());
    ASSERT_TRUE(
        foreign.file->Read(extent.file_offset, absl::MakeSpan(in_file)).ok());
    ASSERT_TRUE(source->Sample(storage, 0, absl::MakeSpan(given)).ok());
    EXPECT_TRUE(in_file == given);
  }
}

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_SKELETON_TESTING_H_
