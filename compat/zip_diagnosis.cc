#include "compat/zip_diagnosis.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "compat/zip_name.h"
#include "compat/zip_reader.h"

namespace penstock {
namespace {

using ::absl::string_view;

// A record that only this kind of zip has: its whole name, or, where it begins
// with '/', what follows the folder.
struct ZipKind {
  string_view record;
  string_view kind;
  string_view what;
  string_view advice;
};

constexpr ZipKind kZipKinds[] = {
    {"/.data/extern_modules", "torch-package", "a torch.package archive",
     "load it with torch.package and save the state_dict with torch.save"},
    {"/archive_format", "pt2", "an exported program (.pt2)",
     "load it with torch.export.load and save its state_dict"},
    {"serialized_exported_program.json", "pt2",
     "an exported program (.pt2 of torch before 2.8)",
     "load it with torch.export.load and save its state_dict"},
    {"/model.json", "torchscript-preview",
     "a TorchScript archive of 2018 or 2019",
     "load it with the torch of its time and save the state_dict"},
    {"/constants.pkl", "torchscript", "a TorchScript archive (torch.jit.save)",
     "load it with torch.jit.load and save its state_dict() with torch.save"},
    {"/data.pkl", "pt", "a PyTorch checkpoint (torch.save)", ""},
    {"model.weights.h5", "keras", "a Keras model (.keras)",
     "load it with Keras"},
    {"word/document.xml", "document", "a Word document", ""},
    {"AndroidManifest.xml", "android-app", "an Android app", ""},
    {"META-INF/MANIFEST.MF", "java-archive", "a Java archive", ""},
};

bool IsRecordOf(const ZipKind& kind, string_view name) {
  if (kind.record[0] != '/') return name == kind.record;
  const size_t slash = name.find('/');
  return slash != string_view::npos && name.substr(slash) == kind.record;
}

bool IsCheckpointName(string_view name) {
  for (const string_view ending :
       {".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".pkl", ".pstk"}) {
    if (absl::EndsWith(name, ending)) return true;
  }
  return false;
}

void Describe(string_view kind, string_view what, string_view advice,
              Diagnosis& diagnosis) {
  diagnosis.kind = std::string(kind);
  diagnosis.what = std::string(what);
  if (!advice.empty()) diagnosis.advice.emplace_back(advice);
}

void DescribeOther(const std::vector<ZipEntry>& entries, Diagnosis& diagnosis) {
  Describe("zip", "a zip file of other things", "", diagnosis);
  std::string names;
  for (size_t i = 0; i < std::min<size_t>(entries.size(), 5); ++i) {
    absl::StrAppend(&names, i == 0 ? "" : ", ",
                    QuotedRecordName(entries[i].name));
  }
  diagnosis.findings.push_back(absl::StrCat(
      "it holds ", entries.size(), " records", names.empty() ? "" : ": ", names,
      entries.size() > 5 ? "..." : ""));
  const auto inner = absl::c_find_if(entries, [](const ZipEntry& entry) {
    return IsCheckpointName(entry.name);
  });
  if (inner != entries.end()) {
    diagnosis.advice.push_back(
        absl::StrCat("unzip it and give the checkpoint in it, ",
                     QuotedRecordName(inner->name)));
  }
}

void DescribeByNames(const std::vector<ZipEntry>& entries,
                     Diagnosis& diagnosis) {
  const bool is_npz =
      !entries.empty() && absl::c_all_of(entries, [](const ZipEntry& entry) {
        return absl::EndsWith(entry.name, ".npy");
      });
  if (is_npz) {
    return Describe("npz", "NumPy arrays (.npz)", "load it with numpy.load",
                    diagnosis);
  }
  for (const ZipKind& kind : kZipKinds) {
    for (const ZipEntry& entry : entries) {
      if (!IsRecordOf(kind, entry.name)) continue;
      Describe(kind.kind, kind.what, kind.advice, diagnosis);
      if (absl::StartsWith(entries.back().name, "__MACOSX/")) {
        diagnosis.advice.push_back(
            "a Mac packed it anew and added records, which torch refuses too: "
            "zip -d FILE '__MACOSX/*'");
      }
      return;
    }
  }
  DescribeOther(entries, diagnosis);
}

}  // namespace

void DiagnoseZip(const RandomAccessFile& file, Diagnosis& diagnosis) {
  const absl::StatusOr<ZipDirectory> directory = ReadZipDirectory(file);
  if (directory.ok()) return DescribeByNames(directory->entries(), diagnosis);
  const string_view message = directory.status().message();
  if (absl::StrContains(message, "zip_encrypted")) {
    Describe("encrypted-zip", "an encrypted zip file",
             "unzip it with its password; torch.save never encrypts",
             diagnosis);
  } else if (absl::StrContains(message, "zip_multidisk")) {
    Describe("split-zip", "one part of a zip file that was split",
             "join the parts first: zip -s 0 PART --out WHOLE", diagnosis);
  } else if (absl::StrContains(message, "zip_truncated")) {
    Describe("truncated-zip", "a zip file whose end is missing",
             "fetch it again: the download or copy was cut off", diagnosis);
  } else {
    Describe("damaged-zip", "a damaged zip file",
             "fetch it again; `unzip -t FILE` shows what another tool sees",
             diagnosis);
  }
}

}  // namespace penstock
