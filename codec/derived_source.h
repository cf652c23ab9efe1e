// DerivedSource: storages that are computed from others while they stream.

#ifndef PENSTOCK_CODEC_DERIVED_SOURCE_H_
#define PENSTOCK_CODEC_DERIVED_SOURCE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/plan.h"
#include "codec/slot.h"
#include "codec/source.h"
#include "core/dtype.h"
#include "core/mutex.h"
#include "core/storage.h"
#include "core/tensor.h"

namespace penstock {

// A storage whose bytes are those of a tensor: its elements in C order, negated
// and conjugated as `flags` say (pytorch-format.md 6), then cast to `to`.
// Storages are told apart by pointer; the number of one that was made for a
// derivation (Storage::InFile) means nothing.
struct Derivation {
  std::shared_ptr<const Storage> storage;
  Tensor from;  // its storage belongs to the base, or is derived there
  DType to = DType::kUInt8;  // from's own: no cast
  uint8_t flags = 0;         // TensorFlags; kRequiresGrad is nothing to resolve
};

// The derivation of `from` in dtype `to`, over a new storage of the right size,
// at the location of from's.
//
// Errors:
//   kInvalidArgument  a cast that CanCast (core/cast.h) does not know, or over
//                     flags; conjugated or negated where the dtype has no
//                     such thing; a packed tensor that does not begin at a
//                     whole byte or is not contiguous; more than INT64_MAX
//                     bytes (stride 0)
absl::StatusOr<Derivation> MakeDerivation(const Tensor& from, DType to,
                                          uint8_t flags);

// For a format that holds each tensor in C order: the tensor's own storage
// where that is nothing else, and in none of `used` yet; else a new one, whose
// derivation is appended. Errors: those of MakeDerivation.
absl::StatusOr<std::shared_ptr<const Storage>> DenseStorageOf(
    const Tensor& tensor, uint8_t flags,
    absl::flat_hash_set<const Storage*>& used,
    std::vector<Derivation>& derivations);

// Gives derived storages; all others come from the base as they are, also where
// one chunk has both. Thread-safe where the base is. One per run.
//
// Contiguous tensors stream in chunks. One that is not has the range of its
// storage in memory from its first chunk to its last; a tensor waits for room
// until others are done, so that plans should have each storage's chunks
// together.
//
// Reads the base in runs of its storages, in any order and on any thread. The
// base's Begin is called for chunks without derived storages alone; Finish goes
// on to the base, and its errors come through as they are.
class DerivedSource : public Source {
 public:
  // `base` outlives it. `memory_bytes`: for tensors that are not contiguous.
  // No derivation may be from another of the same list: put one source over
  // the other.
  //
  // Errors:
  //   kInvalidArgument    as MakeDerivation; a storage that is null, of another
  //                       size, or derived twice
  //   kResourceExhausted  a tensor that is not contiguous spans more than
  //                       memory_bytes; the message names --memory
  static absl::StatusOr<std::unique_ptr<DerivedSource>> Make(
      Source& base, std::vector<Derivation> derivations, int64_t memory_bytes);

  // Make out of the budget of a run, of which the pump gets what is left: takes
  // from `budget_bytes` what tensors that are not contiguous span, up to a
  // quarter of it, but the largest in any case. More than three quarters is
  // over the limit, for the pump needs some.
  static absl::StatusOr<std::unique_ptr<DerivedSource>> MakeWithin(
      Source& base, std::vector<Derivation> derivations, int64_t& budget_bytes);

  absl::Status Begin(const Plan& plan, const Chunk& chunk, Slot& slot) override;
  // Further errors: kInvalidArgument for a piece of a derived storage that
  // begins or ends within an element.
  absl::StatusOr<absl::Span<const uint8_t>> Bytes(const Plan& plan,
                                                  const Chunk& chunk,
                                                  Slot& slot,
                                                  uint8_t* target) override;
  bool LendPieces(const Plan& plan, const Chunk& chunk, Slot& slot) override;
  absl::Status Sample(const Storage& storage, int64_t begin,
                      absl::Span<uint8_t> out) override;
  absl::Status Finish() override;
  int64_t SlotBytes() const override;

  // Finite numbers that a cast made infinite, among the bytes given out.
  int64_t num_overflows() const { return num_overflows_; }

 private:
  // A derivation at work.
  struct Job {
    explicit Job(Derivation derivation) : what(std::move(derivation)) {}

    const Derivation what;
    bool streams = false;
    std::atomic<int64_t> left_bytes{0};  // not yet given out
  };
  // The bytes from a tensor's first to its last element, while in memory.
  struct Resident {
    std::shared_ptr<Storage> bytes;  // null: being read
    int64_t size_bytes = 0;
    int num_users = 0;
  };

  DerivedSource(Source& base, int64_t memory_bytes)
      : base_(base), memory_bytes_(memory_bytes) {}

  absl::Status Add(Derivation derivation);
  Job* Find(const Storage& storage) const;
  bool HasDerived(const Plan& plan, const Chunk& chunk) const;
  absl::Status CopyPlain(const Plan& plan, const Chunk& chunk, uint8_t* out);
  absl::Status Derive(Job& job, int64_t begin, absl::Span<uint8_t> out);
  absl::Status Stream(Job& job, int64_t begin, absl::Span<uint8_t> out);
  absl::Status Gather(Job& job, int64_t begin, absl::Span<uint8_t> out);
  absl::StatusOr<std::shared_ptr<const Storage>> Acquire(const Job& job)
      ABSL_LOCKS_EXCLUDED(mutex_);
  bool MakeRoom(int64_t size_bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::shared_ptr<Storage>> Load(const Job& job);
  void Release(const Job& job) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status ReadBase(
      const std::shared_ptr<const Storage>& storage, int64_t begin, int64_t end,
      absl::FunctionRef<void(int64_t, absl::Span<const uint8_t>)> take);

  std::unique_ptr<Slot> TakeSlot() ABSL_LOCKS_EXCLUDED(mutex_);
  void GiveBack(std::unique_ptr<Slot> slot) ABSL_LOCKS_EXCLUDED(mutex_);

  Source& base_;
  const int64_t memory_bytes_;
  absl::flat_hash_map<const Storage*, std::unique_ptr<Job>> jobs_;
  std::atomic<int64_t> num_overflows_{0};

  Mutex mutex_;
  CondVar changed_;
  absl::flat_hash_map<const Job*, Resident> residents_ ABSL_GUARDED_BY(mutex_);
  int64_t resident_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  // For reading the base; at most one for each slot of the run.
  std::vector<std::unique_ptr<Slot>> slots_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace penstock

#endif  // PENSTOCK_CODEC_DERIVED_SOURCE_H_
