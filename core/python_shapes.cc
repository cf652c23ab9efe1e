#include "core/python_shapes.h"

namespace penstock {
namespace {

constexpr Wrapper kWrappers[] = {
    {"torch._utils", "_rebuild_parameter", 1, -1},
    {"torch._utils", "_rebuild_parameter_with_state", 1, 3},
    {"torch._utils", "_rebuild_parameter_v2", 1, 3},
    {"torch._utils", "_rebuild_device_tensor_from_cpu_tensor", 3, -1},
    {"torch.nn.parameter", "Parameter", 1, -1},
    {"torch.autograd.variable", "Variable", 1, -1},
};

void AppendDictPairs(const Value& dict, std::vector<PlacedPair>& pairs) {
  const uint64_t first = FirstChild(dict);
  for (int64_t i = 0; i < dict.size(); ++i) {
    pairs.push_back({dict.key(i), dict.value(i), dict.id(), first + 2 * i + 1});
  }
}

// Python 2 and copies: OrderedDict([[key, value], ...]); Counter({...}).
void AppendConstructedPairs(const Value& object,
                            std::vector<PlacedPair>& pairs) {
  const Value args = object.child(ObjectChild::kArgs);
  if (args.size() == 0) return;
  const Value last = args.item(args.size() - 1);
  if (last.kind() == NodeKind::kDict) return AppendDictPairs(last, pairs);
  if (!IsSequence(last)) return;
  for (int64_t i = 0; i < last.size(); ++i) {
    const Value pair = last.item(i);
    if (IsSequence(pair) && pair.size() == 2) {
      pairs.push_back(
          {pair.item(0), pair.item(1), last.id(), FirstChild(last) + i});
    }
  }
}

// A tuple of ints, or torch.Size of one.
std::optional<std::vector<int64_t>> IntsOf(Value value) {
  if (value.IsObjectOf("torch", "Size")) {
    const Value args = value.child(ObjectChild::kArgs);
    if (args.size() != 1) return std::nullopt;
    value = args.item(0);
  }
  if (!IsSequence(value) || value.size() > kMaxRank) return std::nullopt;
  std::vector<int64_t> ints;
  for (int64_t i = 0; i < value.size(); ++i) {
    if (value.item(i).kind() != NodeKind::kInt) return std::nullopt;
    ints.push_back(value.item(i).AsInt());
  }
  return ints;
}

}  // namespace

bool IsGlobal(const Value& value, absl::string_view module,
              absl::string_view name) {
  return value.kind() == NodeKind::kGlobal && value.name() == name &&
         value.module() == module;
}

const Wrapper* FindWrapper(const Value& callable, int64_t num_args) {
  if (num_args == 0) return nullptr;
  for (const Wrapper& wrapper : kWrappers) {
    if (IsGlobal(callable, wrapper.module, wrapper.name)) return &wrapper;
  }
  return nullptr;
}

bool IsRetyped(const Value& callable, int64_t num_args) {
  return num_args == 4 &&
         (IsGlobal(callable, "torch._tensor", "_rebuild_from_type_v2") ||
          IsGlobal(callable, "torch._tensor", "_rebuild_from_type"));
}

bool IsMappingClass(const Value& callable) {
  return IsGlobal(callable, "collections", "OrderedDict") ||
         IsGlobal(callable, "collections", "defaultdict") ||
         IsGlobal(callable, "collections", "Counter");
}

bool IsSequence(const Value& value) {
  return value.kind() == NodeKind::kList || value.kind() == NodeKind::kTuple;
}

bool IsMapping(const Value& value) {
  if (!value) return false;
  if (value.kind() == NodeKind::kDict) return true;
  return value.kind() == NodeKind::kObject &&
         (value.child(ObjectChild::kPairs) ||
          IsMappingClass(value.child(ObjectChild::kCallable)));
}

bool IsPickledModule(const Value& value) {
  if (value.kind() != NodeKind::kObject) return false;
  const Value state = value.child(ObjectChild::kState);
  return state && state.kind() == NodeKind::kDict &&
         IsMapping(state.Find("_parameters")) &&
         IsMapping(state.Find("_modules"));
}

uint64_t FirstChild(const Value& value) {
  return value.graph()->tables().nodes[value.id()].payload;
}

std::vector<PlacedPair> PairsOf(const Value& mapping) {
  std::vector<PlacedPair> pairs;
  if (mapping.kind() == NodeKind::kDict) {
    AppendDictPairs(mapping, pairs);
    return pairs;
  }
  if (IsMappingClass(mapping.child(ObjectChild::kCallable))) {
    AppendConstructedPairs(mapping, pairs);
  }
  const Value own = mapping.child(ObjectChild::kPairs);
  if (own) AppendDictPairs(own, pairs);
  return pairs;
}

absl::flat_hash_set<absl::string_view> StringsOf(Value set) {
  absl::flat_hash_set<absl::string_view> strings;
  if (set && set.kind() == NodeKind::kObject) {
    const Value args = set.child(ObjectChild::kArgs);
    set = args.size() == 1 ? args.item(0) : Value();
  }
  const bool has_items =
      set && (IsSequence(set) || set.kind() == NodeKind::kSet ||
              set.kind() == NodeKind::kFrozenSet);
  for (int64_t i = 0; has_items && i < set.size(); ++i) {
    const Value item = set.item(i);
    if (item.kind() == NodeKind::kStr || item.kind() == NodeKind::kPy2Str) {
      strings.insert(item.AsBytes());
    }
  }
  return strings;
}

std::optional<Tensor> RebuiltTensor(const Value& function, const Value& args) {
  const bool is_v3 = IsGlobal(function, "torch._utils", "_rebuild_tensor_v3");
  if (!is_v3 && !IsGlobal(function, "torch._utils", "_rebuild_tensor_v2") &&
      !IsGlobal(function, "torch._utils", "_rebuild_tensor")) {
    return std::nullopt;
  }
  if (args.kind() != NodeKind::kTuple || args.size() < (is_v3 ? 7 : 4) ||
      args.item(0).kind() != NodeKind::kStorage ||
      args.item(1).kind() != NodeKind::kInt) {
    return std::nullopt;
  }
  std::optional<DType> dtype = args.item(0).storage_dtype();
  if (is_v3) {
    const Value global = args.item(6);
    if (global.kind() != NodeKind::kGlobal || global.module() != "torch") {
      return std::nullopt;
    }
    dtype = DTypeFromName(global.name());
  }
  const auto shape = IntsOf(args.item(2));
  const auto strides = IntsOf(args.item(3));
  if (!dtype || !shape || !strides || shape->size() != strides->size()) {
    return std::nullopt;
  }
  auto tensor = Tensor::Make(args.item(0).AsStorage(), *dtype, *shape, *strides,
                             args.item(1).AsInt());
  if (!tensor.ok()) return std::nullopt;
  return *std::move(tensor);
}

}  // namespace penstock
