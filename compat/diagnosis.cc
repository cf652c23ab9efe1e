#include "compat/diagnosis.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "compat/byte_damage.h"
#include "compat/extent_source.h"
#include "compat/file_kind.h"
#include "compat/json_text.h"
#include "compat/missing_bytes.h"
#include "compat/zip_diagnosis.h"
#include "compat/zip_reader.h"
#include "core/status_macros.h"
#include "core/storage.h"

namespace penstock {
namespace {

using ::absl::string_view;

constexpr int64_t kHeadBytes = 64 << 10;
constexpr int64_t kMaxJsonBytes = 64 << 20;
constexpr size_t kQuotedBytes = 200;

absl::StatusOr<std::string> ReadFront(const RandomAccessFile& file,
                                      int64_t limit) {
  std::string bytes(std::min(file.size_bytes(), limit), '\0');
  PENSTOCK_RETURN_IF_ERROR(file.Read(
      0,
      absl::MakeSpan(reinterpret_cast<uint8_t*>(bytes.data()), bytes.size())));
  return bytes;
}

// What stands between `before` and `after`; empty where it is not there.
string_view Between(string_view text, string_view before, string_view after) {
  const size_t begin = text.find(before);
  if (begin == string_view::npos) return {};
  text.remove_prefix(begin + before.size());
  return absl::StripAsciiWhitespace(
      text.substr(0, std::min(text.find(after), kQuotedBytes)));
}

bool Mentions(string_view text, std::initializer_list<string_view> words) {
  const std::string lower = absl::AsciiStrToLower(text);
  return absl::c_any_of(
      words, [&](string_view word) { return absl::StrContains(lower, word); });
}

void LookAtPointer(string_view head, int64_t file_bytes, Diagnosis& diagnosis) {
  int64_t size = 0;
  if (!absl::SimpleAtoi(Between(head, "\nsize ", "\n"), &size)) return;
  diagnosis.findings.push_back(absl::StrCat(
      "the real file has ", size, " bytes, this pointer to it ", file_bytes,
      "; its hash is ", Between(head, "\noid ", "\n")));
}

void LookAtPage(string_view head, Diagnosis& diagnosis) {
  const std::string lower = absl::AsciiStrToLower(head);
  const size_t title_at = lower.find("<title");
  string_view title;
  if (title_at != std::string::npos) {
    title = Between(head.substr(title_at), ">", "<");
  }
  if (!title.empty()) {
    diagnosis.findings.push_back(absl::StrCat("its title is \"", title, "\""));
  }
  if (Mentions(title, {"virus scan", "quota exceeded"})) {
    diagnosis.advice.insert(
        diagnosis.advice.begin(),
        "Google Drive asks before it gives large files: confirm the download "
        "in a browser, or use gdown");
  } else if (Mentions(title, {"404", "not found"})) {
    diagnosis.advice.insert(diagnosis.advice.begin(),
                            "the address of the download is wrong: check it");
  } else if (Mentions(head, {"sign in", "log in", "login", "password"})) {
    diagnosis.advice.insert(diagnosis.advice.begin(),
                            "the server wants a login: sign in, or give the "
                            "download its access token");
  }
}

void LookAtXml(string_view head, Diagnosis& diagnosis) {
  const string_view code = Between(head, "<Code>", "</Code>");
  if (code.empty()) return;
  diagnosis.findings.push_back(absl::StrCat(
      "a store says: ", code, ", ", Between(head, "<Message>", "</Message>")));
}

// What JSON files around checkpoints say of themselves.
struct JsonLook {
  absl::flat_hash_set<std::string> keys;  // of the outermost object
  std::vector<std::string> shards;        // of weight_map, in order
  std::string message;                    // of an error
};

absl::StatusOr<JsonLook> LookInto(string_view text) {
  JsonLook look;
  absl::flat_hash_set<std::string> seen;
  int64_t depth = 0;
  std::string key;  // the last one of the outermost object
  PENSTOCK_RETURN_IF_ERROR(ReadJson(text, 64, [&](const JsonEvent& event) {
    switch (event.kind) {
      case JsonKind::kBeginObject:
      case JsonKind::kBeginArray:
        ++depth;
        break;
      case JsonKind::kEndObject:
      case JsonKind::kEndArray:
        --depth;
        break;
      case JsonKind::kKey:
        if (depth != 1) break;
        key = std::string(event.text);
        look.keys.insert(key);
        break;
      case JsonKind::kString:
        if (depth == 2 && key == "weight_map" &&
            seen.emplace(event.text).second) {
          look.shards.emplace_back(event.text);
        }
        for (const string_view word : {"error", "message", "detail"}) {
          if (key == word && look.message.empty()) {
            look.message = std::string(event.text.substr(0, kQuotedBytes));
          }
        }
        break;
      default:
        break;
    }
    return absl::OkStatus();
  }));
  return look;
}

void Describe(string_view kind, string_view what, string_view advice,
              Diagnosis& diagnosis) {
  diagnosis.kind = std::string(kind);
  diagnosis.what = std::string(what);
  diagnosis.advice = {std::string(advice)};
}

absl::Status LookAtJson(const RandomAccessFile& file, Diagnosis& diagnosis) {
  if (file.size_bytes() > kMaxJsonBytes) return absl::OkStatus();
  PENSTOCK_ASSIGN_OR_RETURN(const std::string text,
                            ReadFront(file, kMaxJsonBytes));
  const absl::StatusOr<JsonLook> look = LookInto(text);
  if (!look.ok()) {
    diagnosis.findings.push_back(
        absl::StrCat("the JSON is broken: ", look.status().message()));
    return absl::OkStatus();
  }
  if (look->keys.contains("weight_map")) {
    Describe("json-index", "the index of a checkpoint in several files",
             "keep the index and all its shards in one directory", diagnosis);
    diagnosis.parts = look->shards;
  } else if (!look->message.empty()) {
    Describe("json-error", "an error message in JSON, not the file",
             "read it, mend the address or the access token, and fetch the "
             "file again",
             diagnosis);
    diagnosis.findings.push_back(
        absl::StrCat("it says: \"", look->message, "\""));
  } else if (absl::c_any_of(look->keys, [](const std::string& key) {
               return key == "model_type" || key == "architectures" ||
                      key == "_class_name" || key == "peft_type";
             })) {
    Describe("json-config", "the configuration of a model, not its weights",
             "give the file with the weights beside it: *.safetensors or *.bin",
             diagnosis);
  }
  return absl::OkStatus();
}

// Names and sizes of a tar's members; at most 1,000 of them.
absl::Status LookAtTar(const RandomAccessFile& file, Diagnosis& diagnosis) {
  std::vector<std::string> names;
  int64_t offset = 0;
  while (names.size() < 1000 && offset + 512 <= file.size_bytes()) {
    std::string header(512, '\0');
    PENSTOCK_RETURN_IF_ERROR(file.Read(
        offset,
        absl::MakeSpan(reinterpret_cast<uint8_t*>(header.data()), 512)));
    const std::string name = header.substr(0, 100).c_str();
    if (name.empty()) break;
    names.push_back(name);
    const std::string octal =
        std::string(absl::StripAsciiWhitespace(header.substr(124, 12).c_str()));
    if (octal.empty() || octal.find_first_not_of("01234567") != octal.npos) {
      break;
    }
    const int64_t size = std::stoll(octal, nullptr, 8);
    offset += 512 + (size + 511) / 512 * 512;
    if (offset > file.size_bytes()) {
      diagnosis.findings.push_back(
          absl::StrCat("it is cut off: at least ", offset - file.size_bytes(),
                       " bytes are missing at its end"));
    }
  }
  const auto has = [&](string_view name) {
    return absl::c_linear_search(names, name);
  };
  if (has("storages") && has("pickle")) {
    diagnosis.kind = "pt-tar";
    diagnosis.what = "a checkpoint of torch before 0.1.10 (tar)";
    return absl::OkStatus();
  }
  diagnosis.advice.emplace_back(TextOf(FileKind::kTar).advice);
  diagnosis.findings.push_back(absl::StrCat(
      "it holds ",
      absl::StrJoin(names.begin(),
                    names.begin() + std::min<size_t>(names.size(), 5), ", "),
      names.size() > 5 ? "..." : ""));
  return absl::OkStatus();
}

void LookAtBase64(string_view head, Diagnosis& diagnosis) {
  std::string line(absl::StripLeadingAsciiWhitespace(head));
  line.resize(std::min(line.find_first_of("\r\n"), line.size()) / 4 * 4);
  std::string decoded;
  if (!absl::Base64Unescape(line, &decoded)) return;
  const KindText& inner =
      TextOf(KindOf(decoded, static_cast<int64_t>(decoded.size())));
  diagnosis.findings.push_back(absl::StrCat("decoded it is ", inner.what));
}

// What can be told of a file in one of the formats that are read: it is
// damaged, or holds what is not supported.
absl::Status LookAtCheckpoint(const RandomAccessFile& file, FileKind kind,
                              Diagnosis& diagnosis) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::optional<int64_t> missing,
                            MissingBytes(kind, file));
  PENSTOCK_ASSIGN_OR_RETURN(const std::optional<ByteDamage> damage,
                            FindByteDamage(file));
  if (missing.value_or(0) > 0) {
    diagnosis.findings.push_back(absl::StrCat(
        "it is cut off: at least ", *missing, " bytes are missing at its end"));
  }
  if (damage) {
    diagnosis.findings.push_back(damage->finding);
    diagnosis.advice.push_back(damage->advice);
  } else if (missing.value_or(0) > 0 && diagnosis.advice.empty()) {
    diagnosis.advice.push_back(
        "fetch it again, or go on where the download stopped (curl -C -, wget "
        "-c)");
  }
  return absl::OkStatus();
}

absl::Status LookCloser(const RandomAccessFile& file, FileKind kind,
                        Diagnosis& diagnosis) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::string head,
                            ReadFront(file, kHeadBytes));
  switch (kind) {
    case FileKind::kLfsPointer:
      LookAtPointer(head, file.size_bytes(), diagnosis);
      return absl::OkStatus();
    case FileKind::kHtml:
      LookAtPage(head, diagnosis);
      return absl::OkStatus();
    case FileKind::kXml:
      LookAtXml(head, diagnosis);
      return absl::OkStatus();
    case FileKind::kJson:
      return LookAtJson(file, diagnosis);
    case FileKind::kTar:
      return LookAtTar(file, diagnosis);
    case FileKind::kBase64:
      LookAtBase64(head, diagnosis);
      return absl::OkStatus();
    case FileKind::kText:
      diagnosis.findings.push_back(absl::StrCat(
          "it begins with \"",
          head.substr(0, std::min(head.find('\n'), size_t{80})), "\""));
      return absl::OkStatus();
    case FileKind::kUnknown:
      diagnosis.findings.push_back(absl::StrCat(
          "its first bytes are ", absl::BytesToHexString(head.substr(0, 16))));
      return absl::OkStatus();
    case FileKind::kZeros: {
      PENSTOCK_ASSIGN_OR_RETURN(const int64_t zeros, LeadingZeros(file));
      if (zeros == file.size_bytes()) return absl::OkStatus();
      diagnosis.what = "a file whose beginning was never written";
      diagnosis.findings.push_back(
          absl::StrCat("its first ", zeros, " bytes are zeros"));
      return absl::OkStatus();
    }
    case FileKind::kZip:
      DiagnoseZip(file, diagnosis);
      return LookAtCheckpoint(file, kind, diagnosis);
    case FileKind::kNative:
    case FileKind::kLegacyStream:
    case FileKind::kPickle:
    case FileKind::kSafetensors:
    case FileKind::kNpy:
      return LookAtCheckpoint(file, kind, diagnosis);
    default:
      return absl::OkStatus();
  }
}

}  // namespace

absl::StatusOr<Diagnosis> DiagnoseFile(const RandomAccessFile& file,
                                       const absl::Status& error) {
  PENSTOCK_ASSIGN_OR_RETURN(const FileKind kind, DetectKind(file));
  const KindText& text = TextOf(kind);
  Diagnosis diagnosis;
  diagnosis.kind = std::string(text.name);
  diagnosis.what = std::string(text.what);
  // Of a format that is read, the advice is for builds without a reader of it.
  const bool has_reader = kind < FileKind::kFlatBuffer;
  if (!has_reader && !text.advice.empty()) {
    diagnosis.advice.emplace_back(text.advice);
  }
  PENSTOCK_RETURN_IF_ERROR(LookCloser(file, kind, diagnosis));
  string_view message = error.message();
  absl::ConsumePrefix(&message, absl::StrCat(file.path(), ": "));
  if (has_reader && !message.empty() && message != RefusalOf(kind).message()) {
    diagnosis.findings.emplace_back(message);
  }
  if (diagnosis.advice.empty() && has_reader) {
    diagnosis.advice.push_back(
        error.code() == absl::StatusCode::kDataLoss
            ? "the file is damaged: fetch it again, or go back to a copy"
            : "the file is whole, but holds what this version does not read");
  }
  return diagnosis;
}

int64_t UncheckedBytes(const ForeignFile& file) {
  int64_t total = 0;
  const auto count = [&](const StoredAt& place) {
    if (place.crc32 == 0) total += place.size_bytes;
  };
  const std::vector<StoredAt>& places = file.stored->places;
  if (file.file == nullptr) {  // then there are no others than storages
    absl::c_for_each(places, count);
    return total;
  }
  for (const auto& storage : file.root.graph()->storages()) {
    if (storage->in_file()) count(places[storage->file_number()]);
  }
  return total;
}

}  // namespace penstock
