// ReadDcpMetadata: what the .metadata of a torch.distributed.checkpoint
// directory says, as data.

#ifndef PENSTOCK_COMPAT_DCP_METADATA_H_
#define PENSTOCK_COMPAT_DCP_METADATA_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compat/tiling.h"
#include "core/dtype.h"
#include "core/value.h"

namespace penstock {

// Bytes of a file beside .metadata: a whole torch.save of its own.
struct DcpSlice {
  std::string file;  // one component
  int64_t offset = 0;
  int64_t length = 0;
};

struct DcpChunk {
  Box box;  // of a tensor; within its shape
  DcpSlice slice;
};

// A step into the tree: a dict's key, or a list's index.
struct DcpStep {
  std::string key;
  int64_t index = -1;  // -1: a key
};

// One tensor, or one object of another kind.
struct DcpEntry {
  std::string name;
  std::vector<DcpStep> path;  // not empty
  bool is_tensor = false;
  DType dtype = DType::kUInt8;   // of a tensor
  std::vector<int64_t> shape;    // likewise; its elements can be counted
  std::vector<DcpChunk> chunks;  // one, without a box, of an object
};

struct DcpMetadata {
  std::string version;            // "1.0.0"; empty before torch 2.6
  std::vector<DcpEntry> entries;  // in the order of the pickle
  std::vector<std::string> warnings;
};

// True for what the pickle of a .metadata holds.
bool IsDcpMetadata(const Value& root);

// Knows the classes of pytorch-format.md 11 by their names and takes their
// fields; anything else where one of them must be is an error. `root` was read
// from a pickle (ReadPickle). Not checked: whether files and their bytes are
// there, whether chunks fit together.
//
// Errors, which name the entry:
//   kDataLoss       dcp_metadata (no such class, a field that is missing or of
//                   another kind, a slice that is missing or twice),
//                   zip_bad_name (a file that is not one path component),
//                   tensor_bounds (a chunk beyond its tensor)
//   kUnimplemented  unsupported_format (bytes that were transformed)
absl::StatusOr<DcpMetadata> ReadDcpMetadata(const Value& root);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_DCP_METADATA_H_
