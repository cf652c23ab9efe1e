// Directories of torch.distributed.checkpoint by hand, for tests.

#ifndef PENSTOCK_COMPAT_DCP_TESTING_H_
#define PENSTOCK_COMPAT_DCP_TESTING_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "compat/parts_testing.h"
#include "compat/pickle_writer.h"
#include "core/graph_builder.h"
#include "core/status_macros.h"
#include "core/tensor.h"

namespace penstock {

struct TestChunk {
  std::vector<int64_t> offsets, sizes;  // of a tensor
  std::string file;
  int64_t offset = 0;
  int64_t length = 0;
  std::vector<std::string> transforms;
};

struct TestEntry {
  std::string name;
  std::vector<std::string> path;  // "#2": index 2 of a list; {}: no path
  std::vector<int64_t> shape;     // of a tensor
  std::vector<TestChunk> chunks;
  bool is_tensor = true;
  std::string dtype = "float32";
};

// torch.save of one tensor, of text.
inline std::string SliceOf(const Tensor& tensor) {
  GraphBuilder b;
  return *WritePt(*std::move(b).Finish(b.Tensor(tensor)), "archive");
}
inline std::string SliceOf(absl::string_view text) {
  GraphBuilder b;
  return *WritePt(*std::move(b).Finish(b.Str(text)), "archive");
}

// Makes the pickle of a .metadata.
class DcpPickler {
 public:
  std::string Pickle(const std::vector<TestEntry>& entries) {
    const NodeId metadata = b_.Dict(), paths = b_.Dict(), slices = b_.Dict();
    for (const TestEntry& entry : entries) {
      Set(metadata, entry.name,
          entry.is_tensor ? TensorMetadata(entry)
                          : Object("BytesStorageMetadata", {}));
      if (!entry.path.empty()) Set(paths, entry.name, Path(entry.path));
      for (const TestChunk& chunk : entry.chunks) {
        PENSTOCK_CHECK(
            b_.SetItem(slices, Index(entry, chunk), Info(chunk)).ok());
      }
    }
    const NodeId root = Object("Metadata", {{"state_dict_metadata", metadata},
                                            {"planner_data", paths},
                                            {"storage_data", slices},
                                            {"version", b_.Str("1.0.0")}});
    PickleWriteOptions options;
    options.protocol = 4;
    return WritePickle(*std::move(b_).Finish(root), options)->pickle;
  }

 private:
  using Fields = std::vector<std::pair<absl::string_view, NodeId>>;

  void Set(NodeId dict, absl::string_view key, NodeId value) {
    PENSTOCK_CHECK(b_.SetItem(dict, b_.Str(key), value).ok());
  }

  NodeId Object(
      absl::string_view name, const Fields& fields,
      absl::string_view module = "torch.distributed.checkpoint.metadata") {
    const NodeId object =
        b_.Object(Construction::kNewObj, b_.Global(module, name), b_.Tuple());
    const NodeId state = b_.Dict();
    for (const auto& [key, value] : fields) Set(state, key, value);
    PENSTOCK_CHECK(b_.SetState(object, state).ok());
    return object;
  }

  NodeId Size(const std::vector<int64_t>& counts) {
    std::vector<NodeId> items;
    for (const int64_t n : counts) items.push_back(b_.Int(n));
    return b_.Object(Construction::kReduce, b_.Global("torch", "Size"),
                     b_.Tuple({b_.Tuple(items)}));
  }

  NodeId Path(const std::vector<std::string>& steps) {
    std::vector<NodeId> items;
    for (const std::string& step : steps) {
      items.push_back(step[0] == '#' ? b_.Int(std::stoll(step.substr(1)))
                                     : b_.Str(step));
    }
    return b_.Tuple(items);
  }

  NodeId TensorMetadata(const TestEntry& entry) {
    const NodeId properties = b_.Object(
        Construction::kNewObj,
        b_.Global("torch.distributed.checkpoint.metadata", "TensorProperties"),
        b_.Tuple());
    const NodeId state = b_.Tuple({b_.Global("torch", entry.dtype), b_.None(),
                                   b_.Bool(false), b_.None(), b_.Bool(false)});
    PENSTOCK_CHECK(b_.SetState(properties, state).ok());
    const NodeId chunks = b_.List();
    for (const TestChunk& chunk : entry.chunks) {
      PENSTOCK_CHECK(b_.Append(chunks, Object("ChunkStorageMetadata",
                                              {{"offsets", Size(chunk.offsets)},
                                               {"sizes", Size(chunk.sizes)}}))
                         .ok());
    }
    return Object("TensorStorageMetadata", {{"properties", properties},
                                            {"size", Size(entry.shape)},
                                            {"chunks", chunks}});
  }

  NodeId Index(const TestEntry& entry, const TestChunk& chunk) {
    Fields fields = {{"fqn", b_.Str(entry.name)}, {"index", b_.None()}};
    if (entry.is_tensor) fields.emplace_back("offset", Size(chunk.offsets));
    return Object("MetadataIndex", fields);
  }

  NodeId Info(const TestChunk& chunk) {
    Fields fields = {{"relative_path", b_.Str(chunk.file)},
                     {"offset", b_.Int(chunk.offset)},
                     {"length", b_.Int(chunk.length)}};
    if (!chunk.transforms.empty()) {
      const NodeId names = b_.List();
      for (const std::string& name : chunk.transforms) {
        PENSTOCK_CHECK(b_.Append(names, b_.Str(name)).ok());
      }
      fields.emplace_back("transform_descriptors", names);
    }
    return Object("_StorageInfo", fields,
                  "torch.distributed.checkpoint.filesystem");
  }

  GraphBuilder b_;
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_DCP_TESTING_H_
