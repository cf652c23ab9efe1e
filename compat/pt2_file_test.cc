#include "compat/pt2_file.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "compat/nested_opener.h"
#include "compat/parts_testing.h"
#include "compat/pt2_config.h"
#include "compat/pt_file.h"
#include "compat/skeleton_testing.h"
#include "compat/zip_testing.h"
#include "core/memory_file_system.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using Code = absl::StatusCode;

// One entry of a config, as torch writes it.
std::string EntryOf(const std::string& name, const std::string& path,
                    const std::string& sizes, const std::string& strides,
                    int offset = 0, int dtype = 7, int layout = 7) {
  return absl::StrCat(
      "\"", name, "\": {\"path_name\": \"", path,
      "\", \"is_param\": true, \"use_pickle\": false, \"tensor_meta\": "
      "{\"dtype\": ",
      dtype, ", \"sizes\": [", sizes,
      "], \"requires_grad\": true, \"device\": {\"type\": \"cpu\", \"index\": "
      "null}, \"strides\": [",
      strides, "], \"storage_offset\": {\"as_int\": ", offset,
      "}, \"layout\": ", layout, "}}");
}
std::string Int(int n) { return absl::StrCat("{\"as_int\": ", n, "}"); }
std::string ConfigOf(const std::string& entries) {
  return absl::StrCat("{\"config\": {", entries, "}}");
}

std::vector<TestRecord> Records() {
  return {
      {"m/data/weights/weight_0", "abcdefghijkl"},
      {"m/data/weights/weight_1", ""},
      {"m/data/weights/model_weights_config.json",
       ConfigOf(
           absl::StrCat(EntryOf("w", "weight_0", Int(3), Int(1)), ", ",
                        EntryOf("tail", "weight_0", Int(2), Int(1), 1), ", ",
                        EntryOf("empty", "weight_1", Int(0) + ", " + Int(3),
                                Int(3) + ", " + Int(1))))},
      {"m/data/constants/tensor_0", "12345678"},
      {"m/data/constants/model_constants_config.json",
       ConfigOf(EntryOf("c", "tensor_0", Int(1), Int(1), 0, 5))},
      {"m/models/model.json", "{}"},
      {"m/archive_format", "pt2"},
      {"m/archive_version", "0"},
      {"m/.data/version", "6\n"},
      {"m/byteorder", "little"},
  };
}

absl::StatusOr<ForeignFile> Open(const std::vector<TestRecord>& records) {
  return OpenPt(FileFromString(TestZip(records).bytes(), "m.pt2"), {},
                NestedFiles(1 << 20));
}

void ExpectRefused(const std::vector<TestRecord>& records, Code code,
                   absl::string_view words) {
  const absl::Status status = Open(records).status();
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), words)) << status;
  EXPECT_TRUE(absl::StartsWith(status.message(), "m.pt2: "));
}

TEST(Pt2FileTest, HasTheTensorsOfTheConfigs) {
  const auto pt2 = Open(Records());
  ASSERT_TRUE(pt2.ok()) << pt2.status();
  EXPECT_EQ(pt2->format, ForeignFormat::kPt2);
  ASSERT_EQ(pt2->root.size(), 4);
  const Value w = pt2->root.Find("w");
  EXPECT_EQ(BytesOfTensor(*pt2, w), "abcdefghijkl");
  EXPECT_EQ(w.tensor_flags(), TensorFlags::kRequiresGrad);
  EXPECT_EQ(pt2->root.Find("tail").AsTensor().storage(),
            w.AsTensor().storage());
  EXPECT_EQ(pt2->root.Find("tail").AsTensor().offset(), 1);
  EXPECT_EQ(pt2->root.Find("empty").AsTensor().num_elements(), 0);
  const Value c = pt2->root.Find("constants.c");
  EXPECT_EQ(c.AsTensor().dtype(), DType::kInt64);
  EXPECT_EQ(BytesOfTensor(*pt2, c), "12345678");
  ExpectExtentsHold(*pt2);
}

TEST(Pt2FileTest, SeveralProgramsAreDictsOfTheirOwn) {
  std::vector<TestRecord> records = Records();
  records.push_back({"m/data/weights/other_weights_config.json",
                     ConfigOf(EntryOf("x", "weight_0", Int(3), Int(1)))});
  const auto pt2 = Open(records);
  ASSERT_TRUE(pt2.ok()) << pt2.status();
  ASSERT_EQ(pt2->root.size(), 2);
  EXPECT_EQ(pt2->root.Find("model").size(), 4);
  EXPECT_EQ(pt2->root.Find("other").Find("x").kind(), NodeKind::kTensor);
}

TEST(Pt2FileTest, ConstantsThatAreNoTensorsAreToldOf) {
  std::vector<TestRecord> records = Records();
  records[4].payload = ConfigOf(
      "\"o\": {\"path_name\": \"custom_obj_0\", \"is_param\": false, "
      "\"use_pickle\": true, \"tensor_meta\": null}");
  const auto pt2 = Open(records);
  ASSERT_TRUE(pt2.ok()) << pt2.status();
  ASSERT_EQ(pt2->warnings.size(), 1u);
  EXPECT_TRUE(absl::StrContains(pt2->warnings[0], "\"o\""));
}

TEST(Pt2FileTest, RefusesWhatDoesNotFit) {
  const auto with = [](const std::string& entry) {
    std::vector<TestRecord> records = Records();
    records[2].payload = ConfigOf(entry);
    return records;
  };
  ExpectRefused(with(EntryOf("w", "weight_9", Int(3), Int(1))), Code::kDataLoss,
                "\"w\": storage_missing");
  ExpectRefused(with(EntryOf("w", "weight_0", Int(4), Int(1))), Code::kDataLoss,
                "tensor_bounds");
  ExpectRefused(with(EntryOf("w", "weight_0", Int(3), Int(1), 1)),
                Code::kDataLoss, "tensor_bounds");
  ExpectRefused(with(EntryOf("w", "weight_0", Int(3), "")), Code::kDataLoss,
                "tensor_bounds");
  ExpectRefused(with(EntryOf("w", "weight_0", Int(-3), Int(1))),
                Code::kDataLoss, "no number from 0");
  ExpectRefused(with(EntryOf("w", "weight_0", "{\"as_expr\": 1}", Int(1))),
                Code::kUnimplemented, "sizes that are no numbers");
  ExpectRefused(with(EntryOf("w", "weight_0", Int(3), Int(1), 0, 99)),
                Code::kUnimplemented, "dtype number 99");
  ExpectRefused(with(EntryOf("w", "weight_0", Int(3), Int(1), 0, 7, 1)),
                Code::kUnimplemented, "layout number 1");
  ExpectRefused(with("\"w\": {\"path_name\": \"weight_0\", \"use_pickle\": "
                     "true}"),
                Code::kUnimplemented, "pickled object");
  ExpectRefused(with("\"w\": {}"), Code::kDataLoss, "no path_name");
  ExpectRefused(with("\"w\": 1"), Code::kDataLoss, "no object");
  ExpectRefused(with("\"w\": {\"path_name\": \"a\"}, \"w\": {}"),
                Code::kDataLoss, "twice");
  std::vector<TestRecord> records = Records();
  records[2].payload = "{\"confi";
  ExpectRefused(records, Code::kDataLoss, "pt2_config");
  records[2].payload = "{}";
  ExpectRefused(records, Code::kDataLoss, "no \"config\"");
  records = Records();
  records[6].payload = "pt3";
  ExpectRefused(records, Code::kUnimplemented, "\"pt3\"");
}

TEST(Pt2FileTest, EveryTruncationIsRefused) {
  const std::string whole = TestZip(Records()).bytes();
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(OpenPt(FileFromString(whole.substr(0, size), "m.pt2")).ok());
  }
  const std::string json = Records()[2].payload;
  for (size_t size = 0; size < json.size(); ++size) {
    EXPECT_FALSE(ReadPt2Config(json.substr(0, size)).ok()) << size;
  }
}

std::vector<TestRecord> OldRecords() {
  return {
      {"version", "8.1"},
      {"serialized_exported_program.json", "{}"},
      {"serialized_state_dict.pt",
       PtOf({{"w", TensorOfBytes("abcdefgh", DType::kFloat32, {2})}})},
      {"serialized_constants.pt",
       PtOf({{"c", TensorOfBytes("xy", DType::kUInt8, {2})}})},
      {"serialized_example_inputs.pt", "x"},
  };
}

TEST(Pt2FileTest, ReadsTheFormBeforeTorch2_8) {
  const auto pt2 = Open(OldRecords());
  ASSERT_TRUE(pt2.ok()) << pt2.status();
  EXPECT_EQ(pt2->format, ForeignFormat::kPt2);
  ASSERT_EQ(pt2->root.size(), 2);
  EXPECT_EQ(BytesOfTensor(*pt2, pt2->root.Find("w")), "abcdefgh");
  EXPECT_EQ(BytesOfTensor(*pt2, pt2->root.Find("constants.c")), "xy");
  EXPECT_EQ(pt2->extents.size(), 2u);
  ExpectExtentsHold(*pt2);
}

TEST(Pt2FileTest, RefusesOldFormsThatAreNotWhole) {
  std::vector<TestRecord> records = OldRecords();
  records[2].payload.resize(records[2].payload.size() - 1);
  ExpectRefused(records, Code::kDataLoss, "serialized_state_dict.pt: ");
  records = OldRecords();
  records[2].deflate = true;
  ExpectRefused(records, Code::kUnimplemented, "deflated");
  records = OldRecords();
  records[3].name = "serialized_constants.json";
  ExpectRefused(records, Code::kUnimplemented, "serialized_constants.pt");
  const std::string whole = TestZip(OldRecords()).bytes();
  for (size_t size = 0; size < whole.size(); size += 7) {
    EXPECT_FALSE(OpenPt(FileFromString(whole.substr(0, size), "m.pt2"), {},
                        NestedFiles(1 << 20))
                     .ok());
  }
}

}  // namespace
}  // namespace penstock
