#include "core/graph_proof.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/dtype.h"
#include "core/python_keys.h"
#include "core/status_macros.h"
#include "core/tensor.h"

namespace penstock {
namespace {

// Proves tables from anywhere. Each step relies on those before it.
class Proof {
 public:
  explicit Proof(const GraphTables& tables) : tables_(tables) {}

  absl::Status Run() {
    PENSTOCK_RETURN_IF_ERROR(CheckSizes());
    for (size_t i = 0; i < tables_.nodes.size(); ++i) {
      PENSTOCK_RETURN_IF_ERROR(CheckNode(i));
    }
    PENSTOCK_RETURN_IF_ERROR(CheckNothingIsLeft());
    PENSTOCK_RETURN_IF_ERROR(CheckOrder());
    for (size_t i = 0; i < tables_.nodes.size(); ++i) {
      if (tables_.nodes[i].kind == NodeKind::kGlobal) {
        PENSTOCK_RETURN_IF_ERROR(CheckGlobal(i));
      } else if (tables_.nodes[i].kind == NodeKind::kObject) {
        PENSTOCK_RETURN_IF_ERROR(CheckObject(i));
      }
    }
    PENSTOCK_RETURN_IF_ERROR(CheckOwned());
    return CheckKeys();
  }

 private:
  static absl::Status Bad(absl::string_view table, uint64_t index,
                          absl::string_view what) {
    return absl::DataLossError(absl::StrCat(table, " ", index, ": ", what));
  }
  static absl::Status BadNode(uint64_t index, absl::string_view what) {
    return Bad("node", index, what);
  }

  absl::Status CheckSizes() const;
  absl::Status CheckNode(uint64_t index);
  absl::Status CheckChildren(uint64_t index);
  absl::Status CheckBytes(uint64_t index);
  absl::Status CheckTensor(uint64_t index);
  absl::Status CheckStorageNumber(uint64_t index, uint64_t number);
  absl::Status CheckNothingIsLeft() const;
  absl::Status CheckOrder() const;
  absl::Status CheckGlobal(uint64_t index) const;
  absl::Status CheckObject(uint64_t index);
  absl::Status CheckOwned() const;
  absl::Status CheckKeys() const;

  const GraphTables& tables_;
  // How far the nodes so far have used each table.
  uint64_t num_children_ = 0;
  uint64_t num_bytes_ = 0;
  uint64_t num_tensors_ = 0;
  uint64_t num_dims_ = 0;
  uint64_t num_storages_ = 0;
  // Nodes that are some object's items or pairs, and nothing else.
  std::vector<bool> owned_;
  uint64_t num_owned_ = 0;
};

absl::Status Proof::CheckSizes() const {
  if (tables_.nodes.empty()) return absl::DataLossError("no nodes");
  if (tables_.nodes.size() > static_cast<uint64_t>(kMaxNodes)) {
    return absl::ResourceExhaustedError(
        absl::StrCat(tables_.nodes.size(), " nodes, the limit is ", kMaxNodes));
  }
  for (size_t i = 0; i < tables_.storages.size(); ++i) {
    if (tables_.storages[i] == nullptr) return Bad("storage", i, "missing");
  }
  return absl::OkStatus();
}

absl::Status Proof::CheckNode(uint64_t index) {
  const Node& node = tables_.nodes[index];
  if (node.reserved != 0) return BadNode(index, "reserved bits are set");
  uint64_t max_detail = 0;
  if (node.kind == NodeKind::kStorage) max_detail = kNumDTypes;
  if (node.kind == NodeKind::kObject) max_detail = 2;
  if (node.detail > max_detail) {
    return BadNode(index,
                   absl::StrCat("detail ", node.detail, " over ", max_detail));
  }
  if (HasBytes(node.kind)) return CheckBytes(index);
  if (HasChildren(node.kind)) return CheckChildren(index);
  if (node.size != 0) {
    return BadNode(index, absl::StrCat("size ", node.size, ", expected 0"));
  }
  switch (node.kind) {
    case NodeKind::kNone:
    case NodeKind::kBool:
      if (node.payload > (node.kind == NodeKind::kBool ? 1 : 0)) {
        return BadNode(index, absl::StrCat("value ", node.payload));
      }
      return absl::OkStatus();
    case NodeKind::kInt:
    case NodeKind::kFloat:
      return absl::OkStatus();
    case NodeKind::kTensor:
      return CheckTensor(index);
    case NodeKind::kStorage:
      return CheckStorageNumber(index, node.payload);
    default:
      return BadNode(
          index, absl::StrCat("unknown kind ", static_cast<int>(node.kind)));
  }
}

absl::Status Proof::CheckChildren(uint64_t index) {
  const Node& node = tables_.nodes[index];
  const uint64_t count = NumChildren(node);
  if (node.payload != num_children_ ||
      count > tables_.children.size() - num_children_) {
    return BadNode(
        index,
        absl::StrFormat("%d children from %d, expected from %d of %d", count,
                        node.payload, num_children_, tables_.children.size()));
  }
  num_children_ += count;
  return absl::OkStatus();
}

absl::Status Proof::CheckBytes(uint64_t index) {
  const Node& node = tables_.nodes[index];
  if (node.payload != num_bytes_ ||
      node.size > tables_.bytes.size() - num_bytes_) {
    return BadNode(
        index,
        absl::StrFormat("%d bytes from %d, expected from %d of %d", node.size,
                        node.payload, num_bytes_, tables_.bytes.size()));
  }
  num_bytes_ += node.size;
  const absl::string_view bytes = BytesOf(tables_, node);
  if (node.kind == NodeKind::kStr && !IsPythonText(bytes)) {
    return BadNode(index, "text that is not UTF-8");
  }
  if (node.kind == NodeKind::kBigInt && !IsMinimalBigInt(bytes)) {
    return BadNode(index, "a big int that is not minimal or not big");
  }
  if (node.kind == NodeKind::kComplex && node.size != 2 * sizeof(double)) {
    return BadNode(index, absl::StrCat("complex of ", node.size, " bytes"));
  }
  return absl::OkStatus();
}

absl::Status Proof::CheckTensor(uint64_t index) {
  const uint64_t number = tables_.nodes[index].payload;
  if (number != num_tensors_ || number >= tables_.tensors.size()) {
    return BadNode(index,
                   absl::StrFormat("tensor %d, expected %d of %d", number,
                                   num_tensors_, tables_.tensors.size()));
  }
  ++num_tensors_;
  const TensorRow& row = tables_.tensors[number];
  const auto dtype = DTypeFromCode(row.dtype);
  if (!dtype.has_value()) {
    return Bad("tensor", number, absl::StrCat("unknown dtype ", row.dtype));
  }
  constexpr uint8_t kKnownFlags = TensorFlags::kRequiresGrad |
                                  TensorFlags::kConjugated |
                                  TensorFlags::kNegated;
  if ((row.flags & ~kKnownFlags) != 0) {
    return Bad("tensor", number, absl::StrCat("unknown flags ", row.flags));
  }
  if (row.rank > kMaxRank || row.dims != num_dims_ ||
      2 * uint64_t{row.rank} > tables_.dims.size() - num_dims_) {
    return Bad(
        "tensor", number,
        absl::StrFormat("rank %d, dims from %d, expected from %d of %d",
                        row.rank, row.dims, num_dims_, tables_.dims.size()));
  }
  num_dims_ += 2 * uint64_t{row.rank};
  PENSTOCK_RETURN_IF_ERROR(CheckStorageNumber(index, row.storage));
  const auto dims = absl::MakeConstSpan(tables_.dims);
  const absl::Status view =
      CheckView(*dtype, dims.subspan(row.dims, row.rank),
                dims.subspan(row.dims + row.rank, row.rank), row.offset,
                tables_.storages[row.storage]->size_bytes());
  return view.ok() ? view : Bad("tensor", number, view.message());
}

absl::Status Proof::CheckStorageNumber(uint64_t index, uint64_t number) {
  if (number > num_storages_ || number >= tables_.storages.size()) {
    return BadNode(
        index, absl::StrFormat("storage %d, expected at most %d of %d", number,
                               num_storages_, tables_.storages.size()));
  }
  if (number == num_storages_) ++num_storages_;
  return absl::OkStatus();
}

absl::Status Proof::CheckNothingIsLeft() const {
  const auto check = [](absl::string_view table, uint64_t used,
                        uint64_t size) -> absl::Status {
    if (used == size) return absl::OkStatus();
    return Bad(table, used, "nothing uses it");
  };
  PENSTOCK_RETURN_IF_ERROR(
      check("child", num_children_, tables_.children.size()));
  PENSTOCK_RETURN_IF_ERROR(check("byte", num_bytes_, tables_.bytes.size()));
  PENSTOCK_RETURN_IF_ERROR(
      check("tensor", num_tensors_, tables_.tensors.size()));
  PENSTOCK_RETURN_IF_ERROR(check("dim", num_dims_, tables_.dims.size()));
  return check("storage", num_storages_, tables_.storages.size());
}

// Walks depth first: nodes must appear as 0, 1, 2... This also bounds every
// child's number. In the right order, a number below `next` was met before.
absl::Status Proof::CheckOrder() const {
  std::vector<NodeId> stack = {0};
  uint64_t next = 0;
  while (!stack.empty()) {
    const NodeId id = stack.back();
    stack.pop_back();
    if (id < next) continue;
    if (id != next || id >= tables_.nodes.size()) {
      return BadNode(next, absl::StrFormat("next in order of visit is %d of %d",
                                           id, tables_.nodes.size()));
    }
    const Node& node = tables_.nodes[next++];
    const auto children = ChildrenOf(tables_, node);
    // Most are leaves, and come in order: the stack never sees those.
    size_t done = 0;
    while (done < children.size() && children[done] == next &&
           next < tables_.nodes.size() &&
           !HasChildren(tables_.nodes[next].kind)) {
      ++done;
      ++next;
    }
    for (size_t i = children.size(); i-- > done;) {
      const bool absent =
          children[i] == kNoNode && node.kind == NodeKind::kObject;
      if (!absent) stack.push_back(children[i]);
    }
  }
  if (next != tables_.nodes.size())
    return BadNode(next, "nothing refers to it");
  return absl::OkStatus();
}

absl::Status Proof::CheckGlobal(uint64_t index) const {
  const auto children = ChildrenOf(tables_, tables_.nodes[index]);
  if (children.size() != 2 ||
      tables_.nodes[children[0]].kind != NodeKind::kStr ||
      tables_.nodes[children[1]].kind != NodeKind::kStr) {
    return BadNode(index, "a global needs two strings, module and name");
  }
  return absl::OkStatus();
}

absl::Status Proof::CheckObject(uint64_t index) {
  const Node& node = tables_.nodes[index];
  const auto children = ChildrenOf(tables_, node);
  if (children.size() != kNumObjectChildren) {
    return BadNode(index, absl::StrCat("object of ", children.size(),
                                       " children, expected 6"));
  }
  const auto child = [&](ObjectChild which) {
    return children[static_cast<int>(which)];
  };
  const auto is = [&](ObjectChild which, NodeKind kind) {
    return child(which) != kNoNode && tables_.nodes[child(which)].kind == kind;
  };
  if (child(ObjectChild::kCallable) == kNoNode) {
    return BadNode(index, "object without a callable");
  }
  if (!is(ObjectChild::kArgs, NodeKind::kTuple)) {
    return BadNode(index, "object whose args are no tuple");
  }
  const bool needs_kwargs =
      node.detail == static_cast<uint8_t>(Construction::kNewObjEx);
  if (needs_kwargs ? !is(ObjectChild::kKwargs, NodeKind::kDict)
                   : child(ObjectChild::kKwargs) != kNoNode) {
    return BadNode(index,
                   "object whose kwargs are no dict, or not for NEWOBJ_EX");
  }
  for (const auto& [which, kind] :
       {std::make_pair(ObjectChild::kItems, NodeKind::kList),
        std::make_pair(ObjectChild::kPairs, NodeKind::kDict)}) {
    if (child(which) == kNoNode) continue;
    if (!is(which, kind)) {
      return BadNode(index, "object whose items are no list or pairs no dict");
    }
    owned_.resize(tables_.nodes.size());
    if (owned_[child(which)]) {
      return BadNode(index, "object whose items or pairs are another's, too");
    }
    owned_[child(which)] = true;
    ++num_owned_;
  }
  return absl::OkStatus();
}

// Or a small file could give one long list to every object of another.
absl::Status Proof::CheckOwned() const {
  if (num_owned_ == 0) return absl::OkStatus();
  uint64_t references = owned_[0] ? 1 : 0;
  for (const NodeId child : tables_.children) {
    if (child != kNoNode && owned_[child]) ++references;
  }
  if (references != num_owned_) {
    return absl::DataLossError(
        absl::StrFormat("%d objects' items and pairs have %d references",
                        num_owned_, references));
  }
  return absl::OkStatus();
}

absl::Status Proof::CheckKeys() const {
  const auto view = [this](NodeId id) {
    const Node& node = tables_.nodes[id];
    return PythonKeys::NodeView{node.kind, node.payload, BytesOf(tables_, node),
                                ChildrenOf(tables_, node)};
  };
  PythonKeys keys(view);
  std::vector<uint32_t> last_dict;  // by class: 1 + the last dict that had it
  for (uint32_t i = 0; i < tables_.nodes.size(); ++i) {
    if (tables_.nodes[i].kind != NodeKind::kDict) continue;
    const auto children = ChildrenOf(tables_, tables_.nodes[i]);
    if (keys.AreDistinctTexts(children)) continue;
    for (size_t k = 0; k < children.size(); k += 2) {
      if (!IsHashable(tables_.nodes[children[k]].kind)) {
        return BadNode(i, absl::StrCat("key ", k / 2, " cannot be a key"));
      }
      const uint32_t key = keys.ClassOf(children[k]);
      if (key >= last_dict.size()) last_dict.resize(key + 1);
      if (last_dict[key] == i + 1) {
        return BadNode(i, absl::StrCat("key ", k / 2, " is there twice"));
      }
      last_dict[key] = i + 1;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckTables(const GraphTables& tables) {
  return Proof(tables).Run();
}

}  // namespace penstock
