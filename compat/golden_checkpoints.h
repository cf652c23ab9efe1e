// The golden checkpoints of pytorch-format.md 20, as Values, and a writer of
// whole files, for tests.

#ifndef PENSTOCK_COMPAT_GOLDEN_CHECKPOINTS_H_
#define PENSTOCK_COMPAT_GOLDEN_CHECKPOINTS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "codec/pipeline.h"
#include "codec/source.h"
#include "compat/pt_sink.h"
#include "core/dtype.h"
#include "core/graph_builder.h"
#include "core/memory_file_system.h"
#include "core/storage.h"
#include "core/tensor.h"
#include "core/value.h"

namespace penstock {

template <typename T>
std::shared_ptr<Storage> StorageOf(const std::vector<T>& values) {
  const int64_t size = static_cast<int64_t>(values.size() * sizeof(T));
  std::shared_ptr<Storage> storage = Storage::Allocate(size).value();
  if (size > 0) {
    std::memcpy(storage->mutable_bytes().data(), values.data(), size);
  }
  return storage;
}

// 0, 1, 2...
template <typename T>
std::shared_ptr<Storage> StorageOfRange(int64_t num_elements) {
  std::vector<T> values(num_elements);
  for (int64_t i = 0; i < num_elements; ++i) values[i] = static_cast<T>(i);
  return StorageOf(values);
}

inline NodeId AddTensor(GraphBuilder& b, std::shared_ptr<const Storage> storage,
                        DType dtype, std::vector<int64_t> shape,
                        std::vector<int64_t> strides = {}, int64_t offset = 0) {
  return b.Tensor(Tensor::Make(std::move(storage), dtype, std::move(shape),
                               std::move(strides), offset)
                      .value());
}

// A dict that holds one value under one name.
inline Value DictOf(GraphBuilder& b, absl::string_view name, NodeId value) {
  const NodeId root = b.Dict();
  b.SetItem(root, b.Str(name), value).IgnoreError();
  return std::move(b).Finish(root).value();
}

// tensor([1., 2., 3.])
inline Value GoldenG1() {
  GraphBuilder b;
  const NodeId root =
      AddTensor(b, StorageOf<float>({1, 2, 3}), DType::kFloat32, {3});
  return std::move(b).Finish(root).value();
}

// {'n': arange(10), 'e': n[1::2]}
inline Value GoldenG5() {
  GraphBuilder b;
  const auto storage = StorageOfRange<int64_t>(10);
  const NodeId root = b.Dict();
  b.SetItem(root, b.Str("n"), AddTensor(b, storage, DType::kInt64, {10}))
      .IgnoreError();
  b.SetItem(root, b.Str("e"), AddTensor(b, storage, DType::kInt64, {5}, {2}, 1))
      .IgnoreError();
  return std::move(b).Finish(root).value();
}

// {'w': float8_e4m3fn (2, 2)}
inline Value GoldenG6() {
  GraphBuilder b;
  const NodeId tensor =
      AddTensor(b, StorageOf<uint8_t>({0x38, 0x40, 0x44, 0x48}),
                DType::kFloat8E4M3FN, {2, 2});
  return DictOf(b, "w", tensor);
}

// Parameter(arange(6.).reshape(2, 3).t())
inline Value GoldenG7() {
  GraphBuilder b;
  const NodeId tensor =
      AddTensor(b, StorageOfRange<float>(6), DType::kFloat32, {3, 2}, {1, 3});
  const NodeId args = b.Tuple({tensor, b.Bool(true), b.OrderedDict()});
  const NodeId root =
      b.Object(Construction::kReduce,
               b.Global("torch._utils", "_rebuild_parameter"), args);
  return std::move(b).Finish(root).value();
}

inline NodeId AddPower(GraphBuilder& b, int bit, bool negative) {
  std::string bytes(bit / 8 + 2, negative ? '\xFF' : '\0');
  // -(2^bit) is all ones above `bit`, zeros below.
  for (int i = 0; i < bit / 8; ++i) bytes[i] = '\0';
  bytes[bit / 8] =
      static_cast<char>(negative ? 0xFF << (bit % 8) : 1 << (bit % 8));
  return b.BigInt(bytes);
}

// The list of plain values.
inline Value GoldenG8() {
  GraphBuilder b;
  std::vector<NodeId> items = {b.None(), b.Bool(true), b.Bool(false)};
  for (const int64_t i :
       {int64_t{0}, int64_t{255}, int64_t{256}, int64_t{65535}, int64_t{65536},
        int64_t{-1}, int64_t{2147483647}, int64_t{2147483648},
        int64_t{-2147483648}, int64_t{-2147483649}}) {
    items.push_back(b.Int(i));
  }
  items.push_back(AddPower(b, 63, false));
  items.push_back(AddPower(b, 63, true));
  items.push_back(AddPower(b, 70, false));
  items.push_back(b.Float(1.5));
  for (const char* text : {"", "a", "€"}) items.push_back(b.Str(text));
  for (int64_t n = 0; n <= 4; ++n) {
    std::vector<NodeId> numbers;
    for (int64_t i = 1; i <= n; ++i) numbers.push_back(b.Int(i));
    items.push_back(b.Tuple(numbers));
  }
  items.push_back(b.List());
  for (int64_t n = 0; n <= 2; ++n) {
    const NodeId dict = b.Dict();
    for (int64_t i = 0; i < n; ++i) {
      b.SetItem(dict, b.Int(2 * i + 1), b.Int(2 * i + 2)).IgnoreError();
    }
    items.push_back(dict);
  }
  items.push_back(b.Bytes(absl::string_view("\0\xFF", 2)));
  const NodeId root = b.List(items);
  return std::move(b).Finish(root).value();
}

// {'t0': tensor(0.), ... 't11': tensor(11.)}
inline Value GoldenG9() {
  GraphBuilder b;
  const NodeId root = b.Dict();
  for (int i = 0; i < 12; ++i) {
    b.SetItem(root, b.Str(absl::StrCat("t", i)),
              AddTensor(b, StorageOf<float>({static_cast<float>(i)}),
                        DType::kFloat32, {}))
        .IgnoreError();
  }
  return std::move(b).Finish(root).value();
}

// {'z': empty(0, 3)}
inline Value GoldenG10() {
  GraphBuilder b;
  const NodeId tensor =
      AddTensor(b, StorageOf<float>({}), DType::kFloat32, {0, 3}, {3, 1});
  return DictOf(b, "z", tensor);
}

// The file that PtSink makes of `root`, whose storages `source` gives.
inline absl::StatusOr<std::string> WritePtFrom(
    const Value& root, absl::string_view archive_name, Source& source,
    const PtSinkOptions& options = {}) {
  MemoryFileSystem files;
  auto file = files.Create("out.pt", CreateOptions());
  if (!file.ok()) return file.status();
  auto sink = PtSink::Create(**file, root, archive_name, options);
  if (!sink.ok()) return sink.status();
  PumpOptions pump;
  pump.threads = 3;
  auto stats = Pump((*sink)->plan(), source, **sink, pump);
  if (!stats.ok()) return stats.status();
  if (absl::Status closed = (*file)->Close(); !closed.ok()) return closed;
  return files.Get("out.pt");
}

inline absl::StatusOr<std::string> WritePt(const Value& root,
                                           absl::string_view archive_name,
                                           const PtSinkOptions& options = {}) {
  MemorySource source;
  return WritePtFrom(root, archive_name, source, options);
}

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_GOLDEN_CHECKPOINTS_H_
