#include "codec/derived_source.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "codec/compressor.h"
#include "codec/element_runs.h"
#include "core/cast.h"
#include "core/checked.h"
#include "core/graph_tables.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// What a strided tensor is cast through.
constexpr int64_t kCastBytes = 16 << 10;

std::string Describe(const Tensor& tensor) {
  return absl::StrFormat("%s [%s]", InfoOf(tensor.dtype()).name,
                         absl::StrJoin(tensor.shape(), ", "));
}

bool IsComplex(DType dtype) {
  const DTypeInfo& info = InfoOf(dtype);
  return info.word_bytes != info.size_bytes;
}

// Where minus is a flip of the sign bit of each word.
bool HasSignBit(DType dtype) {
  return IsComplex(dtype) || dtype == DType::kFloat16 ||
         dtype == DType::kBFloat16 || dtype == DType::kFloat32 ||
         dtype == DType::kFloat64;
}

absl::Status CheckDerivation(const Tensor& from, DType to, uint8_t flags) {
  if (from.dtype() != to && !CanCast(from.dtype(), to)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s cannot be cast to %s", Describe(from), InfoOf(to).name));
  }
  if ((flags & TensorFlags::kConjugated) != 0 && !IsComplex(from.dtype())) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s cannot be conjugated", Describe(from)));
  }
  if ((flags & TensorFlags::kNegated) != 0 && !HasSignBit(from.dtype())) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s cannot be negated", Describe(from)));
  }
  const int per_byte = InfoOf(from.dtype()).values_per_byte;
  if (per_byte > 1 && from.num_elements() > 0 &&
      (!from.is_contiguous() || from.offset() % per_byte != 0)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "packed %s is not contiguous on whole bytes", Describe(from)));
  }
  return absl::OkStatus();
}

// Flips the sign bits of words, or of every second one.
template <typename Word>
void FlipSigns(int first, int step, absl::Span<uint8_t> bytes) {
  constexpr Word kSign = static_cast<Word>(Word{1} << (8 * sizeof(Word) - 1));
  for (size_t i = first * sizeof(Word); i < bytes.size();
       i += step * sizeof(Word)) {
    Word word;
    std::memcpy(&word, &bytes[i], sizeof(Word));
    word ^= kSign;
    std::memcpy(&bytes[i], &word, sizeof(Word));
  }
}

// -(a + bi) and the conjugate a - bi, of whole elements. Minus goes with every
// cast: rounding is symmetric and NaN keeps its sign.
void Resolve(DType dtype, uint8_t flags, absl::Span<uint8_t> elements) {
  const bool conjugated = (flags & TensorFlags::kConjugated) != 0;
  const bool negated = (flags & TensorFlags::kNegated) != 0;
  if (!conjugated && !negated) return;
  // Both together flip the real parts alone.
  const int first = conjugated && !negated ? 1 : 0;
  const int step = conjugated ? 2 : 1;
  switch (InfoOf(dtype).word_bytes) {
    case 2:
      return FlipSigns<uint16_t>(first, step, elements);
    case 4:
      return FlipSigns<uint32_t>(first, step, elements);
    default:
      return FlipSigns<uint64_t>(first, step, elements);
  }
}

// Without having been gathered.
bool Streams(const Tensor& from) {
  return from.is_contiguous() || from.num_elements() == 0;
}

// Bytes [begin, begin + size) of a storage, as an error says them.
absl::Status OutsideError(const Storage& storage, int64_t begin, int64_t size) {
  return absl::InvalidArgumentError(absl::StrFormat(
      "bytes [%d, +%d) are no elements of a derived storage of %d bytes", begin,
      size, storage.size_bytes()));
}

}  // namespace

absl::StatusOr<Derivation> MakeDerivation(const Tensor& from, DType to,
                                          uint8_t flags) {
  PENSTOCK_RETURN_IF_ERROR(CheckDerivation(from, to, flags));
  const std::optional<int64_t> size = BytesFor(to, from.num_elements());
  if (!size) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s has more than 2^63 bytes as %s", Describe(from), InfoOf(to).name));
  }
  const std::shared_ptr<Storage> storage = Storage::InFile(*size, 0);
  storage->set_location(from.storage()->location());
  return Derivation{storage, from, to, flags};
}

absl::StatusOr<std::shared_ptr<const Storage>> DenseStorageOf(
    const Tensor& tensor, uint8_t flags,
    absl::flat_hash_set<const Storage*>& used,
    std::vector<Derivation>& derivations) {
  constexpr uint8_t kResolved =
      TensorFlags::kConjugated | TensorFlags::kNegated;
  const std::shared_ptr<const Storage>& own = tensor.storage();
  if (tensor.is_contiguous() && (flags & kResolved) == 0 &&
      tensor.size_bytes() == own->size_bytes() &&
      used.insert(own.get()).second) {
    return own;
  }
  PENSTOCK_ASSIGN_OR_RETURN(Derivation derivation,
                            MakeDerivation(tensor, tensor.dtype(), flags));
  derivations.push_back(std::move(derivation));
  return derivations.back().storage;
}

absl::StatusOr<std::unique_ptr<DerivedSource>> DerivedSource::Make(
    Source& base, std::vector<Derivation> derivations, int64_t memory_bytes) {
  auto source =
      std::unique_ptr<DerivedSource>(new DerivedSource(base, memory_bytes));
  for (Derivation& derivation : derivations) {
    PENSTOCK_RETURN_IF_ERROR(source->Add(std::move(derivation)));
  }
  for (const auto& [storage, job] : source->jobs_) {
    if (source->Find(*job->what.from.storage()) != nullptr) {
      return absl::InvalidArgumentError(
          "a storage is derived from one that the same source derives");
    }
  }
  return source;
}

absl::StatusOr<std::unique_ptr<DerivedSource>> DerivedSource::MakeWithin(
    Source& base, std::vector<Derivation> derivations, int64_t& budget_bytes) {
  const int64_t quarter = budget_bytes / 4;
  int64_t largest = 0;
  int64_t wanted = 0;
  for (const Derivation& derivation : derivations) {
    if (Streams(derivation.from)) continue;
    const int64_t size = derivation.from.byte_range().size();
    largest = std::max(largest, size);
    wanted = std::min(quarter, wanted + std::min(quarter, size));
  }
  const int64_t taken = std::min(std::max(largest, wanted), 3 * quarter);
  PENSTOCK_ASSIGN_OR_RETURN(std::unique_ptr<DerivedSource> source,
                            Make(base, std::move(derivations), taken));
  budget_bytes -= taken;
  return source;
}

absl::Status DerivedSource::Add(Derivation derivation) {
  const Tensor& from = derivation.from;
  PENSTOCK_RETURN_IF_ERROR(
      CheckDerivation(from, derivation.to, derivation.flags));
  const Storage* const storage = derivation.storage.get();
  const std::optional<int64_t> size =
      BytesFor(derivation.to, from.num_elements());
  if (storage == nullptr || storage->size_bytes() != size) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the storage for %s as %s has another size than its elements",
        Describe(from), InfoOf(derivation.to).name));
  }
  const bool streams = Streams(from);
  if (!streams && from.byte_range().size() > memory_bytes_) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "%s is not contiguous: making it so takes its %d bytes in memory, %d "
        "are allowed; see --memory",
        Describe(from), from.byte_range().size(), memory_bytes_));
  }
  auto job = std::make_unique<Job>(std::move(derivation));
  job->streams = streams;
  job->left_bytes = *size;
  if (!jobs_.try_emplace(storage, std::move(job)).second) {
    return absl::InvalidArgumentError("a storage is derived twice");
  }
  return absl::OkStatus();
}

DerivedSource::Job* DerivedSource::Find(const Storage& storage) const {
  const auto it = jobs_.find(&storage);
  return it == jobs_.end() ? nullptr : it->second.get();
}

bool DerivedSource::HasDerived(const Plan& plan, const Chunk& chunk) const {
  const absl::Span<const Piece> pieces = plan.pieces_of(chunk);
  return std::any_of(pieces.begin(), pieces.end(), [&](const Piece& piece) {
    return Find(*plan.storages[piece.storage]) != nullptr;
  });
}

absl::Status DerivedSource::Begin(const Plan& plan, const Chunk& chunk,
                                  Slot& slot) {
  return HasDerived(plan, chunk) ? absl::OkStatus()
                                 : base_.Begin(plan, chunk, slot);
}

absl::StatusOr<absl::Span<const uint8_t>> DerivedSource::Bytes(
    const Plan& plan, const Chunk& chunk, Slot& slot, uint8_t* target) {
  if (!HasDerived(plan, chunk)) return base_.Bytes(plan, chunk, slot, target);
  uint8_t* out = target;
  if (out == nullptr) {
    slot.raw.Reserve(chunk.size_bytes);
    out = slot.raw.data();
  }
  int64_t end = 0;
  for (const Piece& piece : plan.pieces_of(chunk)) {
    std::memset(out + end, 0, piece.offset - end);
    end = piece.offset + piece.size;
    Job* const job = Find(*plan.storages[piece.storage]);
    if (job == nullptr) continue;
    PENSTOCK_RETURN_IF_ERROR(Derive(
        *job, piece.begin, absl::MakeSpan(out + piece.offset, piece.size)));
  }
  PENSTOCK_RETURN_IF_ERROR(CopyPlain(plan, chunk, out));
  return absl::MakeConstSpan(out, chunk.size_bytes);
}

bool DerivedSource::LendPieces(const Plan& plan, const Chunk& chunk,
                               Slot& slot) {
  return !HasDerived(plan, chunk) && base_.LendPieces(plan, chunk, slot);
}

// The chunk's pieces that are the base's, in one call: it may read neighbours
// together.
absl::Status DerivedSource::CopyPlain(const Plan& plan, const Chunk& chunk,
                                      uint8_t* out) {
  Plan plain;
  std::vector<Piece> pieces;
  std::vector<int64_t> offsets;
  for (const Piece& piece : plan.pieces_of(chunk)) {
    const std::shared_ptr<const Storage>& storage =
        plan.storages[piece.storage];
    if (Find(*storage) != nullptr) continue;
    offsets.push_back(piece.offset);
    pieces.push_back(piece);
    pieces.back().storage = static_cast<int64_t>(plain.storages.size());
    plain.storages.push_back(storage);
  }
  if (pieces.empty()) return absl::OkStatus();
  plain.Append(pieces);
  std::unique_ptr<Slot> slot = TakeSlot();
  const absl::StatusOr<absl::Span<const uint8_t>> bytes =
      base_.Bytes(plain, plain.chunks[0], *slot, nullptr);
  for (size_t i = 0; bytes.ok() && i < pieces.size(); ++i) {
    std::memcpy(out + offsets[i], bytes->data() + plain.pieces[i].offset,
                pieces[i].size);
  }
  GiveBack(std::move(slot));
  return bytes.status();
}

absl::Status DerivedSource::Derive(Job& job, int64_t begin,
                                   absl::Span<uint8_t> out) {
  const Derivation& what = job.what;
  const int width = InfoOf(what.to).size_bytes;
  const auto size = static_cast<int64_t>(out.size());
  if (!RangeFits(begin, size, what.storage->size_bytes()) ||
      begin % width != 0 || size % width != 0) {
    return OutsideError(*what.storage, begin, size);
  }
  PENSTOCK_RETURN_IF_ERROR(job.streams ? Stream(job, begin, out)
                                       : Gather(job, begin, out));
  Resolve(what.to, what.flags, out);
  return absl::OkStatus();
}

absl::Status DerivedSource::Stream(Job& job, int64_t begin,
                                   absl::Span<uint8_t> out) {
  const Derivation& what = job.what;
  const DType from = what.from.dtype();
  const int64_t width = InfoOf(from).size_bytes;
  const int64_t to_width = InfoOf(what.to).size_bytes;
  // Packed dtypes begin on a whole byte and are never cast: widths are 1.
  const int64_t first = what.from.byte_range().begin + begin / to_width * width;
  const int64_t size = static_cast<int64_t>(out.size()) / to_width * width;
  return ReadBase(what.from.storage(), first, first + size,
                  [&](int64_t at, absl::Span<const uint8_t> bytes) {
                    const absl::Span<uint8_t> target =
                        out.subspan((at - first) / width * to_width,
                                    bytes.size() / width * to_width);
                    if (from == what.to) {
                      std::memcpy(target.data(), bytes.data(), bytes.size());
                    } else {
                      num_overflows_ += Cast(from, what.to, bytes, target);
                    }
                  });
}

absl::Status DerivedSource::Gather(Job& job, int64_t begin,
                                   absl::Span<uint8_t> out) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::shared_ptr<const Storage> resident,
                            Acquire(job));
  const absl::Cleanup release = [&] { Release(job); };
  const Derivation& what = job.what;
  const DType from = what.from.dtype();
  const int64_t width = InfoOf(from).size_bytes;
  const int64_t to_width = InfoOf(what.to).size_bytes;
  const auto size = static_cast<int64_t>(out.size());
  const int64_t first = begin / to_width;
  const int64_t count = size / to_width;
  const uint8_t* const bytes = resident->bytes().data();
  if (from == what.to) {
    CopyElementRange(what.from, bytes, first, count, out.data());
  } else {
    uint8_t dense[kCastBytes];
    const int64_t most = kCastBytes / width;
    for (int64_t done = 0; done < count; done += most) {
      const int64_t n = std::min(most, count - done);
      CopyElementRange(what.from, bytes, first + done, n, dense);
      num_overflows_ +=
          Cast(from, what.to, absl::MakeConstSpan(dense, n * width),
               out.subspan(done * to_width, n * to_width));
    }
  }
  job.left_bytes -= size;
  return absl::OkStatus();
}

// Whoever comes first reads; the others wait for it. Nobody who waits here has
// a tensor in hand, and whoever has one gives it back without waiting, so that
// room comes.
absl::StatusOr<std::shared_ptr<const Storage>> DerivedSource::Acquire(
    const Job& job) {
  const int64_t size = job.what.from.byte_range().size();
  {
    MutexLock lock(mutex_);
    while (true) {
      const auto it = residents_.find(&job);
      if (it != residents_.end() && it->second.bytes != nullptr) {
        ++it->second.num_users;
        return it->second.bytes;
      }
      if (it == residents_.end() && MakeRoom(size)) break;
      changed_.Wait(mutex_);
    }
    residents_[&job] = {nullptr, size, 1};
    resident_bytes_ += size;
  }
  std::shared_ptr<Storage> loaded;
  // Whatever happens, an exception (no memory) included: others may wait.
  const absl::Cleanup settle = [&] {
    MutexLock lock(mutex_);
    if (loaded != nullptr) {
      residents_[&job].bytes = loaded;
    } else {
      resident_bytes_ -= size;
      residents_.erase(&job);
    }
    changed_.NotifyAll();
  };
  PENSTOCK_ASSIGN_OR_RETURN(loaded, Load(job));
  return std::shared_ptr<const Storage>(loaded);
}

// Gives up what nobody uses right now, where that is needed: it is read again
// should a late chunk ask for it.
bool DerivedSource::MakeRoom(int64_t size_bytes) {
  for (auto it = residents_.begin();
       it != residents_.end() &&
       resident_bytes_ + size_bytes > memory_bytes_;) {
    if (it->second.num_users == 0) {
      resident_bytes_ -= it->second.size_bytes;
      residents_.erase(it++);
    } else {
      ++it;
    }
  }
  return resident_bytes_ + size_bytes <= memory_bytes_;
}

absl::StatusOr<std::shared_ptr<Storage>> DerivedSource::Load(const Job& job) {
  const Tensor& from = job.what.from;
  const ByteRange range = from.byte_range();
  PENSTOCK_ASSIGN_OR_RETURN(std::shared_ptr<Storage> loaded,
                            Storage::Allocate(range.size()));
  PENSTOCK_RETURN_IF_ERROR(
      ReadBase(from.storage(), range.begin, range.end,
               [&](int64_t at, absl::Span<const uint8_t> bytes) {
                 std::memcpy(loaded->mutable_bytes().data() + at - range.begin,
                             bytes.data(), bytes.size());
               }));
  return loaded;
}

void DerivedSource::Release(const Job& job) {
  MutexLock lock(mutex_);
  const auto it = residents_.find(&job);
  --it->second.num_users;
  if (it->second.num_users == 0 && job.left_bytes <= 0) {
    resident_bytes_ -= it->second.size_bytes;
    residents_.erase(it);
  }
  changed_.NotifyAll();
}

// Hands bytes [begin, end) of a base storage to `take`, in order, with the
// place of the first in the storage. Cut where the chunks of a native file
// begin: whole elements all, which begin at multiples of their width.
absl::Status DerivedSource::ReadBase(
    const std::shared_ptr<const Storage>& storage, int64_t begin, int64_t end,
    absl::FunctionRef<void(int64_t, absl::Span<const uint8_t>)> take) {
  const Plan plan = PlanRange(storage, begin, end);
  std::unique_ptr<Slot> slot = TakeSlot();
  absl::Status status;
  for (const Chunk& chunk : plan.chunks) {
    const absl::StatusOr<absl::Span<const uint8_t>> bytes =
        base_.Bytes(plan, chunk, *slot, nullptr);
    status = bytes.status();
    if (!status.ok()) break;
    take(plan.pieces_of(chunk)[0].begin, *bytes);
  }
  GiveBack(std::move(slot));
  return status;
}

// Exact, element by element where they lie apart: samples are small.
absl::Status DerivedSource::Sample(const Storage& storage, int64_t begin,
                                   absl::Span<uint8_t> out) {
  const Job* const job = Find(storage);
  if (job == nullptr) return base_.Sample(storage, begin, out);
  const Derivation& what = job->what;
  const auto size = static_cast<int64_t>(out.size());
  if (!RangeFits(begin, size, storage.size_bytes())) {
    return OutsideError(storage, begin, size);
  }
  if (size == 0) return absl::OkStatus();
  const Storage& base = *what.from.storage();
  if (InfoOf(what.to).values_per_byte > 1) {
    return base_.Sample(base, what.from.byte_range().begin + begin, out);
  }
  const int64_t width = InfoOf(what.from.dtype()).size_bytes;
  const int64_t to_width = InfoOf(what.to).size_bytes;
  const int64_t first = begin / to_width;
  const int64_t count = (begin + size + to_width - 1) / to_width - first;
  std::vector<uint8_t> dense(count * width);
  uint8_t* next = dense.data();
  absl::Status status;
  ElementRuns(what.from).ForEach(
      first, count, [&](int64_t place, int64_t stride, int64_t n) {
        const int64_t step = stride == 1 ? n : 1;
        for (int64_t i = 0; i < n && status.ok(); i += step) {
          status = base_.Sample(base, (place + i * stride) * width,
                                absl::MakeSpan(next, step * width));
          next += step * width;
        }
        return status.ok();
      });
  PENSTOCK_RETURN_IF_ERROR(status);
  std::vector<uint8_t> elements(count * to_width);
  if (what.from.dtype() == what.to) {
    elements = std::move(dense);
  } else {
    Cast(what.from.dtype(), what.to, dense, absl::MakeSpan(elements));
  }
  Resolve(what.to, what.flags, absl::MakeSpan(elements));
  std::memcpy(out.data(), elements.data() + begin % to_width, size);
  return absl::OkStatus();
}

absl::Status DerivedSource::Finish() { return base_.Finish(); }

int64_t DerivedSource::SlotBytes() const {
  // The base's in the run's slot and in one of ours, and the derived bytes.
  return 2 * base_.SlotBytes() + kRunBytes + Decompressor::MaxContextBytes();
}

std::unique_ptr<Slot> DerivedSource::TakeSlot() {
  MutexLock lock(mutex_);
  if (slots_.empty()) return std::make_unique<Slot>();
  std::unique_ptr<Slot> slot = std::move(slots_.back());
  slots_.pop_back();
  return slot;
}

void DerivedSource::GiveBack(std::unique_ptr<Slot> slot) {
  MutexLock lock(mutex_);
  slots_.push_back(std::move(slot));
}

}  // namespace penstock
