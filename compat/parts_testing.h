// Checkpoints of several files, for tests: parts as bytes, and what a reader
// gives of them.

#ifndef PENSTOCK_COMPAT_PARTS_TESTING_H_
#define PENSTOCK_COMPAT_PARTS_TESTING_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "codec/plan.h"
#include "codec/slot.h"
#include "compat/foreign_file.h"
#include "compat/golden_checkpoints.h"
#include "core/graph_builder.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/tensor.h"
#include "core/value.h"

namespace penstock {

// A tensor of its own storage of these bytes.
inline Tensor TensorOfBytes(absl::string_view bytes, DType dtype,
                            std::vector<int64_t> shape,
                            std::vector<int64_t> strides = {}) {
  auto storage = *Storage::Allocate(static_cast<int64_t>(bytes.size()));
  std::copy(bytes.begin(), bytes.end(), storage->mutable_bytes().begin());
  return *Tensor::Make(std::move(storage), dtype, std::move(shape),
                       std::move(strides));
}

// torch.save of a dict.
inline std::string PtOf(
    const std::vector<std::pair<std::string, Tensor>>& tensors) {
  GraphBuilder b;
  const NodeId root = b.Dict();
  for (const auto& [name, tensor] : tensors) {
    PENSTOCK_CHECK(b.SetItem(root, b.Str(name), b.Tensor(tensor)).ok());
  }
  return *WritePt(*std::move(b).Finish(root), "archive");
}

// The bytes of every storage, in order.
inline absl::StatusOr<std::vector<std::string>> ReadAllStorages(
    const ForeignFile& file) {
  const auto storages = file.root.graph()->storages();
  std::vector<std::string> result;
  for (const auto& storage : storages) {
    result.emplace_back(storage->size_bytes(), '\0');
  }
  const Plan plan = PlanInOrder(storages);
  const std::unique_ptr<ForeignSource> source = file.new_source();
  Slot slot;
  for (const Chunk& chunk : plan.chunks) {
    PENSTOCK_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> bytes,
                              source->Bytes(plan, chunk, slot, nullptr));
    for (const Piece& piece : plan.pieces_of(chunk)) {
      std::copy_n(bytes.data() + piece.offset, piece.size,
                  result[piece.storage].begin() + piece.begin);
    }
  }
  PENSTOCK_RETURN_IF_ERROR(source->Finish());
  return result;
}

// The storage of a tensor, as text.
inline std::string BytesOfTensor(const ForeignFile& file, const Value& tensor) {
  const auto storages = file.root.graph()->storages();
  const auto bytes = ReadAllStorages(file);
  if (!bytes.ok()) return std::string(bytes.status().message());
  const auto* const storage = tensor.AsTensor().storage().get();
  for (size_t i = 0; i < storages.size(); ++i) {
    if (storages[i].get() == storage) return (*bytes)[i];
  }
  return "no such storage";
}

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_PARTS_TESTING_H_
