#include "compat/dcp_directory.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "compat/assembled_source.h"
#include "compat/dcp_metadata.h"
#include "compat/dcp_tree.h"
#include "compat/extent_source.h"
#include "compat/file_pool.h"
#include "compat/merged_file.h"
#include "compat/sub_file.h"
#include "compat/tiling.h"
#include "compat/zip_name.h"
#include "core/checked.h"
#include "core/graph_rewrite.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/tensor.h"

namespace penstock {
namespace {

using Dims = std::vector<int64_t>;

// A chunk, opened.
struct OpenChunk {
  Box box;
  NodeId node = kNoNode;
  std::optional<Tensor> tensor;  // over a storage of the merged file
  uint8_t flags = 0;
};

// The dimensions as they lie in memory, the outermost first.
std::vector<size_t> OrderOf(const Tensor& tensor) {
  std::vector<size_t> order(tensor.shape().size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return tensor.strides()[a] > tensor.strides()[b];
  });
  return order;
}

Dims Permuted(absl::Span<const int64_t> dims, absl::Span<const size_t> order) {
  Dims result;
  for (const size_t d : order) result.push_back(dims[d]);
  return result;
}

// Whether the elements follow each other in memory in this order.
bool LiesInOrder(const Tensor& tensor, absl::Span<const size_t> order) {
  const Dims shape = Permuted(tensor.shape(), order);
  const Dims strides = Permuted(tensor.strides(), order);
  const Dims wanted = ContiguousStrides(shape);
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] > 1 && strides[d] != wanted[d]) return false;
  }
  return true;
}

// An order in which all chunks lie: C's, or that of one that does not.
absl::StatusOr<std::vector<size_t>> CommonOrder(
    absl::Span<const OpenChunk> chunks) {
  std::vector<size_t> order(chunks[0].box.size.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (const OpenChunk& chunk : chunks) {
    if (LiesInOrder(*chunk.tensor, order)) continue;
    order = OrderOf(*chunk.tensor);
    break;
  }
  for (const OpenChunk& chunk : chunks) {
    if (LiesInOrder(*chunk.tensor, order)) continue;
    return absl::UnimplementedError(
        "unsupported_format: the elements of its chunks lie in unlike orders");
  }
  return order;
}

class DcpOpener {
 public:
  DcpOpener(FileSystem& files, const ForeignFile& metadata,
            const SliceOpener& open)
      : files_(FilePool::Make(files)),
        directory_(DirectoryOf(metadata.file->path())),
        metadata_(metadata),
        open_(open) {}

  absl::StatusOr<ForeignFile> Open(DcpKeys keys);

 private:
  absl::Status OpenFiles();
  absl::Status CheckSlices() const;
  absl::StatusOr<NodeId> OpenEntry(const DcpEntry& entry);
  absl::StatusOr<OpenChunk> OpenChunkOf(const DcpEntry& entry,
                                        const DcpChunk& chunk);
  absl::StatusOr<NodeId> EmptyTensor(const DcpEntry& entry);
  absl::StatusOr<NodeId> Assemble(const DcpEntry& entry,
                                  std::vector<OpenChunk> chunks);

  const std::shared_ptr<FilePool> files_;
  const std::string directory_;
  const ForeignFile& metadata_;
  const SliceOpener& open_;
  DcpMetadata dcp_;
  MergedFile merged_;
  absl::flat_hash_map<std::string, int64_t> file_numbers_;
  // Storages that have no place yet: those of assemblies_, in order.
  std::vector<Assembly> assemblies_;
  struct Unplaced {
    uint32_t storage;  // number in the tables
    int64_t size_bytes;
    std::string location;
  };
  std::vector<Unplaced> unplaced_;
};

bool HasElements(const DcpEntry& entry, const DcpChunk& chunk) {
  return !entry.is_tensor ||
         std::find(chunk.box.size.begin(), chunk.box.size.end(), 0) ==
             chunk.box.size.end();
}

// Empty chunks of a tensor say nothing, unless it is empty itself.
std::vector<const DcpChunk*> ChunksOf(const DcpEntry& entry) {
  std::vector<const DcpChunk*> chunks;
  for (const DcpChunk& chunk : entry.chunks) {
    if (HasElements(entry, chunk)) chunks.push_back(&chunk);
  }
  if (chunks.empty() && !entry.chunks.empty()) {
    chunks.push_back(&entry.chunks[0]);
  }
  return chunks;
}

absl::StatusOr<ForeignFile> DcpOpener::Open(DcpKeys keys) {
  PENSTOCK_ASSIGN_OR_RETURN(dcp_, ReadDcpMetadata(metadata_.root));
  PENSTOCK_RETURN_IF_ERROR(OpenFiles());
  PENSTOCK_RETURN_IF_ERROR(CheckSlices());
  DcpTree tree;
  for (const DcpEntry& entry : dcp_.entries) {
    const absl::StatusOr<NodeId> node = OpenEntry(entry);
    absl::Status status = node.status();
    if (status.ok()) status = tree.Add(entry.path, *node);
    if (!status.ok()) return Annotate(status, QuotedRecordName(entry.name));
  }
  PENSTOCK_ASSIGN_OR_RETURN(
      const NodeId root,
      tree.Emit(keys == DcpKeys::kIntsUnderState, merged_.tables()));
  auto assemblies = std::make_shared<Assemblies>();
  assemblies->first = merged_.num_places();
  for (size_t i = 0; i < unplaced_.size(); ++i) {
    const auto storage = Storage::InFile(
        unplaced_[i].size_bytes, assemblies->first + static_cast<int64_t>(i));
    storage->set_location(unplaced_[i].location);
    merged_.tables().storages[unplaced_[i].storage] = storage;
  }
  assemblies->list = std::move(assemblies_);
  PENSTOCK_ASSIGN_OR_RETURN(
      ForeignFile result, std::move(merged_).Finish(root, ForeignFormat::kDcp));
  result.writer = absl::StrCat(
      "torch.distributed.checkpoint",
      dcp_.version.empty() ? ""
                           : absl::StrCat(" (version ", dcp_.version, ")"));
  for (std::string& warning : dcp_.warnings) {
    result.warnings.push_back(std::move(warning));
  }
  result.globals.insert(result.globals.begin(), metadata_.globals.begin(),
                        metadata_.globals.end());
  if (!assemblies->list.empty()) {
    result.new_source = [stored = result.stored, assemblies] {
      return std::make_unique<AssembledSource>(
          std::make_unique<ExtentSource>(stored), assemblies);
    };
  }
  return result;
}

absl::Status DcpOpener::OpenFiles() {
  for (const DcpEntry& entry : dcp_.entries) {
    for (const DcpChunk* chunk : ChunksOf(entry)) {
      const auto [it, is_new] = file_numbers_.try_emplace(chunk->slice.file, 0);
      if (!is_new) continue;
      absl::StatusOr<std::shared_ptr<const RandomAccessFile>> file =
          files_->Open(absl::StrCat(directory_, "/", chunk->slice.file));
      if (!file.ok()) {
        return Annotate(Annotate(file.status(), "storage_missing"),
                        QuotedRecordName(entry.name));
      }
      it->second = merged_.AddFile(*std::move(file));
    }
  }
  return absl::OkStatus();
}

// That each lies within its file and in no other: what is read is at most what
// is there.
absl::Status DcpOpener::CheckSlices() const {
  struct Range {
    int64_t file, offset, end;
    const std::string* name;
  };
  std::vector<Range> ranges;
  for (const DcpEntry& entry : dcp_.entries) {
    for (const DcpChunk* chunk : ChunksOf(entry)) {
      const DcpSlice& slice = chunk->slice;
      const int64_t number = file_numbers_.at(slice.file);
      const RandomAccessFile& file = *merged_.file(number);
      if (!RangeFits(slice.offset, slice.length, file.size_bytes())) {
        return absl::DataLossError(absl::StrFormat(
            "%s: storage_size: %d bytes at offset %d of %s, which has %d bytes",
            QuotedRecordName(entry.name), slice.length, slice.offset,
            file.path(), file.size_bytes()));
      }
      ranges.push_back(
          {number, slice.offset, slice.offset + slice.length, &entry.name});
    }
  }
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) {
    return std::tie(a.file, a.offset) < std::tie(b.file, b.offset);
  });
  for (size_t i = 1; i < ranges.size(); ++i) {
    const Range& last = ranges[i - 1];
    const Range& next = ranges[i];
    if (last.file != next.file || last.end <= next.offset) continue;
    return absl::DataLossError(absl::StrFormat(
        "storage_size: the bytes of %s and %s overlap at offset %d of %s",
        QuotedRecordName(*last.name), QuotedRecordName(*next.name), next.offset,
        merged_.file(next.file)->path()));
  }
  return absl::OkStatus();
}

absl::StatusOr<OpenChunk> DcpOpener::OpenChunkOf(const DcpEntry& entry,
                                                 const DcpChunk& chunk) {
  const DcpSlice& slice = chunk.slice;
  const int64_t number = file_numbers_.at(slice.file);
  const std::shared_ptr<const RandomAccessFile> file = merged_.file(number);
  const absl::StatusOr<ForeignFile> part =
      open_(std::make_shared<SubFile>(file, slice.offset, slice.length));
  if (!part.ok()) return Annotate(part.status(), file->path());
  OpenChunk result;
  result.box = chunk.box;
  PENSTOCK_ASSIGN_OR_RETURN(result.node,
                            merged_.Add(*part, {number, slice.offset}));
  if (!entry.is_tensor || part->root.kind() != NodeKind::kTensor) {
    return result;
  }
  const Tensor tensor = part->root.AsTensor();
  if (tensor.dtype() != entry.dtype) {
    return absl::DataLossError(absl::StrFormat(
        "storage_dtype_conflict: %s: %d bytes at offset %d hold %s, .metadata "
        "says %s",
        file->path(), slice.length, slice.offset, InfoOf(tensor.dtype()).name,
        InfoOf(entry.dtype).name));
  }
  if (tensor.shape() != chunk.box.size) {
    return absl::DataLossError(absl::StrFormat(
        "tensor_args: %s: %d bytes at offset %d hold a tensor of size [%s], "
        ".metadata says [%s]",
        file->path(), slice.length, slice.offset,
        absl::StrJoin(tensor.shape(), ", "),
        absl::StrJoin(chunk.box.size, ", ")));
  }
  result.flags = part->root.tensor_flags();
  // The same view of the storage that has a place now.
  const Node& node = merged_.tables().nodes[result.node];
  const TensorRow& row = merged_.tables().tensors[node.payload];
  PENSTOCK_ASSIGN_OR_RETURN(
      result.tensor,
      Tensor::Make(merged_.tables().storages[row.storage], tensor.dtype(),
                   Dims(tensor.shape().begin(), tensor.shape().end()),
                   Dims(tensor.strides().begin(), tensor.strides().end()),
                   tensor.offset()));
  return result;
}

absl::StatusOr<NodeId> DcpOpener::OpenEntry(const DcpEntry& entry) {
  std::vector<OpenChunk> chunks;
  for (const DcpChunk* chunk : ChunksOf(entry)) {
    PENSTOCK_ASSIGN_OR_RETURN(OpenChunk opened, OpenChunkOf(entry, *chunk));
    chunks.push_back(std::move(opened));
  }
  // One chunk is the tensor as it is: strides, class and all.
  if (!entry.is_tensor ||
      (chunks.size() == 1 && chunks[0].box.size == entry.shape)) {
    return chunks[0].node;
  }
  if (std::find(entry.shape.begin(), entry.shape.end(), 0) !=
      entry.shape.end()) {
    return EmptyTensor(entry);
  }
  return Assemble(entry, std::move(chunks));
}

absl::StatusOr<NodeId> DcpOpener::EmptyTensor(const DcpEntry& entry) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::shared_ptr<Storage> storage,
                            Storage::Allocate(0));
  PENSTOCK_ASSIGN_OR_RETURN(const Tensor tensor,
                            Tensor::Make(storage, entry.dtype, entry.shape));
  return AddTensor(merged_.tables(), merged_.StorageNumber(storage), tensor, 0);
}

absl::StatusOr<NodeId> DcpOpener::Assemble(const DcpEntry& entry,
                                           std::vector<OpenChunk> chunks) {
  const int64_t width = InfoOf(entry.dtype).size_bytes;
  if (InfoOf(entry.dtype).values_per_byte > 1) {
    return absl::UnimplementedError(absl::StrCat(
        "unsupported_format: chunks of packed ", InfoOf(entry.dtype).name));
  }
  std::vector<Box> boxes;
  for (const OpenChunk& chunk : chunks) {
    if (!chunk.tensor || chunk.flags != chunks[0].flags) {
      return absl::UnimplementedError(
          "unsupported_format: its chunks are no tensors of one kind");
    }
    boxes.push_back(chunk.box);
  }
  if (chunks.empty()) {
    return absl::DataLossError("tensor_bounds: no chunk of it is there");
  }
  PENSTOCK_ASSIGN_OR_RETURN(const std::vector<size_t> order,
                            CommonOrder(chunks));
  Assembly assembly;
  assembly.element_bytes = width;
  assembly.shape = Permuted(entry.shape, order);
  const Dims shape_in_order = assembly.shape;
  for (Box& box : boxes) {
    box = {Permuted(box.begin, order), Permuted(box.size, order)};
  }
  JoinDimensions(assembly.shape, absl::MakeSpan(boxes));
  PENSTOCK_RETURN_IF_ERROR(CheckTiling(assembly.shape, boxes));
  for (size_t i = 0; i < chunks.size(); ++i) {
    const Tensor& tensor = *chunks[i].tensor;
    assembly.parts.push_back(
        {std::move(boxes[i]), tensor.storage(), tensor.offset() * width});
  }
  assembly.Prepare();
  // A place in memory, until all slices have theirs.
  const int64_t size_bytes = std::accumulate(
      entry.shape.begin(), entry.shape.end(), width, std::multiplies<>());
  const auto storage = Storage::InFile(size_bytes, 0);
  const Dims strides_in_order = ContiguousStrides(shape_in_order);
  Dims strides(entry.shape.size());
  for (size_t d = 0; d < order.size(); ++d) {
    strides[order[d]] = strides_in_order[d];
  }
  PENSTOCK_ASSIGN_OR_RETURN(
      const Tensor whole,
      Tensor::Make(storage, entry.dtype, entry.shape, std::move(strides)));
  const uint32_t number = merged_.StorageNumber(storage);
  unplaced_.push_back(
      {number, size_bytes, chunks[0].tensor->storage()->location()});
  assemblies_.push_back(std::move(assembly));
  return AddTensor(merged_.tables(), number, whole, chunks[0].flags);
}

}  // namespace

absl::StatusOr<ForeignFile> OpenDcp(FileSystem& files,
                                    const ForeignFile& metadata, DcpKeys keys,
                                    const SliceOpener& open) {
  absl::StatusOr<ForeignFile> opened =
      DcpOpener(files, metadata, open).Open(keys);
  if (!opened.ok()) return Annotate(opened.status(), metadata.file->path());
  return opened;
}

}  // namespace penstock
