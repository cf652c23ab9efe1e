// A checkpoint on its way out of its file, edited where that was asked for.
// Private to api/.

#ifndef PENSTOCK_API_EDITED_RUN_H_
#define PENSTOCK_API_EDITED_RUN_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "api/opened.h"
#include "api/penstock.h"
#include "codec/derived_source.h"
#include "codec/source.h"
#include "core/value.h"

namespace penstock {

// Movable; what it points to is its own or the caller's.
struct EditedRun {
  Value root;
  const StorageNames* names = nullptr;  // of the storages of `root`
  Source* source = nullptr;             // of their bytes
  int64_t num_tensors = 0;
  // Those given; what is edited is written anew and keeps no origin.
  SaveOptions options;

  // After the run: for people, what was done.
  std::vector<std::string> Notes() const;

  // Null where nothing was edited.
  std::unique_ptr<StorageNames> own_names;
  std::unique_ptr<DerivedSource> derived;
  std::vector<std::string> notes;
};

// `opened` as options.edits make it. Both arguments outlive the result.
// Errors: as ApplyEdits.
absl::StatusOr<EditedRun> EditRun(const Checkpoint::Opened& opened,
                                  Source& source, const SaveOptions& options);

}  // namespace penstock

#endif  // PENSTOCK_API_EDITED_RUN_H_
