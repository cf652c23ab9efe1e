#include "compat/pickle_file.h"

#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "compat/extent_source.h"
#include "core/status_macros.h"

namespace penstock {

absl::StatusOr<ForeignFile> OpenPickle(
    std::shared_ptr<const RandomAccessFile> file, const PickleLimits& limits,
    NestedOpener open_nested) {
  auto stored = std::make_shared<StoredStorages>();
  stored->files.push_back(file);
  NestedStorages nested(std::move(open_nested), *stored);
  PickleInput input;
  input.file = file;
  PickleSurroundings around;
  around.persistent_ids = PersistentIds::kNone;
  around.nested = nested.resolver();
  absl::StatusOr<PickleResult> result = ReadPickle(input, around, limits);
  if (!result.ok()) return Annotate(result.status(), file->path());

  ForeignFile pickle;
  pickle.format = ForeignFormat::kPickle;
  pickle.writer = "pickle.dump";
  pickle.root = std::move(result->root);
  pickle.globals = std::move(result->globals);
  pickle.warnings = std::move(result->warnings);
  nested.Report(pickle);
  const int64_t rest = file->size_bytes() - result->consumed_bytes;
  if (rest > 0) {
    pickle.warnings.push_back(absl::StrFormat(
        "%d bytes behind the end of the pickle, at offset %d, are not read",
        rest, result->consumed_bytes));
  }
  pickle.file = std::move(file);
  SetStored(std::move(stored), pickle);
  return pickle;
}

}  // namespace penstock
