#include "cli/edit_flags.h"

#include <cstddef>
#include <string>

#include "core/dtype.h"

namespace penstock {
namespace {

constexpr const char* kGroup =
    "Edits (names as `penstock ls` prints them; the result is written anew)";

// One value each time the option is given.
CLI::Option* AddList(CLI::App& app, const std::string& flag,
                     std::vector<std::string>& values,
                     const std::string& help) {
  return app.add_option(flag, values, help)
      ->allow_extra_args(false)
      ->group(kGroup);
}

std::string CheckRename(const std::string& value) {
  return value.find('=') == std::string::npos ? "expected REGEX=REPLACEMENT"
                                              : "";
}

}  // namespace

void EditFlags::AddTo(CLI::App& app) {
  app.add_option("--select", edits_.select,
                 "only what is at this path (. is the root); a pickled "
                 "nn.Module there gives its state_dict")
      ->group(kGroup);
  AddList(app, "--keep", edits_.keep,
          "GLOB: only tensors whose whole name matches; may be repeated");
  AddList(app, "--drop", edits_.drop,
          "GLOB: no tensors whose whole name matches; may be repeated. In a "
          "list None takes their place");
  AddList(app, "--strip-prefix", edits_.strip_prefixes,
          "off the start of keys, such as module. ; may be repeated");
  AddList(app, "--rename", renames_,
          "REGEX=REPLACEMENT, at the first =: the leftmost match in each key "
          "(RE2 syntax; \\1 is the first group); may be repeated, done in "
          "this order")
      ->check(CheckRename);
  app.add_option("--dtype", dtype_,
                 "cast float64, float32, float16 and bfloat16 tensors that "
                 "have dimensions to f32, f16 or bf16")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
      ->group(kGroup);
  app.add_option("--map-location", edits_.map_location,
                 "where torch.load puts the tensors, such as cpu")
      ->group(kGroup);
}

Edits EditFlags::Asked() const {
  Edits edits = edits_;
  for (const std::string& rename : renames_) {
    const size_t equals = rename.find('=');
    edits.renames.emplace_back(rename.substr(0, equals),
                               rename.substr(equals + 1));
  }
  if (dtype_ == "f32") edits.dtype = DType::kFloat32;
  if (dtype_ == "f16") edits.dtype = DType::kFloat16;
  if (dtype_ == "bf16") edits.dtype = DType::kBFloat16;
  return edits;
}

}  // namespace penstock
