// For tests of edits: checkpoints made in a line, and what they became.

#ifndef PENSTOCK_API_EDITS_TESTING_H_
#define PENSTOCK_API_EDITS_TESTING_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "api/apply_edits.h"
#include "api/edits.h"
#include "core/dtype.h"
#include "core/graph_builder.h"
#include "core/graph_tables.h"
#include "core/state_dict.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/tensor.h"
#include "core/value.h"
#include "gtest/gtest.h"

namespace penstock {

using Names = std::vector<std::string>;

inline std::shared_ptr<const Storage> StorageOf(int64_t size_bytes = 64) {
  return Storage::InFile(size_bytes, 7);
}

inline Tensor View(std::shared_ptr<const Storage> storage, DType dtype,
                   std::vector<int64_t> shape,
                   std::vector<int64_t> strides = {}, int64_t offset = 0) {
  auto tensor = Tensor::Make(std::move(storage), dtype, std::move(shape),
                             std::move(strides), offset);
  PENSTOCK_CHECK(tensor.ok());
  return *std::move(tensor);
}

inline Tensor Floats() { return View(StorageOf(), DType::kFloat32, {4, 4}); }

// A builder that puts text keys into dicts and OrderedDicts.
class Tree : public GraphBuilder {
 public:
  NodeId Filled(NodeId mapping,
                const std::vector<std::pair<std::string, NodeId>>& pairs) {
    for (const auto& [key, value] : pairs) {
      PENSTOCK_CHECK(SetItem(mapping, Str(key), value).ok());
    }
    return mapping;
  }
  NodeId DictOf(const std::vector<std::pair<std::string, NodeId>>& pairs) {
    return Filled(Dict(), pairs);
  }
  NodeId Made(NodeId object, NodeId state) {
    PENSTOCK_CHECK(SetState(object, state).ok());
    return object;
  }
  NodeId Call(absl::string_view module, absl::string_view name,
              std::vector<NodeId> args) {
    return Object(Construction::kReduce, Global(module, name), Tuple(args));
  }
  // An instance of a class that nobody knows.
  NodeId Module(const std::vector<std::pair<std::string, NodeId>>& parameters,
                const std::vector<std::pair<std::string, NodeId>>& modules) {
    const NodeId object =
        Object(Construction::kNewObj, Global("my.models", "Net"), Tuple());
    return Made(object, DictOf({{"training", Bool(true)},
                                {"_parameters", DictOf(parameters)},
                                {"_buffers", Dict()},
                                {"_modules", DictOf(modules)}}));
  }
  Value Done(NodeId root) {
    auto value = std::move(*this).Finish(root);
    PENSTOCK_CHECK(value.ok());
    return *std::move(value);
  }
};

inline Names NamesOf(const Value& root) {
  const auto state_dict = StateDict::FromValue(root);
  PENSTOCK_CHECK(state_dict.ok());
  Names names;
  for (const NamedTensor& entry : state_dict->entries()) {
    names.push_back(entry.name);
  }
  return names;
}

inline Tensor TensorAt(const Value& root, absl::string_view name) {
  const auto state_dict = StateDict::FromValue(root);
  PENSTOCK_CHECK(state_dict.ok() && state_dict->Find(name) != nullptr);
  return state_dict->Find(name)->tensor;
}

inline EditedCheckpoint Edited(const Value& root, const Edits& edits) {
  auto edited = ApplyEdits(root, edits);
  EXPECT_TRUE(edited.ok()) << edited.status();
  PENSTOCK_CHECK(edited.ok());
  return *std::move(edited);
}

inline void ExpectFails(const Value& root, const Edits& edits,
                        const std::vector<std::string>& words) {
  const absl::Status status = ApplyEdits(root, edits).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  for (const std::string& word : words) {
    EXPECT_TRUE(absl::StrContains(status.message(), word)) << status;
  }
}

inline Value StateDictOf(const Names& names) {
  Tree b;
  const NodeId root = b.OrderedDict();
  for (const std::string& name : names) {
    b.Filled(root, {{name, b.Tensor(Floats())}});
  }
  return b.Done(root);
}

}  // namespace penstock

#endif  // PENSTOCK_API_EDITS_TESTING_H_
