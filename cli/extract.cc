#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "api/penstock.h"
#include "cli/array_file_name.h"
#include "cli/console.h"
#include "cli/elements.h"
#include "cli/json.h"
#include "cli/verbs.h"
#include "compat/npy_header.h"
#include "core/atomic_file.h"
#include "core/bytes.h"
#include "core/checked.h"
#include "core/glob.h"
#include "core/posix_file_system.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// Elements go into a file in steps of about this.
constexpr int64_t kStepBytes = 4 << 20;

struct Flags {
  std::string file;
  std::string glob;
  std::string directory;
  bool as_raw = false;
  bool force = false;
  bool json = false;
  bool quiet = false;
  RunFlags run;
};

// One tensor and the file that it becomes.
struct Job {
  const NamedTensor* entry = nullptr;
  std::string path;
  DType dtype = DType::kUInt8;  // in the file
  int64_t file_bytes = 0;
};

// All that is to be written, once nothing is in the way.
absl::StatusOr<std::vector<Job>> PlanJobs(const Flags& flags,
                                          const Checkpoint& checkpoint) {
  std::vector<Job> jobs;
  for (const NamedTensor& entry : checkpoint.state_dict().entries()) {
    if (!MatchesGlob(flags.glob, entry.name)) continue;
    absl::StatusOr<std::string> name = ArrayFileName(entry.name);
    if (!name.ok()) return name.status();
    const DType dtype = entry.tensor.dtype();
    jobs.push_back(
        {&entry, (std::filesystem::path(flags.directory) / *name).string(),
         flags.as_raw ? RawNumpyDTypeOf(dtype) : NumpyDTypeOf(dtype)});
  }
  if (jobs.empty()) {
    return absl::NotFoundError(
        absl::StrCat(flags.file, ": no tensor's name matches ", flags.glob));
  }
  for (const Job& job : jobs) {
    if (flags.force || !PosixFileSystem().Stat(job.path).ok()) continue;
    return absl::AlreadyExistsError(
        absl::StrCat(job.path, ": is there already; --force replaces it"));
  }
  return jobs;
}

// Appends the elements of `part` to the file.
absl::Status WritePart(const Job& job, const Tensor& part, WritableFile& file,
                       int64_t& offset) {
  PENSTOCK_ASSIGN_OR_RETURN(Elements elements,
                            ElementsOf(part, job.entry->flags));
  elements = InDType(std::move(elements), job.dtype);
  PENSTOCK_RETURN_IF_ERROR(file.Write(offset, elements.bytes));
  offset += static_cast<int64_t>(elements.bytes.size());
  return absl::OkStatus();
}

absl::Status WriteArray(const Checkpoint& checkpoint, Job& job) {
  PENSTOCK_ASSIGN_OR_RETURN(const Tensor tensor,
                            checkpoint.Read(job.entry->name));
  PENSTOCK_ASSIGN_OR_RETURN(
      const std::unique_ptr<AtomicFile> output,
      AtomicFile::Create(PosixFileSystem(), job.path, Caching::kBuffered));
  WritableFile& file = output->file();
  const std::string header = MakeNpyHeader(job.dtype, tensor.shape());
  PENSTOCK_RETURN_IF_ERROR(file.Write(0, ByteSpan(header)));
  int64_t offset = static_cast<int64_t>(header.size());
  if (tensor.shape().empty()) {
    PENSTOCK_RETURN_IF_ERROR(WritePart(job, tensor, file, offset));
  } else if (tensor.num_elements() > 0) {
    const int64_t num_rows = tensor.shape()[0];
    const int64_t row_bytes =
        tensor.num_elements() / num_rows * InfoOf(tensor.dtype()).size_bytes;
    const int64_t step = std::max<int64_t>(1, kStepBytes / row_bytes);
    for (int64_t row = 0; row < num_rows; row += step) {
      if (Interrupted()) return absl::CancelledError("interrupted");
      PENSTOCK_ASSIGN_OR_RETURN(
          const Tensor part, tensor.Rows(row, std::min(row + step, num_rows)));
      PENSTOCK_RETURN_IF_ERROR(WritePart(job, part, file, offset));
    }
  }
  job.file_bytes = offset;
  return output->Commit();
}

void Report(const Flags& flags, const std::vector<Job>& jobs) {
  if (flags.json) {
    Json arrays = Json::array();
    for (const Job& job : jobs) {
      const Tensor& tensor = job.entry->tensor;
      arrays.push_back({{"name", job.entry->name},
                        {"path", job.path},
                        {"dtype", JsonText(InfoOf(tensor.dtype()).name)},
                        {"npy_dtype", JsonText(NpyDescrOf(job.dtype))},
                        {"shape", std::vector<int64_t>(tensor.shape().begin(),
                                                       tensor.shape().end())},
                        {"file_bytes", job.file_bytes}});
    }
    PrintJsonLine({{"schema", "penstock.extract/1"},
                   {"file", flags.file},
                   {"directory", flags.directory},
                   {"arrays", std::move(arrays)}});
  }
  if (flags.quiet) return;
  int64_t bytes = 0;
  int64_t num_changed = 0;
  for (const Job& job : jobs) {
    bytes += job.file_bytes;
    if (job.dtype != job.entry->tensor.dtype()) ++num_changed;
  }
  std::fprintf(stderr, "%s: %d arrays, %s%s\n",
               Printable(flags.directory).c_str(),
               static_cast<int>(jobs.size()), HumanBytes(bytes).c_str(),
               num_changed == 0
                   ? ""
                   : absl::StrFormat(
                         "; %d of dtypes that numpy lacks, as %s", num_changed,
                         flags.as_raw ? "raw bits" : "float32 or integers")
                         .c_str());
}

// An expanded tensor of a small file can have more elements than any disk.
absl::Status CheckFreeSpace(const Flags& flags, const std::vector<Job>& jobs) {
  PENSTOCK_ASSIGN_OR_RETURN(const int64_t free,
                            PosixFileSystem().FreeSpace(flags.directory));
  int64_t left = free;
  for (const Job& job : jobs) {
    const Tensor& tensor = job.entry->tensor;
    const std::optional<int64_t> bytes =
        CheckedMultiply(tensor.num_elements(), InfoOf(job.dtype).size_bytes);
    if (bytes.has_value() && *bytes <= left) {
      left -= *bytes;
      continue;
    }
    return absl::ResourceExhaustedError(absl::StrFormat(
        "%s: tensor \"%s\" has %d elements; of %d bytes that are free, %d are "
        "left for it",
        flags.directory, job.entry->name, tensor.num_elements(), free, left));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Job>> Run(const Flags& flags,
                                     const Checkpoint& checkpoint) {
  PENSTOCK_ASSIGN_OR_RETURN(std::vector<Job> jobs, PlanJobs(flags, checkpoint));
  std::error_code error;
  std::filesystem::create_directories(flags.directory, error);
  if (error || !std::filesystem::is_directory(flags.directory)) {
    return absl::InvalidArgumentError(absl::StrCat(
        flags.directory, ": cannot be made a directory",
        error ? absl::StrCat(": ", error.message()) : std::string()));
  }
  PENSTOCK_RETURN_IF_ERROR(CheckFreeSpace(flags, jobs));
  for (Job& job : jobs) {
    const absl::Status written = WriteArray(checkpoint, job);
    if (!written.ok()) return Annotate(written, job.entry->name);
  }
  return jobs;
}

constexpr const char* kHelp =
    "bfloat16 and float8 become float32, complex32 becomes complex64: every "
    "value stays what it is. Quantised tensors become their integers, without "
    "scale. With --as-raw, bits stay bits: uint16 for bfloat16, uint8 for "
    "float8.\n"
    "A file is called as its tensor; '/' and what else no file name should "
    "have become %2F and the like, so that none leaves DIR. Each appears whole "
    "or not at all. One tensor at a time is in memory.";

}  // namespace

void AddExtract(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "extract", "Writes tensors as .npy files for numpy, one each.");
  verb->footer(kHelp);
  auto flags = std::make_shared<Flags>();
  verb->add_option("FILE", flags->file, "a checkpoint; - for standard input")
      ->required();
  verb->add_option("GLOB", flags->glob, "names of tensors, as '*.weight'")
      ->required();
  verb->add_option("-o,--output", flags->directory,
                   "DIR for the files; made where it is missing")
      ->required();
  verb->add_flag("--as-raw", flags->as_raw,
                 "dtypes that numpy lacks as unsigned integers of their bits");
  verb->add_flag("--force", flags->force, "replace files that are there");
  verb->add_flag("--json", flags->json, "print penstock.extract/1");
  verb->add_flag("-q,--quiet", flags->quiet, "no summary");
  flags->run.AddTo(*verb);
  verb->callback([flags, &exit_code] {
    absl::StatusOr<std::vector<Job>> jobs = absl::UnknownError("");
    absl::StatusOr<Checkpoint> checkpoint = absl::UnknownError("");
    {
      ProgressMeter meter("extracting");
      const absl::StatusOr<RunOptions> options = flags->run.Options(meter);
      checkpoint = options.ok() ? OpenInput(flags->file, *options)
                                : absl::StatusOr<Checkpoint>(options.status());
      jobs = checkpoint.ok()
                 ? Run(*flags, *checkpoint)
                 : absl::StatusOr<std::vector<Job>>(checkpoint.status());
    }
    if (!jobs.ok()) {
      exit_code = Fail(jobs.status());
    } else {
      Report(*flags, *jobs);
    }
  });
}

}  // namespace penstock
