#include "api/diff.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "api/element_compare.h"
#include "api/opened.h"
#include "api/tensor_compare.h"
#include "api/value_leaves.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

std::vector<int64_t> ShapeOf(const Tensor& tensor) {
  return {tensor.shape().begin(), tensor.shape().end()};
}

// Pairs of tensors on the way into a report.
class Differ {
 public:
  Differ(const Checkpoint::Opened& a, const Checkpoint::Opened& b,
         const DiffOptions& options)
      : a_(a), b_(b), options_(options) {}

  absl::StatusOr<DiffReport> Run() {
    PairByName();
    if (options_.compare_values) {
      PENSTOCK_RETURN_IF_ERROR(DiffValues());
    }
    PENSTOCK_RETURN_IF_ERROR(Compare());
    Sort();
    return std::move(report_);
  }

 private:
  void PairByName();
  void AddPair(TensorPair pair);
  absl::Status DiffValues();
  void PairStorages(const Leaves& leaves_a, const Leaves& leaves_b);
  absl::Status Compare();
  void Sort();

  const Checkpoint::Opened& a_;
  const Checkpoint::Opened& b_;
  const DiffOptions& options_;
  std::vector<TensorPair> pairs_;  // to be read
  DiffReport report_;
};

LoneTensor Lone(const NamedTensor& entry) {
  return {entry.name, entry.tensor.dtype(), ShapeOf(entry.tensor)};
}

void Differ::PairByName() {
  for (const NamedTensor& entry : a_.state_dict().entries()) {
    const NamedTensor* const other = b_.state_dict().Find(entry.name);
    if (other == nullptr) {
      report_.removed.push_back(Lone(entry));
      continue;
    }
    ++report_.num_common;
    AddPair(
        {entry.name, entry.tensor, other->tensor, entry.flags, other->flags});
  }
  for (const NamedTensor& entry : b_.state_dict().entries()) {
    if (a_.state_dict().Find(entry.name) == nullptr) {
      report_.added.push_back(Lone(entry));
    }
  }
}

void Differ::AddPair(TensorPair pair) {
  const bool comparable = pair.a.dtype() == pair.b.dtype() ||
                          (options_.tolerance && HasNumbers(pair.a.dtype()) &&
                           HasNumbers(pair.b.dtype()));
  if (pair.a.shape() != pair.b.shape() || !comparable) {
    report_.changed.push_back({pair.name, pair.a.dtype(), pair.b.dtype(),
                               ShapeOf(pair.a), ShapeOf(pair.b), std::nullopt});
  } else if (SameByDigest(a_, b_, pair)) {
    ++report_.num_identical;
    ++report_.num_by_digest;
  } else {
    pairs_.push_back(std::move(pair));
  }
}

// Bare storages are compared as tensors of bytes.
void Differ::PairStorages(const Leaves& leaves_a, const Leaves& leaves_b) {
  absl::flat_hash_map<std::string, const Tensor*> others;
  for (const StorageLeaf& leaf : leaves_b.storages) {
    others.try_emplace(leaf.path, &leaf.bytes);
  }
  for (const StorageLeaf& leaf : leaves_a.storages) {
    const auto other = others.find(leaf.path);
    if (other == others.end()) {
      report_.removed.push_back(
          {leaf.path, leaf.bytes.dtype(), ShapeOf(leaf.bytes)});
      continue;
    }
    ++report_.num_common;
    AddPair({leaf.path, leaf.bytes, *other->second, 0, 0});
    others.erase(other);
  }
  for (const StorageLeaf& leaf : leaves_b.storages) {
    if (others.contains(leaf.path)) {
      report_.added.push_back(
          {leaf.path, leaf.bytes.dtype(), ShapeOf(leaf.bytes)});
    }
  }
}

void AddMetadata(const Checkpoint::Opened& opened, Leaves& leaves) {
  for (const auto& [key, value] : opened.metadata) {
    leaves.values.push_back({absl::StrCat("__metadata__.", key), value});
  }
}

absl::Status Differ::DiffValues() {
  absl::StatusOr<Leaves> leaves_a = LeavesOf(a_.root);
  if (!leaves_a.ok()) return Annotate(leaves_a.status(), a_.path);
  absl::StatusOr<Leaves> leaves_b = LeavesOf(b_.root);
  if (!leaves_b.ok()) return Annotate(leaves_b.status(), b_.path);
  PairStorages(*leaves_a, *leaves_b);
  // Where only one format has such text, it would differ every time.
  if (!a_.metadata.empty() && !b_.metadata.empty()) {
    AddMetadata(a_, *leaves_a);
    AddMetadata(b_, *leaves_b);
  }
  absl::flat_hash_map<std::string, std::string> others;
  for (const ValueLeaf& leaf : leaves_b->values) {
    others.emplace(leaf.path, leaf.text);
  }
  for (const ValueLeaf& leaf : leaves_a->values) {
    const auto other = others.find(leaf.path);
    if (other == others.end()) {
      report_.values.push_back({leaf.path, leaf.text, std::nullopt});
      continue;
    }
    if (other->second != leaf.text) {
      report_.values.push_back({leaf.path, leaf.text, other->second});
    }
    others.erase(other);
  }
  for (const ValueLeaf& leaf : leaves_b->values) {
    if (others.contains(leaf.path)) {
      report_.values.push_back({leaf.path, std::nullopt, leaf.text});
    }
  }
  return absl::OkStatus();
}

absl::Status Differ::Compare() {
  PENSTOCK_ASSIGN_OR_RETURN(
      const CompareResult result,
      CompareTensors(a_, b_, pairs_, options_.tolerance, options_.run));
  report_.read_bytes = result.read_bytes;
  for (size_t i = 0; i < pairs_.size(); ++i) {
    const TensorPair& pair = pairs_[i];
    const ElementStats& stats = result.stats[i];
    const bool one_dtype = pair.a.dtype() == pair.b.dtype();
    if (stats.num_changed == 0 && one_dtype) {
      ++report_.num_identical;
    } else if (stats.num_beyond == 0) {
      ++report_.num_close;
    } else {
      report_.changed.push_back({pair.name, pair.a.dtype(), pair.b.dtype(),
                                 ShapeOf(pair.a), ShapeOf(pair.b), stats});
    }
  }
  return absl::OkStatus();
}

// What could not be measured counts as the most.
double RankOf(const TensorDiff& diff) {
  if (!diff.stats || std::isnan(diff.stats->relative_l2)) return INFINITY;
  return diff.stats->relative_l2;
}

void Differ::Sort() {
  std::stable_sort(report_.changed.begin(), report_.changed.end(),
                   [](const TensorDiff& x, const TensorDiff& y) {
                     if (x.stats.has_value() != y.stats.has_value()) {
                       return !x.stats.has_value();
                     }
                     return RankOf(x) > RankOf(y);
                   });
}

}  // namespace

absl::StatusOr<DiffReport> Diff(const Checkpoint& a, const Checkpoint& b,
                                const DiffOptions& options) {
  const Clock::time_point start = Clock::now();
  const std::optional<Tolerance>& tolerance = options.tolerance;
  if (tolerance && !(tolerance->rtol >= 0 && tolerance->atol >= 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("tolerances must not be below 0: rtol ", tolerance->rtol,
                     ", atol ", tolerance->atol));
  }
  PENSTOCK_ASSIGN_OR_RETURN(DiffReport report,
                            Differ(a.opened(), b.opened(), options).Run());
  report.seconds = SecondsSince(start);
  return report;
}

}  // namespace penstock
