// What of a file is in the page cache, and getting it in and out.

#ifndef PENSTOCK_BENCH_PAGE_CACHE_H_
#define PENSTOCK_BENCH_PAGE_CACHE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace penstock::bench {

// Bytes of `path` that are in the page cache, in whole pages.
absl::StatusOr<int64_t> CachedBytes(const std::string& path);

// Takes `path` out of the cache (to disk first) and looks that it is gone.
// Errors: kUnimplemented where it stays (a file system in memory; pages that
// somebody has mapped).
absl::Status DropFromCache(const std::string& path);

// Reads what is missing. Errors: kUnimplemented where it does not stay (there
// is too little memory).
absl::Status BringIntoCache(const std::string& path);

// fsync of a file, and of its directory.
absl::Status MakeDurable(const std::string& path);

}  // namespace penstock::bench

#endif  // PENSTOCK_BENCH_PAGE_CACHE_H_
