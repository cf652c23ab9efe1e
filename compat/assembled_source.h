// AssembledSource: storages whose bytes lie in pieces in other storages.

#ifndef PENSTOCK_COMPAT_ASSEMBLED_SOURCE_H_
#define PENSTOCK_COMPAT_ASSEMBLED_SOURCE_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/slot.h"
#include "codec/source.h"
#include "compat/foreign_file.h"
#include "compat/tiling.h"
#include "core/aligned_buffer.h"
#include "core/mutex.h"
#include "core/storage.h"

namespace penstock {

// A storage that holds a tensor in C order, of which the parts lie in other
// storages, each in C order, too.
struct Assembly {
  struct Part {
    Box box;
    std::shared_ptr<const Storage> storage;
    int64_t offset_bytes = 0;  // of the first element
  };

  // By box.begin; they tile `shape` (CheckTiling), which has elements.
  std::vector<Part> parts;
  std::vector<int64_t> shape;  // joined (JoinDimensions)
  int64_t element_bytes = 1;

  // As far as parts[0 .. i] reach along dimension 0; see Prepare.
  std::vector<int64_t> reach;

  // Sorts the parts and sets `reach`.
  void Prepare();
};

// Where storages are assembled, by number; the first has the number `first`.
struct Assemblies {
  int64_t first = 0;
  std::vector<Assembly> list;
};

// Gives assembled storages, and those of the base as they are. What is asked
// for of a tensor is, in each part, one run of elements: so nothing is read
// twice, and no more is in memory than a chunk. Thread-safe where the base is.
// One per run.
//
// Errors: the base's; kInvalidArgument for a piece of an assembled storage that
// begins or ends within an element.
class AssembledSource : public ForeignSource {
 public:
  AssembledSource(std::unique_ptr<ForeignSource> base,
                  std::shared_ptr<const Assemblies> assemblies)
      : base_(std::move(base)), assemblies_(std::move(assemblies)) {}

  void Start(const Plan& plan, const RunLimits& limits) override {
    base_->Start(plan, limits);
  }
  absl::StatusOr<absl::Span<const uint8_t>> Bytes(const Plan& plan,
                                                  const Chunk& chunk,
                                                  Slot& slot,
                                                  uint8_t* target) override;
  absl::Status Sample(const Storage& storage, int64_t begin,
                      absl::Span<uint8_t> out) override;
  absl::Status Finish() override { return base_->Finish(); }
  int64_t SlotBytes() const override;

  absl::Status VerifyRest() override { return base_->VerifyRest(); }
  int64_t unverified_bytes() const override {
    return base_->unverified_bytes();
  }

 private:
  // Brings bytes of a storage of the base to `out`.
  using Reader =
      absl::FunctionRef<absl::Status(const std::shared_ptr<const Storage>&,
                                     int64_t begin, absl::Span<uint8_t> out)>;

  // Null for a storage of the base.
  const Assembly* Find(const Storage& storage) const;
  absl::Status ReadBase(const std::shared_ptr<const Storage>& storage,
                        int64_t begin, absl::Span<uint8_t> out, Slot& slot);
  absl::Status Assemble(const Assembly& assembly, int64_t begin,
                        absl::Span<uint8_t> out, AlignedBuffer& buffer,
                        Reader read) const;
  absl::Status AssemblePart(const Assembly& assembly,
                            const Assembly::Part& part, int64_t first,
                            absl::Span<uint8_t> out, AlignedBuffer& buffer,
                            Reader read) const;

  std::unique_ptr<Slot> TakeSlot() ABSL_LOCKS_EXCLUDED(mutex_);
  void GiveBack(std::unique_ptr<Slot> slot) ABSL_LOCKS_EXCLUDED(mutex_);

  const std::unique_ptr<ForeignSource> base_;
  const std::shared_ptr<const Assemblies> assemblies_;
  Mutex mutex_;
  // For reading the base; at most one for each slot of the run.
  std::vector<std::unique_ptr<Slot>> slots_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_ASSEMBLED_SOURCE_H_
