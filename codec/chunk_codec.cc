#include "codec/chunk_codec.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_format.h"
#include "codec/plane_choice.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// Below, a frame for each plane costs more than planes gain.
constexpr int64_t kLeastSplitBytes = 256;
// A gain below 1/64 is not worth decoding for on every load.
constexpr int64_t kLeastGain = 64;

// Where the bytes of a chunk's planes come to lie.
struct PlaneSizes {
  int64_t num_elements = 0;
  int64_t num_rest_bytes = 0;  // behind the elements, in the last plane
  int width = 1;

  int64_t of(int plane) const {
    return num_elements + (plane == width - 1 ? num_rest_bytes : 0);
  }
};

PlaneSizes SizesOf(int64_t raw_bytes, int width) {
  return {raw_bytes / width, raw_bytes % width, width};
}

bool AllRaw(const PlaneChoice& choice) {
  return std::all_of(choice.modes.begin(), choice.modes.begin() + choice.width,
                     [](PlaneMode mode) { return mode == PlaneMode::kRaw; });
}

PlaneChoice Choose(absl::Span<const uint8_t> raw, DType dtype) {
  if (static_cast<int64_t>(raw.size()) < kLeastSplitBytes) {
    PlaneChoice choice;
    choice.modes[0] = PlaneMode::kLz;
    return choice;
  }
  return ChoosePlanes(raw, dtype);
}

// A plane on its way: a run of bytes, or the content of a frame of raw blocks,
// which has a header every kRawBlockBytes.
template <typename Byte>
struct PlanePlace {
  Byte* data = nullptr;
  bool in_blocks = false;

  Byte* at(int64_t index) const {
    return data + (in_blocks ? RawFrameOffset(index) : index);
  }
};

template <typename Byte>
using PlanePlaces = std::array<PlanePlace<Byte>, kMaxPlanes>;

// Calls work(range, pointers) for each run of elements in which no plane meets
// a block header.
template <typename Byte, typename Work>
void ForEachBlock(const PlaneSizes& sizes, const PlanePlaces<Byte>& places,
                  Work work) {
  for (int64_t begin = 0; begin < sizes.num_elements; begin += kRawBlockBytes) {
    std::array<Byte*, kMaxPlanes> pointers{};
    for (int i = 0; i < sizes.width; ++i) pointers[i] = places[i].at(begin);
    work(ElementRange{begin,
                      std::min(begin + kRawBlockBytes, sizes.num_elements)},
         pointers);
  }
}

int64_t EncodeRaw(absl::Span<const uint8_t> raw, uint8_t* record,
                  ChunkCoding& coding) {
  const int64_t size = RawFrameBytes(static_cast<int64_t>(raw.size()));
  coding = ChunkCoding();
  coding.frame_bytes[0] = static_cast<uint32_t>(size);
  WriteRawFrame(raw, record);
  return size;
}

using PlaneBytes = std::array<absl::Span<const uint8_t>, kMaxPlanes>;

// Splits `raw`: kRaw planes into their frames, one behind the other in
// `record`, the others into `planes`. Returns the latter.
PlaneBytes SplitChunk(absl::Span<const uint8_t> raw, const PlaneChoice& choice,
                      const PlaneSizes& sizes, uint8_t* planes,
                      uint8_t* record) {
  PlaneBytes coded;
  PlanePlaces<uint8_t> places;
  for (int i = 0; i < sizes.width; ++i) {
    if (choice.modes[i] == PlaneMode::kRaw) {
      places[i] = {record, true};
      WriteRawFrameHeaders(sizes.of(i), record);
      record += RawFrameBytes(sizes.of(i));
    } else {
      places[i] = {planes, false};
      coded[i] = absl::MakeConstSpan(planes, sizes.of(i));
      planes += sizes.of(i);
    }
  }
  ForEachBlock(sizes, places, [&](ElementRange range, const auto& pointers) {
    SplitElements(raw.data(), range, sizes.width, choice.transform, pointers);
  });
  for (int64_t i = 0; i < sizes.num_rest_bytes; ++i) {
    *places[sizes.width - 1].at(sizes.num_elements + i) =
        raw[sizes.num_elements * sizes.width + i];
  }
  return coded;
}

// Compresses the planes that are not kRaw behind the frames of those that are,
// and fills in `coding`. Returns the size of all.
absl::StatusOr<int64_t> CompressPlanes(
    const PlaneBytes& coded, const PlaneChoice& choice, const PlaneSizes& sizes,
    Compressor& compressor, AlignedBuffer& record, ChunkCoding& coding) {
  coding = ChunkCoding();
  coding.transform = choice.transform;
  coding.num_planes = static_cast<uint8_t>(choice.width);
  int64_t total = 0;
  for (int i = 0; i < choice.width; ++i) {
    if (choice.modes[i] != PlaneMode::kRaw) continue;
    coding.frame_bytes[i] = static_cast<uint32_t>(RawFrameBytes(sizes.of(i)));
    total += coding.frame_bytes[i];
  }
  for (int i = 0; i < choice.width; ++i) {
    if (choice.modes[i] == PlaneMode::kRaw) continue;
    const absl::Span<uint8_t> out(record.data() + total,
                                  record.capacity() - total);
    PENSTOCK_ASSIGN_OR_RETURN(
        const int64_t frame_bytes,
        compressor.CompressFrame(choice.modes[i], coded[i], out));
    coding.modes[i] = choice.modes[i];
    coding.frame_bytes[i] = static_cast<uint32_t>(frame_bytes);
    total += frame_bytes;
  }
  return total;
}

// Tells whether `coding` can be that of a chunk of these sizes, stored in
// `stored_bytes`.
absl::Status CheckCoding(const ChunkCoding& coding, int64_t stored_bytes) {
  const int width = coding.num_planes;
  if (width != 1 && width != 2 && width != 4 && width != 8) {
    return absl::DataLossError(absl::StrFormat(
        "chunk has %d byte planes, expected 1, 2, 4 or 8", width));
  }
  if (!TransformFits(coding.transform, width)) {
    return absl::DataLossError(
        absl::StrFormat("no transform %d for elements of %d bytes",
                        static_cast<int>(coding.transform), width));
  }
  int64_t total = 0;
  for (int i = 0; i < kMaxPlanes; ++i) {
    const bool used = i < width;
    const int mode = static_cast<int>(coding.modes[i]);
    if (mode > static_cast<int>(PlaneMode::kLz) ||
        (!used && (mode != 0 || coding.frame_bytes[i] != 0))) {
      return absl::DataLossError(absl::StrFormat(
          "byte plane %d has mode %d and %d bytes, but there are %d planes", i,
          mode, coding.frame_bytes[i], width));
    }
    total += coding.frame_bytes[i];
  }
  if (total != stored_bytes) {
    return absl::DataLossError(
        absl::StrFormat("frames of a chunk take %d bytes, its record has %d",
                        total, stored_bytes));
  }
  return absl::OkStatus();
}

// The frame of each plane, by the order that ChunkCoding states.
PlaneBytes FramesOf(absl::Span<const uint8_t> stored,
                    const ChunkCoding& coding) {
  PlaneBytes frames;
  size_t at = 0;
  for (const bool raw : {true, false}) {
    for (int i = 0; i < coding.num_planes; ++i) {
      if ((coding.modes[i] == PlaneMode::kRaw) != raw) continue;
      frames[i] = stored.subspan(at, coding.frame_bytes[i]);
      at += coding.frame_bytes[i];
    }
  }
  return frames;
}

// A chunk of one plane needs no merging.
absl::Status DecodeSinglePlane(absl::Span<const uint8_t> frame, PlaneMode mode,
                               Decompressor& decompressor,
                               absl::Span<uint8_t> raw) {
  if (mode != PlaneMode::kRaw) return decompressor.DecompressFrame(frame, raw);
  const int64_t size = static_cast<int64_t>(raw.size());
  PENSTOCK_RETURN_IF_ERROR(CheckRawFrame(frame, size));
  for (int64_t at = 0; at < size; at += kRawBlockBytes) {
    std::memcpy(raw.data() + at, frame.data() + RawFrameOffset(at),
                std::min(kRawBlockBytes, size - at));
  }
  return absl::OkStatus();
}

// Makes every plane readable: proves the frames of raw blocks, decodes the
// others into `planes`.
absl::Status DecodePlanes(absl::Span<const uint8_t> stored,
                          const ChunkCoding& coding, const PlaneSizes& sizes,
                          Decompressor& decompressor, uint8_t* planes,
                          PlanePlaces<const uint8_t>& places) {
  const auto frames = FramesOf(stored, coding);
  for (int i = 0; i < sizes.width; ++i) {
    absl::Status status;
    if (coding.modes[i] == PlaneMode::kRaw) {
      status = CheckRawFrame(frames[i], sizes.of(i));
      places[i] = {frames[i].data(), true};
    } else {
      const absl::Span<uint8_t> out(planes, sizes.of(i));
      status = decompressor.DecompressFrame(frames[i], out);
      places[i] = {planes, false};
      planes += sizes.of(i);
    }
    if (!status.ok()) {
      return Annotate(status, absl::StrFormat("byte plane %d", i));
    }
  }
  return absl::OkStatus();
}

}  // namespace

SampleVerdict JudgeSample(absl::Span<const uint8_t> sample, DType dtype) {
  return {!AllRaw(ChoosePlanes(sample, dtype))};
}

int64_t MaxRecordBytes(int64_t raw_bytes) {
  // Eight planes, each with a remainder and with zstd's own worst case.
  return kMaxPlanes * MaxFrameBytes(raw_bytes / kMaxPlanes + kMaxPlanes);
}

absl::StatusOr<int64_t> EncodeChunk(absl::Span<const uint8_t> raw, DType dtype,
                                    Compressor& compressor,
                                    AlignedBuffer& planes,
                                    AlignedBuffer& record,
                                    ChunkCoding& coding) {
  const int64_t raw_bytes = static_cast<int64_t>(raw.size());
  if (raw_bytes > kMaxFrameContentBytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a chunk holds at most %d bytes, not %d",
                        kMaxFrameContentBytes, raw_bytes));
  }
  record.Reserve(MaxRecordBytes(raw_bytes));
  const PlaneChoice choice = Choose(raw, dtype);
  if (AllRaw(choice)) return EncodeRaw(raw, record.data(), coding);
  const PlaneSizes sizes = SizesOf(raw_bytes, choice.width);
  PlaneBytes coded;
  if (choice.width == 1) {
    coded[0] = raw;  // coded from where it is
  } else {
    planes.Reserve(raw_bytes);
    coded = SplitChunk(raw, choice, sizes, planes.data(), record.data());
  }
  PENSTOCK_ASSIGN_OR_RETURN(
      const int64_t total,
      CompressPlanes(coded, choice, sizes, compressor, record, coding));
  if (total > raw_bytes - raw_bytes / kLeastGain) {
    return EncodeRaw(raw, record.data(), coding);
  }
  return total;
}

absl::Status DecodeChunk(absl::Span<const uint8_t> stored,
                         const ChunkCoding& coding, Decompressor& decompressor,
                         AlignedBuffer& planes, absl::Span<uint8_t> raw) {
  PENSTOCK_RETURN_IF_ERROR(
      CheckCoding(coding, static_cast<int64_t>(stored.size())));
  if (coding.num_planes == 1) {
    return DecodeSinglePlane(stored, coding.modes[0], decompressor, raw);
  }
  const int64_t raw_bytes = static_cast<int64_t>(raw.size());
  const PlaneSizes sizes = SizesOf(raw_bytes, coding.num_planes);
  planes.Reserve(raw_bytes);
  PlanePlaces<const uint8_t> places;
  PENSTOCK_RETURN_IF_ERROR(
      DecodePlanes(stored, coding, sizes, decompressor, planes.data(), places));
  ForEachBlock(sizes, places, [&](ElementRange range, const auto& pointers) {
    MergeElements(pointers, range, sizes.width, coding.transform, raw.data());
  });
  for (int64_t i = 0; i < sizes.num_rest_bytes; ++i) {
    raw[sizes.num_elements * sizes.width + i] =
        *places[sizes.width - 1].at(sizes.num_elements + i);
  }
  return absl::OkStatus();
}

}  // namespace penstock
