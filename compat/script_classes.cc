#include "compat/script_classes.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// The names of `"a", "b", ]`.
absl::flat_hash_set<std::string> ParseNames(absl::string_view list) {
  absl::flat_hash_set<std::string> names;
  while (absl::ConsumePrefix(&list, "\"")) {
    const size_t end = list.find('"');
    if (end == list.npos) break;
    names.emplace(list.substr(0, end));
    list.remove_prefix(end + 1);
    if (!absl::ConsumePrefix(&list, ", ")) break;
  }
  return names;
}

}  // namespace

absl::StatusOr<const ScriptClass*> ScriptClasses::Find(absl::string_view module,
                                                       absl::string_view name) {
  if (modules_.emplace(module).second) {
    PENSTOCK_ASSIGN_OR_RETURN(const std::string source, read_(module));
    Parse(module, source);
  }
  const auto found = classes_.find(absl::StrCat(module, ".", name));
  return found == classes_.end() ? nullptr : found->second.get();
}

void ScriptClasses::Parse(absl::string_view module, absl::string_view source) {
  ScriptClass* current = nullptr;
  for (absl::string_view line : absl::StrSplit(source, '\n')) {
    if (absl::ConsumePrefix(&line, "class ")) {
      current = nullptr;
      if (!absl::ConsumeSuffix(&line, "(Module):")) continue;
      std::unique_ptr<ScriptClass>& slot =
          classes_[absl::StrCat(module, ".", line)];
      slot = std::make_unique<ScriptClass>();
      current = slot.get();
    } else if (current == nullptr) {
      continue;
    } else if (absl::ConsumePrefix(&line, "  __parameters__ = [")) {
      current->parameters = ParseNames(line);
    } else if (absl::ConsumePrefix(&line, "  __buffers__ = [")) {
      current->buffers = ParseNames(line);
    } else if (absl::ConsumePrefix(&line, "  ") &&
               absl::ConsumeSuffix(&line, " : Optional[Tensor]")) {
      current->buffers.erase(line);
    }
  }
}

}  // namespace penstock
