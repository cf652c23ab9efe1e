// ReadShardIndex: which tensor is in which file (*.index.json).

#ifndef PENSTOCK_COMPAT_SHARD_INDEX_H_
#define PENSTOCK_COMPAT_SHARD_INDEX_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/file.h"

namespace penstock {

struct ShardIndex {
  absl::flat_hash_map<std::string, std::string> shard_of;  // by tensor
  // The tensors of each shard, whose name is that of a file beside the index.
  std::map<std::string, std::vector<std::string>> shards;
  // What is text in "metadata", in order.
  std::vector<std::pair<std::string, std::string>> metadata;
};

// Reads JSON with a "weight_map" from tensor to file.
//
// Errors:
//   kInvalidArgument    JSON of another kind, or none
//   kDataLoss           shard_index: a name that is not one path component, a
//                       tensor twice
//   kResourceExhausted  more than 100,000,000 bytes of JSON
absl::StatusOr<ShardIndex> ReadShardIndex(const RandomAccessFile& file);

// That a shard of the index has the tensors `found`, all of its own and no
// other. Errors: kDataLoss (shard_index), which names them.
absl::Status CheckShard(const ShardIndex& index, const std::string& shard,
                        absl::Span<const absl::string_view> found);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_SHARD_INDEX_H_
