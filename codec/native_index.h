// The index of a .pstk file: tables in memory <-> bytes of the index frame.

#ifndef PENSTOCK_CODEC_NATIVE_INDEX_H_
#define PENSTOCK_CODEC_NATIVE_INDEX_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "codec/format.h"
#include "codec/native_tables.h"
#include "core/file.h"

namespace penstock {

// The payload of the index frame.
std::string PackIndex(const NativeIndex& index);

// The index of `file`, whose footer has been read. Everything is proven before
// it is returned: the hash, then the tables (CheckFileTables, Graph::Make). The
// storages of the graph are in the file, with their number here as
// file_number().
//
// Errors: kDataLoss; kUnimplemented (an unknown section that is required); the
// file's.
absl::StatusOr<NativeIndex> ReadIndex(const RandomAccessFile& file,
                                      const Footer& footer,
                                      int64_t chunk_bytes);

}  // namespace penstock

#endif  // PENSTOCK_CODEC_NATIVE_INDEX_H_
