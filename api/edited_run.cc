#include "api/edited_run.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "api/apply_edits.h"
#include "core/state_dict.h"
#include "core/status_macros.h"

namespace penstock {

std::vector<std::string> EditedRun::Notes() const {
  std::vector<std::string> result = notes;
  if (derived != nullptr && derived->num_overflows() > 0) {
    result.push_back(
        absl::StrCat(derived->num_overflows(),
                     " numbers were too large for the dtype and are infinite"));
  }
  return result;
}

absl::StatusOr<EditedRun> EditRun(const Checkpoint::Opened& opened,
                                  Source& source, const SaveOptions& options) {
  EditedRun run;
  run.options = options;
  run.source = &source;
  if (!options.edits.any()) {
    run.root = opened.root;
    run.names = &opened.names();
    run.num_tensors = opened.state_dict().size();
    return run;
  }
  run.options.origin = OriginMode::kNever;
  run.options.writing = Writing::kAnew;
  PENSTOCK_ASSIGN_OR_RETURN(EditedCheckpoint edited,
                            ApplyEdits(opened.root, options.edits));
  run.root = std::move(edited.root);
  run.notes = std::move(edited.notes);
  PENSTOCK_ASSIGN_OR_RETURN(const StateDict state_dict,
                            StateDict::FromValue(run.root));
  run.num_tensors = state_dict.size();
  run.own_names = std::make_unique<StorageNames>(NamesOf(state_dict));
  run.names = run.own_names.get();
  PENSTOCK_ASSIGN_OR_RETURN(
      run.derived,
      DerivedSource::MakeWithin(source, std::move(edited.derivations),
                                run.options.run.memory_bytes));
  run.source = run.derived.get();
  return run;
}

}  // namespace penstock
