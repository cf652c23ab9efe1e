#include "compat/pickle_traces.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "compat/global_judge.h"
#include "compat/pickle_opcodes.h"
#include "compat/scan.h"

namespace penstock {
namespace {

using ::absl::string_view;

// A walk that went so far is none through noise.
constexpr int64_t kManyOpcodes = 16;
constexpr int64_t kSomeOpcodes = 8;
constexpr size_t kMaxModuleBytes = 64;

constexpr std::array<bool, 256> MakeBeginnings() {
  std::array<bool, 256> table{};
  for (const uint8_t byte :
       {uint8_t{pickle::kProto}, uint8_t{pickle::kGlobal},
        uint8_t{pickle::kInst}, uint8_t{pickle::kShortBinUnicode},
        uint8_t{pickle::kBinUnicode}, uint8_t{pickle::kShortBinString},
        uint8_t{pickle::kMark}, uint8_t{'P'}}) {
    table[byte] = true;
  }
  return table;
}
constexpr std::array<bool, 256> kBeginnings = MakeBeginnings();

bool BeginsWord(string_view text) {
  return !text.empty() && (absl::ascii_isalpha(text[0]) || text[0] == '_');
}

// Two lines, a suspect module and a name.
bool IsSuspectGlobal(string_view lines) {
  if (!BeginsWord(lines)) return false;
  const size_t end = lines.substr(0, kMaxModuleBytes).find('\n');
  if (end == string_view::npos || !IsSuspectModule(lines.substr(0, end))) {
    return false;
  }
  const string_view rest = lines.substr(end + 1);
  const string_view name = rest.substr(0, rest.find('\n'));
  return name.size() < rest.size() && IsPlausibleName(name);
}

// A text of the size that `text` begins with, `width` bytes: a suspect module.
bool IsSuspectText(string_view text, size_t width) {
  if (text.size() <= width) return false;
  const size_t size = static_cast<uint8_t>(text[0]);
  for (size_t i = 1; i < width; ++i) {
    if (text[i] != '\0') return false;
  }
  text.remove_prefix(width);
  return size > 1 && size <= kMaxModuleBytes && size < text.size() &&
         BeginsWord(text) && IsSuspectModule(text.substr(0, size));
}

// `at` begins with one of kBeginnings.
bool IsTrace(string_view at) {
  const uint8_t second = at.size() > 1 ? static_cast<uint8_t>(at[1]) : 0;
  switch (static_cast<uint8_t>(at[0])) {
    case pickle::kProto: {
      const uint8_t third = at.size() > 2 ? static_cast<uint8_t>(at[2]) : 0;
      return second <= 5 && third != pickle::kProto && IsPickleOpcode(third);
    }
    case pickle::kMark:
      // INST and OBJ need it.
      return (second == pickle::kGlobal || second == pickle::kInst) &&
             IsSuspectGlobal(at.substr(2));
    case pickle::kGlobal:
    case pickle::kInst:
      return IsSuspectGlobal(at.substr(1));
    case pickle::kShortBinUnicode:
    case pickle::kShortBinString:
      return IsSuspectText(at.substr(1), 1);
    case pickle::kBinUnicode:
      return IsSuspectText(at.substr(1), 4);
    default:
      return at.size() >= 4 && second == 'K' &&
             ((at[2] == 3 && at[3] == 4) || (at[2] == 5 && at[3] == 6));
  }
}

bool IsPlausibleGlobal(const ScanFinding& finding) {
  return finding.kind == ScanKind::kGlobal && IsPlausibleName(finding.module) &&
         IsPlausibleName(finding.name);
}

}  // namespace

size_t NextTrace(string_view bytes, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) {
    if (kBeginnings[static_cast<uint8_t>(bytes[i])] &&
        IsTrace(bytes.substr(i, kTraceBytes))) {
      return i;
    }
  }
  return end;
}

PickleWalk WalkBothWays(ByteWindow& window, ByteWindow& names, int64_t& budget,
                        int64_t begin) {
  PickleWalk walk = PickleWalker(window, names, budget).Walk(begin);
  if (walk.first_array < 0) return walk;
  const PickleWalk plain =
      PickleWalker(window, names, budget, PickleWalker::Arrays::kRead)
          .Walk(begin);
  const auto behind = std::find_if(
      plain.findings.begin(), plain.findings.end(),
      [&](const auto& one) { return one.offset >= walk.first_array; });
  if (std::any_of(behind, plain.findings.end(), IsPlausibleGlobal)) {
    walk.findings.insert(walk.findings.end(), behind, plain.findings.end());
  }
  return walk;
}

bool IsBelievable(const PickleWalk& walk, WalkTrust trust, WalkedOver bytes) {
  const bool stops = walk.how == PickleWalk::End::kStop;
  const bool many = walk.num_opcodes >= kManyOpcodes;
  bool has_global = false;
  bool plausible = true;
  bool called = false;
  bool suspect = false;
  // Nothing but PROTO before a suspect module: no chance, even if what follows
  // breaks off and the name is no name.
  bool suspect_first = false;
  // Named, not called, where no text would have taken the walk.
  bool suspect_named = false;
  for (const ScanFinding& finding : walk.findings) {
    if (finding.kind != ScanKind::kGlobal) continue;
    suspect_first =
        suspect_first || (walk.has_proto && finding.offset == walk.begin + 2 &&
                          IsSuspectModule(finding.module));
    has_global = true;
    called = called || !finding.called_by.empty();
    plausible = plausible && IsPlausibleName(finding.module) &&
                IsPlausibleName(finding.name);
    // INST calls by itself: in a list of words, too.
    // Behind a module that cannot be imported nothing happens any more.
    const bool meant = plausible && finding.level == ScanLevel::kDangerous;
    suspect = suspect || (!finding.called_by.empty() && meant &&
                          (stops || finding.called_by != "INST"));
    suspect_named = suspect_named || (meant && bytes == WalkedOver::kBytes);
  }
  if (trust == WalkTrust::kSure || suspect) return true;
  if (trust == WalkTrust::kAnchored) {
    if (suspect_first || suspect_named) return true;
    if (walk.has_proto && (stops || many || (has_global && plausible))) {
      return true;
    }
    return stops && has_global &&
           (plausible || (called && walk.num_opcodes >= 4));
  }
  if (!has_global) return stops && walk.has_proto && many;
  if (!plausible) return stops && many;
  return (stops && walk.num_opcodes >= 3) ||
         (walk.has_proto && walk.num_opcodes >= kSomeOpcodes);
}

}  // namespace penstock
