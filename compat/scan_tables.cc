#include "compat/scan_tables.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace penstock {
namespace {

// sys.stdlib_module_names of 3.10 to 3.14, and the global module index of 2.7
// to 3.9.
constexpr absl::string_view kStandardModules = R"(
__builtin__ __builtins__ __future__ __phello__ __hello__ _abc _abcoll
_aix_support _android_support _apple_support _ast _ast_unparse _asyncio
_bisect _blake2 _bootlocale _bootsubprocess _bsddb _builtin _bz2 _codecs
_codecs_cn _codecs_hk _codecs_iso2022 _codecs_jp _codecs_kr _codecs_tw
_collections _collections_abc _colorize _compat_pickle _compression
_contextvars _crypt _csv _ctypes _ctypes_test _curses _curses_panel _datetime
_dbm _decimal _dummy_thread _dummy_threading _elementtree _endian
_frozen_importlib _frozen_importlib_external _functools _gdbm _hashlib _heapq
_hmac _hotshot _imp _interpchannels _interpqueues _interpreters _io
_ios_support _json _locale _lsprof _lzma _markupbase _md5 _msi
_multibytecodec _multiprocessing _opcode _opcode_metadata _operator
_osx_support _overlapped _pickle _posixshmem _posixsubprocess _py_abc
_py_warnings _pydatetime _pydecimal _pyio _pylong _pyrepl _queue _random
_remote_debugging _scproxy _sha _sha1 _sha2 _sha256 _sha3 _sha512 _signal
_sitebuiltins _socket _sqlite3 _sre _ssl _stat _statistics _string _strptime
_struct _suggestions _symtable _sysconfig _sysconfigdata _testbuffer
_testcapi _testclinic _testconsole _testimportmultiple _testinternalcapi
_testlimitedcapi _testmultiphase _testsinglephase _thread _threading_local
_tkinter _tokenize _tracemalloc _types _typing _uuid _warnings _weakref
_weakrefset _winapi _winreg _wmi _xxsubinterpreters _xxtestfuzz _zoneinfo
_zstd abc aifc al annotationlib antigravity anydbm argparse array ast
asynchat asyncio asyncore atexit audiodev audioop autoGIL base64 bdb binascii
binhex bisect bsddb bsddb185 builtins bz2 cPickle cProfile cStringIO calendar
cd cgi cgitb chunk cl cmath cmd code codecs codeop collections colorsys
commands compileall compiler compression concurrent configparser contextlib
contextvars cookielib copy copy_reg copyreg crypt csv ctypes curses
dataclasses datetime dbhash dbm decimal difflib dircache dis distutils dl
doctest dumbdbm dummy_thread dummy_threading email encodings ensurepip enum
errno exceptions faulthandler fcntl filecmp fileinput findertools fl flp fm
fnmatch formatter fpectl fpformat fractions ftplib functools future_builtins
gc gdbm genericpath getopt getpass gettext gl glob graphlib grp gzip hashlib
heapq hmac hotshot html htmlentitydefs htmllib http httplib ic idlelib
ihooks imageop imaplib imgfile imghdr imp importlib imputil inspect io
ipaddress itertools jpeg json keyword lib2to3 linecache linuxaudiodev locale
logging lzma macerrors macostools macpath macresource macurl2path mailbox
mailcap marshal markupbase math md5 mhlib mimetools mimetypes mimify mmap
modulefinder msilib msvcrt multifile multiprocessing mutex netrc new nis
nntplib nt ntpath nturl2path numbers opcode operator optparse os os2
os2emxpath ossaudiodev parser pathlib pdb pickle pickletools pipes pkgutil
platform plistlib popen2 poplib posix posixfile posixpath pprint profile
pstats pty pwd py_compile pyclbr pydoc pydoc_data pyexpat queue quopri random
re readline repr reprlib resource rexec rfc822 riscos riscospath rlcompleter
robotparser runpy sched secrets select selectors sets sgmllib sha shelve
shlex shutil signal site sitecustomize smtpd smtplib sndhdr socket
socketserver spwd sqlite3 sre sre_compile sre_constants sre_parse ssl stat
statistics statvfs string stringold stringprep strop struct subprocess sunau
sunaudio sunaudiodev symbol symtable sys sysconfig syslog tabnanny tarfile
telnetlib tempfile termios test textwrap this thread threading time timeit
tkinter toaiff token tokenize tomllib trace traceback tracemalloc ttk tty
turtle turtledemo types typing unicodedata unittest urllib urllib2 urlparse
user usercustomize uu uuid venv videoreader warnings wave weakref webbrowser
whichdb winreg winsound wsgiref xdrlib xml xmllib xmlrpc xmlrpclib xx
xxlimited xxlimited_35 xxsubtype zipapp zipfile zipimport zlib zoneinfo
BaseHTTPServer Bastion CGIHTTPServer Canvas ColorPicker ConfigParser Cookie
Dialog DocXMLRPCServer EasyDialogs FileDialog FixTk FrameWork HTMLParser
MacOS MimeWriter MiniAEFrame Queue ScrolledText SimpleDialog SimpleHTTPServer
SimpleXMLRPCServer SocketServer StringIO Tix Tkconstants Tkdnd Tkinter
UserDict UserList UserString W aepack aetypes applesingle buildtools cfmfile
gensuitemodule icopen macfs nsremote posixemulation tkColorChooser
tkCommonDialog tkFileDialog tkFont tkMessageBox tkSimpleDialog turtle_demo
)";

// Not pandas, SciPy and scikit-learn: they pickle through functions of theirs.
constexpr absl::string_view kListedPackages = R"(
torch numpy torchvision torchaudio functorch caffe2 triton
aiohttp alembic ansible asyncssh billiard bs4 celery cffi click
cloudpickle conda cppyy cupy cython Cython django dill
docker dotenv execnet fabric fastapi flask fsspec gevent git gunicorn httpx
huggingface_hub importlib_metadata importlib_resources invoke ipykernel
IPython jax jedi jinja2 joblib jsonpickle jupyter jupyter_client
jupyter_core keras kombu llvmlite loky mako matplotlib mlflow multiprocess
mypy nbconvert nltk nose notebook numba numexpr onnxruntime paramiko parsl
past pathos pbr peewee pexpect pip pkg_resources plumbum poetry pox ppft
prefect psutil ptyprocess pudb py pybind11 pycparser pyparsing pyspark
pytest pywintypes rpyc ray requests requests_toolbelt ruamel
s3fs scrapy setuptools sh six smart_open sqlalchemy streamlit sympy
tensorflow tensorboard tornado twisted urllib3 uvicorn
virtualenv wandb werkzeug wheel win32api win32com win32con win32process
xonsh yaml zmq zope _distutils_hack _pytest _virtualenv
)";

constexpr absl::string_view kToolPackages = R"(
cffi cppyy docker execnet fabric invoke IPython ipykernel jupyter_client
paramiko past pexpect pip pkg_resources plumbum ptyprocess rpyc sh
setuptools six win32com xonsh _distutils_hack virtualenv
)";

// pytorch-format.md 5, 5.1 and 12: "module name name ...", one module a line.
constexpr absl::string_view kAllowedGlobals = R"(
collections OrderedDict Counter defaultdict deque
_codecs encode
builtins set frozenset complex slice range bytearray bytes getattr type int str float bool list tuple dict object Ellipsis NotImplemented NoneType
__builtin__ set frozenset complex slice xrange bytearray bytes getattr type int long str unicode basestring float bool list tuple dict object Ellipsis NotImplemented
types SimpleNamespace NoneType
copyreg _reconstructor __newobj__ __newobj_ex__
copy_reg _reconstructor __newobj__ __newobj_ex__
argparse Namespace
pathlib Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath
pathlib._local Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath
datetime datetime date time timedelta timezone
functools partial
decimal Decimal
fractions Fraction
uuid UUID SafeUUID
torch Size Tensor device Generator UntypedStorage TypedStorage
torch DoubleStorage FloatStorage HalfStorage LongStorage IntStorage ShortStorage CharStorage ByteStorage BoolStorage BFloat16Storage ComplexFloatStorage ComplexDoubleStorage QInt8Storage QUInt8Storage QInt32Storage QUInt4x2Storage QUInt2x4Storage
torch UInt16Storage UInt32Storage UInt64Storage ComplexHalfStorage Float8_e5m2Storage Float8_e4m3fnStorage Float8_e5m2fnuzStorage Float8_e4m3fnuzStorage Float8_e8m0fnuStorage Float4_e2m1fn_x2Storage Bits8Storage Bits1x8Storage Bits2x4Storage Bits4x2Storage Bits16Storage
torch BFloat16Tensor BoolTensor ByteTensor CharTensor DoubleTensor FloatTensor HalfTensor IntTensor LongTensor ShortTensor
torch float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128 complex32 uint16 uint32 uint64 float8_e5m2 float8_e4m3fn float8_e5m2fnuz float8_e4m3fnuz float8_e8m0fnu float4_e2m1fn_x2 bits8 bits1x8 bits2x4 bits4x2 bits16 qint8 quint8 qint32 quint4x2 quint2x4
torch int1 int2 int3 int4 int5 int6 int7 uint1 uint2 uint3 uint4 uint5 uint6 uint7
torch float double half long int short cfloat cdouble chalf
torch strided sparse_coo sparse_csr sparse_csc sparse_bsr sparse_bsc jagged _mkldnn
torch per_tensor_affine per_tensor_symmetric per_channel_affine per_channel_symmetric per_channel_affine_float_qparams
torch channels_last channels_last_3d contiguous_format preserve_format
torch._utils torch.channels_last torch.channels_last_3d torch.contiguous_format torch.preserve_format
torch.cuda DoubleStorage FloatStorage HalfStorage LongStorage IntStorage ShortStorage CharStorage ByteStorage BoolStorage BFloat16Storage ComplexFloatStorage ComplexDoubleStorage
torch.cuda BFloat16Tensor BoolTensor ByteTensor CharTensor DoubleTensor FloatTensor HalfTensor IntTensor LongTensor ShortTensor
torch.sparse BFloat16Tensor ByteTensor CharTensor DoubleTensor FloatTensor HalfTensor IntTensor LongTensor ShortTensor
torch.cuda.sparse BFloat16Tensor ByteTensor CharTensor DoubleTensor FloatTensor HalfTensor IntTensor LongTensor ShortTensor
torch.storage TypedStorage UntypedStorage _load_from_bytes
torch.nn.parameter Parameter Buffer UninitializedParameter UninitializedBuffer
torch.autograd.variable Variable
torch.serialization _get_layout
torch._tensor Tensor _rebuild_from_type _rebuild_from_type_v2
torch.tensor Tensor _rebuild_from_type
torch._utils _rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter _rebuild_parameter_v2 _rebuild_parameter_with_state _rebuild_qtensor _rebuild_sparse_tensor _rebuild_sparse_csr_tensor _rebuild_nested_tensor _rebuild_meta_tensor_no_storage _rebuild_wrapper_subclass _rebuild_device_tensor_from_numpy _rebuild_device_tensor_from_cpu_tensor _rebuild_xla_tensor
torch.nested._internal.nested_tensor _rebuild_njt NestedTensor
torch._dynamo.decorators _DimRange
torch._C Generator _VariableFunctionsClass ScriptObject Size device dtype layout
torch.torch_version TorchVersion
torch.jit._pickle build_tensor_from_id build_intlist build_tensorlist build_doublelist build_boollist restore_type_tag
torch.distributed.device_mesh DeviceMesh
torch.distributed._mesh_layout _MeshLayout _FlatLayout
torch.distributed._shard.sharded_tensor.api ShardedTensor ShardedTensor.ProcessGroupState
torch.distributed._shard.sharded_tensor.metadata ShardedTensorMetadata TensorProperties
torch.distributed._shard.sharded_tensor.shard Shard
torch.distributed._shard.metadata ShardMetadata
torch.distributed._shard.sharding_spec.api EnumerableShardingSpec
torch.distributed._shard.sharding_spec.chunk_sharding_spec ChunkShardingSpec
torch.distributed.remote_device _remote_device
numpy ndarray dtype matrix memmap recarray record chararray float16 float32 float64 float128 longdouble int8 int16 int32 int64 intc longlong uint8 uint16 uint32 uint64 uintc ulonglong bool_ bool complex64 complex128 complex256 clongdouble str_ bytes_ string_ unicode_ object_ void datetime64 timedelta64
numpy.core.multiarray _reconstruct scalar ndarray
numpy._core.multiarray _reconstruct scalar ndarray
numpy.core.numeric _frombuffer
numpy._core.numeric _frombuffer
numpy.random._pickle __randomstate_ctor __generator_ctor __bit_generator_ctor
numpy.random __RandomState_ctor
numpy.random._mt19937 MT19937
numpy.random._pcg64 PCG64 PCG64DXSM
numpy.random._philox Philox
numpy.random._sfc64 SFC64
numpy.random.bit_generator SeedSequence __pyx_unpickle_SeedSequence __pyx_unpickle_SeedlessSequence
numpy.ma.core _mareconstruct MaskedArray
numpy.ma MaskedArray
numpy.matrixlib.defmatrix matrix
numpy.rec recarray record
numpy.core.records recarray record
numpy._core.records recarray record
numpy.dtypes Float16DType Float32DType Float64DType Int8DType Int16DType Int32DType Int64DType UInt8DType UInt16DType UInt32DType UInt64DType BoolDType ObjectDType StrDType BytesDType
)";

constexpr absl::string_view kHarmlessBuiltins = R"(
abs all any ascii bin callable chr classmethod cmp divmod enumerate filter
format hash hex id isinstance issubclass iter len map max memoryview min next
oct ord pow print property repr reversed round sorted staticmethod sum super
zip unichr None True False
ArithmeticError AssertionError AttributeError BaseException
BaseExceptionGroup BlockingIOError BrokenPipeError BufferError BytesWarning
ChildProcessError ConnectionAbortedError ConnectionError
ConnectionRefusedError ConnectionResetError DeprecationWarning EOFError
EncodingWarning EnvironmentError Exception ExceptionGroup FileExistsError
FileNotFoundError FloatingPointError FutureWarning GeneratorExit IOError
ImportError ImportWarning IndentationError IndexError InterruptedError
IsADirectoryError KeyError KeyboardInterrupt LookupError MemoryError
ModuleNotFoundError NameError NotADirectoryError NotImplementedError OSError
OverflowError PendingDeprecationWarning PermissionError ProcessLookupError
PythonFinalizationError RecursionError ReferenceError ResourceWarning
RuntimeError RuntimeWarning StandardError StopAsyncIteration StopIteration
SyntaxError SyntaxWarning SystemError SystemExit TabError TimeoutError
TypeError UnboundLocalError UnicodeDecodeError UnicodeEncodeError
UnicodeError UnicodeTranslateError UnicodeWarning UserWarning ValueError
Warning WindowsError ZeroDivisionError
)";

// "module name", one a line.
constexpr absl::string_view kKnownGadgets = R"(
pandas eval
pandas ExcelFile
pandas ExcelWriter
pandas HDFStore
pandas.io.pytables HDFStore
pandas.core.computation.eval eval
pandas.util._print_versions show_versions
scipy.weave inline
sklearn.externals.joblib load
sklearn.utils.fixes parse_version
transformers.utils.hub cached_file
)";

// Found by reading which constructors of torch 2.13 and numpy 2.4 start, open
// or load something, and which classes of others their modules import.
constexpr absl::string_view kRiskyClasses = R"(
ArgumentParser AsyncCompile BuildExtension CDLL CUDAPluggableAllocator
CheckpointProcess CloudPickler CodeType CompilationUnit CompiledAOTI
CompiledFxGraph CuptiMonitor DLLWrapper DataLoader DataSource DefaultLogsSpecs
DefaultStager DirectoryReader EntryPoint EtcdServer EtcdStore FileBackedGraphModule
FileBaton FileCacheManager FileIO FileStore FileTimerServer FileWriter
ForkingPickler FrontendServer FunctionType GdsFile GlobalsBridge GraphModule
HTTPServer HashStore InteractiveInterpreter JsonProfile Lambda MagicMock MethodType
ModuleType MultiprocessContext NamedTemporaryFile NpzFile PContext
PT2ArchiveReader PT2ArchiveWriter PackageExporter PackageImporter Popen Pool
PrecompileThreadPool Process ProcessContext ProcessFailure ProcessGroupGloo
ProcessPoolExecutor ProfileGuidedEstimator PyDLL PyTorchFileReader
PyTorchFileWriter Repository Request SourceFileLoader SpawnContext
SubprocMain SubprocPool SubprocessContext SubprocessHandler SummaryWriter
SyncManager TCPStore TCPStoreBarrier TailLog TarFile TemporaryDirectory
TemporaryFile Thread ThreadPool ThreadPoolExecutor ThreadingHTTPServer Timer
TuningProcess TuningProcessPool Unpickler XPUPluggableAllocator ZipFile
_AsyncCheckpointProcess _CPUinfo _DataPipeSerializationWrapper
_IterDataPipeSerializationWrapper _MapDataPipeSerializationWrapper
_MultiProcessingDataLoaderIter _ProcessBasedAsyncCheckpointExecutor
_ReplicationStager _ThreadBasedAsyncCheckpointExecutor _ValgrindWrapper
_open_file _open_zipfile_reader _open_zipfile_writer_buffer
_open_zipfile_writer_file
)";

constexpr absl::string_view kFileMethods = R"(
from_file from_buffer fromfile tofile dump load save _new_using_filename_cpu
_share_filename_cpu_ _set_from_file _write_file
)";

constexpr absl::string_view kRunningNames = R"(
eval exec execfile system popen popen2 popen3 popen4 Popen __import__
import_module check_output check_call getoutput getstatusoutput run_module
run_path runcode runsource spawnl spawnv spawnve spawnlp spawnvp startfile
execv execve execl execle execlp execvp execvpe posix_spawn
)";

constexpr absl::string_view kNotoriousModules = R"(
os sys subprocess builtins __builtin__ __builtins__ importlib ctypes socket
shutil pickle cPickle marshal runpy posix nt pty commands popen2 imp pkgutil
multiprocessing threading asyncio webbrowser urllib ntpath posixpath
)";

constexpr absl::string_view kHarmlessDunders = R"(
__init__ __new__ __call__ __len__ __iter__ __next__ __contains__ __eq__
__ne__ __lt__ __le__ __gt__ __ge__ __hash__ __str__ __repr__ __bool__
__add__ __sub__ __mul__ __matmul__ __truediv__ __getitem__ __enter__
__exit__ __name__ __qualname__ __doc__
)";

NameTable Words(absl::string_view text) {
  const std::vector<absl::string_view> words =
      absl::StrSplit(text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  return NameTable(words.begin(), words.end());
}

NameTable Lines(absl::string_view text) {
  const std::vector<absl::string_view> lines =
      absl::StrSplit(text, '\n', absl::SkipEmpty());
  return NameTable(lines.begin(), lines.end());
}

// "module name" of each line's module and names.
std::vector<std::string> AllowedTexts() {
  std::vector<std::string> texts;
  for (absl::string_view line :
       absl::StrSplit(kAllowedGlobals, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    for (size_t i = 1; i < words.size(); ++i) {
      texts.push_back(absl::StrCat(words[0], " ", words[i]));
    }
  }
  return texts;
}

}  // namespace

// Made on first use, never freed: immutable.
const NameTable& StandardModules() {
  static const auto& table = *new NameTable(Words(kStandardModules));
  return table;
}
const NameTable& ListedPackages() {
  static const auto& table = *new NameTable(Words(kListedPackages));
  return table;
}
const NameTable& ToolPackages() {
  static const auto& table = *new NameTable(Words(kToolPackages));
  return table;
}
const NameTable& AllowedGlobals() {
  static const auto& texts = *new std::vector<std::string>(AllowedTexts());
  static const auto& table = *new NameTable(texts.begin(), texts.end());
  return table;
}
const NameTable& HarmlessBuiltins() {
  static const auto& table = *new NameTable(Words(kHarmlessBuiltins));
  return table;
}
const NameTable& KnownGadgets() {
  static const auto& table = *new NameTable(Lines(kKnownGadgets));
  return table;
}
const NameTable& RiskyClasses() {
  static const auto& table = *new NameTable(Words(kRiskyClasses));
  return table;
}
const NameTable& FileMethods() {
  static const auto& table = *new NameTable(Words(kFileMethods));
  return table;
}
const NameTable& RunningNames() {
  static const auto& table = *new NameTable(Words(kRunningNames));
  return table;
}
const NameTable& NotoriousModules() {
  static const auto& table = *new NameTable(Words(kNotoriousModules));
  return table;
}
const NameTable& HarmlessDunders() {
  static const auto& table = *new NameTable(Words(kHarmlessDunders));
  return table;
}

}  // namespace penstock
