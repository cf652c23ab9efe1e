// JudgeGlobal: what naming or calling a Python global could do, from its name.

#ifndef PENSTOCK_COMPAT_GLOBAL_JUDGE_H_
#define PENSTOCK_COMPAT_GLOBAL_JUDGE_H_

#include "absl/strings/string_view.h"
#include "compat/scan.h"

namespace penstock {

struct Judgement {
  ScanLevel level = ScanLevel::kAllow;
  absl::string_view reason;  // a constant; empty for kAllow
};

// By the tables of compat/scan_tables.h and the rules of conversion.md 4; any
// bytes. Nothing is looked up.
Judgement JudgeGlobal(absl::string_view module, absl::string_view name,
                      bool called);

// What it could do to name the attribute `name` of a class that is allowed, and
// not to call it: a function or bound method, as pickled by getattr before
// protocol 4.
Judgement JudgeAttribute(absl::string_view module, absl::string_view name);

// Whether this is what a class is called: one word with a capital, underscores
// before it or not.
bool LooksLikeClass(absl::string_view name);

// Whether a text could be the name of a module or class at all: no control
// characters, no blanks, no empty part, UTF-8.
bool IsPlausibleName(absl::string_view text);

// Whether an attribute gives a way from an object to the interpreter.
bool IsRevealingAttribute(absl::string_view name);

// Whether `module` is of the standard library or of a listed package other than
// torch and numpy: what a scan takes for a trace of an attack in bytes that are
// no pickle.
bool IsSuspectModule(absl::string_view module);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_GLOBAL_JUDGE_H_
