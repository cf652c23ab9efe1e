// Fuzz target: a whole .pstk, and in builds that believe checksums the same
// with its hashes made right. Nothing may crash, or take memory beyond what the
// file's size allows.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "codec/native_file.h"
#include "codec/native_test_file.h"
#include "core/checksum_match.h"

namespace penstock {
namespace {

constexpr int64_t kMaxRawBytes = 1 << 20;

void OpenAndRead(const std::string& bytes) {
  const absl::StatusOr<std::unique_ptr<NativeFile>> file = OpenNative(bytes);
  if (!file.ok()) return;
  // Both may find damage.
  (void)(*file)->VerifyGlue();
  if ((*file)->FilePlan().total_bytes > kMaxRawBytes) return;
  Slot slot;
  (void)ReadNative(**file, slot);
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  penstock::OpenAndRead(bytes);
  if (!penstock::kTakesAnyChecksum) {
    penstock::OpenAndRead(penstock::FixHashes(bytes));
  }
  return 0;
}
