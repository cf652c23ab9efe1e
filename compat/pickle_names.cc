#include "compat/pickle_names.h"

#include <cstddef>

namespace penstock {
namespace {

// Some Python 2 names have no way back, or the other way round.
enum Direction { kBoth, kReading, kWriting };

struct ModulePair {
  absl::string_view python2;
  absl::string_view python3;
  Direction direction;
};

struct NamePair {
  absl::string_view module2;
  absl::string_view name2;
  absl::string_view module3;
  absl::string_view name3;
  Direction direction;
};

// These four tables are the facts of CPython 3.11's _compat_pickle.
constexpr ModulePair kModules[] = {
    {"__builtin__", "builtins", kBoth},
    {"copy_reg", "copyreg", kBoth},
    {"Queue", "queue", kBoth},
    {"SocketServer", "socketserver", kBoth},
    {"ConfigParser", "configparser", kBoth},
    {"repr", "reprlib", kBoth},
    {"tkFileDialog", "tkinter.filedialog", kBoth},
    {"tkSimpleDialog", "tkinter.simpledialog", kBoth},
    {"tkColorChooser", "tkinter.colorchooser", kBoth},
    {"tkCommonDialog", "tkinter.commondialog", kBoth},
    {"Dialog", "tkinter.dialog", kBoth},
    {"Tkdnd", "tkinter.dnd", kBoth},
    {"tkFont", "tkinter.font", kBoth},
    {"tkMessageBox", "tkinter.messagebox", kBoth},
    {"ScrolledText", "tkinter.scrolledtext", kBoth},
    {"Tkconstants", "tkinter.constants", kBoth},
    {"Tix", "tkinter.tix", kBoth},
    {"ttk", "tkinter.ttk", kBoth},
    {"Tkinter", "tkinter", kBoth},
    {"markupbase", "_markupbase", kBoth},
    {"_winreg", "winreg", kBoth},
    {"thread", "_thread", kBoth},
    {"dummy_thread", "_dummy_thread", kBoth},
    {"dbhash", "dbm.bsd", kBoth},
    {"dumbdbm", "dbm.dumb", kBoth},
    {"dbm", "dbm.ndbm", kBoth},
    {"gdbm", "dbm.gnu", kBoth},
    {"xmlrpclib", "xmlrpc.client", kBoth},
    {"SimpleXMLRPCServer", "xmlrpc.server", kBoth},
    {"httplib", "http.client", kBoth},
    {"htmlentitydefs", "html.entities", kBoth},
    {"HTMLParser", "html.parser", kBoth},
    {"Cookie", "http.cookies", kBoth},
    {"cookielib", "http.cookiejar", kBoth},
    {"BaseHTTPServer", "http.server", kBoth},
    {"test.test_support", "test.support", kBoth},
    {"commands", "subprocess", kBoth},
    {"urlparse", "urllib.parse", kBoth},
    {"robotparser", "urllib.robotparser", kBoth},
    {"urllib2", "urllib.request", kBoth},
    {"anydbm", "dbm", kBoth},
    {"_abcoll", "collections.abc", kBoth},
    {"cPickle", "pickle", kReading},
    {"_elementtree", "xml.etree.ElementTree", kReading},
    {"FileDialog", "tkinter.filedialog", kReading},
    {"SimpleDialog", "tkinter.simpledialog", kReading},
    {"DocXMLRPCServer", "xmlrpc.server", kReading},
    {"SimpleHTTPServer", "http.server", kReading},
    {"CGIHTTPServer", "http.server", kReading},
    {"UserDict", "collections", kReading},
    {"UserList", "collections", kReading},
    {"UserString", "collections", kReading},
    {"whichdb", "dbm", kReading},
    {"StringIO", "io", kReading},
    {"cStringIO", "io", kReading},
    {"bz2", "_bz2", kWriting},
    {"dbm", "_dbm", kWriting},
    {"functools", "_functools", kWriting},
    {"gdbm", "_gdbm", kWriting},
    {"pickle", "_pickle", kWriting},
};

constexpr NamePair kNames[] = {
    {"__builtin__", "xrange", "builtins", "range", kBoth},
    {"__builtin__", "reduce", "functools", "reduce", kBoth},
    {"__builtin__", "intern", "sys", "intern", kBoth},
    {"__builtin__", "unichr", "builtins", "chr", kBoth},
    {"__builtin__", "unicode", "builtins", "str", kBoth},
    {"__builtin__", "long", "builtins", "int", kBoth},
    {"itertools", "izip", "builtins", "zip", kBoth},
    {"itertools", "imap", "builtins", "map", kBoth},
    {"itertools", "ifilter", "builtins", "filter", kBoth},
    {"itertools", "ifilterfalse", "itertools", "filterfalse", kBoth},
    {"itertools", "izip_longest", "itertools", "zip_longest", kBoth},
    {"UserDict", "IterableUserDict", "collections", "UserDict", kBoth},
    {"UserList", "UserList", "collections", "UserList", kBoth},
    {"UserString", "UserString", "collections", "UserString", kBoth},
    {"whichdb", "whichdb", "dbm", "whichdb", kBoth},
    {"_socket", "fromfd", "socket", "fromfd", kBoth},
    {"_multiprocessing", "Connection", "multiprocessing.connection",
     "Connection", kBoth},
    {"multiprocessing.process", "Process", "multiprocessing.context", "Process",
     kBoth},
    {"multiprocessing.forking", "Popen", "multiprocessing.popen_fork", "Popen",
     kBoth},
    {"urllib", "ContentTooShortError", "urllib.error", "ContentTooShortError",
     kBoth},
    {"urllib", "getproxies", "urllib.request", "getproxies", kBoth},
    {"urllib", "pathname2url", "urllib.request", "pathname2url", kBoth},
    {"urllib", "quote_plus", "urllib.parse", "quote_plus", kBoth},
    {"urllib", "quote", "urllib.parse", "quote", kBoth},
    {"urllib", "unquote_plus", "urllib.parse", "unquote_plus", kBoth},
    {"urllib", "unquote", "urllib.parse", "unquote", kBoth},
    {"urllib", "url2pathname", "urllib.request", "url2pathname", kBoth},
    {"urllib", "urlcleanup", "urllib.request", "urlcleanup", kBoth},
    {"urllib", "urlencode", "urllib.parse", "urlencode", kBoth},
    {"urllib", "urlopen", "urllib.request", "urlopen", kBoth},
    {"urllib", "urlretrieve", "urllib.request", "urlretrieve", kBoth},
    {"urllib2", "HTTPError", "urllib.error", "HTTPError", kBoth},
    {"urllib2", "URLError", "urllib.error", "URLError", kBoth},
    {"multiprocessing", "AuthenticationError", "multiprocessing.context",
     "AuthenticationError", kBoth},
    {"multiprocessing", "BufferTooShort", "multiprocessing.context",
     "BufferTooShort", kBoth},
    {"multiprocessing", "ProcessError", "multiprocessing.context",
     "ProcessError", kBoth},
    {"multiprocessing", "TimeoutError", "multiprocessing.context",
     "TimeoutError", kBoth},
    {"__builtin__", "basestring", "builtins", "str", kReading},
    {"exceptions", "StandardError", "builtins", "Exception", kReading},
    {"UserDict", "UserDict", "collections", "UserDict", kReading},
    {"socket", "_socketobject", "socket", "SocketType", kReading},
    {"__builtin__", "reduce", "_functools", "reduce", kWriting},
    {"FileDialog", "FileDialog", "tkinter.filedialog", "FileDialog", kWriting},
    {"FileDialog", "LoadFileDialog", "tkinter.filedialog", "LoadFileDialog",
     kWriting},
    {"FileDialog", "SaveFileDialog", "tkinter.filedialog", "SaveFileDialog",
     kWriting},
    {"SimpleDialog", "SimpleDialog", "tkinter.simpledialog", "SimpleDialog",
     kWriting},
    {"DocXMLRPCServer", "ServerHTMLDoc", "xmlrpc.server", "ServerHTMLDoc",
     kWriting},
    {"DocXMLRPCServer", "XMLRPCDocGenerator", "xmlrpc.server",
     "XMLRPCDocGenerator", kWriting},
    {"DocXMLRPCServer", "DocXMLRPCRequestHandler", "xmlrpc.server",
     "DocXMLRPCRequestHandler", kWriting},
    {"DocXMLRPCServer", "DocXMLRPCServer", "xmlrpc.server", "DocXMLRPCServer",
     kWriting},
    {"DocXMLRPCServer", "DocCGIXMLRPCRequestHandler", "xmlrpc.server",
     "DocCGIXMLRPCRequestHandler", kWriting},
    {"SimpleHTTPServer", "SimpleHTTPRequestHandler", "http.server",
     "SimpleHTTPRequestHandler", kWriting},
    {"CGIHTTPServer", "CGIHTTPRequestHandler", "http.server",
     "CGIHTTPRequestHandler", kWriting},
    {"socket", "_socketobject", "_socket", "socket", kWriting},
    {"exceptions", "ImportError", "builtins", "ModuleNotFoundError", kWriting},
};

// `exceptions` in Python 2, `builtins` in Python 3.
constexpr absl::string_view kExceptions[] = {"ArithmeticError",
                                             "AssertionError",
                                             "AttributeError",
                                             "BaseException",
                                             "BufferError",
                                             "BytesWarning",
                                             "DeprecationWarning",
                                             "EOFError",
                                             "EnvironmentError",
                                             "Exception",
                                             "FloatingPointError",
                                             "FutureWarning",
                                             "GeneratorExit",
                                             "IOError",
                                             "ImportError",
                                             "ImportWarning",
                                             "IndentationError",
                                             "IndexError",
                                             "KeyError",
                                             "KeyboardInterrupt",
                                             "LookupError",
                                             "MemoryError",
                                             "NameError",
                                             "NotImplementedError",
                                             "OSError",
                                             "OverflowError",
                                             "PendingDeprecationWarning",
                                             "ReferenceError",
                                             "RuntimeError",
                                             "RuntimeWarning",
                                             "StopIteration",
                                             "SyntaxError",
                                             "SyntaxWarning",
                                             "SystemError",
                                             "SystemExit",
                                             "TabError",
                                             "TypeError",
                                             "UnboundLocalError",
                                             "UnicodeDecodeError",
                                             "UnicodeEncodeError",
                                             "UnicodeError",
                                             "UnicodeTranslateError",
                                             "UnicodeWarning",
                                             "UserWarning",
                                             "ValueError",
                                             "Warning",
                                             "ZeroDivisionError"};

// Python 2 has only their base, OSError.
constexpr absl::string_view kOsErrors[] = {
    "BrokenPipeError",        "ChildProcessError",
    "ConnectionAbortedError", "ConnectionError",
    "ConnectionRefusedError", "ConnectionResetError",
    "FileExistsError",        "FileNotFoundError",
    "InterruptedError",       "IsADirectoryError",
    "NotADirectoryError",     "PermissionError",
    "ProcessLookupError",     "TimeoutError"};

struct StorageClass {
  DType dtype;
  absl::string_view name;
  bool in_python;
};

// In the order of the codes. pytorch-format.md 4.1.
constexpr StorageClass kStorageClasses[kNumDTypes] = {
    {DType::kBool, "BoolStorage", true},
    {DType::kUInt8, "ByteStorage", true},
    {DType::kInt8, "CharStorage", true},
    {DType::kUInt16, "UInt16Storage", false},
    {DType::kInt16, "ShortStorage", true},
    {DType::kUInt32, "UInt32Storage", false},
    {DType::kInt32, "IntStorage", true},
    {DType::kUInt64, "UInt64Storage", false},
    {DType::kInt64, "LongStorage", true},
    {DType::kFloat16, "HalfStorage", true},
    {DType::kBFloat16, "BFloat16Storage", true},
    {DType::kFloat32, "FloatStorage", true},
    {DType::kFloat64, "DoubleStorage", true},
    {DType::kComplex32, "ComplexHalfStorage", false},
    {DType::kComplex64, "ComplexFloatStorage", true},
    {DType::kComplex128, "ComplexDoubleStorage", true},
    {DType::kFloat8E4M3FN, "Float8_e4m3fnStorage", false},
    {DType::kFloat8E5M2, "Float8_e5m2Storage", false},
    {DType::kFloat8E4M3FNUZ, "Float8_e4m3fnuzStorage", false},
    {DType::kFloat8E5M2FNUZ, "Float8_e5m2fnuzStorage", false},
    {DType::kFloat8E8M0FNU, "Float8_e8m0fnuStorage", false},
    {DType::kFloat4E2M1FNx2, "Float4_e2m1fn_x2Storage", false},
    {DType::kQInt8, "QInt8Storage", true},
    {DType::kQUInt8, "QUInt8Storage", true},
    {DType::kQInt32, "QInt32Storage", true},
    {DType::kQUInt4x2, "QUInt4x2Storage", true},
    {DType::kQUInt2x4, "QUInt2x4Storage", true},
    {DType::kBits8, "Bits8Storage", false},
    {DType::kBits1x8, "Bits1x8Storage", false},
    {DType::kBits2x4, "Bits2x4Storage", false},
    {DType::kBits4x2, "Bits4x2Storage", false},
    {DType::kBits16, "Bits16Storage", false},
    {DType::kInt1, "Int1Storage", false},
    {DType::kInt2, "Int2Storage", false},
    {DType::kInt3, "Int3Storage", false},
    {DType::kInt4, "Int4Storage", false},
    {DType::kInt5, "Int5Storage", false},
    {DType::kInt6, "Int6Storage", false},
    {DType::kInt7, "Int7Storage", false},
    {DType::kUInt1, "UInt1Storage", false},
    {DType::kUInt2, "UInt2Storage", false},
    {DType::kUInt3, "UInt3Storage", false},
    {DType::kUInt4, "UInt4Storage", false},
    {DType::kUInt5, "UInt5Storage", false},
    {DType::kUInt6, "UInt6Storage", false},
    {DType::kUInt7, "UInt7Storage", false},
};

struct DTypeAlias {
  absl::string_view name;
  DType dtype;
};

constexpr DTypeAlias kAliases[] = {
    {"float", DType::kFloat32},    {"double", DType::kFloat64},
    {"half", DType::kFloat16},     {"long", DType::kInt64},
    {"int", DType::kInt32},        {"short", DType::kInt16},
    {"cfloat", DType::kComplex64}, {"cdouble", DType::kComplex128},
    {"chalf", DType::kComplex32},
};

template <size_t n>
bool Contains(const absl::string_view (&list)[n], absl::string_view text) {
  for (absl::string_view entry : list) {
    if (entry == text) return true;
  }
  return false;
}

}  // namespace

GlobalName ToPython3(GlobalName python2) {
  if (python2.module == "exceptions" && Contains(kExceptions, python2.name)) {
    return {"builtins", python2.name};
  }
  for (const NamePair& pair : kNames) {
    if (pair.direction != kWriting && pair.name2 == python2.name &&
        pair.module2 == python2.module) {
      return {pair.module3, pair.name3};
    }
  }
  for (const ModulePair& pair : kModules) {
    if (pair.direction != kWriting && pair.python2 == python2.module) {
      return {pair.python3, python2.name};
    }
  }
  return python2;
}

GlobalName ToPython2(GlobalName python3) {
  if (python3.module == "builtins") {
    if (Contains(kExceptions, python3.name)) {
      return {"exceptions", python3.name};
    }
    if (Contains(kOsErrors, python3.name)) return {"exceptions", "OSError"};
  }
  for (const NamePair& pair : kNames) {
    if (pair.direction != kReading && pair.name3 == python3.name &&
        pair.module3 == python3.module) {
      return {pair.module2, pair.name2};
    }
  }
  for (const ModulePair& pair : kModules) {
    if (pair.direction != kReading && pair.python3 == python3.module) {
      return {pair.python2, python3.name};
    }
  }
  return python3;
}

absl::string_view StorageClassName(DType dtype) {
  return kStorageClasses[static_cast<int>(dtype)].name;
}

bool HasStorageClass(DType dtype) {
  return kStorageClasses[static_cast<int>(dtype)].in_python;
}

std::optional<DType> DTypeOfStorageClass(absl::string_view class_name) {
  for (const StorageClass& entry : kStorageClasses) {
    if (entry.name == class_name) return entry.dtype;
  }
  return std::nullopt;
}

std::optional<DType> DTypeFromTorchName(absl::string_view name) {
  for (const DTypeAlias& alias : kAliases) {
    if (alias.name == name) return alias.dtype;
  }
  return DTypeFromName(name);
}

}  // namespace penstock
