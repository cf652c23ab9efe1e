#include "api/tensor_compare.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "api/element_compare.h"
#include "codec/derived_source.h"
#include "codec/native_tables.h"
#include "codec/pipeline.h"
#include "codec/plan.h"
#include "codec/reporting_source.h"
#include "codec/sink.h"
#include "codec/slot.h"
#include "core/dtype.h"
#include "core/graph_tables.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr uint8_t kToResolve = TensorFlags::kConjugated | TensorFlags::kNegated;

// Where the elements of a tensor lie in one run, in the order in which both
// sides have them.
struct Dense {
  std::shared_ptr<const Storage> storage;
  int64_t begin = 0;
  bool is_derived = false;
};

// The bytes behind a file that is read for one side.
class Side {
 public:
  explicit Side(const Checkpoint::Opened& opened)
      : opened_(opened), run_(opened.NewRun()) {}

  absl::StatusOr<Dense> Add(const Tensor& tensor, uint8_t flags,
                            bool as_it_lies) {
    if (as_it_lies || (tensor.is_contiguous() && (flags & kToResolve) == 0)) {
      return Dense{tensor.storage(), tensor.byte_range().begin, false};
    }
    PENSTOCK_ASSIGN_OR_RETURN(
        Derivation derivation,
        MakeDerivation(tensor, tensor.dtype(), flags & kToResolve));
    Dense dense{derivation.storage, 0, true};
    derivations_.push_back(std::move(derivation));
    return dense;
  }

  // Once all are added; `names` of the plan's storages.
  absl::Status Start(std::vector<std::string> names, int64_t memory_bytes) {
    Source* source = run_.source.get();
    if (!derivations_.empty()) {
      PENSTOCK_ASSIGN_OR_RETURN(
          derived_,
          DerivedSource::Make(*source, std::move(derivations_), memory_bytes));
      source = derived_.get();
    }
    source_ = std::make_unique<ReportingSource>(
        *source, std::move(names), ReportingSource::OnDamage::kFail);
    return absl::OkStatus();
  }

  bool has_derived() const { return !derivations_.empty(); }
  Source& source() { return *source_; }
  const Checkpoint::Opened& opened() const { return opened_; }

  // Names the file, once.
  absl::Status Named(const absl::Status& status) const {
    if (status.ok() || absl::StrContains(status.message(), opened_.path)) {
      return status;
    }
    return Annotate(status, opened_.path);
  }

  // In the order of these the file is read forwards.
  std::pair<int64_t, int64_t> PlaceOf(const Storage& storage) const {
    const int64_t number = storage.file_number();
    if (opened_.native == nullptr || number < 0) return {number, 0};
    const FileStorage& place = opened_.native->index().storages[number];
    return {place.first_chunk, place.offset_in_chunk};
  }

 private:
  const Checkpoint::Opened& opened_;
  const Checkpoint::Opened::Run run_;
  std::vector<Derivation> derivations_;
  std::unique_ptr<DerivedSource> derived_;
  std::unique_ptr<ReportingSource> source_;
};

// One pair, laid out on both sides.
struct Work {
  const TensorPair* pair = nullptr;
  size_t number = 0;  // of the pair
  int64_t times = 1;  // that the whole pair shows each element of this one
  Dense a;
  Dense b;
};

// The same cut through both sides: chunk i and its piece k of one are the
// elements of chunk i and piece k of the other. Storage j of both is work j.
class TwinPlans {
 public:
  Plan a;
  Plan b;

  void Add(const Work& work) {
    const auto number = static_cast<int64_t>(a.storages.size());
    a.storages.push_back(work.a.storage);
    b.storages.push_back(work.b.storage);
    const DTypeInfo& info_a = InfoOf(work.pair->a.dtype());
    const DTypeInfo& info_b = InfoOf(work.pair->b.dtype());
    // Elements, or groups of packed ones.
    const int64_t units =
        (work.pair->a.num_elements() + info_a.values_per_byte - 1) /
        info_a.values_per_byte;
    const int64_t step =
        kChunkBytes / std::max(info_a.size_bytes, info_b.size_bytes);
    const bool shares = !work.a.is_derived && !work.b.is_derived &&
                        units <= step / (kChunkBytes / kSmallStorageBytes);
    if (!shares) Flush();
    int64_t done = 0;
    while (done < units) {
      // Up to a multiple of the step within a's storage, where its chunks end.
      const int64_t place = work.a.begin / info_a.size_bytes + done;
      const int64_t count = std::min(units - done, step - place % step);
      AddPiece({number, work.a.begin + done * info_a.size_bytes,
                count * info_a.size_bytes, 0},
               {number, work.b.begin + done * info_b.size_bytes,
                count * info_b.size_bytes, 0});
      if (!shares) Flush();
      done += count;
    }
  }

  void Flush() {
    if (pieces_a_.empty()) return;
    a.Append(pieces_a_);
    b.Append(pieces_b_);
    pieces_a_.clear();
    pieces_b_.clear();
    bytes_a_ = bytes_b_ = 0;
  }

 private:
  static int64_t Aligned(int64_t size) {
    return (size + kPieceAlignment - 1) / kPieceAlignment * kPieceAlignment;
  }

  void AddPiece(const Piece& piece_a, const Piece& piece_b) {
    if (bytes_a_ + piece_a.size > kChunkBytes ||
        bytes_b_ + piece_b.size > kChunkBytes) {
      Flush();
    }
    pieces_a_.push_back(piece_a);
    pieces_b_.push_back(piece_b);
    bytes_a_ += Aligned(piece_a.size);
    bytes_b_ += Aligned(piece_b.size);
  }

  std::vector<Piece> pieces_a_;
  std::vector<Piece> pieces_b_;
  int64_t bytes_a_ = 0;
  int64_t bytes_b_ = 0;
};

// Takes a's chunks, fetches b's, compares. Place sums up in order, so that
// the sums do not depend on the threads.
class CompareSink : public Sink {
 public:
  CompareSink(absl::Span<const Work> works, const Plan& plan_b, Side& side_b,
              const std::optional<Tolerance>& tolerance)
      : works_(works),
        plan_b_(plan_b),
        side_b_(side_b),
        tolerance_(tolerance),
        desks_(2 * kMaxThreads + 2),
        sums_(works.size()) {}

  absl::Status Encode(const Plan& plan, const Chunk& chunk,
                      absl::Span<const uint8_t> bytes, Slot& slot) override {
    Desk& desk = DeskOf(slot);
    const Chunk& twin = plan_b_.chunks[chunk.number];
    const absl::StatusOr<absl::Span<const uint8_t>> bytes_b =
        side_b_.source().Bytes(plan_b_, twin, desk.slot, nullptr);
    if (!bytes_b.ok()) return side_b_.Named(bytes_b.status());
    const absl::Span<const Piece> pieces_a = plan.pieces_of(chunk);
    const absl::Span<const Piece> pieces_b = plan_b_.pieces_of(twin);
    desk.sums.assign(pieces_a.size(), {});
    for (size_t i = 0; i < pieces_a.size(); ++i) {
      const TensorPair& pair = *works_[pieces_a[i].storage].pair;
      CompareElements(
          {pair.a.dtype(), bytes.subspan(pieces_a[i].offset, pieces_a[i].size)},
          {pair.b.dtype(),
           bytes_b->subspan(pieces_b[i].offset, pieces_b[i].size)},
          tolerance_, desk.sums[i]);
    }
    return absl::OkStatus();
  }

  absl::Status Place(const Plan& plan, const Chunk& chunk,
                     Slot& slot) override {
    const absl::Span<const Piece> pieces = plan.pieces_of(chunk);
    const Desk& desk = DeskOf(slot);
    for (size_t i = 0; i < pieces.size(); ++i) {
      sums_[pieces[i].storage].Add(desk.sums[i]);
    }
    return absl::OkStatus();
  }

  absl::Status Finish(const Plan&) override {
    return side_b_.Named(side_b_.source().Finish());
  }

  int64_t SlotBytes() const override {
    return side_b_.source().SlotBytes() + kDecoderBytes;
  }

  const std::vector<ElementSums>& sums() const { return sums_; }

 private:
  // What zstd takes to decode a second chunk.
  static constexpr int64_t kDecoderBytes = 256 << 10;

  // What belongs to one slot of the pump.
  struct Desk {
    Slot slot;  // for b
    std::vector<ElementSums> sums;
  };

  Desk& DeskOf(const Slot& slot) {
    std::unique_ptr<Desk>& desk = desks_[slot.index];
    if (desk == nullptr) desk = std::make_unique<Desk>();
    return *desk;
  }

  const absl::Span<const Work> works_;
  const Plan& plan_b_;
  Side& side_b_;
  const std::optional<Tolerance>& tolerance_;
  std::vector<std::unique_ptr<Desk>> desks_;  // by slot
  std::vector<ElementSums> sums_;             // by work
};

// Elements in storage order: each once, on both sides in the same order.
bool LieAlike(const TensorPair& pair) {
  const Tensor& a = pair.a;
  const DTypeInfo& info = InfoOf(a.dtype());
  return a.dtype() == pair.b.dtype() && a.strides() == pair.b.strides() &&
         ((pair.flags_a ^ pair.flags_b) & kToResolve) == 0 &&
         info.values_per_byte == 1 && a.num_elements() > 0 &&
         a.byte_range().size() == a.num_elements() * info.size_bytes;
}

// The dimensions in which both sides repeat what they hold, as one of size 1.
TensorPair WithoutRepeats(const TensorPair& pair) {
  std::vector<int64_t> shape(pair.a.shape().begin(), pair.a.shape().end());
  for (size_t i = 0; i < shape.size(); ++i) {
    if (pair.a.strides()[i] == 0 && pair.b.strides()[i] == 0) shape[i] = 1;
  }
  const auto with_shape = [&shape](const Tensor& tensor) {
    const absl::Span<const int64_t> strides = tensor.strides();
    return *Tensor::Make(tensor.storage(), tensor.dtype(), shape,
                         {strides.begin(), strides.end()}, tensor.offset());
  };
  return {pair.name, with_shape(pair.a), with_shape(pair.b), pair.flags_a,
          pair.flags_b};
}

bool HasRepeats(const TensorPair& pair) {
  if (InfoOf(pair.a.dtype()).values_per_byte != 1) return false;
  for (size_t i = 0; i < pair.a.shape().size(); ++i) {
    if (pair.a.shape()[i] > 1 && pair.a.strides()[i] == 0 &&
        pair.b.strides()[i] == 0) {
      return true;
    }
  }
  return false;
}

// Keeps what a few bytes can make the comparison do in proportion to the file:
// elements that lie nowhere are compared, but not without end.
class Budget {
 public:
  absl::Status Spend(const TensorPair& pair) {
    const int64_t held = std::max(pair.a.storage()->size_bytes(),
                                  pair.b.storage()->size_bytes());
    const int64_t shown = pair.a.num_elements();
    if (shown / kTimes <= held) return absl::OkStatus();
    if (shown > left_) {
      return absl::ResourceExhaustedError(
          absl::StrCat("shows ", shown, " elements of a storage of ", held,
                       " bytes; of such tensors together, up to ", kElements,
                       " elements are compared"));
    }
    left_ -= shown;
    return absl::OkStatus();
  }

 private:
  static constexpr int64_t kTimes = 16;
  static constexpr int64_t kElements = int64_t{1} << 31;
  int64_t left_ = kElements;
};

// Pairs that are not compared as they stand go to `reduced`.
absl::StatusOr<std::vector<Work>> LayOut(absl::Span<const TensorPair> pairs,
                                         Side& side_a, Side& side_b,
                                         std::deque<TensorPair>& reduced) {
  std::vector<Work> works;
  Budget budget;
  for (size_t i = 0; i < pairs.size(); ++i) {
    if (pairs[i].a.num_elements() == 0) continue;
    const bool repeats = HasRepeats(pairs[i]);
    if (repeats) reduced.push_back(WithoutRepeats(pairs[i]));
    const TensorPair& pair = repeats ? reduced.back() : pairs[i];
    const absl::Status affordable = budget.Spend(pair);
    if (!affordable.ok()) {
      return Annotate(
          Annotate(affordable, pair.name),
          absl::StrCat(side_a.opened().path, " and ", side_b.opened().path));
    }
    const bool alike = LieAlike(pair);
    Work work{
        &pair, i, pairs[i].a.num_elements() / pair.a.num_elements(), {}, {}};
    absl::StatusOr<Dense> a = side_a.Add(pair.a, pair.flags_a, alike);
    absl::StatusOr<Dense> b = side_b.Add(pair.b, pair.flags_b, alike);
    if (!a.ok()) return side_a.Named(Annotate(a.status(), pair.name));
    if (!b.ok()) return side_b.Named(Annotate(b.status(), pair.name));
    work.a = *std::move(a);
    work.b = *std::move(b);
    works.push_back(std::move(work));
  }
  std::stable_sort(
      works.begin(), works.end(), [&](const Work& x, const Work& y) {
        const auto place_x = side_a.PlaceOf(*x.pair->a.storage());
        const auto place_y = side_a.PlaceOf(*y.pair->a.storage());
        return std::pair(place_x, x.a.begin) < std::pair(place_y, y.a.begin);
      });
  return works;
}

}  // namespace

absl::StatusOr<CompareResult> CompareTensors(
    const Checkpoint::Opened& a, const Checkpoint::Opened& b,
    absl::Span<const TensorPair> pairs,
    const std::optional<Tolerance>& tolerance, const RunOptions& options) {
  Side side_a(a);
  Side side_b(b);
  std::deque<TensorPair> reduced;
  PENSTOCK_ASSIGN_OR_RETURN(const std::vector<Work> works,
                            LayOut(pairs, side_a, side_b, reduced));
  TwinPlans plans;
  std::vector<std::string> names;
  for (const Work& work : works) {
    plans.Add(work);
    names.push_back(work.pair->name);
  }
  plans.Flush();
  PumpOptions pump = PumpOptionsOf(options);
  const int64_t gather_bytes = options.memory_bytes / 4;
  if (side_a.has_derived()) pump.memory_bytes -= gather_bytes;
  if (side_b.has_derived()) pump.memory_bytes -= gather_bytes;
  PENSTOCK_RETURN_IF_ERROR(side_a.Named(side_a.Start(names, gather_bytes)));
  PENSTOCK_RETURN_IF_ERROR(side_b.Named(side_b.Start(names, gather_bytes)));
  CompareSink sink(works, plans.b, side_b, tolerance);
  const absl::Status status =
      Pump(plans.a, side_a.source(), sink, pump).status();
  if (!status.ok() && !absl::StrContains(status.message(), b.path)) {
    return side_a.Named(status);
  }
  PENSTOCK_RETURN_IF_ERROR(status);
  CompareResult result;
  result.stats.resize(pairs.size());
  for (size_t i = 0; i < works.size(); ++i) {
    ElementSums sums = sink.sums()[i];
    sums.Repeat(works[i].times);  // at most the tensor's number of elements
    result.stats[works[i].number] = sums.Finish();
  }
  result.read_bytes = plans.a.total_bytes + plans.b.total_bytes;
  return result;
}

bool SameByDigest(const Checkpoint::Opened& a, const Checkpoint::Opened& b,
                  const TensorPair& pair) {
  if (a.native == nullptr || b.native == nullptr) return false;
  if (pair.a.num_elements() == 0) return false;
  if (pair.a.dtype() != pair.b.dtype() || pair.a.offset() != pair.b.offset() ||
      pair.a.strides() != pair.b.strides() ||
      ((pair.flags_a ^ pair.flags_b) & kToResolve) != 0) {
    return false;
  }
  const int64_t number_a = pair.a.storage()->file_number();
  const int64_t number_b = pair.b.storage()->file_number();
  if (number_a < 0 || number_b < 0) return false;
  const NativeIndex& index_a = a.native->index();
  const NativeIndex& index_b = b.native->index();
  const FileStorage& storage_a = index_a.storages[number_a];
  const FileStorage& storage_b = index_b.storages[number_b];
  // Hashes are seeded with the number of the chunk.
  if (storage_a.size_bytes != storage_b.size_bytes ||
      storage_a.first_chunk != storage_b.first_chunk ||
      storage_a.offset_in_chunk != storage_b.offset_in_chunk) {
    return false;
  }
  const int64_t count = index_a.NumChunksOf(storage_a);
  if (count != index_b.NumChunksOf(storage_b)) return false;
  for (int64_t i = 0; i < count; ++i) {
    const FileChunk& chunk_a = index_a.chunks[storage_a.first_chunk + i];
    const FileChunk& chunk_b = index_b.chunks[storage_b.first_chunk + i];
    if (chunk_a.raw_bytes != chunk_b.raw_bytes ||
        !(chunk_a.raw_hash == chunk_b.raw_hash)) {
      return false;
    }
  }
  return true;
}

}  // namespace penstock
