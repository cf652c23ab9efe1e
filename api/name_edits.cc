// EditNames of api/apply_edits.h. The tree is a copy of its tables, in which
// entries of `children` (edges) are exchanged, and containers shortened.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "api/apply_edits.h"
#include "core/glob.h"
#include "core/graph_rewrite.h"
#include "core/graph_tables.h"
#include "core/python_shapes.h"
#include "core/state_dict.h"
#include "core/status_macros.h"
#include "core/tensor_walk.h"
#include "re2/re2.h"

namespace penstock {
namespace {

using Kind = WalkStep::Kind;

// As StateDict::FromValue, whose names and order these walks go by.
constexpr int64_t kMaxNames = 4'000'000;

bool IsText(NodeKind kind) {
  return kind == NodeKind::kStr || kind == NodeKind::kPy2Str;
}

bool MatchesAny(const std::vector<std::string>& globs, absl::string_view name) {
  return std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) {
    return MatchesGlob(glob, name);
  });
}

// strip_prefixes and renames, ready to use.
class KeyEdits {
 public:
  absl::Status Init(const Edits& edits) {
    prefixes_ = edits.strip_prefixes;
    RE2::Options options;
    options.set_log_errors(false);
    for (const auto& [pattern, replacement] : edits.renames) {
      auto regex = std::make_unique<RE2>(pattern, options);
      std::string error = regex->error();
      if (!regex->ok() || !regex->CheckRewriteString(replacement, &error)) {
        return absl::InvalidArgumentError(
            absl::StrCat("--rename ", pattern, "=", replacement, ": ", error));
      }
      renames_.push_back({std::move(regex), replacement});
    }
    return absl::OkStatus();
  }

  bool any() const { return !prefixes_.empty() || !renames_.empty(); }

  std::string Apply(absl::string_view key) const {
    for (const std::string& prefix : prefixes_) {
      key = absl::StripPrefix(key, prefix);
    }
    std::string result(key);
    for (const Rename& rename : renames_) {
      RE2::Replace(&result, *rename.regex, rename.replacement);
    }
    return result;
  }

  // A key of `_metadata`, which names a module: as torch's
  // consume_prefix_in_state_dict_if_present does; --rename is for keys that go
  // on behind it with a dot.
  std::string ApplyToModule(absl::string_view name) const {
    for (const std::string& prefix : prefixes_) {
      if (absl::StrCat(name, ".") == prefix) return "";
      name = absl::StripPrefix(name, prefix);
    }
    std::string result(name);
    for (const Rename& rename : renames_) {
      if (result.empty()) break;
      std::string longer = absl::StrCat(result, ".");
      RE2::Replace(&longer, *rename.regex, rename.replacement);
      if (longer.empty()) return "";
      if (absl::EndsWith(longer, ".")) {
        longer.pop_back();
        result = std::move(longer);
      }
    }
    return result;
  }

 private:
  struct Rename {
    std::unique_ptr<RE2> regex;
    std::string replacement;
  };

  std::vector<std::string> prefixes_;
  std::vector<Rename> renames_;
};

class NameEditing {
 public:
  NameEditing(const Value& root, const Edits& edits)
      : root_(root),
        edits_(edits),
        drops_(!edits.keep.empty() || !edits.drop.empty()),
        tables_(root.graph()->tables()) {}

  absl::StatusOr<Value> Run(std::vector<std::string>& notes);

 private:
  // Tensors that stay and go together: what hangs on one edge.
  struct Unit {
    NodeId holder = kNoNode;
    int64_t kept = -1;  // number of one such name
    int64_t dropped = -1;
    Kind kind = Kind::kPart;
  };
  // A key on the way to tensors, by the edge of its text.
  struct Key {
    NodeId holder;  // the dict, or the list of pairs
    std::string text;
  };

  absl::string_view name(int64_t number) const {
    return names_.entries()[number].name;
  }
  NodeId KeyOf(const WalkStep& step, uint64_t& edge) const;
  static const WalkStep* PlaceOf(absl::Span<const WalkStep> way);
  absl::Status Visit(const WalkedTensor& walked);
  absl::Status Drop(int64_t number, bool kept, const WalkedTensor& walked);
  absl::Status Rename(int64_t number, const WalkedTensor& walked);
  void RenameOthers();
  absl::Status CheckKeys() const;
  void RenameMetadata();
  void RenameModules(const Value& dict);
  void SetKey(uint64_t edge, const std::string& text);
  void Remove();
  void Compact();
  absl::Status CheckResult(const Value& result) const;
  void AddNotes(std::vector<std::string>& notes) const;

  const Value& root_;
  const Edits& edits_;
  const bool drops_;
  KeyEdits key_edits_;
  GraphTables tables_;
  StateDict names_;  // in the order of the walk

  int64_t next_ = 0;  // of names_
  int64_t num_kept_ = 0;
  int64_t num_renamed_ = 0;
  int64_t num_nones_ = 0;
  absl::flat_hash_map<uint64_t, Unit> units_;
  std::vector<uint64_t> units_in_order_;
  absl::flat_hash_map<uint64_t, Key> keys_;
  // Of the containers of these keys: those with text keys that may change.
  absl::flat_hash_set<NodeId> holders_;
  // Edges of values that lead to tensors.
  absl::flat_hash_set<uint64_t> ways_;
  // Path after the edits -> name and path before.
  absl::flat_hash_map<std::string, std::pair<int64_t, std::string>> results_;
  // Nodes of new texts by those of old ones: a shared text stays shared.
  absl::flat_hash_map<NodeId, NodeId> texts_;
  // Edges to take away, by container.
  absl::flat_hash_map<NodeId, absl::flat_hash_set<uint64_t>> removed_;
};

absl::StatusOr<Value> NameEditing::Run(std::vector<std::string>& notes) {
  PENSTOCK_RETURN_IF_ERROR(key_edits_.Init(edits_));
  PENSTOCK_ASSIGN_OR_RETURN(names_, StateDict::FromValue(root_, kMaxNames));
  PENSTOCK_RETURN_IF_ERROR(WalkTensors(
      root_, kMaxNames,
      [this](const WalkedTensor& walked) { return Visit(walked); }));
  Remove();
  RenameOthers();
  PENSTOCK_RETURN_IF_ERROR(CheckKeys());
  RenameMetadata();
  for (const auto& [edge, key] : keys_) SetKey(edge, key.text);
  Compact();
  PENSTOCK_ASSIGN_OR_RETURN(Value result, Rewritten(tables_, root_.id()));
  PENSTOCK_RETURN_IF_ERROR(CheckResult(result));
  AddNotes(notes);
  return result;
}

absl::Status NameEditing::Visit(const WalkedTensor& walked) {
  const int64_t number = next_++;
  const bool kept =
      (edits_.keep.empty() || MatchesAny(edits_.keep, name(number))) &&
      !MatchesAny(edits_.drop, name(number));
  num_kept_ += kept ? 1 : 0;
  if (drops_) PENSTOCK_RETURN_IF_ERROR(Drop(number, kept, walked));
  if (!key_edits_.any()) return absl::OkStatus();
  for (const WalkStep& step : walked.way) {
    if (step.kind == Kind::kPair) ways_.insert(step.edge);
  }
  return kept ? Rename(number, walked) : absl::OkStatus();
}

// What goes when this tensor goes: the pair or the item that it is in. An item
// of an argument (the tuple of a sparse tensor's parts) is a part of its
// object.
const WalkStep* NameEditing::PlaceOf(absl::Span<const WalkStep> way) {
  const WalkStep* place = nullptr;
  bool in_part = false;
  for (const WalkStep& step : way.subspan(1)) {  // the root hangs on nothing
    if (step.kind == Kind::kPart) {
      in_part = true;
    } else if (step.kind == Kind::kPair || !in_part) {
      in_part = in_part && step.kind != Kind::kPair;
      place = &step;
    }
  }
  return place;
}

absl::Status NameEditing::Drop(int64_t number, bool kept,
                               const WalkedTensor& walked) {
  const WalkStep* const place = PlaceOf(walked.way);
  if (place == nullptr) {
    if (kept) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        name(number), " cannot be dropped: it is in no dict and no list"));
  }
  const auto [it, is_new] = units_.try_emplace(place->edge);
  if (is_new) units_in_order_.push_back(place->edge);
  Unit& unit = it->second;
  unit.holder = place->holder;
  unit.kind = place->kind;
  (kept ? unit.kept : unit.dropped) = number;
  if (unit.kept < 0 || unit.dropped < 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name(unit.dropped), " cannot be dropped without ",
                   name(unit.kept), ": both are in one place of the tree"));
}

// The node of a pair's key, and the edge that leads to it.
NodeId NameEditing::KeyOf(const WalkStep& step, uint64_t& edge) const {
  const GraphTables& tables = root_.graph()->tables();
  edge = tables.nodes[step.holder].kind == NodeKind::kDict
             ? step.edge - 1
             : tables.nodes[tables.children[step.edge]].payload;
  return tables.children[edge];
}

absl::Status NameEditing::Rename(int64_t number, const WalkedTensor& walked) {
  std::string result(walked.path);
  for (size_t i = walked.way.size(); i-- > 0;) {
    const WalkStep& step = walked.way[i];
    uint64_t edge = 0;
    if (step.kind != Kind::kPair) continue;
    const Value key(root_.graph(), KeyOf(step, edge));
    if (!IsText(key.kind())) continue;
    const auto [it, is_new] = keys_.try_emplace(edge);
    if (is_new) it->second = {step.holder, key_edits_.Apply(key.AsBytes())};
    num_renamed_ += is_new && it->second.text != key.AsBytes() ? 1 : 0;
    holders_.insert(step.holder);
    result.replace(step.begin, step.end - step.begin, it->second.text);
    break;
  }
  const auto [it, is_new] =
      results_.try_emplace(std::move(result), number, walked.path);
  if (is_new || it->second.second == walked.path) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name(it->second.first), " and ", name(number),
                   " would both be named ", it->first));
}

// Text keys of the same dicts without a tensor.
void NameEditing::RenameOthers() {
  for (const NodeId holder : holders_) {
    const Value dict(root_.graph(), holder);
    if (dict.kind() != NodeKind::kDict) continue;
    const uint64_t first = FirstChild(dict);
    for (int64_t i = 0; i < dict.size(); ++i) {
      const Value key = dict.key(i);
      if (!IsText(key.kind()) || ways_.contains(first + 2 * i + 1)) continue;
      keys_[first + 2 * i] = {holder, key_edits_.Apply(key.AsBytes())};
    }
  }
}

// Equal names of tensors were found before; this is for keys beside them.
absl::Status NameEditing::CheckKeys() const {
  for (const NodeId holder : holders_) {
    const Value dict(root_.graph(), holder);
    if (dict.kind() != NodeKind::kDict) continue;
    const uint64_t first = FirstChild(dict);
    const auto removed = removed_.find(holder);
    absl::flat_hash_map<absl::string_view, absl::string_view> old_keys;
    for (int64_t i = 0; i < dict.size(); ++i) {
      const Value key = dict.key(i);
      const uint64_t edge = first + 2 * i;
      if (!IsText(key.kind()) ||
          (removed != removed_.end() && removed->second.contains(edge))) {
        continue;
      }
      const auto renamed = keys_.find(edge);
      const absl::string_view text =
          renamed == keys_.end() ? key.AsBytes() : renamed->second.text;
      const auto [it, is_new] = old_keys.try_emplace(text, key.AsBytes());
      if (is_new) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("the keys ", it->second, " and ", key.AsBytes(),
                       " of one dict would both be ", text));
    }
  }
  return absl::OkStatus();
}

// The attribute of the state_dicts whose keys may have changed.
void NameEditing::RenameMetadata() {
  if (holders_.empty()) return;
  const auto num_nodes = static_cast<NodeId>(root_.graph()->num_nodes());
  for (NodeId id = 0; id < num_nodes; ++id) {
    const Value object(root_.graph(), id);
    if (object.kind() != NodeKind::kObject) continue;
    const Value pairs = object.child(ObjectChild::kPairs);
    const Value state = object.child(ObjectChild::kState);
    if (!pairs || !state || state.kind() != NodeKind::kDict ||
        !holders_.contains(pairs.id())) {
      continue;
    }
    Value metadata = state.Find("_metadata");
    if (metadata && metadata.kind() == NodeKind::kObject) {
      metadata = metadata.child(ObjectChild::kPairs);
    }
    if (metadata && metadata.kind() == NodeKind::kDict) RenameModules(metadata);
  }
}

// As dict.pop and assignment: of two equal keys the first stays in its place,
// with the value of the last.
void NameEditing::RenameModules(const Value& dict) {
  const uint64_t first = FirstChild(dict);
  absl::flat_hash_map<std::string, uint64_t> values;  // edges
  for (int64_t i = 0; i < dict.size(); ++i) {
    const Value key = dict.key(i);
    if (!IsText(key.kind())) continue;
    const uint64_t edge = first + 2 * i;
    const std::string text = key_edits_.ApplyToModule(key.AsBytes());
    const auto [it, is_new] = values.try_emplace(text, edge + 1);
    if (is_new) {
      SetKey(edge, text);
    } else {
      tables_.children[it->second] = tables_.children[edge + 1];
      removed_[dict.id()].insert({edge, edge + 1});
    }
  }
}

void NameEditing::SetKey(uint64_t edge, const std::string& text) {
  const Value key(root_.graph(), root_.graph()->tables().children[edge]);
  if (key.AsBytes() == text) return;
  const auto [it, is_new] = texts_.try_emplace(key.id(), kNoNode);
  if (is_new) it->second = AddText(tables_, key.kind(), text);
  tables_.children[edge] = it->second;
}

void NameEditing::Remove() {
  NodeId none = kNoNode;
  for (const uint64_t edge : units_in_order_) {
    const Unit& unit = units_[edge];
    if (unit.dropped < 0) continue;
    if (unit.kind == Kind::kItem) {
      if (none == kNoNode) none = AddNone(tables_);
      tables_.children[edge] = none;
      ++num_nones_;
      continue;
    }
    auto& removed = removed_[unit.holder];
    removed.insert(edge);
    if (tables_.nodes[unit.holder].kind == NodeKind::kDict) {
      removed.insert(edge - 1);
    }
  }
}

void NameEditing::Compact() {
  for (const auto& [holder, removed] : removed_) {
    Node& node = tables_.nodes[holder];
    uint64_t end = node.payload;
    const uint64_t old_end = node.payload + NumChildren(node);
    for (uint64_t edge = node.payload; edge < old_end; ++edge) {
      if (removed.contains(edge)) continue;
      tables_.children[end++] = tables_.children[edge];
    }
    const auto left = static_cast<uint32_t>(end - node.payload);
    node.size = node.kind == NodeKind::kDict ? left / 2 : left;
  }
}

// A dropped pair may hold what was to stay, as attributes of a parameter.
absl::Status NameEditing::CheckResult(const Value& result) const {
  int64_t num_tensors = 0;
  PENSTOCK_RETURN_IF_ERROR(
      WalkTensors(result, kMaxNames, [&](const WalkedTensor&) {
        ++num_tensors;
        return absl::OkStatus();
      }));
  if (num_tensors == num_kept_) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "of ", num_kept_, " tensors to keep ", num_tensors,
      " would be left: the others are attributes of dropped ones"));
}

void NameEditing::AddNotes(std::vector<std::string>& notes) const {
  if (drops_) {
    notes.push_back(
        absl::StrCat("kept ", num_kept_, " of ", names_.size(), " tensors"));
  }
  if (num_nones_ > 0) {
    notes.push_back(absl::StrCat(num_nones_,
                                 " dropped items of lists became None, so that "
                                 "the others keep their places"));
  }
  if (key_edits_.any()) {
    notes.push_back(absl::StrCat("renamed ", num_renamed_,
                                 num_renamed_ == 1 ? " key" : " keys"));
  }
}

}  // namespace

absl::StatusOr<Value> EditNames(const Value& root, const Edits& edits,
                                std::vector<std::string>& notes) {
  return NameEditing(root, edits).Run(notes);
}

}  // namespace penstock
