// PythonKeys: which keys of a dict Python calls equal.

#ifndef PENSTOCK_CORE_PYTHON_KEYS_H_
#define PENSTOCK_CORE_PYTHON_KEYS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/graph_tables.h"
#include "core/text_index.h"

namespace penstock {

// True for what a kStr may hold: UTF-8, in which surrogates may stand alone.
bool IsPythonText(absl::string_view bytes);

// True where the bytes of a two's complement number, little-endian, are as few
// as can be and do not fit int64_t.
bool IsMinimalBigInt(absl::string_view twos_complement);

// False for what Python refuses as a key: list, dict, set, bytearray.
bool IsHashable(NodeKind kind);

// Sorts nodes into classes, such that two nodes are in one class where Python
// would take one for the other as a key: True, 1, 1.0 and 1+0j are one; so are
// tuples of equal items and frozensets; str and bytes never are. NaN, tensors,
// storages and objects equal only themselves, globals go by name. Python 2's
// str counts as text, as in torch.load.
//
// Numbers instead of a comparison, because shared tuples can unfold to
// exponential size: each node is looked at once. Iterative. Thread-compatible.
class PythonKeys {
 public:
  struct NodeView {
    NodeKind kind;
    uint64_t payload;
    absl::string_view bytes;
    absl::Span<const NodeId> children;
  };

  // `view` gives a node; what its spans show must live as long as this.
  explicit PythonKeys(std::function<NodeView(NodeId)> view)
      : view_(std::move(view)) {}

  // True where the keys of `pairs` (key, value, key...) are texts, no two of
  // them equal: almost any dict, and told faster than by classes. False says
  // nothing.
  bool AreDistinctTexts(absl::Span<const NodeId> pairs);

  // The node's class: 0, 1, 2... in order of first meeting.
  uint32_t ClassOf(NodeId id);

 private:
  struct Frame {
    NodeId id;
    NodeView view;
    size_t next = 0;  // child
  };

  // The class of what has no items, or was met before; false for new tuples and
  // frozensets.
  bool FindClass(NodeId id, const NodeView& view, uint32_t& found);
  uint32_t Intern(std::string form);
  // `classes` of the items of a node of `kind`; sorts those of a frozenset.
  uint32_t InternItems(NodeKind kind, absl::Span<uint32_t> classes);
  // One text for all equal values; empty for what equals only itself.
  std::string Form(const NodeView& view) const;

  std::function<NodeView(NodeId)> view_;
  TextIndex distinct_;  // of one call
  uint32_t num_classes_ = 0;
  absl::flat_hash_map<absl::string_view, uint32_t> texts_;
  absl::flat_hash_map<std::string, uint32_t> forms_;
  absl::flat_hash_map<NodeId, uint32_t> nodes_;  // those with items or alone
};

}  // namespace penstock

#endif  // PENSTOCK_CORE_PYTHON_KEYS_H_
