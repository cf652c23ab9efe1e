// The flat tables that a graph of values is, in memory as in a .pstk file.

#ifndef PENSTOCK_CORE_GRAPH_TABLES_H_
#define PENSTOCK_CORE_GRAPH_TABLES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/storage.h"

namespace penstock {

// Codes are frozen: they stand in .pstk files.
enum class NodeKind : uint8_t {
  kNone = 0,
  kBool = 1,
  kInt = 2,     // fits int64_t
  kBigInt = 3,  // two's complement, little-endian, minimal length
  kFloat = 4,
  kComplex = 5,  // two doubles
  kStr = 6,      // UTF-8; lone surrogates are allowed, as in Python
  kBytes = 7,
  kByteArray = 8,
  kPy2Str = 9,  // Python 2's str: bytes that may be text
  kList = 10,
  kTuple = 11,
  kDict = 12,  // ordered pairs; keys unique by Python's equality
  kSet = 13,
  kFrozenSet = 14,
  kTensor = 15,
  kStorage = 16,  // a bare storage, with its element type
  kGlobal = 17,   // a Python module and name; never looked up
  kObject = 18,   // any Python object, inert
};

// How Python would build an Object; nobody does it here.
enum class Construction : uint8_t {
  kReduce = 0,    // callable(*args)
  kNewObj = 1,    // callable.__new__(callable, *args)
  kNewObjEx = 2,  // callable.__new__(callable, *args, **kwargs)
};

using NodeId = uint32_t;
inline constexpr NodeId kNoNode = 0xFFFFFFFF;

// Nodes that a graph may have (pytorch-format.md 16).
inline constexpr int64_t kMaxNodes = 50'000'000;

// What a tensor node says besides the view. Bits are frozen.
struct TensorFlags {
  static constexpr uint8_t kRequiresGrad = 1;
  static constexpr uint8_t kConjugated = 2;  // the bytes are the conjugate's
  static constexpr uint8_t kNegated = 4;     // the bytes are the negative's
};

// One entry of GraphTables::nodes. What does not apply to its kind is 0, and:
//   none             size 0, payload 0
//   bool, int        payload the value; float: payload the bits; size 0
//   complex          size 16, payload its first byte: two doubles,
//   little-endian bigint, str, bytes, bytearray, py2str
//                    size in bytes, payload the first byte
//   list, tuple, set, frozenset, dict, global, object
//                    size in children (dict: in pairs), payload the first child
//   tensor, storage  size 0, payload the number
struct Node {
  NodeKind kind = NodeKind::kNone;
  uint8_t detail = 0;  // Construction; dtype code + 1 (0: untyped) of kStorage
  uint16_t reserved = 0;  // 0
  uint32_t size = 0;      // bytes, children, or pairs (dict)
  uint64_t payload = 0;   // bool, int, float bits; first byte, first child;
                          // tensor or storage number
};
static_assert(sizeof(Node) == 16);

struct TensorRow {
  uint32_t storage = 0;  // number of the storage
  uint8_t dtype = 0;
  uint8_t flags = 0;  // TensorFlags
  uint16_t rank = 0;
  uint64_t dims = 0;   // first of `rank` sizes, then `rank` strides
  int64_t offset = 0;  // in elements
};
static_assert(sizeof(TensorRow) == 24);

// All offsets count entries of the table that they point into (docs/FORMAT.md,
// "Tree"). Children, by kind: list, tuple, set, frozenset: the items. dict:
// key, value, key, value... global: module and name, both kStr. object: exactly
// the six of ObjectChild, kNoNode where absent.
//
// One graph has one form: nodes stand in order of first visit (depth first,
// children in order, the root first), every node is reached, and bytes,
// children, tensors, dims and storages stand in the order in which the nodes
// use them, without gaps or sharing. Only nodes and storages are shared.
struct GraphTables {
  std::vector<Node> nodes;
  std::vector<NodeId> children;
  std::string bytes;
  std::vector<TensorRow> tensors;
  std::vector<int64_t> dims;
  std::vector<std::shared_ptr<const Storage>> storages;
  // Strings share a memo slot in a pickle only where they are one node (set for
  // a graph that was read). Otherwise by value, as CPython would
  // (pytorch-format.md 3.4).
  bool strings_by_identity = false;
};

enum class ObjectChild {
  kCallable = 0,  // a global, or whatever was called
  kArgs = 1,      // a tuple
  kKwargs = 2,    // a dict, kNewObjEx only
  kItems = 3,     // a list, nobody else's: what APPEND(S) or ADDITEMS added
  kPairs = 4,     // a dict, nobody else's: what SETITEM(S) added
  kState = 5,     // what BUILD attached
};
inline constexpr int kNumObjectChildren = 6;

// True for the kinds whose payload and size are a range of `bytes`.
bool HasBytes(NodeKind kind);
// True for the kinds whose payload is a first child.
bool HasChildren(NodeKind kind);
// Entries of `children` that the node has; 0 without children.
int64_t NumChildren(const Node& node);
// A node's bytes and children in proven tables; empty where it has none.
absl::string_view BytesOf(const GraphTables& tables, const Node& node);
absl::Span<const NodeId> ChildrenOf(const GraphTables& tables,
                                    const Node& node);

}  // namespace penstock

#endif  // PENSTOCK_CORE_GRAPH_TABLES_H_
