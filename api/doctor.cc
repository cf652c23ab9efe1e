#include "api/doctor.h"

#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "api/opened.h"
#include "compat/diagnosis.h"
#include "core/file.h"

namespace penstock {
namespace {

using ::absl::string_view;

// What a program adds to the name of a file that it has not finished, and the
// program.
struct Unfinished {
  string_view ending;
  string_view program;
};

constexpr Unfinished kUnfinished[] = {
    {".aria2", "aria2"},
    {".crdownload", "Chrome"},
    {".part", "the browser"},
    {".partial", "the download"},
    {".incomplete", "the Hugging Face download"},
    {".download", "Safari"},
    {".filepart", "WinSCP"},
};

// A name that tells what a directory is.
struct DirectoryKind {
  string_view name;
  string_view kind;
  string_view what;
  string_view advice;  // empty: give that file
};

constexpr DirectoryKind kDirectories[] = {
    {".metadata", "dcp-directory",
     "a distributed checkpoint (torch.distributed.checkpoint)",
     "fetch all files of the directory again"},
    {"data.pkl", "unpacked-pt", "a .pt file that was unpacked into a directory",
     "pack it again, its folder as the only one: zip -0 -r model.pt FOLDER; "
     "Safari unpacks downloads by itself: switch that off"},
    {"saved_model.pb", "tf-saved-model-directory",
     "a TensorFlow SavedModel, not a PyTorch checkpoint",
     "load it with TensorFlow"},
    {"model.safetensors.index.json", "huggingface-directory",
     "a Hugging Face model in several files", ""},
    {"model.safetensors", "huggingface-directory", "a Hugging Face model", ""},
    {"pytorch_model.bin.index.json", "huggingface-directory",
     "a Hugging Face model in several files", ""},
    {"pytorch_model.bin", "huggingface-directory", "a Hugging Face model", ""},
    {"diffusion_pytorch_model.safetensors", "huggingface-directory",
     "a part of a Hugging Face pipeline", ""},
    {"adapter_model.safetensors", "huggingface-directory",
     "a Hugging Face adapter", ""},
    {"adapter_model.bin", "huggingface-directory", "a Hugging Face adapter",
     ""},
    {"consolidated.safetensors", "model-directory", "a model's directory", ""},
    {"consolidated.00.pth", "model-directory", "a model's directory", ""},
    {"model_index.json", "diffusers-directory",
     "a Hugging Face pipeline: each part has a directory of its own",
     "give the weights of one part, as unet/"
     "diffusion_pytorch_model.safetensors"},
    {"config.json", "huggingface-directory",
     "a Hugging Face model without its weights",
     "fetch the weights, too: *.safetensors or *.bin"},
};

std::string Join(const std::string& directory, string_view name) {
  return absl::StrCat(directory, absl::EndsWith(directory, "/") ? "" : "/",
                      name);
}

void LookAtCheckpoint(const Checkpoint& checkpoint, DoctorReport& report);

void LookAtDirectory(const std::string& path, const RunOptions& options,
                     DoctorReport& report) {
  FileSystem& files = FilesOf(options);
  if (files.Stat(Join(path, ".metadata")).ok()) {
    const absl::StatusOr<Checkpoint> checkpoint =
        Checkpoint::Open(path, options);
    if (checkpoint.ok()) return LookAtCheckpoint(*checkpoint, report);
    report.findings.push_back(std::string(checkpoint.status().message()));
  }
  report.health = Health::kWrong;
  for (const DirectoryKind& kind : kDirectories) {
    const std::string name = Join(path, kind.name);
    if (!files.Stat(name).ok()) continue;
    report.kind = std::string(kind.kind);
    report.what = std::string(kind.what);
    report.advice.push_back(kind.advice.empty()
                                ? absl::StrCat("give the file: ", name)
                                : std::string(kind.advice));
    return;
  }
  report.kind = "directory";
  report.what = "a directory that holds no checkpoint under a usual name";
  report.advice.push_back("give one file");
}

// Why a file could not be opened at all.
void LookAtRefusal(const absl::Status& status, DoctorReport& report) {
  report.health = Health::kUnseen;
  report.findings.push_back(std::string(status.message()));
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      report.kind = "missing";
      report.what = "nothing: there is no such file";
      report.advice.push_back("check the name and the directory");
      return;
    case absl::StatusCode::kPermissionDenied:
      report.kind = "no-permission";
      report.what = "a file that you may not read";
      report.advice.push_back("ask its owner, or: chmod +r FILE");
      return;
    case absl::StatusCode::kInvalidArgument:
      report.kind = "not-a-file";
      report.what = "no regular file";
      report.advice.push_back(
          "write what comes out of it into a file, and give that");
      return;
    default:
      report.kind = "unreadable";
      report.what = "a file that cannot be read";
      report.advice.push_back("the disk or the network may be at fault");
      return;
  }
}

// Shards of an index: which of them are not there.
void LookForParts(const std::string& path, const Diagnosis& diagnosis,
                  FileSystem& files, DoctorReport& report) {
  size_t missing = 0;
  for (const std::string& part : diagnosis.parts) {
    const bool is_name =
        !part.empty() && part != "." && part != ".." &&
        part.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
    if (!is_name) {
      report.findings.push_back(
          absl::StrCat("it names a shard outside of its directory: ", part));
    } else if (!files.Stat(Join(DirectoryOf(path), part)).ok()) {
      ++missing;
      if (missing <= 20) {
        report.findings.push_back(absl::StrCat("a shard is missing: ", part));
      }
    }
  }
  if (missing > 20) {
    report.findings.push_back(
        absl::StrCat("and ", missing - 20, " more shards are missing"));
  }
  if (missing > 0) {
    report.advice.insert(
        report.advice.begin(),
        absl::StrCat("fetch the missing shards into ", DirectoryOf(path)));
  }
}

// A download that is still going on, told by names alone.
void LookAtNames(const std::string& path, FileSystem& files,
                 DoctorReport& report) {
  for (const Unfinished& unfinished : kUnfinished) {
    const std::string beside = absl::StrCat(path, unfinished.ending);
    if (absl::EndsWith(path, unfinished.ending)) {
      report.findings.push_back(
          absl::StrCat("its name says that ", unfinished.program,
                       " has not finished it: ", unfinished.ending));
    } else if (files.Stat(beside).ok()) {
      report.findings.push_back(absl::StrCat("beside it lies ", beside, ": ",
                                             unfinished.program,
                                             " has not finished it"));
    } else {
      continue;
    }
    report.health = Health::kWrong;
    report.advice.insert(report.advice.begin(),
                         "let the download finish, then `penstock verify`");
  }
}

string_view NextCommand(Format format) {
  switch (format) {
    case Format::kNative:
      return "penstock verify FILE reads every byte; penstock convert FILE "
             "model.pt writes it for torch.load";
    case Format::kNpy:
    case Format::kNpz:
      return "penstock ls FILE lists the arrays";
    default:
      return "penstock verify FILE reads every byte; penstock convert FILE "
             "model.pstk makes it smaller, with checksums";
  }
}

void LookAtCheckpoint(const Checkpoint& checkpoint, DoctorReport& report) {
  report.health = Health::kSound;
  report.readable = true;
  report.kind = std::string(NameOf(checkpoint.format()));
  report.writer = checkpoint.writer();
  report.what = absl::StrCat(
      "a checkpoint (", report.kind, "), written by ",
      report.writer.empty() ? "an unknown program" : report.writer);
  report.file_bytes = checkpoint.file_bytes();
  report.num_tensors = checkpoint.state_dict().size();
  report.raw_bytes = StorageBytesOf(*checkpoint.root().graph());
  report.unchecked_bytes = UncheckedBytes(checkpoint);
  report.warnings = checkpoint.warnings();
  if (report.num_tensors == 0) {
    report.findings.push_back("it holds no tensors");
  }
  report.advice.emplace_back(NextCommand(checkpoint.format()));
}

void LookAtFile(const std::string& path,
                std::shared_ptr<const RandomAccessFile> file,
                const RunOptions& options, DoctorReport& report) {
  report.file_bytes = file->size_bytes();
  const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(file, options);
  if (checkpoint.ok()) return LookAtCheckpoint(*checkpoint, report);
  absl::StatusOr<Diagnosis> diagnosis =
      DiagnoseFile(*file, checkpoint.status());
  if (!diagnosis.ok()) return LookAtRefusal(diagnosis.status(), report);
  report.health = Health::kWrong;
  report.kind = std::move(diagnosis->kind);
  report.what = std::move(diagnosis->what);
  report.findings = std::move(diagnosis->findings);
  report.advice = std::move(diagnosis->advice);
  LookForParts(path, *diagnosis, FilesOf(options), report);
}

}  // namespace

DoctorReport Diagnose(const std::string& path, const RunOptions& options) {
  DoctorReport report;
  FileSystem& files = FilesOf(options);
  const absl::StatusOr<FileInfo> info = files.Stat(path);
  if (info.ok() && info->type == FileInfo::Type::kDirectory) {
    LookAtDirectory(path, options, report);
    return report;
  }
  absl::StatusOr<std::unique_ptr<RandomAccessFile>> file = files.OpenRead(path);
  if (!file.ok()) {
    LookAtRefusal(file.status(), report);
    return report;
  }
  LookAtFile(path, *std::move(file), options, report);
  if (report.health != Health::kUnseen) LookAtNames(path, files, report);
  return report;
}

int64_t UncheckedBytes(const Checkpoint& checkpoint) {
  const Checkpoint::Opened& opened = checkpoint.opened();
  return opened.native != nullptr ? 0 : UncheckedBytes(opened.foreign);
}

}  // namespace penstock
