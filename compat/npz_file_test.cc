#include "compat/npz_file.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "codec/plan.h"
#include "codec/slot.h"
#include "compat/npy_header.h"
#include "compat/skeleton_testing.h"
#include "compat/zip_testing.h"
#include "core/memory_file_system.h"
#include "core/state_dict.h"
#include "core/tensor.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

// A .npy with a dict of our own.
std::string Npy(const std::string& descr, const std::string& shape,
                const std::string& data, absl::string_view order = "False") {
  const std::string dict =
      absl::StrCat("{'descr': ", descr, ", 'fortran_order': ", order,
                   ", 'shape': ", shape, "}\n");
  std::string bytes = "\x93NUMPY";
  bytes.push_back(1);
  bytes.push_back(0);
  bytes.push_back(static_cast<char>(dict.size()));
  bytes.push_back(static_cast<char>(dict.size() >> 8));
  return bytes + dict + data;
}

// 0, 1, 2... as bytes.
std::string Counted(int64_t size) {
  std::string bytes(size, '\0');
  for (int64_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i);
  return bytes;
}

std::string ZipOf(const std::vector<TestRecord>& records) {
  return TestZip(records).bytes();
}

std::string ArrayOf(DType dtype, const std::vector<int64_t>& shape,
                    int64_t data_bytes) {
  return MakeNpyHeader(dtype, shape) + Counted(data_bytes);
}

absl::StatusOr<ForeignFile> Opened(const std::string& bytes) {
  const std::shared_ptr<const RandomAccessFile> file =
      FileFromString(bytes, "a.np");
  if (!absl::StartsWith(bytes, "PK")) return OpenNpy(file);
  EXPECT_TRUE(*StartsAsNpz(*file));
  static MemoryFileSystem files;  // for what is inflated
  NpzOptions options;
  options.inflate.files = &files;
  return OpenNpz(file, options);
}

// The bytes of all storages, one behind the other, as a run reads them.
absl::StatusOr<std::string> AllBytes(const ForeignFile& foreign) {
  const std::unique_ptr<ForeignSource> source = foreign.new_source();
  const Plan plan = PlanInOrder(foreign.root.graph()->storages());
  std::string all;
  Slot slot;
  for (const Chunk& chunk : plan.chunks) {
    const auto bytes = source->Bytes(plan, chunk, slot, nullptr);
    if (!bytes.ok()) return bytes.status();
    for (const Piece& piece : plan.pieces_of(chunk)) {
      all.append(reinterpret_cast<const char*>(bytes->data()) + piece.offset,
                 piece.size);
    }
  }
  const absl::Status finished = source->Finish();
  if (!finished.ok()) return finished;
  return all;
}

void ExpectRefused(const std::string& bytes, absl::StatusCode code,
                   const std::string& word) {
  const auto foreign = Opened(bytes);
  EXPECT_EQ(foreign.status().code(), code) << foreign.status();
  EXPECT_TRUE(absl::StrContains(foreign.status().message(), word))
      << foreign.status();
  EXPECT_TRUE(absl::StartsWith(foreign.status().message(), "a.np: "))
      << foreign.status();
}

TEST(NpyFileTest, ReadsEveryDType) {
  for (int code = 0; code < kNumDTypes; ++code) {
    const DType dtype = static_cast<DType>(code);
    if (NpyDescrOf(dtype).empty()) continue;
    SCOPED_TRACE(InfoOf(dtype).name);
    const int64_t bytes = 6 * InfoOf(dtype).size_bytes;
    const auto npy = Opened(ArrayOf(dtype, {2, 3}, bytes));
    ASSERT_TRUE(npy.ok()) << npy.status();
    EXPECT_EQ(npy->format, ForeignFormat::kNpy);
    const Tensor tensor = npy->root.AsTensor();
    EXPECT_EQ(tensor.dtype(), dtype);
    EXPECT_EQ(tensor.shape(), (std::vector<int64_t>{2, 3}));
    EXPECT_TRUE(tensor.is_contiguous());
    EXPECT_EQ(*AllBytes(*npy), Counted(bytes));
    EXPECT_EQ(npy->extents.size(), 1u);
    ExpectExtentsHold(*npy);
  }
}

TEST(NpyFileTest, ReadsOddShapes) {
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{}, {0}, {3, 0, 2}, {1}}) {
    const bool empty = shape.size() > 0 && shape != std::vector<int64_t>{1};
    const auto npy = Opened(ArrayOf(DType::kInt16, shape, empty ? 0 : 2));
    ASSERT_TRUE(npy.ok()) << npy.status();
    EXPECT_EQ(npy->root.AsTensor().shape(), shape);
    EXPECT_EQ(*AllBytes(*npy), Counted(empty ? 0 : 2));
    EXPECT_EQ(npy->extents.size(), empty ? 0u : 1u);
  }
}

TEST(NpyFileTest, FortranOrderBecomesStrides) {
  const auto npy = Opened(Npy("'|u1'", "(2, 3)", Counted(6), "True"));
  ASSERT_TRUE(npy.ok()) << npy.status();
  EXPECT_EQ(npy->root.AsTensor().strides(), (std::vector<int64_t>{1, 2}));
  ExpectExtentsHold(*npy);
}

TEST(NpyFileTest, BigEndianNumbersAreTurned) {
  const auto f4 = Opened(Npy("'>f4'", "(2,)", Counted(8)));
  EXPECT_EQ(*AllBytes(*f4), std::string("\3\2\1\0\7\6\5\4", 8));
  EXPECT_TRUE(f4->extents.empty());
  const auto c8 = Opened(Npy("'>c8'", "(1,)", Counted(8)));
  EXPECT_EQ(*AllBytes(*c8), std::string("\3\2\1\0\7\6\5\4", 8));
}

TEST(NpyFileTest, BytesBehindTheArrayAreAWarning) {
  const auto npy = Opened(ArrayOf(DType::kUInt8, {3}, 3) + "more");
  ASSERT_TRUE(npy.ok()) << npy.status();
  ASSERT_EQ(npy->warnings.size(), 1u);
  EXPECT_EQ(npy->warnings[0], "4 bytes behind the array are ignored");
}

TEST(NpzFileTest, GivesTheArraysByNameInOrder) {
  const std::string zip =
      ZipOf({{"w.npy", ArrayOf(DType::kFloat32, {2, 3}, 24)},
             {"W.npy", ArrayOf(DType::kInt8, {}, 1)},
             {"a/b.npy.npy", ArrayOf(DType::kInt8, {0}, 0)},
             {".npy", Npy("'>u2'", "(2,)", Counted(4)), false, 16}});
  const auto npz = Opened(zip);
  ASSERT_TRUE(npz.ok()) << npz.status();
  EXPECT_EQ(npz->format, ForeignFormat::kNpz);
  const StateDict tensors = StateDict::FromValue(npz->root).value();
  std::vector<std::string> names;
  for (const NamedTensor& entry : tensors.entries()) {
    names.push_back(entry.name);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"w", "W", "a/b.npy", ""}));
  EXPECT_EQ(*AllBytes(*npz),
            Counted(24) + Counted(1) + std::string("\1\0\3\2", 4));
  EXPECT_EQ(npz->extents.size(), 2u);
  EXPECT_TRUE(npz->warnings.empty());
  ExpectExtentsHold(*npz);
}

TEST(NpzFileTest, ReadsDeflatedArrays) {
  const std::string large(300'000, 'x');
  const std::string zip =
      ZipOf({{"s.npy", ArrayOf(DType::kUInt8, {3}, 3)},
             {"d.npy", ArrayOf(DType::kFloat64, {2}, 16), true},
             {"l.npy", MakeNpyHeader(DType::kInt8, {300'000}) + large, true}});
  const auto npz = Opened(zip);
  ASSERT_TRUE(npz.ok()) << npz.status();
  EXPECT_EQ(*AllBytes(*npz), Counted(3) + Counted(16) + large);
  EXPECT_EQ(npz->extents.size(), 1u);
  ExpectExtentsHold(*npz);
}

TEST(NpzFileTest, EveryByteIsUnderTheCrc) {
  const TestZip zip({{"w.npy", ArrayOf(DType::kFloat32, {2}, 8)}});
  const auto npz = Opened(zip.bytes());
  const auto source = npz->new_source();
  const Plan plan = PlanInOrder(npz->root.graph()->storages());
  Slot slot;
  ASSERT_TRUE(source->Bytes(plan, plan.chunks[0], slot, nullptr).ok());
  EXPECT_EQ(source->unverified_bytes(), 0);
  // Damage in a blank of the header, which changes no meaning, is found too.
  const int64_t blank = zip.payload(0) + 100;
  const auto damaged = Opened(zip.With(blank, '\t', 1));
  ASSERT_TRUE(damaged.ok()) << damaged.status();
  const auto bytes = AllBytes(*damaged);
  EXPECT_EQ(bytes.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(bytes.status().message(), "zip_crc_mismatch"));
}

TEST(NpzFileTest, RefusesByNameWhatIsNoArrayOfNumbers) {
  const std::string good = ArrayOf(DType::kUInt8, {3}, 3);
  ExpectRefused(
      ZipOf({{"a.npy", good}, {"o.npy", Npy("'|O'", "(1,)", "\x80\x04.")}}),
      absl::StatusCode::kUnimplemented, "\"o.npy\"");
  ExpectRefused(
      ZipOf({{"a.npy", good}, {"t.npy", Npy("'<U1'", "()", "abcd"), true}}),
      absl::StatusCode::kUnimplemented, "'<U1': text");
  ExpectRefused(ZipOf({{"a.npy", good}, {"note.txt", "x"}}),
                absl::StatusCode::kUnimplemented, "npz_member: record \"note");
  ExpectRefused(ZipOf({{"a.npy", ""}}), absl::StatusCode::kDataLoss,
                "npy_truncated");
  ExpectRefused(ZipOf({{"a.npy", good.substr(0, good.size() - 1)}}),
                absl::StatusCode::kDataLoss,
                "\"a.npy\" at offset 0: npy_trunc");
  ExpectRefused(ZipOf({{"a.npy", good + "x"}}), absl::StatusCode::kDataLoss,
                "\"a.npy\" at offset 0: npy_trailing");
  ExpectRefused(ZipOf({{"a.npy", good}, {"a.npy", good}}),
                absl::StatusCode::kDataLoss, "zip_duplicate");
}

TEST(NpzFileTest, TellsItsFilesFromTorchs) {
  const auto starts = [](const std::string& bytes) {
    return *StartsAsNpz(*FileFromString(bytes, "f"));
  };
  EXPECT_TRUE(starts(ZipOf({{"a.npy", "x"}})));
  EXPECT_FALSE(starts(ZipOf({{"archive/data.pkl", "x"}})));
  EXPECT_FALSE(starts(ZipOf({})));
  EXPECT_FALSE(starts(""));
  EXPECT_FALSE(starts("PK\3\4"));
  EXPECT_FALSE(starts(Npy("'<f4'", "()", "abcd")));
}

// A damaged file is an error, or it gives the same arrays: a flip may sit in a
// time stamp.
void ExpectDetectedOrHarmless(const std::string& bytes,
                              const ForeignFile& good) {
  const auto npz = Opened(bytes);
  if (!npz.ok()) return;
  const auto read = AllBytes(*npz);
  if (!read.ok()) return;
  EXPECT_EQ(*read, *AllBytes(good));
  const StateDict a = StateDict::FromValue(good.root).value();
  const StateDict b = StateDict::FromValue(npz->root).value();
  ASSERT_EQ(a.size(), b.size());
  for (int64_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a.entries()[i].name, b.entries()[i].name);
    EXPECT_EQ(a.entries()[i].tensor.dtype(), b.entries()[i].tensor.dtype());
    EXPECT_EQ(a.entries()[i].tensor.shape(), b.entries()[i].tensor.shape());
  }
}

TEST(NpzFileTest, EveryFlipIsDetectedOrHarmless) {
  const std::string zip =
      ZipOf({{"w.npy", ArrayOf(DType::kFloat32, {2, 3}, 24)},
             {"d.npy", ArrayOf(DType::kInt16, {5}, 10), true, 16},
             {"e.npy", ArrayOf(DType::kInt16, {0}, 0)}});
  const ForeignFile good = Opened(zip).value();
  for (size_t bit = 0; bit < zip.size() * 8; ++bit) {
    std::string damaged = zip;
    damaged[bit / 8] ^= 1 << (bit % 8);
    // What no longer begins as an .npz is nobody's to open here.
    if (!*StartsAsNpz(*FileFromString(damaged, "f"))) continue;
    SCOPED_TRACE(bit);
    ExpectDetectedOrHarmless(damaged, good);
  }
}

TEST(NpzFileTest, EveryTruncationIsFound) {
  const std::string zip =
      ZipOf({{"w.npy", ArrayOf(DType::kFloat32, {2, 3}, 24)}});
  for (size_t end = 40; end < zip.size(); ++end) {
    SCOPED_TRACE(end);
    EXPECT_FALSE(Opened(zip.substr(0, end)).ok());
  }
}

}  // namespace
}  // namespace penstock
