// A source that says whose bytes are damaged, and can go on after damage.

#ifndef PENSTOCK_CODEC_REPORTING_SOURCE_H_
#define PENSTOCK_CODEC_REPORTING_SOURCE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/source.h"
#include "core/mutex.h"

namespace penstock {

// Passes all calls on to another source and puts the tensors that a damaged
// chunk belongs to before the error. Thread-safe where the other is.
class ReportingSource : public Source {
 public:
  enum class OnDamage {
    kFail,     // the first kDataLoss ends the run, as without this class
    kCollect,  // kDataLoss becomes a finding, the chunk's bytes zeros
  };

  // `source` outlives this. `tensor_names[i]` names storage i of the plan.
  ReportingSource(Source& source, std::vector<std::string> tensor_names,
                  OnDamage on_damage);

  void Start(const Plan& plan, const RunLimits& limits) override;
  absl::Status Begin(const Plan& plan, const Chunk& chunk, Slot& slot) override;
  absl::StatusOr<absl::Span<const uint8_t>> Bytes(const Plan& plan,
                                                  const Chunk& chunk,
                                                  Slot& slot,
                                                  uint8_t* target) override;
  bool LendPieces(const Plan& plan, const Chunk& chunk, Slot& slot) override;
  absl::Status Sample(const Storage& storage, int64_t begin,
                      absl::Span<uint8_t> out) override;
  absl::Status Finish() override;
  int64_t SlotBytes() const override;

  // After the run: what was found, in order of chunks. At most kMaxFindings,
  // then one line that counts the rest.
  std::vector<std::string> Findings() const;

  static constexpr int64_t kMaxFindings = 100;

 private:
  std::vector<Piece> DamagedOf(const Plan& plan, const Chunk& chunk);
  std::string NamesOf(const std::vector<Piece>& pieces) const;
  void Collect(int64_t chunk_number, const absl::Status& damage);

  Source& source_;
  const std::vector<std::string> tensor_names_;
  const OnDamage on_damage_;
  mutable Mutex mutex_;
  std::vector<std::pair<int64_t, std::string>> findings_
      ABSL_GUARDED_BY(mutex_);
  int64_t num_findings_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace penstock

#endif  // PENSTOCK_CODEC_REPORTING_SOURCE_H_
