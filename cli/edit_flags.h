// EditFlags: the options of `penstock convert` that change a checkpoint.

#ifndef PENSTOCK_CLI_EDIT_FLAGS_H_
#define PENSTOCK_CLI_EDIT_FLAGS_H_

#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "api/edits.h"

namespace penstock {

// Must outlive the parsing of `app`, which writes into it.
class EditFlags {
 public:
  void AddTo(CLI::App& app);

  // What was asked for. Call after parsing.
  Edits Asked() const;

 private:
  Edits edits_;
  std::vector<std::string> renames_;  // "regex=replacement"
  std::string dtype_;
};

}  // namespace penstock

#endif  // PENSTOCK_CLI_EDIT_FLAGS_H_
