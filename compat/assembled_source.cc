#include "compat/assembled_source.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_format.h"
#include "codec/plan.h"
#include "core/checked.h"
#include "core/status_macros.h"

namespace penstock {

void Assembly::Prepare() {
  std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) {
    return a.box.begin < b.box.begin;
  });
  reach.clear();
  int64_t most = 0;
  for (const Part& part : parts) {
    most = std::max(most, part.box.begin[0] + part.box.size[0]);
    reach.push_back(most);
  }
}

const Assembly* AssembledSource::Find(const Storage& storage) const {
  const int64_t number = storage.file_number() - assemblies_->first;
  return number < 0 || number >= static_cast<int64_t>(assemblies_->list.size())
             ? nullptr
             : &assemblies_->list[number];
}

absl::StatusOr<absl::Span<const uint8_t>> AssembledSource::Bytes(
    const Plan& plan, const Chunk& chunk, Slot& slot, uint8_t* target) {
  const absl::Span<const Piece> pieces = plan.pieces_of(chunk);
  if (std::none_of(pieces.begin(), pieces.end(), [&](const Piece& piece) {
        return Find(*plan.storages[piece.storage]) != nullptr;
      })) {
    return base_->Bytes(plan, chunk, slot, target);
  }
  uint8_t* out = target;
  if (out == nullptr) {
    slot.raw.Reserve(chunk.size_bytes);
    out = slot.raw.data();
  }
  std::unique_ptr<Slot> own = TakeSlot();
  const absl::Cleanup give_back = [&] { GiveBack(std::move(own)); };
  const auto read = [&](const std::shared_ptr<const Storage>& storage,
                        int64_t begin, absl::Span<uint8_t> bytes) {
    return ReadBase(storage, begin, bytes, *own);
  };
  int64_t end = 0;
  for (const Piece& piece : pieces) {
    std::memset(out + end, 0, piece.offset - end);
    end = piece.offset + piece.size;
    const std::shared_ptr<const Storage>& storage =
        plan.storages[piece.storage];
    const absl::Span<uint8_t> bytes(out + piece.offset, piece.size);
    const Assembly* const assembly = Find(*storage);
    PENSTOCK_RETURN_IF_ERROR(
        assembly == nullptr
            ? read(storage, piece.begin, bytes)
            : Assemble(*assembly, piece.begin, bytes, own->planes, read));
  }
  return absl::MakeConstSpan(out, chunk.size_bytes);
}

absl::Status AssembledSource::Sample(const Storage& storage, int64_t begin,
                                     absl::Span<uint8_t> out) {
  const Assembly* const assembly = Find(storage);
  if (assembly == nullptr) return base_->Sample(storage, begin, out);
  // Whole elements around what is asked for.
  const int64_t width = assembly->element_bytes;
  const int64_t first = begin / width * width;
  const int64_t end = begin + static_cast<int64_t>(out.size());
  std::vector<uint8_t> elements((end - first + width - 1) / width * width);
  AlignedBuffer buffer;
  PENSTOCK_RETURN_IF_ERROR(
      Assemble(*assembly, first, absl::MakeSpan(elements), buffer,
               [&](const std::shared_ptr<const Storage>& part, int64_t at,
                   absl::Span<uint8_t> bytes) {
                 return base_->Sample(*part, at, bytes);
               }));
  std::copy_n(elements.begin() + (begin - first), out.size(), out.begin());
  return absl::OkStatus();
}

absl::Status AssembledSource::ReadBase(
    const std::shared_ptr<const Storage>& storage, int64_t begin,
    absl::Span<uint8_t> out, Slot& slot) {
  const Plan plan =
      PlanRange(storage, begin, begin + static_cast<int64_t>(out.size()));
  for (Chunk chunk : plan.chunks) {
    chunk.number = -1;  // none of the run's: nothing was read ahead for it
    const Piece& piece = plan.pieces_of(chunk)[0];
    uint8_t* const to = out.data() + (piece.begin - begin);
    PENSTOCK_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> bytes,
                              base_->Bytes(plan, chunk, slot, to));
    if (bytes.data() != to) std::memcpy(to, bytes.data(), bytes.size());
  }
  return absl::OkStatus();
}

absl::Status AssembledSource::Assemble(const Assembly& assembly, int64_t begin,
                                       absl::Span<uint8_t> out,
                                       AlignedBuffer& buffer,
                                       Reader read) const {
  const int64_t width = assembly.element_bytes;
  const auto size = static_cast<int64_t>(out.size());
  int64_t row_elements = 1;
  for (const int64_t n : absl::MakeConstSpan(assembly.shape).subspan(1)) {
    row_elements *= n;
  }
  if (begin % width != 0 || size % width != 0 ||
      !RangeFits(begin, size, assembly.shape[0] * row_elements * width)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "bytes [%d, +%d) are no elements of an assembled storage", begin,
        size));
  }
  if (size == 0) return absl::OkStatus();
  const int64_t first_row = begin / width / row_elements;
  const int64_t last_row = ((begin + size) / width - 1) / row_elements;
  size_t i = std::upper_bound(assembly.reach.begin(), assembly.reach.end(),
                              first_row) -
             assembly.reach.begin();
  for (; i < assembly.parts.size(); ++i) {
    const Assembly::Part& part = assembly.parts[i];
    if (part.box.begin[0] > last_row) break;
    PENSTOCK_RETURN_IF_ERROR(
        AssemblePart(assembly, part, begin / width, out, buffer, read));
  }
  return absl::OkStatus();
}

// What `part` has of the elements from `first` on, to their places in `out`.
absl::Status AssembledSource::AssemblePart(
    const Assembly& assembly, const Assembly::Part& part, int64_t first,
    absl::Span<uint8_t> out, AlignedBuffer& buffer, Reader read) const {
  const int64_t width = assembly.element_bytes;
  const absl::Span<const int64_t> shape = assembly.shape;
  const Box& box = part.box;
  const int64_t begin = ElementsBefore(shape, box, first);
  const int64_t end = ElementsBefore(
      shape, box, first + static_cast<int64_t>(out.size()) / width);
  if (begin == end) return absl::OkStatus();
  const int64_t from = part.offset_bytes + begin * width;
  const int64_t size = (end - begin) * width;
  const size_t rank = shape.size();
  if (rank == 1) {
    const int64_t to = (box.begin[0] + begin - first) * width;
    return read(part.storage, from, out.subspan(to, size));
  }
  buffer.Reserve(size);
  PENSTOCK_RETURN_IF_ERROR(
      read(part.storage, from, absl::MakeSpan(buffer.data(), size)));
  const int64_t run = box.size[rank - 1];
  for (int64_t at = begin; at < end;) {
    // Where in the shape the run of element `at` begins.
    int64_t rest = at / run;
    int64_t index = box.begin[rank - 1];
    int64_t stride = 1;
    for (size_t d = rank - 1; d-- > 0;) {
      stride *= shape[d + 1];
      index += (box.begin[d] + rest % box.size[d]) * stride;
      rest /= box.size[d];
    }
    const int64_t n = std::min(run - at % run, end - at);
    std::memcpy(out.data() + (index + at % run - first) * width,
                buffer.data() + (at - begin) * width, n * width);
    at += n;
  }
  return absl::OkStatus();
}

int64_t AssembledSource::SlotBytes() const {
  // The base's in the run's slot and in one of ours, the assembled bytes, and
  // those of one part.
  return 2 * base_->SlotBytes() + 2 * kRunBytes;
}

std::unique_ptr<Slot> AssembledSource::TakeSlot() {
  MutexLock lock(mutex_);
  if (slots_.empty()) return std::make_unique<Slot>();
  std::unique_ptr<Slot> slot = std::move(slots_.back());
  slots_.pop_back();
  return slot;
}

void AssembledSource::GiveBack(std::unique_ptr<Slot> slot) {
  MutexLock lock(mutex_);
  slots_.push_back(std::move(slot));
}

}  // namespace penstock
