#include "codec/reporting_source.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kNotPlanned = -1;  // in the place of a chunk's number

}  // namespace

ReportingSource::ReportingSource(Source& source,
                                 std::vector<std::string> tensor_names,
                                 OnDamage on_damage)
    : source_(source),
      tensor_names_(std::move(tensor_names)),
      on_damage_(on_damage) {}

void ReportingSource::Start(const Plan& plan, const RunLimits& limits) {
  source_.Start(plan, limits);
}

absl::Status ReportingSource::Begin(const Plan& plan, const Chunk& chunk,
                                    Slot& slot) {
  return source_.Begin(plan, chunk, slot);
}

absl::StatusOr<absl::Span<const uint8_t>> ReportingSource::Bytes(
    const Plan& plan, const Chunk& chunk, Slot& slot, uint8_t* target) {
  absl::StatusOr<absl::Span<const uint8_t>> bytes =
      source_.Bytes(plan, chunk, slot, target);
  if (bytes.ok() || bytes.status().code() != absl::StatusCode::kDataLoss) {
    return bytes;
  }
  const absl::Status damage =
      Annotate(bytes.status(), NamesOf(DamagedOf(plan, chunk)));
  if (on_damage_ == OnDamage::kFail) return damage;
  Collect(chunk.number, damage);
  slot.raw.Reserve(chunk.size_bytes);
  std::memset(slot.raw.data(), 0, chunk.size_bytes);
  return absl::MakeConstSpan(slot.raw.data(), chunk.size_bytes);
}

bool ReportingSource::LendPieces(const Plan& plan, const Chunk& chunk,
                                 Slot& slot) {
  return source_.LendPieces(plan, chunk, slot);
}

absl::Status ReportingSource::Sample(const Storage& storage, int64_t begin,
                                     absl::Span<uint8_t> out) {
  return source_.Sample(storage, begin, out);
}

absl::Status ReportingSource::Finish() {
  const absl::Status status = source_.Finish();
  if (on_damage_ == OnDamage::kFail ||
      status.code() != absl::StatusCode::kDataLoss) {
    return status;
  }
  Collect(std::numeric_limits<int64_t>::max(), status);
  return absl::OkStatus();
}

int64_t ReportingSource::SlotBytes() const { return source_.SlotBytes(); }

std::vector<std::string> ReportingSource::Findings() const {
  MutexLock lock(mutex_);
  std::vector<std::pair<int64_t, std::string>> sorted = findings_;
  std::stable_sort(
      sorted.begin(), sorted.end(),
      [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> result;
  for (auto& [chunk, finding] : sorted) result.push_back(std::move(finding));
  if (num_findings_ > kMaxFindings) {
    result.push_back(
        absl::StrCat("and ", num_findings_ - kMaxFindings, " more"));
  }
  return result;
}

// The pieces of a damaged chunk that are damaged by themselves; all of them
// where that does not tell them apart.
std::vector<Piece> ReportingSource::DamagedOf(const Plan& plan,
                                              const Chunk& chunk) {
  constexpr size_t kMostTried = 64;
  const absl::Span<const Piece> all = plan.pieces_of(chunk);
  std::vector<Piece> damaged;
  for (const Piece& piece : all) {
    if (all.size() == 1 || all.size() > kMostTried) break;
    Plan alone;
    alone.storages = {plan.storages[piece.storage]};
    alone.Append({{Piece{0, piece.begin, piece.size, 0}}});
    alone.chunks[0].number = kNotPlanned;
    Slot slot;
    const auto bytes = source_.Bytes(alone, alone.chunks[0], slot, nullptr);
    if (absl::IsDataLoss(bytes.status())) damaged.push_back(piece);
  }
  if (damaged.empty()) damaged.assign(all.begin(), all.end());
  return damaged;
}

std::string ReportingSource::NamesOf(const std::vector<Piece>& pieces) const {
  constexpr size_t kShown = 4;
  std::string names = "tensor ";
  for (size_t i = 0; i < pieces.size() && i < kShown; ++i) {
    absl::StrAppend(&names, i == 0 ? "" : ", ", "\"",
                    tensor_names_[pieces[i].storage], "\"");
  }
  if (pieces.size() > kShown) {
    absl::StrAppend(&names, " and ", pieces.size() - kShown, " more");
  }
  return names;
}

void ReportingSource::Collect(int64_t chunk_number,
                              const absl::Status& damage) {
  MutexLock lock(mutex_);
  if (++num_findings_ > kMaxFindings) return;
  findings_.emplace_back(chunk_number, std::string(damage.message()));
}

}  // namespace penstock
