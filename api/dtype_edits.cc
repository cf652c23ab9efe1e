// CastTensors of api/apply_edits.h.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "api/apply_edits.h"
#include "core/cast.h"
#include "core/dtype.h"
#include "core/graph_rewrite.h"
#include "core/graph_tables.h"
#include "core/state_dict.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/tensor.h"
#include "core/tensor_walk.h"

namespace penstock {
namespace {

// How a graph looks at one storage.
struct Views {
  std::optional<DType> dtype;
  // Another way to look at it: a dtype, or none for an untyped storage.
  bool has_other = false;
  std::optional<DType> other;
  bool has_dimensions = false;  // of any tensor

  void Add(std::optional<DType> seen) {
    if (!seen.has_value()) {
      has_other = true;
    } else if (!dtype.has_value()) {
      dtype = seen;
    } else if (*dtype != *seen && !other.has_value()) {
      has_other = true;
      other = seen;
    }
  }
};

class Casting {
 public:
  Casting(const Value& root, DType to, std::vector<Derivation>& derivations)
      : root_(root),
        to_(to),
        derivations_(derivations),
        tables_(root.graph()->tables()),
        views_(tables_.storages.size()) {}

  absl::StatusOr<Value> Run() {
    PENSTOCK_RETURN_IF_ERROR(CollectViews());
    const std::vector<std::shared_ptr<const Storage>> storages =
        tables_.storages;
    for (size_t i = 0; i < storages.size(); ++i) {
      if (IsCast(views_[i])) PENSTOCK_RETURN_IF_ERROR(CastStorage(i));
    }
    for (TensorRow& row : tables_.tensors) {
      PENSTOCK_RETURN_IF_ERROR(CastRow(storages, row));
    }
    for (Node& node : tables_.nodes) {
      if (node.kind == NodeKind::kStorage && IsCast(views_[node.payload])) {
        node.detail = static_cast<uint8_t>(static_cast<int>(to_) + 1);
      }
    }
    return Rewritten(tables_, root_.id());
  }

  std::string Note() const {
    std::string note =
        absl::StrCat("--dtype ", InfoOf(to_).name, ": ", num_cast_,
                     num_cast_ == 1 ? " tensor" : " tensors", " cast");
    if (num_same_ > 0) absl::StrAppend(&note, ", ", num_same_, " were so");
    if (num_scalars_ > 0) {
      absl::StrAppend(&note, ", ", num_scalars_,
                      " left because they have no dimensions");
    }
    if (num_others_ > 0) {
      absl::StrAppend(&note, ", ", num_others_, " left because of their dtype");
    }
    return note;
  }

 private:
  bool IsCast(const Views& views) const {
    return views.has_dimensions && views.dtype.has_value() &&
           *views.dtype != to_ && CanCast(*views.dtype, to_);
  }

  absl::Status CollectViews();
  absl::Status CastStorage(size_t number);
  absl::Status CastRow(
      const std::vector<std::shared_ptr<const Storage>>& storages,
      TensorRow& row);
  absl::StatusOr<uint32_t> Separate(
      const std::shared_ptr<const Storage>& storage, const TensorRow& row);
  std::string NameOf(size_t storage, std::optional<DType> dtype) const;

  const Value& root_;
  const DType to_;
  std::vector<Derivation>& derivations_;
  GraphTables tables_;
  std::vector<Views> views_;  // by storage, of the graph as it was
  // New storages of scalars, by storage and offset.
  absl::flat_hash_map<std::pair<uint32_t, int64_t>, uint32_t> separate_;
  int64_t num_cast_ = 0;
  int64_t num_same_ = 0;
  int64_t num_scalars_ = 0;
  int64_t num_others_ = 0;
};

absl::Status Casting::CollectViews() {
  for (const TensorRow& row : tables_.tensors) {
    Views& views = views_[row.storage];
    views.Add(static_cast<DType>(row.dtype));
    views.has_dimensions = views.has_dimensions || row.rank > 0;
  }
  absl::flat_hash_map<const Storage*, size_t> bare;
  for (const Node& node : tables_.nodes) {
    if (node.kind != NodeKind::kStorage) continue;
    std::optional<DType> dtype;
    if (node.detail != 0) dtype = static_cast<DType>(node.detail - 1);
    views_[node.payload].Add(dtype);
    bare[tables_.storages[node.payload].get()] = node.payload;
  }
  if (bare.empty()) return absl::OkStatus();
  // Tensors that a call makes of a storage and numbers are no tensor nodes.
  return WalkTensors(root_, kMaxNodes, [&](const WalkedTensor& walked) {
    const auto it = bare.find(walked.tensor.storage().get());
    if (walked.number < 0 && it != bare.end()) {
      Views& views = views_[it->second];
      views.has_dimensions =
          views.has_dimensions || !walked.tensor.shape().empty();
    }
    return absl::OkStatus();
  });
}

// All of it, whatever its tensors show: so they can keep their strides.
absl::Status Casting::CastStorage(size_t number) {
  const Views& views = views_[number];
  if (views.has_other) {
    const std::string other =
        views.other.has_value()
            ? absl::StrCat(NameOf(number, views.other), " as ",
                           InfoOf(*views.other).name)
            : "a storage without a dtype";
    return absl::InvalidArgumentError(
        absl::StrCat(NameOf(number, views.dtype), " views as ",
                     InfoOf(*views.dtype).name, " the bytes that ", other,
                     " has, too: they cannot be cast to ", InfoOf(to_).name));
  }
  const std::shared_ptr<const Storage>& storage = tables_.storages[number];
  const int64_t num_elements =
      storage->size_bytes() / InfoOf(*views.dtype).size_bytes;
  if (num_elements == 0) return absl::OkStatus();
  PENSTOCK_ASSIGN_OR_RETURN(
      const Tensor whole, Tensor::Make(storage, *views.dtype, {num_elements}));
  PENSTOCK_ASSIGN_OR_RETURN(Derivation derivation,
                            MakeDerivation(whole, to_, 0));
  tables_.storages[number] = derivation.storage;
  derivations_.push_back(std::move(derivation));
  return absl::OkStatus();
}

absl::Status Casting::CastRow(
    const std::vector<std::shared_ptr<const Storage>>& storages,
    TensorRow& row) {
  const auto dtype = static_cast<DType>(row.dtype);
  if (dtype == to_) {
    ++num_same_;
    return absl::OkStatus();
  }
  if (!CanCast(dtype, to_)) {
    ++num_others_;
    return absl::OkStatus();
  }
  if (row.rank == 0) {
    ++num_scalars_;
    if (!IsCast(views_[row.storage])) return absl::OkStatus();
    PENSTOCK_ASSIGN_OR_RETURN(row.storage,
                              Separate(storages[row.storage], row));
    row.offset = 0;
    return absl::OkStatus();
  }
  ++num_cast_;
  row.dtype = static_cast<uint8_t>(to_);
  return absl::OkStatus();
}

// A scalar in a storage that is cast (Adam's step in a flat buffer) gets a
// storage of its own: it must keep its value, and the rest its ties.
absl::StatusOr<uint32_t> Casting::Separate(
    const std::shared_ptr<const Storage>& storage, const TensorRow& row) {
  const auto [it, is_new] =
      separate_.try_emplace(std::make_pair(row.storage, row.offset),
                            static_cast<uint32_t>(tables_.storages.size()));
  if (!is_new) return it->second;
  const auto dtype = static_cast<DType>(row.dtype);
  PENSTOCK_ASSIGN_OR_RETURN(const Tensor scalar,
                            Tensor::Make(storage, dtype, {}, {}, row.offset));
  PENSTOCK_ASSIGN_OR_RETURN(Derivation derivation,
                            MakeDerivation(scalar, dtype, 0));
  tables_.storages.push_back(derivation.storage);
  derivations_.push_back(std::move(derivation));
  return it->second;
}

std::string Casting::NameOf(size_t storage, std::optional<DType> dtype) const {
  const auto names = StateDict::FromValue(root_);
  const Storage* const wanted = root_.graph()->storages()[storage].get();
  if (names.ok()) {
    for (const NamedTensor& entry : names->entries()) {
      if (entry.tensor.storage().get() == wanted &&
          entry.tensor.dtype() == dtype) {
        return entry.name;
      }
    }
  }
  return "a tensor without a name";
}

}  // namespace

absl::StatusOr<Value> CastTensors(const Value& root, DType to,
                                  std::vector<Derivation>& derivations,
                                  std::vector<std::string>& notes) {
  if (!CanCast(to, to)) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensors cannot be cast to ", InfoOf(to).name,
                     ": expected float32, float16 or bfloat16"));
  }
  Casting casting(root, to, derivations);
  PENSTOCK_ASSIGN_OR_RETURN(Value result, casting.Run());
  notes.push_back(casting.Note());
  return result;
}

}  // namespace penstock
