// GraphBuilder: makes the Graph of a checkpoint, node by node.

#ifndef PENSTOCK_CORE_GRAPH_BUILDER_H_
#define PENSTOCK_CORE_GRAPH_BUILDER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/dtype.h"
#include "core/graph_tables.h"
#include "core/storage.h"
#include "core/tensor.h"
#include "core/value.h"

namespace penstock {

class PythonKeys;

// A graph under construction: containers may still grow and refer to
// themselves. Thread-compatible. An id that no maker of this builder returned,
// and a child of another kind than stated, is a bug (CHECK).
//
//   GraphBuilder b;
//   NodeId root = b.Dict();
//   b.SetItem(root, b.Str("epoch"), b.Int(3));
//   b.SetItem(root, b.Str("weight"), b.Tensor(weight));
//   PENSTOCK_ASSIGN_OR_RETURN(Value checkpoint, std::move(b).Finish(root));
class GraphBuilder {
 public:
  // At most `max_nodes`; beyond, every maker returns kNoNode and Finish fails
  // with kResourceExhausted.
  explicit GraphBuilder(int64_t max_nodes = kMaxNodes);

  NodeId None();
  NodeId Bool(bool value);
  NodeId Int(int64_t value);
  // Two's complement, little-endian, any length; becomes kInt where it fits.
  NodeId BigInt(absl::string_view twos_complement);
  NodeId Float(double value);
  NodeId Complex(double real, double imag);
  NodeId Str(absl::string_view utf8);
  NodeId Bytes(absl::string_view bytes);
  NodeId ByteArray(absl::string_view bytes);
  NodeId Py2Str(absl::string_view bytes);
  NodeId List(absl::Span<const NodeId> items = {});
  NodeId Tuple(absl::Span<const NodeId> items = {});
  NodeId Dict();
  NodeId Set(absl::Span<const NodeId> items = {});
  NodeId FrozenSet(absl::Span<const NodeId> items);
  NodeId Tensor(const penstock::Tensor& tensor, uint8_t flags = 0);
  // Of a view that CheckView has no error for.
  NodeId Tensor(const std::shared_ptr<const penstock::Storage>& storage,
                DType dtype, absl::Span<const int64_t> shape,
                absl::Span<const int64_t> strides, int64_t offset,
                uint8_t flags);
  // `dtype`: the element type of a typed storage; nothing for an untyped one.
  NodeId Storage(std::shared_ptr<const penstock::Storage> storage,
                 std::optional<DType> dtype);
  NodeId Global(absl::string_view module, absl::string_view name);
  // From strings that are nodes already (a pickle's STACK_GLOBAL); both kStr.
  NodeId GlobalOf(NodeId module, NodeId name);
  // `args` is a tuple; `kwargs` a dict, for kNewObjEx only.
  NodeId Object(Construction how, NodeId callable, NodeId args,
                NodeId kwargs = kNoNode);
  // collections.OrderedDict(), to be filled with SetItem.
  NodeId OrderedDict();

  // These three fail with kResourceExhausted where there was no room for one of
  // the nodes.
  //
  // To a list, a set, or an object's items. Errors: kInvalidArgument otherwise.
  absl::Status Append(NodeId container, NodeId item);
  // To a dict, or an object's pairs. A key that equals an earlier one replaces
  // its value at its place (done in Finish).
  // Errors: kInvalidArgument (no mapping; a list, dict, set or bytearray as
  // key)
  absl::Status SetItem(NodeId mapping, NodeId key, NodeId value);
  // To an object, once. Errors: kInvalidArgument.
  absl::Status SetState(NodeId object, NodeId state);

  // What a node is so far; `id` must be valid. Items of a list or tuple, or the
  // pairs of a dict as key, value, key, value...
  NodeKind kind(NodeId id) const;
  int64_t AsInt(NodeId id) const;              // kInt
  double AsFloat(NodeId id) const;             // kFloat
  bool AsBool(NodeId id) const;                // kBool
  absl::string_view AsBytes(NodeId id) const;  // valid until the next maker
  absl::Span<const NodeId> children(NodeId id) const;  // likewise
  const std::shared_ptr<const penstock::Storage>& AsStorage(NodeId id) const;
  std::optional<DType> storage_dtype(NodeId id) const;
  NodeId object_child(NodeId id, ObjectChild which) const;
  int64_t num_nodes() const;

  void set_strings_by_identity(bool value) { strings_by_identity_ = value; }

  // The graph of what `root` reaches, numbered in order of first visit (depth
  // first; of an object: callable, args, kwargs, items, pairs, state), so that
  // equal checkpoints have equal tables. Storages are numbered the same way.
  // Iterative: no input makes it recurse.
  // Errors: kInvalidArgument (bad text), kResourceExhausted.
  absl::StatusOr<Value> Finish(NodeId root) &&;

 private:
  // The last dict that had a class of keys, and where.
  struct Place {
    NodeId dict = kNoNode;
    size_t pair = 0;
  };

  NodeId Add(NodeKind kind, uint32_t size, uint64_t payload,
             uint8_t detail = 0);
  NodeId AddBytes(NodeKind kind, absl::string_view bytes);
  NodeId AddGrowing(NodeKind kind, absl::Span<const NodeId> items);
  NodeId AddFixed(NodeKind kind, absl::Span<const NodeId> items,
                  uint8_t detail = 0);
  // False where one of them is kNoNode because there was no room for it.
  bool AllExist(absl::Span<const NodeId> ids) const;
  absl::Status CheckRoom() const;
  uint32_t StorageNumber(
      const std::shared_ptr<const penstock::Storage>& storage);
  std::vector<NodeId>& growing(NodeId id);
  // The object's items or pairs, made on first use.
  absl::StatusOr<NodeId> ObjectContainer(NodeId object, ObjectChild which);
  // Ids of what `root` reaches, in order of first visit; `numbers` by id.
  void DropEqualKeys(NodeId dict, PythonKeys& keys, std::vector<Place>& places);
  std::vector<NodeId> NumberFrom(NodeId root, std::vector<NodeId>& numbers);
  void Emit(NodeId id, absl::Span<const NodeId> numbers,
            std::vector<uint32_t>& storage_numbers, GraphTables& tables) const;

  int64_t max_nodes_;
  bool strings_by_identity_ = false;
  bool overflowed_ = false;

  // As in GraphTables, but in order of making, and lists, dicts and sets have
  // their children in growing_[payload].
  std::vector<Node> nodes_;
  std::vector<NodeId> fixed_;
  std::vector<std::vector<NodeId>> growing_;
  std::string bytes_;
  std::vector<TensorRow> tensors_;
  std::vector<int64_t> dims_;
  std::vector<std::shared_ptr<const penstock::Storage>> storages_;
  absl::flat_hash_map<const penstock::Storage*, uint32_t> storage_numbers_;
  NodeId ordered_dict_ = kNoNode;  // the global, once made
};

}  // namespace penstock

#endif  // PENSTOCK_CORE_GRAPH_BUILDER_H_
