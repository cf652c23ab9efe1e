// OpenSafetensors: safetensors files, one or several with their index.

#ifndef PENSTOCK_COMPAT_SAFETENSORS_FILE_H_
#define PENSTOCK_COMPAT_SAFETENSORS_FILE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "compat/foreign_file.h"
#include "compat/shard_index.h"
#include "core/file.h"

namespace penstock {

// A dict from name to tensor, in the order in which the tensors lie in the file
// (that of safetensors.torch.load_file; empty ones at one place in the order of
// the header). Where __metadata__ has a tree (safetensors_tree.h) that fits the
// tensors, the root is that tree; one that does not is left alone, with a
// warning. `metadata` is __metadata__ without the tree.
//
// Reads the header, and the bytes of tensors that were tied when they were
// written, to see whether they still are one.
//
// Errors, which name the file: ReadSafetensorsHeader's, those of reading.
absl::StatusOr<ForeignFile> OpenSafetensors(
    std::shared_ptr<const RandomAccessFile> file);

// The shards of an index, opened beside it: a dict as above, shard by shard in
// order of their names. A tree is looked for in the index's metadata, which
// stands first in `metadata`.
//
// Errors, which name index, shard and tensor:
//   kDataLoss  a tensor that the index does not have, or elsewhere; a shard
//              that is damaged or no safetensors file
//   kNotFound  no such shard
absl::StatusOr<ForeignFile> OpenSafetensorsShards(FileSystem& files,
                                                  const std::string& index_path,
                                                  ShardIndex index);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_SAFETENSORS_FILE_H_
