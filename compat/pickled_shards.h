// OpenPickledShards: pytorch_model-00001-of-00003.bin and so on, by their
// index.

#ifndef PENSTOCK_COMPAT_PICKLED_SHARDS_H_
#define PENSTOCK_COMPAT_PICKLED_SHARDS_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "compat/foreign_file.h"
#include "compat/shard_index.h"
#include "core/file.h"

namespace penstock {

// Opens one shard, whatever its format.
using ShardOpener = std::function<absl::StatusOr<ForeignFile>(
    std::shared_ptr<const RandomAccessFile>)>;

// The shards of an index, opened beside it: a dict from name to tensor, shard
// by shard in order of their names, in each as it has them. Ties within a shard
// stay.
//
// Errors, which name index, shard and tensor:
//   kDataLoss  a shard that is no dict from text to tensors; a tensor that the
//              index does not have, or elsewhere
//   kNotFound  no such shard
//   the opener's
absl::StatusOr<ForeignFile> OpenPickledShards(FileSystem& files,
                                              const std::string& index_path,
                                              const ShardIndex& index,
                                              const ShardOpener& open);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_PICKLED_SHARDS_H_
