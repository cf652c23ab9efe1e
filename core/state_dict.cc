#include "core/state_dict.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "core/dtype.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/strided_copy.h"
#include "core/tensor_walk.h"

namespace penstock {
namespace {

// Names of one kind that an error message lists.
constexpr size_t kMaxListed = 10;

// Appends "what: a, b" or nothing.
void AppendList(absl::string_view what, const std::vector<std::string>& names,
                std::string& out) {
  if (names.empty()) return;
  const auto listed = absl::MakeConstSpan(names).subspan(0, kMaxListed);
  absl::StrAppend(&out, out.empty() ? "" : "; ", what, ": ",
                  absl::StrJoin(listed, ", "));
  if (names.size() > listed.size()) {
    absl::StrAppend(&out, " and ", names.size() - listed.size(), " more");
  }
}

absl::Status CheckPair(const NamedTensor& source, const NamedTensor& target) {
  constexpr uint8_t kMeaning = TensorFlags::kConjugated | TensorFlags::kNegated;
  if (((source.flags ^ target.flags) & kMeaning) != 0) {
    return absl::InvalidArgumentError(
        "only one of source and target is conjugated or negated");
  }
  return CheckCopy(source.tensor, target.tensor);
}

absl::Status CheckInMemory(const NamedTensor& entry) {
  if (!entry.tensor.storage()->in_file()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(entry.name, ": its bytes are still in a file"));
}

}  // namespace

absl::StatusOr<StateDict> StateDict::FromValue(const Value& root,
                                               int64_t max_names) {
  PENSTOCK_CHECK(root);
  StateDict result;
  const int64_t expected =
      std::clamp<int64_t>(max_names, 0, root.graph()->num_tensors());
  result.entries_.reserve(expected);
  result.numbers_.Reset(expected);
  // By name that was taken: the number to try next.
  absl::flat_hash_map<std::string, int64_t> next_numbers;
  const auto visit = [&](WalkedTensor walked) {
    NamedTensor entry = {std::string(walked.path), std::move(walked.tensor),
                         walked.flags, walked.number};
    if (!result.TryAdd(std::move(entry))) {
      int64_t& number = next_numbers.try_emplace(entry.name, 2).first->second;
      do {
        entry.name = absl::StrCat(walked.path, "~", number++);
      } while (!result.TryAdd(std::move(entry)));
    }
    return absl::OkStatus();
  };
  PENSTOCK_RETURN_IF_ERROR(WalkTensors(root, max_names, visit));
  return result;
}

bool StateDict::TryAdd(NamedTensor&& entry) {
  const auto number = static_cast<uint32_t>(entries_.size());
  PENSTOCK_CHECK(number < TextIndex::kNone);
  if (numbers_.Insert(entry.name, number,
                      [this](uint32_t i) { return name_of(i); }) != number) {
    return false;
  }
  entries_.push_back(std::move(entry));
  return true;
}

absl::Status StateDict::Add(NamedTensor entry) {
  if (TryAdd(std::move(entry))) return absl::OkStatus();
  return absl::AlreadyExistsError(
      absl::StrCat("a tensor named ", entry.name, " is there already"));
}

const NamedTensor* StateDict::Find(absl::string_view name) const {
  const uint32_t number =
      numbers_.Find(name, [this](uint32_t i) { return name_of(i); });
  return number == TextIndex::kNone ? nullptr : &entries_[number];
}

absl::StatusOr<StateDict> StateDict::Renamed(
    const std::function<std::string(absl::string_view)>& rename) const {
  StateDict result;
  for (const NamedTensor& entry : entries_) {
    NamedTensor renamed = entry;
    renamed.name = rename(entry.name);
    if (const NamedTensor* const other = result.Find(renamed.name)) {
      // Entries keep their order, hence their numbers.
      return absl::InvalidArgumentError(
          absl::StrCat(entries_[other - result.entries_.data()].name, " and ",
                       entry.name, " would both be named ", renamed.name));
    }
    PENSTOCK_RETURN_IF_ERROR(result.Add(std::move(renamed)));
  }
  return result;
}

absl::StatusOr<StateDict> StateDict::WithoutPrefix(
    absl::string_view prefix) const {
  return Renamed([prefix](absl::string_view name) {
    return std::string(absl::StripPrefix(name, prefix));
  });
}

absl::StatusOr<LoadPlan> StateDict::PlanLoadInto(const StateDict& target,
                                                 Strictness strictness) const {
  LoadPlan plan;
  LoadReport& report = plan.report;
  for (const NamedTensor& to : target.entries_) {
    const NamedTensor* const from = Find(to.name);
    if (from == nullptr) {
      report.missing.push_back(to.name);
      continue;
    }
    const absl::Status fits = CheckPair(*from, to);
    if (fits.ok()) {
      plan.copies.push_back({from, &to});
    } else {
      report.mismatched.push_back(absl::StrCat(to.name, ": ", fits.message()));
    }
  }
  for (const NamedTensor& from : entries_) {
    if (target.Find(from.name) == nullptr) {
      report.unexpected.push_back(from.name);
    }
  }
  if (strictness == Strictness::kStrict) {
    std::string wrong;
    AppendList("missing", report.missing, wrong);
    AppendList("unexpected", report.unexpected, wrong);
    AppendList("mismatched", report.mismatched, wrong);
    if (!wrong.empty()) return absl::InvalidArgumentError(wrong);
  }
  for (const LoadPlan::Copy& copy : plan.copies) {
    PENSTOCK_RETURN_IF_ERROR(CheckInMemory(*copy.to));
  }
  return plan;
}

absl::StatusOr<LoadReport> StateDict::LoadInto(StateDict& target,
                                               Strictness strictness) const {
  PENSTOCK_ASSIGN_OR_RETURN(LoadPlan plan, PlanLoadInto(target, strictness));
  for (const LoadPlan::Copy& copy : plan.copies) {
    PENSTOCK_RETURN_IF_ERROR(CheckInMemory(*copy.from));
  }
  for (const LoadPlan::Copy& copy : plan.copies) {
    PENSTOCK_RETURN_IF_ERROR(CopyElements(copy.from->tensor, copy.to->tensor));
    ++plan.report.num_loaded;
  }
  return std::move(plan.report);
}

}  // namespace penstock
