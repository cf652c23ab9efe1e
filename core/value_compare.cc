#include "core/value_compare.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

bool IsLeaf(NodeKind kind) {
  switch (kind) {
    case NodeKind::kNone:
    case NodeKind::kBool:
    case NodeKind::kInt:
    case NodeKind::kBigInt:
    case NodeKind::kFloat:
    case NodeKind::kComplex:
    case NodeKind::kStr:
    case NodeKind::kBytes:
    case NodeKind::kPy2Str:
      return true;
    default:
      return false;
  }
}

// Immutable in Python: whether two equal ones are one object shows nowhere.
bool HasIdentity(NodeKind kind) {
  return !IsLeaf(kind) && kind != NodeKind::kTuple &&
         kind != NodeKind::kFrozenSet && kind != NodeKind::kGlobal;
}

absl::string_view TextOf(const GraphTables& tables, const Node& node) {
  return absl::string_view(tables.bytes).substr(node.payload, node.size);
}

bool LeavesEqual(const GraphTables& a, const Node& x, const GraphTables& b,
                 const Node& y) {
  switch (x.kind) {
    case NodeKind::kNone:
    case NodeKind::kBool:
    case NodeKind::kInt:
    case NodeKind::kFloat:
      return x.payload == y.payload;
    default:
      return TextOf(a, x) == TextOf(b, y);
  }
}

// A one-to-one relation between numbers of the left and of the right side.
class Pairing {
 public:
  // False where `left` or `right` already belongs to another.
  bool Bind(uint64_t left, uint64_t right) {
    const bool bound_left =
        right_of_.try_emplace(left, right).first->second == right;
    const bool bound_right =
        left_of_.try_emplace(right, left).first->second == left;
    return bound_left && bound_right;
  }

 private:
  absl::flat_hash_map<uint64_t, uint64_t> right_of_;
  absl::flat_hash_map<uint64_t, uint64_t> left_of_;
};

class Comparison {
 public:
  Comparison(const Value& a, const Value& b)
      : a_(a.graph()->tables()), b_(b.graph()->tables()) {
    steps_.push_back({a.id(), b.id(), -1, 0});
  }

  absl::Status Run() {
    for (int64_t i = 0; i < static_cast<int64_t>(steps_.size()); ++i) {
      PENSTOCK_RETURN_IF_ERROR(Visit(i));
    }
    return absl::OkStatus();
  }

 private:
  // One pair of nodes, and how it was reached: child `place` of step `parent`.
  struct Step {
    NodeId a;
    NodeId b;
    int64_t parent;
    uint32_t place;
  };

  absl::Status Visit(int64_t at) {
    const Step step = steps_[at];
    if ((step.a == kNoNode) != (step.b == kNoNode)) {
      return Differ(at, "present on one side only");
    }
    if (step.a == kNoNode) return absl::OkStatus();
    const Node& x = a_.nodes[step.a];
    const Node& y = b_.nodes[step.b];
    if (x.kind != y.kind) {
      return Differ(
          at, absl::StrFormat("kind %d against %d", static_cast<int>(x.kind),
                              static_cast<int>(y.kind)));
    }
    if (IsLeaf(x.kind)) {
      return LeavesEqual(a_, x, b_, y) ? absl::OkStatus()
                                       : Differ(at, "values differ");
    }
    if (HasIdentity(x.kind) && !nodes_.Bind(step.a, step.b)) {
      return Differ(at, "shared on one side only");
    }
    if (!visited_.insert({step.a, step.b}).second) return absl::OkStatus();
    switch (x.kind) {
      case NodeKind::kByteArray:
        return LeavesEqual(a_, x, b_, y) ? absl::OkStatus()
                                         : Differ(at, "values differ");
      case NodeKind::kTensor:
        return CompareTensors(at, a_.tensors[x.payload], b_.tensors[y.payload]);
      case NodeKind::kStorage:
        if (x.detail != y.detail) return Differ(at, "element types differ");
        return CompareStorages(at, x.payload, y.payload);
      default:
        return Descend(at, x, y);
    }
  }

  absl::Status Descend(int64_t at, const Node& x, const Node& y) {
    if (x.size != y.size || x.detail != y.detail) {
      return Differ(at,
                    absl::StrFormat("%u entries against %u", x.size, y.size));
    }
    uint32_t count = x.size;
    if (x.kind == NodeKind::kDict) count *= 2;
    if (x.kind == NodeKind::kGlobal) count = 2;
    if (x.kind == NodeKind::kObject) count = kNumObjectChildren;
    for (uint32_t i = 0; i < count; ++i) {
      steps_.push_back(
          {a_.children[x.payload + i], b_.children[y.payload + i], at, i});
    }
    return absl::OkStatus();
  }

  absl::Status CompareTensors(int64_t at, const TensorRow& x,
                              const TensorRow& y) {
    const bool dims_equal =
        x.rank == y.rank && std::equal(a_.dims.begin() + x.dims,
                                       a_.dims.begin() + x.dims + 2 * x.rank,
                                       b_.dims.begin() + y.dims);
    if (x.dtype != y.dtype) return Differ(at, "dtypes differ");
    if (!dims_equal) return Differ(at, "shapes or strides differ");
    if (x.offset != y.offset) return Differ(at, "storage offsets differ");
    if (x.flags != y.flags) return Differ(at, "tensor flags differ");
    return CompareStorages(at, x.storage, y.storage);
  }

  absl::Status CompareStorages(int64_t at, uint64_t x, uint64_t y) {
    if (!storages_.Bind(x, y))
      return Differ(at, "storage tied on one side only");
    if (!compared_.insert(x).second) return absl::OkStatus();
    const Storage& left = *a_.storages[x];
    const Storage& right = *b_.storages[y];
    if (left.size_bytes() != right.size_bytes()) {
      return Differ(at, absl::StrFormat("storage of %d bytes against %d",
                                        left.size_bytes(), right.size_bytes()));
    }
    if (left.location() != right.location()) {
      return Differ(at, "locations differ");
    }
    if (left.in_file() || right.in_file() || left.size_bytes() == 0) {
      return absl::OkStatus();
    }
    if (std::memcmp(left.bytes().data(), right.bytes().data(),
                    left.size_bytes()) != 0) {
      return Differ(at, "bytes differ");
    }
    return absl::OkStatus();
  }

  // What child `place` of a node is called in a path.
  std::string LabelOf(const Step& step) const {
    const Node& parent = a_.nodes[steps_[step.parent].a];
    if (parent.kind == NodeKind::kDict) {
      const Node& key =
          a_.nodes[a_.children[parent.payload + step.place / 2 * 2]];
      if (key.kind == NodeKind::kStr) {
        return absl::CHexEscape(TextOf(a_, key));
      }
      if (key.kind == NodeKind::kInt) {
        return absl::StrCat(static_cast<int64_t>(key.payload));
      }
      return absl::StrCat("key ", step.place / 2);
    }
    if (parent.kind == NodeKind::kObject) {
      constexpr const char* kNames[] = {"callable", "args",  "kwargs",
                                        "items",    "pairs", "state"};
      return kNames[step.place];
    }
    return absl::StrCat(step.place);
  }

  absl::Status Differ(int64_t at, absl::string_view what) const {
    std::vector<std::string> labels;
    for (; steps_[at].parent >= 0; at = steps_[at].parent) {
      labels.push_back(LabelOf(steps_[at]));
    }
    std::reverse(labels.begin(), labels.end());
    return absl::FailedPreconditionError(
        absl::StrCat("at \"", absl::StrJoin(labels, "."), "\": ", what));
  }

  const GraphTables& a_;
  const GraphTables& b_;
  std::vector<Step> steps_;  // in order of visit, breadth first
  Pairing nodes_;
  Pairing storages_;
  absl::flat_hash_set<std::pair<NodeId, NodeId>> visited_;
  absl::flat_hash_set<uint64_t> compared_;  // storages of the left side
};

}  // namespace

absl::Status CompareValues(const Value& a, const Value& b) {
  return Comparison(a, b).Run();
}

}  // namespace penstock
