// The names that a scan knows: every table in one place, in scan_tables.cc.

#ifndef PENSTOCK_COMPAT_SCAN_TABLES_H_
#define PENSTOCK_COMPAT_SCAN_TABLES_H_

#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"

namespace penstock {

using NameTable = absl::flat_hash_set<absl::string_view>;

// Top-level modules of the standard library, Python 2.7 to 3.14, private ones
// and those of other systems too.
const NameTable& StandardModules();
// Packages of others of which a function, called, is not to be trusted.
const NameTable& ListedPackages();
// Those of them whose classes are no better.
const NameTable& ToolPackages();
// "module name" of everything that is allowed, called or not.
const NameTable& AllowedGlobals();
// Python 2's and 3's built-in exceptions and functions that do nothing by
// themselves: to name one is harmless.
const NameTable& HarmlessBuiltins();
// "module name" of classes and functions known to run what they are given.
const NameTable& KnownGadgets();
// Classes of listed packages, or that those show, which act when they are made:
// processes, connections, files, what they load.
const NameTable& RiskyClasses();
// Methods of classes that are allowed, which take a path.
const NameTable& FileMethods();
// Names that mean running code, whatever module shows them.
const NameTable& RunningNames();
// Modules that nobody's class is named after.
const NameTable& NotoriousModules();
// Dunder methods that a pickle may name as a class's method.
const NameTable& HarmlessDunders();

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_SCAN_TABLES_H_
