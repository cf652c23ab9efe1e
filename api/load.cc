// Everything at once: into new memory, over pages of the file, into tensors
// that the caller has.

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/opened.h"
#include "api/penstock.h"
#include "core/dtype.h"
#include "core/graph_tables.h"
#include "core/page_populator.h"
#include "core/status_macros.h"
#include "core/strided_copy.h"

namespace penstock {
namespace {

// By storage of the tree: the widest number that a tensor on it has, in bytes.
std::vector<int> WidestNumbers(const GraphTables& tables) {
  std::vector<int> widths(tables.storages.size(), 1);
  for (const TensorRow& tensor : tables.tensors) {
    const DType dtype = static_cast<DType>(tensor.dtype);
    widths[tensor.storage] =
        std::max<int>(widths[tensor.storage], InfoOf(dtype).word_bytes);
  }
  return widths;
}

// The pages that hold storage `number` as it is; null where it must be read.
std::shared_ptr<Storage> MapStorage(const Checkpoint::Opened& opened,
                                    const std::shared_ptr<const uint8_t>& pages,
                                    int64_t number, int width) {
  const Storage& storage = *opened.root.graph()->storages()[number];
  if (pages == nullptr || storage.size_bytes() == 0) return nullptr;
  const absl::StatusOr<int64_t> offset =
      opened.OffsetInFile(number, {0, storage.size_bytes()});
  if (!offset.ok() || *offset % width != 0) return nullptr;
  // Nobody writes to a storage that is const from here on.
  uint8_t* const bytes = const_cast<uint8_t*>(pages.get()) + *offset;
  return Storage::Adopt(absl::MakeSpan(bytes, storage.size_bytes()),
                        [held = pages]() mutable { held.reset(); });
}

// Fills storages in new memory, whose pages the thread that fills them gets.
class NewMemorySink : public MemorySink {
 public:
  explicit NewMemorySink(const std::vector<Window>& windows)
      : MemorySink(windows), windows_(windows) {}

  uint8_t* Target(const Plan& plan, const Chunk& chunk, Slot& slot) override {
    uint8_t* const target = MemorySink::Target(plan, chunk, slot);
    if (target == nullptr) return nullptr;
    const Piece& piece = plan.pieces_of(chunk)[0];
    populator_.Populate(windows_[piece.storage].storage->mutable_bytes(),
                        absl::MakeSpan(target, chunk.size_bytes));
    return target;
  }

 private:
  const std::vector<Window> windows_;
  PagePopulator populator_;
};

// The tree over storages in memory: over `pages` where they hold one.
absl::StatusOr<Value> LoadTree(const Checkpoint::Opened& opened,
                               const std::shared_ptr<const uint8_t>& pages) {
  const Graph& graph = *opened.root.graph();
  const Plan plan = opened.TreePlan();
  const std::vector<int> widths = WidestNumbers(graph.tables());
  std::vector<MemorySink::Window> windows;
  std::vector<std::shared_ptr<const Storage>> storages;
  for (const auto& storage : plan.storages) {
    const int64_t number = static_cast<int64_t>(storages.size());
    std::shared_ptr<Storage> memory =
        MapStorage(opened, pages, number, widths[number]);
    const bool mapped = memory != nullptr;
    if (!mapped) {
      PENSTOCK_ASSIGN_OR_RETURN(memory,
                                Storage::Allocate(storage->size_bytes()));
    }
    memory->set_location(storage->location());
    windows.push_back({mapped ? nullptr : memory, 0});
    storages.push_back(std::move(memory));
  }
  const Checkpoint::Opened::Run run = opened.NewRun(pages);
  NewMemorySink sink(windows);
  PENSTOCK_RETURN_IF_ERROR(
      RunPump(plan, opened.names(), *run.source, sink, opened.options)
          .status());
  PENSTOCK_ASSIGN_OR_RETURN(std::shared_ptr<const Graph> filled,
                            graph.WithStorages(std::move(storages)));
  return Value(std::move(filled), opened.root.id());
}

// Whether the elements fill their byte_range() without gaps, each once.
bool IsDense(const Tensor& tensor) {
  std::vector<std::pair<int64_t, int64_t>> dims;  // stride, size
  for (size_t i = 0; i < tensor.shape().size(); ++i) {
    if (tensor.shape()[i] != 1) {
      dims.emplace_back(tensor.strides()[i], tensor.shape()[i]);
    }
  }
  std::sort(dims.begin(), dims.end());
  int64_t expected = 1;
  for (const auto& [stride, size] : dims) {
    if (stride != expected) return false;
    expected *= size;
  }
  return true;
}

// Whether the bytes of one, as they are, are those of the other.
bool IsSameLayout(const Tensor& a, const Tensor& b) {
  for (size_t i = 0; i < a.shape().size(); ++i) {
    if (a.shape()[i] > 1 && a.strides()[i] != b.strides()[i]) return false;
  }
  return IsDense(a);
}

// A view of part of `tensor`: elements [begin, end) of dimension `dim`.
absl::StatusOr<Tensor> Narrowed(const Tensor& tensor, size_t dim, int64_t begin,
                                int64_t end) {
  std::vector<int64_t> shape(tensor.shape().begin(), tensor.shape().end());
  shape[dim] = end - begin;
  return Tensor::Make(
      tensor.storage(), tensor.dtype(), std::move(shape),
      std::vector<int64_t>(tensor.strides().begin(), tensor.strides().end()),
      tensor.offset() + begin * tensor.strides()[dim]);
}

// The dimension along which halves are furthest apart. There is one where a
// tensor has more than one element.
size_t LongestDim(const Tensor& tensor) {
  const auto length = [&](size_t dim) {
    return tensor.strides()[dim] * (tensor.shape()[dim] - 1);
  };
  size_t longest = 0;
  for (size_t i = 1; i < tensor.shape().size(); ++i) {
    if (length(i) > length(longest)) longest = i;
  }
  return longest;
}

// Reads tensors of an open checkpoint into others.
class TargetLoader {
 public:
  explicit TargetLoader(const Checkpoint::Opened& opened)
      : opened_(opened), run_(opened.NewRun()) {}

  void Add(const LoadPlan::Copy& copy);
  absl::Status Run();

 private:
  struct Direct {
    int64_t storage = 0;  // number in the tree
    ByteRange range;
    uint8_t* to = nullptr;
  };
  // A run of bytes of the targets, and what goes there.
  struct Claim {
    const uint8_t* end = nullptr;
    const Storage* from = nullptr;  // null: more than one
    int64_t begin = 0;
  };

  bool ClaimBytes(const uint8_t* begin, Claim claim);
  Plan DirectPlan();
  absl::Status ReadDirect();
  absl::Status ReadThroughMemory(const Tensor& from, const Tensor& to);
  absl::Status ReadPart(const Tensor& from, const Tensor& to);

  const Checkpoint::Opened& opened_;
  const Checkpoint::Opened::Run run_;
  std::vector<Direct> direct_;
  // Those that need a temporary, and those that write what another one has
  // claimed. In order, after the direct ones: where several write to the same
  // bytes, the last name wins.
  std::vector<LoadPlan::Copy> in_order_;
  std::map<const uint8_t*, Claim> claims_;  // disjoint, by first byte
};

void TargetLoader::Add(const LoadPlan::Copy& copy) {
  const Tensor& from = copy.from->tensor;
  const Tensor& to = copy.to->tensor;
  const ByteRange range = from.byte_range();
  const ByteRange target = to.byte_range();
  if (target.size() == 0) return;
  // The caller owns the bytes and said that they may be written.
  uint8_t* const bytes =
      const_cast<uint8_t*>(to.storage()->bytes().data()) + target.begin;
  const bool same_layout = IsSameLayout(from, to);
  const Claim claim{bytes + target.size(),
                    same_layout ? from.storage().get() : nullptr, range.begin};
  const auto found = claims_.find(bytes);
  if (same_layout && found != claims_.end() && found->second.end == claim.end &&
      found->second.from == claim.from && found->second.begin == claim.begin) {
    return;  // tied on both sides
  }
  if (ClaimBytes(bytes, claim) && same_layout) {
    const TensorRow& row =
        opened_.root.graph()->tables().tensors[copy.from->number];
    direct_.push_back({row.storage, range, bytes});
  } else {
    in_order_.push_back(copy);
  }
}

// True where nobody had claimed one of the bytes before.
bool TargetLoader::ClaimBytes(const uint8_t* begin, Claim claim) {
  auto next = claims_.upper_bound(begin);
  if (next != claims_.begin() && std::prev(next)->second.end > begin) --next;
  bool is_free = true;
  while (next != claims_.end() && next->first < claim.end) {
    is_free = false;
    begin = std::min(begin, next->first);
    claim = {std::max(claim.end, next->second.end), nullptr, 0};
    next = claims_.erase(next);
  }
  claims_.emplace(begin, claim);
  return is_free;
}

// Storage i of the plan is that of direct_[i], which this puts into the order
// of the file.
Plan TargetLoader::DirectPlan() {
  if (opened_.native != nullptr) {
    std::vector<StorageRange> ranges;
    for (const Direct& direct : direct_) {
      ranges.push_back({direct.storage, direct.range.begin, direct.range.end});
    }
    return opened_.native->PlanFor(ranges);
  }
  std::stable_sort(direct_.begin(), direct_.end(),
                   [this](const Direct& a, const Direct& b) {
                     return opened_.extent_offsets[a.storage] + a.range.begin <
                            opened_.extent_offsets[b.storage] + b.range.begin;
                   });
  Plan plan;
  std::vector<Piece> small;  // of the chunk that is being gathered
  int64_t small_bytes = 0;
  for (const Direct& direct : direct_) {
    Piece piece;
    piece.storage = static_cast<int64_t>(plan.storages.size());
    plan.storages.push_back(opened_.root.graph()->storages()[direct.storage]);
    const bool is_small = direct.range.size() < kSmallStorageBytes;
    if (!small.empty() &&
        (!is_small || small_bytes > kChunkBytes - 2 * kSmallStorageBytes)) {
      plan.Append(small);
      small.clear();
      small_bytes = 0;
    }
    for (piece.begin = direct.range.begin; piece.begin < direct.range.end;
         piece.begin += piece.size) {
      piece.size = std::min(kChunkBytes, direct.range.end - piece.begin);
      if (is_small) {
        small.push_back(piece);
        small_bytes += piece.size + kPieceAlignment;
      } else {
        plan.Append(absl::MakeConstSpan(&piece, 1));
      }
    }
  }
  if (!small.empty()) plan.Append(small);
  return plan;
}

absl::Status TargetLoader::ReadDirect() {
  const Plan plan = DirectPlan();
  std::vector<MemorySink::Window> windows;
  for (const Direct& direct : direct_) {
    windows.push_back(
        {Storage::Adopt(absl::MakeSpan(direct.to, direct.range.size()), {}),
         direct.range.begin});
  }
  MemorySink sink(std::move(windows));
  return RunPump(plan, opened_.names(), *run_.source, sink, opened_.options)
      .status();
}

// In halves, until half the memory that is there holds one.
absl::Status TargetLoader::ReadThroughMemory(const Tensor& from,
                                             const Tensor& to) {
  const int64_t limit = opened_.options.memory_bytes / 2;
  std::vector<std::pair<Tensor, Tensor>> parts = {{from, to}};
  while (!parts.empty()) {
    const std::pair<Tensor, Tensor> part = std::move(parts.back());
    parts.pop_back();
    if (part.first.byte_range().size() <= limit ||
        part.first.num_elements() == 1) {
      PENSTOCK_RETURN_IF_ERROR(ReadPart(part.first, part.second));
      continue;
    }
    const size_t dim = LongestDim(part.first);
    const int64_t size = part.first.shape()[dim];
    const int64_t half = size / 2;
    for (const auto& [begin, end] : {std::pair(half, size), {0, half}}) {
      PENSTOCK_ASSIGN_OR_RETURN(Tensor source,
                                Narrowed(part.first, dim, begin, end));
      PENSTOCK_ASSIGN_OR_RETURN(Tensor target,
                                Narrowed(part.second, dim, begin, end));
      parts.emplace_back(std::move(source), std::move(target));
    }
  }
  return absl::OkStatus();
}

absl::Status TargetLoader::ReadPart(const Tensor& from, const Tensor& to) {
  const ByteRange range = from.byte_range();
  PENSTOCK_ASSIGN_OR_RETURN(const std::shared_ptr<Storage> memory,
                            Storage::Allocate(range.size()));
  RunOptions options = opened_.options;
  options.memory_bytes -= options.memory_bytes / 2;
  const Plan plan = PlanRange(from.storage(), range.begin, range.end);
  MemorySink sink({{memory, range.begin}});
  PENSTOCK_RETURN_IF_ERROR(
      RunPump(plan, opened_.names(), *run_.source, sink, options).status());
  PENSTOCK_ASSIGN_OR_RETURN(const Tensor read, RebasedOn(memory, from));
  return CopyElements(read, to);
}

absl::Status TargetLoader::Run() {
  PENSTOCK_RETURN_IF_ERROR(ReadDirect());
  for (const LoadPlan::Copy& copy : in_order_) {
    PENSTOCK_RETURN_IF_ERROR(
        ReadThroughMemory(copy.from->tensor, copy.to->tensor));
  }
  return run_.foreign == nullptr ? absl::OkStatus()
                                 : run_.foreign->VerifyRest();
}

}  // namespace

absl::StatusOr<Value> Checkpoint::Load() const {
  return LoadTree(*opened_, nullptr);
}

absl::StatusOr<Value> Checkpoint::LoadMapped() const {
  std::shared_ptr<const uint8_t> pages;
  if (const RandomAccessFile* file = opened_->file(); file != nullptr) {
    auto mapped = file->Map(0, file->size_bytes());
    if (mapped.ok()) {
      pages = *std::move(mapped);
    } else if (!absl::IsUnimplemented(mapped.status())) {
      return mapped.status();
    }
  }
  return LoadTree(*opened_, pages);
}

absl::StatusOr<LoadReport> Checkpoint::LoadInto(StateDict& target,
                                                Strictness strictness) const {
  PENSTOCK_ASSIGN_OR_RETURN(
      LoadPlan plan, opened_->state_dict().PlanLoadInto(target, strictness));
  TargetLoader loader(*opened_);
  for (const LoadPlan::Copy& copy : plan.copies) {
    loader.Add(copy);
    ++plan.report.num_loaded;
  }
  PENSTOCK_RETURN_IF_ERROR(loader.Run());
  return std::move(plan.report);
}

absl::StatusOr<Value> Load(const std::string& path, const RunOptions& options) {
  PENSTOCK_ASSIGN_OR_RETURN(const Checkpoint checkpoint,
                            Checkpoint::Open(path, options));
  return checkpoint.Load();
}

}  // namespace penstock
