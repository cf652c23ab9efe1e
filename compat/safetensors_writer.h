// PlanSafetensors: a checkpoint as safetensors files, laid out before the first
// byte is written.

#ifndef PENSTOCK_COMPAT_SAFETENSORS_WRITER_H_
#define PENSTOCK_COMPAT_SAFETENSORS_WRITER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "codec/derived_source.h"
#include "compat/layout_sink.h"
#include "compat/safetensors_header.h"
#include "core/value.h"

namespace penstock {

// What becomes of tensors that are the same view of the same bytes.
enum class SafetensorsTies {
  kCopy,  // each is written in full
  kDrop,  // the first name sorted is written; __metadata__ says the others
};

struct SafetensorsOptions {
  // Of the file that the checkpoint came from; kept. "format": "pt" is added
  // where no "format" is.
  StringPairs metadata;
  SafetensorsTies ties = SafetensorsTies::kCopy;
  // Most bytes of tensors in a shard; 0: one file.
  int64_t shard_bytes = 0;
  // Of the destination, without folders: "model.safetensors".
  std::string file_name;
};

// One file to be written through a LayoutSink, whose source is a DerivedSource
// over the checkpoint's.
struct SafetensorsOutput {
  std::string file_name;
  FileLayout layout;
  std::vector<Derivation> derivations;
  std::vector<std::string> names;  // of layout.storages, for messages
};

struct SafetensorsPlan {
  std::vector<SafetensorsOutput> files;
  // To be written last, beside them; empty for one file.
  std::string index_file_name;
  std::string index_json;
  // What the format could not hold as it was, for people.
  std::vector<std::string> warnings;
};

// Names are StateDict::FromValue's. One file with nothing but "format" in
// __metadata__ is byte for byte what safetensors.torch.save_file 0.8.0 writes:
// tensors by dtype, then name. Every tensor becomes contiguous, conjugated and
// negated ones resolved. A tree that is more than a dict from str to tensor, or
// has ties, is kept as text (safetensors_tree.h), of shards in their index.
//
// Shards are filled in the tree's order, none with more than shard_bytes unless
// one tensor alone has more: "model-00001-of-00003.safetensors", index
// "model.safetensors.index.json". What fits in one is one file without index.
//
// Errors:
//   kInvalidArgument    something that safetensors cannot hold (dtypes without
//                       a name there, sparse tensors, ...): all of it named;
//                       a header over kMaxSafetensorsHeaderBytes
//   kResourceExhausted  too many names (StateDict::FromValue)
absl::StatusOr<SafetensorsPlan> PlanSafetensors(
    const Value& root, const SafetensorsOptions& options);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_SAFETENSORS_WRITER_H_
