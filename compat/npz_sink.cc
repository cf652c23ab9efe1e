#include "compat/npz_sink.h"

#include <cstddef>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "compat/npy_header.h"
#include "compat/zip_name.h"
#include "core/bytes.h"
#include "core/checksum.h"
#include "core/python_repr.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr absl::string_view kExtension = ".npy";

// Names of tensors for a message.
class NameList {
 public:
  void Add(absl::string_view name) {
    constexpr int64_t kShown = 100;
    if (++count_ <= kShown) {
      absl::StrAppend(&text_, count_ == 1 ? "" : ", ", QuotedRecordName(name));
    } else if (count_ == kShown + 1) {
      text_ += ", ...";
    }
  }
  int64_t count() const { return count_; }
  const std::string& text() const { return text_; }

 private:
  int64_t count_ = 0;
  std::string text_;
};

// Every reason at once, before a byte is written.
absl::Status CheckTensors(const StateDict& tensors) {
  if (tensors.size() == 0) {
    return absl::InvalidArgumentError(
        "no tensors: an .npz file can hold nothing else");
  }
  NameList castable, others, badly_named;
  for (const NamedTensor& entry : tensors.entries()) {
    const DType dtype = entry.tensor.dtype();
    if (NpyDescrOf(dtype).empty()) {
      // --dtype leaves scalars alone.
      const bool can_cast =
          dtype == DType::kBFloat16 && !entry.tensor.shape().empty();
      (can_cast ? castable : others)
          .Add(absl::StrCat(entry.name, " (", InfoOf(dtype).name, ")"));
    }
    if (!RecordNameProblem(absl::StrCat(entry.name, kExtension)).empty()) {
      badly_named.Add(entry.name);
    }
  }
  std::string problem;
  if (castable.count() > 0) {
    absl::StrAppendFormat(
        &problem,
        "%d tensors of a dtype that numpy lacks: %s; --dtype f32 casts "
        "them, exactly; --drop leaves them out",
        castable.count(), castable.text());
  }
  if (others.count() > 0) {
    absl::StrAppendFormat(
        &problem,
        "%s%d tensors of a dtype that numpy lacks: %s; --drop leaves them out",
        problem.empty() ? "" : "; and ", others.count(), others.text());
  }
  if (badly_named.count() > 0) {
    absl::StrAppendFormat(
        &problem,
        "%s%d names that no record of a zip file may have (over 507 bytes, "
        "absolute, with '..', NUL, a backslash, or no UTF-8): %s; --rename "
        "changes them",
        problem.empty() ? "" : "; and ", badly_named.count(),
        badly_named.text());
  }
  if (problem.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("an .npz file cannot hold ", problem));
}

// Paths of what is neither a tensor nor a container of some. Objects other than
// an OrderedDict are around tensors (Parameter), or nobody's values.
NameList OtherValues(const Value& root) {
  struct Item {
    Value value;
    std::string path;
  };
  NameList names;
  absl::flat_hash_set<NodeId> seen;
  std::vector<Item> items = {{root, ""}};
  while (!items.empty()) {
    Item item = std::move(items.back());
    items.pop_back();
    Value value = item.value;
    if (value.kind() == NodeKind::kObject) {
      if (!value.IsObjectOf("collections", "OrderedDict")) continue;
      value = value.child(ObjectChild::kPairs);
      if (!value) continue;
    }
    const bool is_dict = value.kind() == NodeKind::kDict;
    if (!is_dict && !HasChildren(value.kind())) {
      if (value.kind() != NodeKind::kTensor) names.Add(item.path);
      continue;
    }
    if (value.kind() == NodeKind::kGlobal) {
      names.Add(item.path);
      continue;
    }
    if (!seen.insert(value.id()).second) continue;
    for (int64_t i = value.size(); i-- > 0;) {
      std::string key = absl::StrCat(i);
      if (is_dict) {
        const Value name = value.key(i);
        key = name.kind() == NodeKind::kStr ? std::string(name.AsBytes())
                                            : PythonRepr(name).value_or("?");
      }
      items.push_back(
          {is_dict ? value.value(i) : value.item(i),
           absl::StrCat(item.path, item.path.empty() ? "" : ".", key)});
    }
  }
  return names;
}

std::vector<std::string> WarningsFor(const Value& root,
                                     const StateDict& tensors) {
  std::vector<std::string> warnings;
  const NameList others = OtherValues(root);
  if (others.count() > 0) {
    warnings.push_back(absl::StrFormat(
        "an .npz file holds tensors only; %d other values are left out: %s",
        others.count(), others.text()));
  }
  NameList tied;
  absl::flat_hash_set<const Storage*> seen;
  for (const NamedTensor& entry : tensors.entries()) {
    if (entry.tensor.size_bytes() > 0 &&
        !seen.insert(entry.tensor.storage().get()).second) {
      tied.Add(entry.name);
    }
  }
  if (tied.count() > 0) {
    warnings.push_back(absl::StrFormat(
        "%d tensors share their storage with one before, and are copies in an "
        ".npz file: %s",
        tied.count(), tied.text()));
  }
  return warnings;
}

}  // namespace

absl::StatusOr<std::unique_ptr<NpzSink>> NpzSink::Create(WritableFile& file,
                                                         const Value& root) {
  PENSTOCK_ASSIGN_OR_RETURN(const StateDict tensors,
                            StateDict::FromValue(root));
  PENSTOCK_RETURN_IF_ERROR(CheckTensors(tensors));
  auto sink = std::unique_ptr<NpzSink>(new NpzSink(file));
  PENSTOCK_ASSIGN_OR_RETURN(FileLayout layout, sink->LayOut(tensors));
  layout.glue = [sink = sink.get()](int64_t, int64_t size, std::string& out) {
    while (static_cast<int64_t>(sink->glue_.size()) < size) {
      sink->AppendNextGlue();
    }
    out.append(sink->glue_, 0, size);
    sink->glue_.erase(0, size);
    return absl::OkStatus();
  };
  layout.wants_crcs = true;
  PENSTOCK_RETURN_IF_ERROR(
      sink->SetLayout(std::move(layout), WarningsFor(root, tensors)));
  return sink;
}

absl::StatusOr<FileLayout> NpzSink::LayOut(const StateDict& tensors) {
  FileLayout layout;
  absl::flat_hash_set<const Storage*> used;
  int64_t end = 0;  // of the numbers before
  for (const NamedTensor& entry : tensors.entries()) {
    const Tensor& tensor = entry.tensor;
    absl::StatusOr<std::shared_ptr<const Storage>> storage =
        DenseStorageOf(tensor, entry.flags, used, derivations_);
    if (!storage.ok()) return Annotate(storage.status(), entry.name);
    layout.storages.push_back(*std::move(storage));
    const int64_t data_bytes = layout.storages.back()->size_bytes();
    headers_.push_back(MakeNpyHeader(tensor.dtype(), tensor.shape()));
    const int64_t header_bytes = static_cast<int64_t>(headers_.back().size());
    if (data_bytes > INT64_MAX - header_bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat(entry.name, ": more than 2^63 bytes"));
    }
    PENSTOCK_RETURN_IF_ERROR(zip_.Add(absl::StrCat(entry.name, kExtension),
                                      header_bytes + data_bytes));
    const int64_t begin = zip_.records().back().payload_offset + header_bytes;
    layout.glue_bytes.push_back(begin - end);
    end = begin + data_bytes;
  }
  layout.glue_bytes.push_back(zip_.file_bytes() - end);
  return layout;
}

// The array before has been seen whole.
void NpzSink::AppendNextGlue() {
  if (next_array_ > 0) {
    const int64_t array = next_array_ - 1;
    const std::string& header = headers_[array];
    const int64_t data_bytes =
        zip_.records()[array].size_bytes - static_cast<int64_t>(header.size());
    zip_.set_crc32(
        array, CombineCrc32(Crc32(ByteSpan(header)), CrcOf(array), data_bytes));
    glue_ += zip_.Descriptor(array);
  }
  if (next_array_ < static_cast<int64_t>(headers_.size())) {
    glue_ += zip_.LocalHeader(next_array_);
    glue_ += headers_[next_array_];
  } else {
    glue_ += zip_.Directory();
  }
  ++next_array_;
}

}  // namespace penstock
