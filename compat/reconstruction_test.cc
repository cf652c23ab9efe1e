// Every function that PyTorch's pickles name to make a tensor, and every Python
// type that checkpoints hold: what becomes of each, and that nothing is lost.
// What torch 2.13 can write is also compared with torch (tests/interop).

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "compat/pickle_reader.h"
#include "compat/pickle_testing.h"
#include "compat/pickle_writer.h"
#include "core/dtype.h"
#include "core/state_dict.h"
#include "core/tensor.h"
#include "core/value.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using testing::HasSubstr;

std::string Number(uint64_t value, int width) {
  std::string out;
  for (int i = 0; i < width; ++i) {
    out.push_back(static_cast<char>(value >> 8 * i));
  }
  return out;
}

std::string Str(absl::string_view text) {
  return absl::StrCat("X", Number(text.size(), 4), text);
}

std::string Int(int64_t value) {
  return absl::StrCat("J", Number(static_cast<uint64_t>(value), 4));
}

const char kHalf[] = "F0.5\n";
const char kTrue[] = "\x88";
const char kFalse[] = "\x89";
const char kNone[] = "N";
const char kDict[] = "}";

using Parts = std::vector<std::string>;

std::string Tuple(const Parts& items) {
  return absl::StrCat("(", absl::StrJoin(items, ""), "t");
}

std::string Ints(const std::vector<int64_t>& items) {
  Parts parts;
  for (int64_t item : items) parts.push_back(Int(item));
  return Tuple(parts);
}

std::string Name(absl::string_view name) {  // "module name"
  const size_t space = name.find(' ');
  return absl::StrCat("c", name.substr(0, space), "\n", name.substr(space + 1),
                      "\n");
}

std::string Call(absl::string_view name, const Parts& args) {
  return absl::StrCat(Name(name), Tuple(args), "R");
}

std::string New(absl::string_view name, const Parts& args) {
  return absl::StrCat(Name(name), Tuple(args), "\x81");
}

std::string Dict(
    const std::vector<std::pair<std::string, std::string>>& pairs) {
  std::string out = "}(";
  for (const auto& [key, value] : pairs) out += Str(key) + value;
  return out + "u";
}

const char kHooks[] = "ccollections\nOrderedDict\n)R";

// Of 6 elements unless told; each key is one storage.
std::string StorageOf(absl::string_view type, absl::string_view key = "0",
                      int64_t count = 6) {
  return Tuple({Str("storage"), Name(type), Str(key), Str("cpu"), Int(count)}) +
         "Q";
}

std::string Floats(absl::string_view key = "0") {
  return StorageOf("torch FloatStorage", key);
}

// Of 2 times 3 float32.
std::string T(absl::string_view key = "0") {
  return Call(
      "torch._utils _rebuild_tensor_v2",
      {Floats(key), Int(0), Ints({2, 3}), Ints({3, 1}), kFalse, kHooks});
}

// Of 6 int64.
std::string Longs(absl::string_view key) {
  return Call("torch._utils _rebuild_tensor_v2",
              {StorageOf("torch LongStorage", key), Int(0), Ints({6}),
               Ints({1}), kFalse, kHooks});
}

std::string Layout(absl::string_view name) {
  return Call("torch.serialization _get_layout", {Str(name)});
}

std::string Size(const std::vector<int64_t>& sizes) {
  return Call("torch Size", {Ints(sizes)});
}

std::string Device(absl::string_view type) {
  return Call("torch device", {Str(type)});
}

// "name: float32[2, 3] +1 (3, 1) grad" of each tensor.
std::string Shown(const Value& root) {
  const auto names = StateDict::FromValue(root);
  if (!names.ok()) return std::string(names.status().message());
  Parts lines;
  for (const NamedTensor& entry : names->entries()) {
    const Tensor& t = entry.tensor;
    lines.push_back(
        absl::StrCat(entry.name, ": ", InfoOf(t.dtype()).name, "[",
                     absl::StrJoin(t.shape(), ","), "]+", t.offset(), "(",
                     absl::StrJoin(t.strides(), ","), ")",
                     entry.flags & TensorFlags::kRequiresGrad ? " grad" : "",
                     entry.flags & TensorFlags::kConjugated ? " conj" : "",
                     entry.flags & TensorFlags::kNegated ? " neg" : ""));
  }
  return absl::StrJoin(lines, "; ");
}

struct Case {
  const char* what;
  std::string pickle;  // without STOP
  const char* shown;
  int num_storages = 1;
};

// Reads, and writes what was read so that it reads the same again.
void Expect(const std::vector<Case>& cases) {
  for (const Case& one : cases) {
    SCOPED_TRACE(one.what);
    const auto read = ReadText(one.pickle + ".");
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(Shown(read->root), one.shown);
    EXPECT_EQ(read->root.graph()->storages().size(), one.num_storages);
    const auto written = WritePickle(read->root);
    ASSERT_TRUE(written.ok()) << written.status();
    const auto again = ReadText(written->pickle);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(Shown(again->root), one.shown);
    const auto twice = WritePickle(again->root);
    ASSERT_TRUE(twice.ok()) << twice.status();
    EXPECT_EQ(absl::CHexEscape(twice->pickle),
              absl::CHexEscape(written->pickle));
  }
}

TEST(ReconstructionTest, PlainTensors) {
  const Parts v2 = {Floats(),     Int(1), Ints({2, 2}),
                    Ints({1, 2}), kTrue,  kHooks};
  const auto with = [&](std::string last) {
    Parts args = v2;
    args.push_back(std::move(last));
    return Call("torch._utils _rebuild_tensor_v2", args);
  };
  const auto v3 = [](absl::string_view type, int64_t count,
                     absl::string_view dtype, Parts rest = {}) {
    Parts args = {StorageOf(type, "0", count),
                  Int(1),
                  Ints({2}),
                  Ints({1}),
                  kFalse,
                  kHooks,
                  Name(absl::StrCat("torch ", dtype))};
    args.insert(args.end(), rest.begin(), rest.end());
    return Call("torch._utils _rebuild_tensor_v3", args);
  };
  const char kUntyped[] = "torch.storage UntypedStorage";
  Expect({
      {"_rebuild_tensor",
       Call("torch._utils _rebuild_tensor",
            {Floats(), Int(1), Ints({2, 2}), Ints({1, 2})}),
       "tensor: float32[2,2]+1(1,2)"},
      {"v2", Call("torch._utils _rebuild_tensor_v2", v2),
       "tensor: float32[2,2]+1(1,2) grad"},
      {"v2 with no hooks, as torch 0.4 has them",
       Call("torch._utils _rebuild_tensor_v2",
            {Floats(), Int(0), Ints({}), Ints({}), kFalse, kNone}),
       "tensor: float32[]+0()"},
      {"v2 with metadata", with(Dict({{"conj", kTrue}, {"neg", kTrue}})),
       "tensor: float32[2,2]+1(1,2) grad conj neg"},
      {"v2 with metadata that says no, which torch does not hear",
       with(Dict({{"conj", kFalse}})), "tensor: float32[2,2]+1(1,2) grad conj"},
      {"v2 with metadata of another backend", with(Dict({{"zero", kTrue}})),
       "tensor: float32[2,2]+1(1,2) grad"},
      {"sizes as torch.Size and as a list",
       Call("torch._utils _rebuild_tensor_v2", {Floats(), Int(0), Size({3}),
                                                "](K\x02"
                                                "e",
                                                kFalse, kHooks}),
       "tensor: float32[3]+0(2)"},
      {"v3", v3(kUntyped, 6, "uint16"), "tensor: uint16[2]+1(1)"},
      {"v3 with metadata",
       v3(kUntyped, 12, "complex32", {Dict({{"conj", kTrue}})}),
       "tensor: complex32[2]+1(1) conj"},
      {"v3 over a typed storage", v3("torch FloatStorage", 6, "int32"),
       "tensor: int32[2]+1(1)"},
      {"v3 of an alias", v3(kUntyped, 12, "float"), "tensor: float32[2]+1(1)"},
      {"of torch 0.1.10",
       absl::StrCat(Call("torch FloatTensor", {}),
                    Tuple({Floats(), Int(1), Ints({2}), Ints({2})}), "b"),
       "tensor: float32[2]+1(2)"},
      {"of torch 0.1.10, on a GPU",
       absl::StrCat(Call("torch.cuda HalfTensor", {}),
                    Tuple({StorageOf("torch.cuda HalfStorage"), Int(0),
                           Ints({6}), Ints({1})}),
                    "b"),
       "tensor: float16[6]+0(1)"},
      {"a storage alone", Floats(), ""},
      {"an untyped storage alone", StorageOf(kUntyped), ""},
      {"a storage class that only C++ writes",
       Call("torch._utils _rebuild_tensor_v2",
            {StorageOf("torch Float8_e4m3fnStorage"), Int(0), Ints({6}),
             Ints({1}), kFalse, kHooks}),
       "tensor: float8_e4m3fn[6]+0(1)"},
  });
}

TEST(ReconstructionTest, ParametersAndOtherWrappersOfOneTensor) {
  const std::string v2_args =
      Tuple({Floats(), Int(0), Ints({2, 3}), Ints({3, 1}), kTrue, kHooks});
  const std::string tag = Dict({{"tag", Str("x")}, {"inner", T("1")}});
  const std::string rebuild = Name("torch._utils _rebuild_tensor_v2");
  Expect({
      {"_rebuild_parameter",
       Call("torch._utils _rebuild_parameter", {T(), kTrue, kHooks}),
       "tensor: float32[2,3]+0(3,1) grad"},
      {"with state",
       Call("torch._utils _rebuild_parameter_with_state",
            {T(), kFalse, kHooks, tag}),
       "tensor: float32[2,3]+0(3,1); inner: float32[2,3]+0(3,1)", 2},
      {"with slots",
       Call("torch._utils _rebuild_parameter_with_state",
            {T(), kFalse, kHooks, Tuple({kNone, tag})}),
       "tensor: float32[2,3]+0(3,1); inner: float32[2,3]+0(3,1)", 2},
      {"the draft's name",
       Call("torch._utils _rebuild_parameter_v2", {T(), kTrue, kHooks, kDict}),
       "tensor: float32[2,3]+0(3,1) grad"},
      {"0.4.1", Call("torch.nn.parameter Parameter", {T(), kTrue}),
       "tensor: float32[2,3]+0(3,1) grad"},
      {"0.3",
       absl::StrCat(Call("torch.nn.parameter Parameter", {T()}),
                    Tuple({kTrue, kFalse, kHooks}), "b"),
       "tensor: float32[2,3]+0(3,1)"},
      {"NEWOBJ", New("torch.nn.parameter Parameter", {T(), kTrue}),
       "tensor: float32[2,3]+0(3,1) grad"},
      {"Variable",
       absl::StrCat(Call("torch.autograd.variable Variable", {T()}),
                    Tuple({kFalse, kFalse, kHooks}), "b"),
       "tensor: float32[2,3]+0(3,1)"},
      {"Variable before",
       absl::StrCat(Call("torch.autograd.variable Variable", {T()}),
                    Tuple({kNone, kNone, kHooks, kTrue, kFalse}), "b"),
       "tensor: float32[2,3]+0(3,1)"},
      {"_rebuild_from_type_v2",
       Call("torch._tensor _rebuild_from_type_v2",
            {rebuild, Name("torch Tensor"), v2_args, tag}),
       "tensor: float32[2,3]+0(3,1) grad; inner: float32[2,3]+0(3,1)", 2},
      {"without attributes",
       Call("torch._tensor _rebuild_from_type_v2",
            {rebuild, Name("m Mine"), v2_args, kNone}),
       "tensor: float32[2,3]+0(3,1) grad"},
      {"_rebuild_from_type",
       Call("torch._tensor _rebuild_from_type",
            {rebuild, Name("m Mine"), v2_args, kDict}),
       "tensor: float32[2,3]+0(3,1) grad"},
      {"from the CPU's tensor",
       Call("torch._utils _rebuild_device_tensor_from_cpu_tensor",
            {T(), Name("torch float32"), Str("maia:0"), kTrue}),
       "tensor: float32[2,3]+0(3,1) grad"},
  });
}

// Their parts are kept, and shown where they are tensors themselves.
TEST(ReconstructionTest, QuantisedTensors) {
  const Parts quantized = {StorageOf("torch QInt8Storage"), Int(0),
                           Ints({2, 3}), Ints({3, 1})};
  const auto qtensor = [&](Parts rest) {
    Parts args = quantized;
    args.insert(args.end(), rest.begin(), rest.end());
    return Call("torch._utils _rebuild_qtensor", args);
  };
  Expect({
      {"quantised",
       qtensor({Tuple({Name("torch per_tensor_affine"), kHalf, Int(3)}), kFalse,
                kHooks}),
       ""},
      {"quantised by channel",
       qtensor({Tuple({Name("torch per_channel_affine"), T("1"), Longs("2"),
                       Int(0)}),
                kFalse, kHooks}),
       "4.1: float32[2,3]+0(3,1); 4.2: int64[6]+0(1)", 3},
      {"by lists, torch 1.3",
       qtensor({Tuple({Name("torch per_channel_affine"),
                       absl::StrCat("](", kHalf, kHalf, "e"),
                       "](K\x01K\x02"
                       "e",
                       Int(0)}),
                kFalse, kHooks}),
       ""},
      {"quantised, torch 1.2", qtensor({kHalf, Int(3), kFalse, kHooks}), ""},
  });
}

TEST(ReconstructionTest, SparseTensors) {
  const auto sparse = [](absl::string_view layout, const Parts& data) {
    return Call("torch._utils _rebuild_sparse_tensor",
                {Layout(layout), Tuple(data)});
  };
  const std::string i = Longs("1");
  Expect({
      {"COO", sparse("torch.sparse_coo", {i, T(), Size({2, 3}), kTrue}),
       "1.0: int64[6]+0(1); 1.1: float32[2,3]+0(3,1)", 2},
      {"COO, torch 2.0", sparse("torch.sparse_coo", {i, T(), Size({2, 3})}),
       "1.0: int64[6]+0(1); 1.1: float32[2,3]+0(3,1)", 2},
      {"CSR", sparse("torch.sparse_csr", {i, Longs("2"), T(), Size({2, 3})}),
       "1.0: int64[6]+0(1); 1.1: int64[6]+0(1); 1.2: float32[2,3]+0(3,1)", 3},
      {"CSC", sparse("torch.sparse_csc", {i, Longs("2"), T(), Size({2, 3})}),
       "1.0: int64[6]+0(1); 1.1: int64[6]+0(1); 1.2: float32[2,3]+0(3,1)", 3},
      {"BSR", sparse("torch.sparse_bsr", {i, Longs("2"), T(), Size({2, 3})}),
       "1.0: int64[6]+0(1); 1.1: int64[6]+0(1); 1.2: float32[2,3]+0(3,1)", 3},
      {"BSC", sparse("torch.sparse_bsc", {i, Longs("2"), T(), Size({2, 3})}),
       "1.0: int64[6]+0(1); 1.1: int64[6]+0(1); 1.2: float32[2,3]+0(3,1)", 3},
      {"sparse, from C++",
       Call("torch._utils _rebuild_sparse_tensor",
            {Int(1), Ints({2, 3}), kFalse, i, T(), kHooks}),
       "3: int64[6]+0(1); 4: float32[2,3]+0(3,1)", 2},
      {"CSR, from C++",
       Call("torch._utils _rebuild_sparse_tensor",
            {Int(2), Ints({2, 3}), kFalse, i, Longs("2"), T(), kHooks}),
       "3: int64[6]+0(1); 4: int64[6]+0(1); 5: float32[2,3]+0(3,1)", 3},
      {"sparse, before torch 1.3",
       Call("torch.sparse FloatTensor", {i, T(), Size({2, 3})}),
       "0: int64[6]+0(1); 1: float32[2,3]+0(3,1)", 2},
      {"sparse, on a GPU",
       New("torch.cuda.sparse FloatTensor", {i, T(), Size({2, 3})}),
       "0: int64[6]+0(1); 1: float32[2,3]+0(3,1)", 2},
  });
}

TEST(ReconstructionTest, TensorsOfOtherMakers) {
  Expect({
      {"nested",
       Call("torch._utils _rebuild_nested_tensor",
            {T(), Longs("1"), Longs("2"), Longs("3")}),
       "0: float32[2,3]+0(3,1); 1: int64[6]+0(1); 2: int64[6]+0(1); "
       "3: int64[6]+0(1)",
       4},
      {"jagged",
       Call("torch._tensor _rebuild_from_type_v2",
            {Name("torch.nested._internal.nested_tensor _rebuild_njt"),
             Name("torch.nested._internal.nested_tensor NestedTensor"),
             Tuple({Dict({{"values", T()},
                          {"offsets", Longs("1")},
                          {"lengths", kNone},
                          {"_ragged_idx", Int(1)}})}),
             kNone}),
       "0.values: float32[2,3]+0(3,1); 0.offsets: int64[6]+0(1)", 2},
      {"meta",
       Call("torch._utils _rebuild_meta_tensor_no_storage",
            {Name("torch float32"), Ints({2, 3}), Ints({3, 1}), kFalse}),
       "", 0},
      {"a wrapper",
       Call(
           "torch._tensor _rebuild_from_type_v2",
           {Name("torch._utils _rebuild_wrapper_subclass"), Name("m Wrapped"),
            Tuple({Name("m Wrapped"), Name("torch float32"), Size({2, 3}),
                   Ints({3, 1}), Int(0), Layout("torch.strided"), Device("cpu"),
                   kFalse}),
            Tuple({kNone, Dict({{"_local_tensor", T()}, {"scale", T("1")}})})}),
       "_local_tensor: float32[2,3]+0(3,1); scale: float32[2,3]+0(3,1)", 2},
      {"from an array of XLA",
       Call("torch._utils _rebuild_xla_tensor",
            {Name("numpy ndarray"), Name("torch bfloat16"), Str("xla:0"),
             kFalse}),
       "", 0},
      {"from an array",
       Call("torch._utils _rebuild_device_tensor_from_numpy",
            {Name("numpy ndarray"), Name("torch bfloat16"), Str("maia"),
             kFalse}),
       "", 0},
      {"from bytes, which nobody opens here",
       Call("torch.storage _load_from_bytes", {"C\x01x"}), "", 0},
      {"a parameter without size yet",
       Call("torch.nn.parameter UninitializedParameter", {kTrue}), "", 0},
      {"a buffer without size yet",
       Call("torch.nn.parameter UninitializedBuffer", {kFalse}), "", 0},
      {"a generator",
       absl::StrCat(Call("torch._C Generator", {Device("cpu")}),
                    Tuple({Int(1), kNone, T()}), "b"),
       "state.2: float32[2,3]+0(3,1)"},
      {"tensors of TorchScript by number",
       Call("torch.jit._pickle build_tensor_from_id", {Int(1)}), "", 0},
      {"lists of TorchScript",
       Call("torch.jit._pickle restore_type_tag",
            {absl::StrCat("](", T(), "e"), Str("List[Tensor]")}),
       "0.0: float32[2,3]+0(3,1)"},
      {"objects of TorchScript",
       absl::StrCat("c__torch__.m\nNet\n)\x81", Dict({{"w", T()}}), "b"),
       "w: float32[2,3]+0(3,1)"},
  });
}

// What is no tensor is an object that comes back.
void ExpectObjects(
    const std::vector<std::pair<const char*, std::string>>& objects) {
  for (const auto& [what, pickle] : objects) {
    Expect({{what, pickle, "", 0}});
    const auto read = ReadText(pickle + ".");
    ASSERT_TRUE(read.ok()) << what;
    EXPECT_EQ(read->root.kind(), NodeKind::kObject) << what;
  }
}

TEST(ReconstructionTest, ContainersAndFunctionsOfPython) {
  const std::string list =
      "](K\x01K\x02"
      "e";
  const std::string factory = Name("__builtin__ list");
  ExpectObjects({
      {"OrderedDict", kHooks},
      {"OrderedDict of Python 2",
       Call("collections OrderedDict",
            {absl::StrCat("](](", Str("a"), "K\1ee")})},
      {"defaultdict", Call("collections defaultdict", {factory})},
      {"defaultdict of nothing", Call("collections defaultdict", {})},
      {"Counter", Call("collections Counter", {Dict({{"a", Int(2)}})})},
      {"deque", Call("collections deque", {Tuple({}), Int(3)}) + "K\x01"
                                                                 "a"},
      {"slice", Call("__builtin__ slice", {Int(1), kNone, Int(2)})},
      {"range", Call("__builtin__ xrange", {Int(0), Int(3), Int(1)})},
      {"getattr", Call("__builtin__ getattr", {Name("m A"), Str("B")})},
      {"type", Call("__builtin__ type", {kNone})},
      {"_reconstructor",
       Call("copy_reg _reconstructor",
            {Name("m A"), Name("__builtin__ object"), kNone}) +
           Dict({{"x", Int(1)}}) + "b"},
      {"__newobj__", Call("copyreg __newobj__", {Name("m A")})},
      {"__newobj_ex__",
       Call("copyreg __newobj_ex__", {Name("m A"), Tuple({}), kDict})},
  });
}

TEST(ReconstructionTest, ObjectsOfPythonsLibrary) {
  const std::string list =
      "](K\x01K\x02"
      "e";
  ExpectObjects({
      {"Namespace",
       New("argparse Namespace", {}) + Dict({{"x", Int(1)}}) + "b"},
      {"SimpleNamespace",
       Call("types SimpleNamespace", {}) + Dict({{"x", Int(1)}}) + "b"},
      {"a path", Call("pathlib PosixPath", {Str("/"), Str("a")})},
      {"a path of Python 3.13", Call("pathlib._local PosixPath", {Str("/a")})},
      {"datetime", Call("datetime datetime",
                        {absl::StrCat("C\x0A", "\x07\xE8\1\2\3\4\5\1\1\1")})},
      {"date", Call("datetime date", {"C\x04\x07\xE4\1\1"})},
      {"timedelta", Call("datetime timedelta", {Int(1), Int(2), Int(3)})},
      {"an enum's member", Call("m Color", {Int(1)})},
      {"namedtuple", New("m Named", {Int(1), list})},
      {"partial", Call("functools partial", {Name("m f")}) +
                      Tuple({Name("m f"), Tuple({}), kDict, kNone}) + "b"},
      {"Decimal", Call("decimal Decimal", {Str("1.5")})},
      {"Fraction", Call("fractions Fraction", {Int(1), Int(3)})},
      {"UUID", New("uuid UUID", {}) + Dict({{"int", Int(7)}}) + "b"},
  });
}

TEST(ReconstructionTest, ValuesOfNumpyAndTorch) {
  const std::string array = absl::StrCat(
      Call("numpy.core.multiarray _reconstruct",
           {Name("numpy ndarray"), Ints({0}), Str("b")}),
      Tuple({Int(1), Ints({1}), Call("numpy dtype", {Str("f4"), kFalse, kTrue}),
             kFalse,
             "C\x04"
             "abcd"}),
      "b");
  ExpectObjects({
      {"array", array},
      {"array under its new name",
       Call("numpy._core.multiarray _reconstruct",
            {Name("numpy ndarray"), Ints({0}), Str("b")})},
      {"masked array", Call("numpy.ma.core _mareconstruct",
                            {Name("numpy.ma MaskedArray"),
                             Name("numpy ndarray"), Ints({0}), Str("b")})},
      {"scalar of numpy", Call("numpy.core.multiarray scalar",
                               {Call("numpy dtype", {Str("f8"), kFalse, kTrue}),
                                "C\x08"
                                "abcdefgh"})},
      {"array at protocol 5",
       Call("numpy.core.numeric _frombuffer",
            {"C\x04"
             "abcd",
             Call("numpy dtype", {Str("f4"), kFalse, kTrue}), Ints({1}),
             Str("C")})},
      {"random state",
       Call("numpy.random._pickle __randomstate_ctor", {Str("MT19937")}) +
           Dict({{"x", Int(1)}}) + "b"},
      {"Size", Size({2, 3})},
      {"device", Call("torch device", {Str("cuda"), Int(1)})},
      {"device of C++", Device("cuda:0")},
      {"layout", Layout("torch.jagged")},
      {"version",
       New("torch.torch_version TorchVersion", {Str("2.1.0+cu121")})},
  });
}

TEST(ReconstructionTest, GlobalsAndBuiltinValues) {
  const std::string list =
      "](K\x01K\x02"
      "e";
  for (const char* name :
       {"torch float16", "torch float", "torch per_channel_symmetric",
        "torch channels_last", "__builtin__ Ellipsis",
        "__builtin__ NotImplemented", "m A"}) {
    const auto read = ReadText(Name(name) + ".");
    ASSERT_TRUE(read.ok()) << name;
    EXPECT_EQ(read->root.kind(), NodeKind::kGlobal) << name;
  }
  const std::pair<NodeKind, std::string> kKinds[] = {
      {NodeKind::kSet, Call("__builtin__ set", {list})},
      {NodeKind::kFrozenSet, Call("__builtin__ frozenset", {list})},
      {NodeKind::kComplex, Call("__builtin__ complex", {kHalf, kHalf})},
      {NodeKind::kByteArray, Call("__builtin__ bytearray", {})},
      {NodeKind::kByteArray, Call("__builtin__ bytearray", {"C\x01x"})},
      {NodeKind::kByteArray,
       Call("__builtin__ bytearray", {Str("x"), Str("latin-1")})},
      {NodeKind::kBytes, Call("__builtin__ bytes", {})},
      {NodeKind::kBytes, Call("_codecs encode", {Str("x"), Str("latin1")})},
  };
  for (const auto& [kind, pickle] : kKinds) {
    const auto read = ReadText(pickle + ".");
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->root.kind(), kind);
  }
}

// torch 1.8 renamed the module; torch.channels_last is a dotted name.
TEST(ReconstructionTest, NamesWithDotsStayAsTheyAre) {
  const auto read = ReadText(absl::StrCat("\x80\x04", Str("torch._utils"),
                                          Str("torch.channels_last"), "\x93."));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->root.name(), "torch.channels_last");
  EXPECT_THAT(read->globals,
              testing::ElementsAre("torch._utils torch.channels_last"));
}

}  // namespace
}  // namespace penstock
