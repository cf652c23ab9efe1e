#include <unistd.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "api/penstock.h"
#include "cli/console.h"
#include "cli/edit_flags.h"
#include "cli/verbs.h"
#include "core/file.h"
#include "core/posix_file_system.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

struct Flags {
  std::string source;
  std::string destination;
  std::string codec;
  std::string format;
  std::string origin;
  std::string profile;
  std::string ties;
  std::string shard_size;
  bool quiet = false;
  bool int_keys = false;
  EditFlags edits;
  RunFlags run;
};

Codec CodecOf(const std::string& name) {
  if (name == "none") return Codec::kNone;
  if (name == "auto") return Codec::kAuto;
  return Codec::kZstd;
}

OriginMode OriginModeOf(const std::string& name) {
  if (name == "always") return OriginMode::kAlways;
  return name == "never" ? OriginMode::kNever : OriginMode::kAuto;
}

// --format, else the destination's extension; else a pipe is native, and a
// .pstk becomes what it was made from.
absl::StatusOr<Format> FormatFor(const Flags& flags, const Checkpoint& source) {
  for (const Format format : {Format::kNative, Format::kPt, Format::kPtLegacy,
                              Format::kSafetensors, Format::kNpz}) {
    if (flags.format == NameOf(format)) return format;
  }
  const std::optional<Format> by_name = FormatOfName(flags.destination);
  if (by_name.has_value()) return *by_name;
  if (flags.destination == "-") return Format::kNative;
  if (PosixFileSystem().Stat(flags.destination).value_or(FileInfo()).type ==
      FileInfo::Type::kDirectory) {
    return absl::InvalidArgumentError(
        absl::StrCat(flags.destination, ": is a directory, not a file"));
  }
  if (source.format() != Format::kNative) {
    return absl::InvalidArgumentError(
        absl::StrCat(flags.destination,
                     ": its name says no format: end it in .pstk, .pt, "
                     ".safetensors or .npz, or give --format"));
  }
  return source.origin().has_value() ? source.origin()->format : Format::kPt;
}

// What one format alone knows was meant for it: a mistake elsewhere.
absl::Status CheckOptions(const Flags& flags, const Checkpoint& source,
                          Format format) {
  const struct {
    const char* option;
    bool given;
    Format format;
  } kOptions[] = {
      {"--codec", !flags.codec.empty(), Format::kNative},
      {"--origin always", flags.origin == "always", Format::kNative},
      {"--profile", !flags.profile.empty(), Format::kPt},
      {"--ties", !flags.ties.empty(), Format::kSafetensors},
      {"--shard-size", !flags.shard_size.empty(), Format::kSafetensors},
  };
  for (const auto& [option, given, wanted] : kOptions) {
    if (!given || wanted == format) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        option, " is for ", std::string(NameOf(wanted)), ", and ",
        flags.destination, " becomes ", std::string(NameOf(format))));
  }
  if (flags.int_keys && source.format() != Format::kDcp) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--int-keys is for distributed checkpoints, and ", flags.source, " is ",
        std::string(NameOf(source.format()))));
  }
  return absl::OkStatus();
}

absl::StatusOr<ConvertReport> Run(const Flags& flags, ProgressMeter& meter) {
  SaveOptions options;
  options.codec = CodecOf(flags.codec);
  PENSTOCK_ASSIGN_OR_RETURN(options.run, flags.run.Options(meter));
  options.run.int_keys = flags.int_keys;
  PENSTOCK_ASSIGN_OR_RETURN(Checkpoint source,
                            OpenInput(flags.source, options.run));
  PENSTOCK_ASSIGN_OR_RETURN(options.format, FormatFor(flags, source));
  PENSTOCK_RETURN_IF_ERROR(CheckOptions(flags, source, options.format));
  options.origin = OriginModeOf(flags.origin);
  options.pt = flags.profile == "t16" ? PtLayout::kT16 : PtLayout::kT27;
  options.ties = flags.ties == "drop" ? Ties::kDrop : Ties::kCopy;
  if (!flags.shard_size.empty()) {
    PENSTOCK_ASSIGN_OR_RETURN(options.shard_bytes,
                              ParseBytes(flags.shard_size));
  }
  const bool anew = !flags.format.empty() || flags.origin == "never" ||
                    flags.profile == "t16" || flags.ties == "drop" ||
                    !flags.shard_size.empty();
  if (anew) options.writing = Writing::kAnew;
  options.edits = flags.edits.Asked();
  if (flags.destination != "-") {
    return Convert(source, flags.destination, options);
  }
  if (isatty(STDOUT_FILENO) == 1) {
    return absl::InvalidArgumentError(
        "a checkpoint is not written to a terminal: redirect or pipe it");
  }
  const InterruptsEndAll no_file;
  const std::unique_ptr<WritableFile> stream =
      WrapOutputStream(STDOUT_FILENO, "standard output");
  PENSTOCK_ASSIGN_OR_RETURN(ConvertReport report,
                            Convert(source, *stream, "archive", options));
  PENSTOCK_RETURN_IF_ERROR(stream->Close());
  return report;
}

void Print(const Flags& flags, const ConvertReport& report) {
  const SaveReport& saved = report.saved;
  for (const std::string& warning : saved.warnings) {
    std::fprintf(stderr, "penstock: warning: %s\n", Printable(warning).c_str());
  }
  for (const std::string& note : saved.notes) {
    std::fprintf(stderr, "%s\n", Printable(note).c_str());
  }
  if (saved.restored) {
    std::fprintf(stderr, "restored original (%s): byte for byte\n",
                 std::string(NameOf(saved.format)).c_str());
  }
  if (!saved.codec_reason.empty()) {
    std::fprintf(stderr, "codec: %s\n", saved.codec_reason.c_str());
  }
  const std::string where =
      saved.files.empty()
          ? flags.destination
          : absl::StrCat(saved.files.size(), " files, the last of them ",
                         saved.files.back());
  std::fprintf(
      stderr, "%s: %d tensors, %s of tensors in %s (ratio %.3f), %s, %s\n",
      Printable(where).c_str(), static_cast<int>(report.num_tensors),
      HumanBytes(saved.raw_bytes).c_str(), HumanBytes(saved.file_bytes).c_str(),
      static_cast<double>(saved.raw_bytes) /
          static_cast<double>(saved.file_bytes),
      HumanTime(saved.seconds).c_str(),
      HumanRate(saved.raw_bytes, saved.seconds).c_str());
}

}  // namespace

void AddConvert(CLI::App& app, int& exit_code) {
  CLI::App* verb =
      app.add_subcommand("convert", "Writes a checkpoint in another format.");
  auto flags = std::make_shared<Flags>();
  verb->add_option("SRC", flags->source, "a checkpoint; - for standard input")
      ->required();
  verb->add_option(
          "DST", flags->destination,
          "what to write; - for standard output (.pstk). Its extension "
          "says the format: .pstk .pt .pth .bin .ckpt .safetensors "
          ".npz; of a .pstk under any other name: what it was made from")
      ->required();
  verb->add_option("--codec", flags->codec, "of a .pstk (default: zstd)")
      ->check(CLI::IsMember({"zstd", "none", "auto"}));
  verb->add_option("--format", flags->format,
                   "of DST, written anew (default: by its extension)")
      ->check(CLI::IsMember({"pstk", "pt", "pt-legacy", "safetensors", "npz"}));
  verb->add_option("--origin", flags->origin,
                   "whether a .pstk keeps what it takes to give back the very "
                   "file it was made from (default: auto, unless that is over "
                   "64 KiB and an eighth of the file)")
      ->check(CLI::IsMember({"auto", "always", "never"}));
  verb->add_flag("-q,--quiet", flags->quiet, "no summary");
  verb->add_option(
          "--profile", flags->profile,
          "of a .pt: as torch 2.7 and later write it (t27), or so that "
          "torch from 1.5 on loads it (t16) (default: t27)")
      ->check(CLI::IsMember({"t27", "t16"}));
  verb->add_option("--ties", flags->ties,
                   "of safetensors, which cannot share: write every tied "
                   "tensor, or one of them and the others' names "
                   "(default: copy)")
      ->check(CLI::IsMember({"copy", "drop"}));
  verb->add_option("--shard-size", flags->shard_size,
                   "of safetensors: several files with at most so much of "
                   "tensors each, such as 5GB, and their index");
  verb->add_flag("--int-keys", flags->int_keys,
                 "of a distributed checkpoint, which has all keys as text: "
                 "decimal ones of a dict under \"state\" are ints again");
  flags->edits.AddTo(*verb);
  flags->run.AddTo(*verb);
  verb->callback([flags, &exit_code] {
    absl::StatusOr<ConvertReport> report = absl::UnknownError("");
    {
      ProgressMeter meter("converting");
      report = Run(*flags, meter);
    }
    if (!report.ok()) {
      exit_code = Fail(report.status());
    } else if (!flags->quiet) {
      Print(*flags, *report);
    }
  });
}

}  // namespace penstock
