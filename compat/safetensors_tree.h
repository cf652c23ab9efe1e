// What a flat file of named tensors cannot say: the tree that they hang in.

#ifndef PENSTOCK_COMPAT_SAFETENSORS_TREE_H_
#define PENSTOCK_COMPAT_SAFETENSORS_TREE_H_

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/state_dict.h"
#include "core/value.h"

namespace penstock {

// The key of __metadata__ (or of an index's "metadata") under which the text
// stands. It is JSON:
//
//   {"ties":[[NAME,NAME,...],...],"tree":CELL}
//
// Names of one tie are one tensor, of which the file may hold one or several
// copies. A cell is null, true, false, an integer below 2^53, a string, or an
// array that begins with its kind:
//
//   ["tensor",NAME]
//   ["list",CELL...] ["tuple",CELL...] ["set",CELL...] ["frozenset",CELL...]
//   ["dict",KEY,VALUE...] ["OrderedDict",KEY,VALUE...]
//   ["OrderedDict.state",STATE,KEY,VALUE...]  with attributes (_metadata)
//   ["mapping",CLASS,KEY,VALUE...]  another class of mapping; read as a dict
//   ["object",CLASS,REST,TENSOR...] any other object: what names its tensors
//                                   have behind its own; read as a dict, or as
//                                   None where it has no tensor
//   ["ref",N]           again the Nth (from 0) of the cells above but the last,
//                       in the order in which they begin
//   ["int",TEXT]        decimal, or hexadecimal with 0x beyond int64
//   ["float",TEXT]      as Python's float.hex; a NaN that is not Python's own
//                       as nan: and its bits
//   ["complex",TEXT,TEXT]
//   ["bytes",BASE64] ["bytearray",BASE64] ["py2str",BASE64]
//   ["surrogates",BASE64]  a str that JSON cannot hold
//   ["torch.Size",N...] ["torch.device",TYPE,INDEX?] ["torch.dtype",TEXT]
//
// No other Python name is ever taken from the text: a file that is safe to load
// must not become one that is not.
inline constexpr absl::string_view kTreeKey = "penstock.tree/1";

// Tensors that are one, by name; the first is the one that is kept.
using Ties = std::vector<std::vector<std::string>>;

struct TreeText {
  std::string json;
  // What the text does not hold, for people.
  std::vector<std::string> warnings;
  // "path: what it is" of all that holds data and has no name in `tensors`:
  // sparse, quantised, nested and meta tensors, bare storages.
  std::vector<std::string> refused;
};

// True for a dict from str to tensor, which needs no text.
bool IsFlat(const Value& root);

// `tensors` is StateDict::FromValue(root). Iterative.
TreeText WriteTree(const Value& root, const StateDict& tensors,
                   const Ties& ties);

struct ReadTreeResult {
  Value root;
  std::vector<std::string> warnings;
};

// Makes the tree over the file's `tensors`, each on a storage of its own.
// Tensors that the text ties share one storage where `same_bytes` finds them
// equal; those that the text does not mention are added to a root that is a
// dict, by name.
//
// Errors: kDataLoss where the text is malformed or does not fit the tensors;
// those of `same_bytes`; kResourceExhausted.
absl::StatusOr<ReadTreeResult> ReadTree(
    absl::string_view json, absl::Span<const NamedTensor> tensors,
    absl::FunctionRef<absl::StatusOr<bool>(const Tensor&, const Tensor&)>
        same_bytes);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_SAFETENSORS_TREE_H_
