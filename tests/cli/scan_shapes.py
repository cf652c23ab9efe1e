"""Files that would run something, each by another way, and files that would not.

Put together from opcodes by hand. What they name is never run: nothing here is
loaded by anybody.
"""

import gzip
import io
import struct
import tarfile
import zlib

import checkpoint_files as f

COMMAND = f.text('true')
TEXT_EVIL = b"cos\nsystem\n(S'true'\ntR."  # begins like no file
ONE = COMMAND + b'\x85'  # a tuple of it


def short(text):
    return b'\x8c' + bytes([len(text)]) + text.encode()


def stack_global(module=short('os'), name=short('system')):
    return module + name + b'\x93'


def named(module='os', name='system'):
    return f.class_of(module, name)


def called(module='os', name='system'):
    return named(module, name) + ONE + b'R'


def spelled(write):
    return write('os') + write('system') + b'\x93' + ONE + b'R'


def line(opcode):
    return lambda text: opcode + text.encode() + b'\n'


def quoted(text):
    return b"S'" + text.encode() + b"'\n"


def hexed(text):
    return b'S"' + b''.join(b'\\x%02x' % c for c in text.encode()) + b'"\n'


def counted(opcode, form):
    return lambda text: opcode + struct.pack(form, len(text)) + text.encode()


def getattr_of(base, name):
    return named('builtins', 'getattr') + base + f.text(name) + b'\x86R'


def spellings():
    yield 'short_binunicode', spelled(short)
    yield 'binunicode', spelled(counted(b'X', '<I'))
    yield 'binunicode8', spelled(counted(b'\x8d', '<Q'))
    yield 'unicode_line', spelled(line(b'V'))
    yield 'unicode_escaped', spelled(lambda t: b'V' + b''.join(
        b'\\u%04x' % ord(c) for c in t) + b'\n')
    yield 'string_line', spelled(quoted)
    yield 'string_escaped', spelled(hexed)
    yield 'binstring', spelled(counted(b'T', '<i'))
    yield 'short_binstring', spelled(counted(b'U', 'B'))
    yield 'dup_and_pop', (short('os') + b'2N00' + short('os') + b'0' + short('system') +
                          b'\x93' + ONE + b'R')
    yield 'popped_mark', short('os') + b'(NNN1' + short('system') + b'\x93' + ONE + b'R'


def memos():
    """The words come out of the memo."""
    def use(put_os, put_system, get_os, get_system):
        return (short('os') + put_os + b'0' + short('system') + put_system + b'0' +
                get_os + get_system + b'\x93' + ONE + b'R')
    yield 'binput', use(b'q\1', b'q\2', b'h\1', b'h\2')
    yield 'memoize', use(b'\x94', b'\x94', b'h\0', b'h\1')
    yield 'long_binput', use(b'r\1\0\1\0', b'r\xff\xff\xff\xff', b'j\1\0\1\0', b'j\xff\xff\xff\xff')
    yield 'put_text', use(b'p7\n', b'p8\n', b'g7\n', b'g8\n')
    yield 'put_text_get_binary', use(b'p7\n', b'p+0_8\n', b'h\7', b'h\x08')
    yield 'put_binary_get_text', use(b'q\7', b'q\x08', b'g 7 \n', b'g0008\n')
    yield 'memoize_behind_a_gap', use(b'q\x63', b'\x94', b'h\x63', b'h\1')
    yield 'memoize_counts_distinct', use(b'q\0q\0q\0\x94', b'\x94', b'h\1', b'h\2')
    yield 'overwritten', (short('math') + b'q\1' + short('os') + b'q\1' + b'00h\1' +
                          short('system') + b'\x93' + ONE + b'R')
    yield 'global_from_memo', named() + b'q\x050h\x05' + ONE + b'R'
    yield 'tuple_from_memo', (b'(' + named() + f.text('x') + b'tq\x090' +
                              named('functools', 'partial') + b'h\x09R')
    yield 'key_of_python_2', use(b'pone\n', b'ptwo\n', b'gone\n', b'gtwo\n')


def calls():
    yield 'reduce', called()
    yield 'inst', b'(' + COMMAND + b'ios\nsystem\n'
    yield 'obj', b'(' + named() + COMMAND + b'o'
    yield 'newobj', named() + ONE + b'\x81'
    yield 'newobj_ex', named() + ONE + b'}\x92'
    yield 'reduce_with_a_list', named() + b']' + COMMAND + b'aR'
    yield 'named_only', named()
    yield 'named_and_popped', named() + b'0N'
    yield 'as_a_key', b'}' + named() + b'Ns'
    yield 'as_a_factory', named('collections', 'defaultdict') + named() + b'\x85R'
    yield 'as_partial', named('functools', 'partial') + named() + b'\x85R'
    yield 'partial_called', (named('functools', 'partial') + named('builtins', 'int') +
                             b'\x85R)R')
    yield 'partial_of_unknown_bytes', named('functools', 'partial') + b']R'
    for width, opcode in ((1, b'\x82'), (2, b'\x83'), (4, b'\x84')):
        yield f'extension_{width}', opcode + b'\1' + b'\0' * (width - 1) + b')R'
    yield 'extension_named_only', b'\x82\x07'
    yield 'persistent_function', f.item((named(), 'a', 'b')) + b'Q)R'
    yield 'persistent_package', f.item(('reduce_package', 1, named(), ())) + b'Q'
    yield 'persistent_package_old', f.item(('reduce_package', named(), ())) + b'Q'
    yield 'persistent_storage_class', f.item(('storage', named(), '0', 'cpu', 1)) + b'Q'
    yield 'rebuild_from_type', (named('torch._tensor', '_rebuild_from_type_v2') + b'(' +
                                named() + named('torch', 'Tensor') + ONE + b'NtR')
    yield 'rebuild_from_type_twice', (
        named('torch._tensor', '_rebuild_from_type_v2') + b'(' +
        named('torch._tensor', '_rebuild_from_type_v2') + named('torch', 'Tensor') + b'(' +
        named() + named('torch', 'Tensor') + ONE + b'Nt' + b'NtR')
    yield 'rebuild_from_type_hidden', (
        named('torch._tensor', '_rebuild_from_type_v2') + b'](' + named() +
        named('torch', 'Tensor') + ONE + b'NeR')
    yield 'random_state_constructor', (
        named('numpy.random._pickle', '__randomstate_ctor') + COMMAND +
        named('torch.hub', 'load') + b'\x86R')
    yield 'reconstructor', (named('copy_reg', '_reconstructor') + b'(' +
                            named('subprocess', 'Popen') + named('__builtin__', 'object') +
                            b'NtR')
    yield 'build_on_a_class', named('torch.nn.modules.linear', 'Linear') + b'}' + f.text(
        'forward') + b'Nsb'
    yield 'build_on_an_unknown_class', named('models', 'Net') + b'}b'
    yield 'items_of_a_module', named('torch', 'nn') + b'NNs'
    yield 'appends_to_a_class', named('torch.nn', 'Linear') + b'(Ne'
    yield 'calls_a_call', named('collections', 'OrderedDict') + b')R)R'
    yield 'calls_a_string', COMMAND + b')R'
    yield 'makes_a_class', (named('builtins', 'type') + b'(' + f.text('X') +
                            named('builtins', 'object') + b'\x85}tR')
    yield 'load_from_computed_bytes', (named('torch.storage', '_load_from_bytes') + b'NN' +
                                       b'\x86\x85R')
    yield 'encode_with_rot13', (named('_codecs', 'encode') + f.text('bf') + f.text('rot13') +
                                b'\x86R' + short('system') + b'\x93' + ONE + b'R')
    yield 'name_of_a_call', (named('builtins', 'str') + f.text('os') + b'\x85R' +
                             short('system') + b'\x93' + ONE + b'R')
    yield 'name_of_bytes', (named('builtins', 'bytes') + b')R' + short('x') + b'\x93)R')


def joblib_array(raw, code='u1', padded=True, count=None, dtype_bytes=-1, then=b'u'):
    """An array as joblib puts it between the opcodes."""
    return (named('joblib.numpy_pickle', 'NumpyArrayWrapper') + b')\x81}(' + short('subclass') +
            named('numpy', 'ndarray') + short('order') + short('C') + short('allow_mmap') +
            b'\x88' + (short('numpy_array_alignment_bytes') + b'K\x10' if padded else b'') +
            short('dtype') + named('numpy', 'dtype') + f.item((code, False, True)) + b'R' +
            f.item((3, '|', b'N', b'N', b'N', dtype_bytes, -1, 0)) + b'b' + short('shape') +
            f.number(len(raw) if count is None else count) + b'\x85' + then + b'b' + (
                b'\3\xff\xff\xff' if padded else b'') + raw)


def tricks():
    """Only names that are allowed, which call each other behind a scan's back."""
    load = named('torch.storage', '_load_from_bytes')
    evil = b'C' + bytes([len(TEXT_EVIL)]) + TEXT_EVIL
    thing = named('argparse', 'Namespace') + b')\x81'
    yield 'loader_as_a_constructor', (
        named('numpy.random._pickle', '__generator_ctor') + evil + load + b'\x86R')
    yield 'loader_as_own_setstate', thing + b'}' + short('__setstate__') + load + b'sb' + evil + b'b'
    yield 'loader_as_own_setstate_escaped', (
        thing + b'}V\\u005f_setstate__\n' + load + b'sb' + evil + b'b')
    yield 'loader_as_own_setstate_recalled', (
        thing + b'q\1}' + short('x') + load + b'sb0h\1' + evil + b'b')
    yield 'loader_in_a_partial', (
        named('functools', 'partial') + named('builtins', 'int') + b'\x85R(' + load + evil +
        b'\x85}Ntb')
    yield 'loader_in_a_list', b']' + load + b'a0' + load + evil + b'\x85R'
    yield 'getattr_in_a_partial', (
        named('functools', 'partial') + named('builtins', 'getattr') + named('torch', 'Tensor') +
        b'\x86R0' + getattr_of(named('torch', 'Tensor'), 'relu'))
    yield 'rebuild_given_away', (
        named('collections', 'defaultdict') + named('torch._tensor', '_rebuild_from_type_v2') +
        b'\x85R')
    yield 'own_setstate', (thing + b'}' + short('__setstate__') + named('models', 'run') + b'sb' +
                           COMMAND + b'b')
    yield 'own_append', (thing + b'}' + short('append') + named('torch.hub', 'load') + b'sb' +
                         COMMAND + b'a')
    yield 'own_extend', thing + b'}' + short('extend') + load + b'sb(' + evil + b'e'
    yield 'own_add', thing + b'}' + short('add') + load + b'sb(' + evil + b'\x90'
    yield 'built_twice', thing + b'}' + short('a') + b'Nsb}b'
    yield 'getattr_of_a_path', getattr_of(named('pathlib', 'Path'), 'unlink')
    yield 'getattr_of_a_storage', getattr_of(named('torch', 'UntypedStorage'), 'from_file')
    yield 'getattr_of_an_array', getattr_of(named('numpy', 'ndarray'), 'tofile')
    yield 'map_of_a_file', named('numpy', 'memmap') + COMMAND + b'\x85R'
    yield 'map_of_a_file_by_newobj', named('numpy', 'memmap') + COMMAND + b'\x85\x81'
    yield 'map_of_a_file_by_another', (
        named('numpy.random._pickle', '__generator_ctor') + COMMAND + named('numpy', 'memmap') +
        b'\x86R')
    yield 'map_of_a_file_in_a_partial', (
        named('functools', 'partial') + named('numpy', 'memmap') + COMMAND + b'\x86R')
    # For joblib the array has five bytes, which swallow the rest for a scan.
    for name, options in (
            ('changed', {'count': 99, 'then': b'u' + short('shape') + b'K\5\x85s'}),
            ('recalled', {'count': 99, 'then': b'uq\7h\7' + short('shape') + b'K\5\x85s0'}),
            ('of_another_size', {'code': 'V1', 'count': 1, 'dtype_bytes': 5})):
        rest = called()
        yield f'array_{name}', joblib_array(
            b'B' + struct.pack('<I', len(rest)) + rest, padded=False, **options)
    yield 'pipe_of_pickles', (
        named('torch.utils.data.datapipes.datapipe', '_IterDataPipeSerializationWrapper') +
        b')\x81' + evil + b'b')


def attributes():
    linear = named('torch.nn.modules.linear', 'Linear')
    yield 'getattr_of_os', getattr_of(named('os', 'path'), 'os') + ONE + b'R'
    yield 'getattr_named', named('builtins', 'getattr')
    yield 'getattr_dunder', getattr_of(linear, '__init__') + b'0' + getattr_of(
        linear, '__globals__')
    yield 'getattr_chain', getattr_of(getattr_of(linear, 'forward'), 'x')
    yield 'getattr_called', getattr_of(linear, 'forward') + b')R'
    yield 'getattr_by_obj', (b'(' + named('builtins', 'getattr') + linear +
                             f.text('__globals__') + b'o')
    yield 'getattr_of_python_2', (named('__builtin__', 'getattr') + named('os', 'path') +
                                  f.text('x') + b'\x86R')
    yield 'getattr_computed', (named('builtins', 'getattr') + linear +
                               named('builtins', 'str') + b')R\x86R')
    yield 'getattr_with_a_list', named('builtins', 'getattr') + b'](' + linear + f.text(
        'x') + b'eR'
    yield 'getattr_dotted', getattr_of(linear, 'a.b')
    yield 'getattr_unknown_called', getattr_of(named('models', 'Net'), 'run') + b')R'
    yield 'getattr_unknown_globals', getattr_of(named('models', 'run'), '__globals__')
    for module, name in (
            ('torch', 'serialization.os.system'), ('torch.serialization', 'os'),
            ('numpy', 'f2py.os.system'), ('models', 'os.system'), ('models', 'os'),
            ('__main__', '__builtins__.eval'), ('models.x', 'Net.__init__.__globals__'),
            ('torch.nn', 'Linear.__init__.__globals__'), ('models', 'eval')):
        yield f'dotted_{module}_{name}', stack_global(short(module), short(name)) + ONE + b'R'


# Of the standard library of some Python, or of a package, that runs what it gets.
GADGETS = '''
os.system posix.system nt.system os.popen os.execv os.spawnl subprocess.Popen subprocess.call
subprocess.check_output commands.getoutput popen2.popen3 builtins.eval builtins.exec
builtins.compile builtins.open builtins.__import__ builtins.breakpoint builtins.input
__builtin__.eval __builtin__.execfile __builtin__.apply __builtin__.file __builtins__.eval
runpy.run_module runpy._run_code runpy.run_path importlib.import_module imp.load_source
pkgutil.resolve_name code.InteractiveInterpreter codeop.compile_command pty.spawn
pdb.run bdb.Bdb profile.run cProfile.run cProfile.runctx trace.Trace timeit.timeit
timeit.main doctest.debug_script webbrowser.open ctypes.CDLL _ctypes.dlopen socket.socket
_socket.socket shutil.rmtree urllib.request.urlopen urllib2.urlopen httplib.HTTPConnection
http.client.HTTPSConnection ftplib.FTP smtplib.SMTP pickle.loads cPickle.loads _pickle.loads
marshal.loads shelve.open types.FunctionType types.CodeType operator.attrgetter
operator.methodcaller operator.itemgetter _operator.methodcaller functools.reduce
itertools.starmap logging.config.listen logging.FileHandler idlelib.run.Executive
idlelib.pyshell.ModifiedInterpreter.runcode lib2to3.pgen2.grammar.Grammar.loads
lib2to3.pgen2.pgen.ParserGenerator.make_label test.support.script_helper.assert_python_ok
_pyrepl.pager.pipe_pager ensurepip._run_pip venv.create distutils.spawn.spawn
distutils.file_util.write_file asyncio.create_subprocess_shell multiprocessing.Process
concurrent.futures.ProcessPoolExecutor threading.Thread _thread.start_new_thread
signal.signal sys.settrace sys.setprofile sys.modules gc.get_objects inspect.getsource
tempfile.mktemp tarfile.open zipfile.ZipFile sqlite3.connect dbm.open gzip.open bz2.open
lzma.open io.open io.FileIO fileinput.input linecache.getline mmap.mmap pathlib.os.system
_aix_support._read_cmd_output _osx_support._read_output pydoc.pipepager pydoc.tempfilepager
tkinter.Tk turtle.Turtle unittest.main zipimport.zipimporter site.main sysconfig._main
_posixsubprocess.fork_exec _winapi.CreateProcess _interpreters.exec _xxsubinterpreters.run_string
annotationlib.ForwardRef compression.zstd.open string.Formatter.format copyreg.__reduce_ex__
torch.load torch.hub.load torch.hub.load_state_dict_from_url torch.serialization.load
torch.jit.load torch.jit.unsupported_tensor_ops.execWrapper torch.utils.collect_env.run
torch.utils._config_module.load_config torch._inductor.codecache.compile_file
torch._dynamo.guards.GuardBuilder.get torch.utils.cpp_extension.load
torch.utils.bottleneck.__main__.run_cprofile torch.package.PackageImporter
torch.distributed.rpc.init_rpc torch.fx.graph_module.reduce_graph_module torch.nn.functional.relu
torch.nn.init.uniform_ torch.utils.data.datapipes.utils.decoder.basichandlers
torch.utils.model_zoo.load_url torch.multiprocessing.spawn
torch.fx.experimental.symbolic_shapes.ShapeEnv.evaluate_guards_expression
numpy.load numpy.testing._private.utils.runstring numpy.f2py.crackfortran.getlincoef
numpy.f2py.compile numpy.core._ufunc_reconstruct numpy.loadtxt numpy.fromfile
numpy.distutils.exec_command.exec_command numpy.ctypeslib.load_library
pip.main pip._internal.main pip._internal.cli.main.main setuptools.sandbox.run_setup
setuptools._distutils.spawn.spawn pkg_resources.run_script cloudpickle.loads
cloudpickle.cloudpickle._make_function dill.loads dill._dill._create_code joblib.load
six.moves.builtins.eval past.builtins.execfile cffi.FFI sh.Command pexpect.spawn
paramiko.SSHClient requests.get urllib3.PoolManager.request jinja2.Template.render yaml.load
pandas.read_pickle sympy.sympify IPython.get_ipython tensorflow.io.read_file
uuid._popen asyncio.unix_events._UnixSubprocessTransport._start pathlib.Path.unlink antigravity.x
torch._inductor.compile_worker.subproc_pool.SubprocPool torch.distributed.TCPStore
torch.distributed.checkpoint._async_process_executor._AsyncCheckpointProcess
torch.distributed.checkpoint.filesystem.Process torch._C.PyTorchFileWriter
torch.utils.tensorboard.SummaryWriter torch.package.PackageExporter torch.fx.GraphModule
torch.nn.modules.module.Popen torch.serialization._open_file torch.cuda.memory.CUDAPluggableAllocator
numpy.DataSource numpy.lib.npyio.NpzFile numpy.memmap pandas.read_csv pandas.io.parsers.read_table
torch.utils._config_module.install_config_module torch.distributed.checkpoint.load
torch.testing._internal.common_utils.run_tests torch.utils._pytree.treespec_loads
keras.models.load_model numba.jit fsspec.open nltk.download
'''.split()


def broken():
    yield 'broken_at_once', called() + b'\xff'
    yield 'broken_behind_the_name', named() + b'\0'
    yield 'cut_off', b'\x80\x02' + called()
    yield 'cut_in_the_name', b'\x80\x02' + b'cos\nsyst'
    yield 'cut_in_an_argument', b'\x80\x02' + called() + b'X\xff\0\0\0abc'
    yield 'underflow_first', b'00R1' + called()
    yield 'missing_memo_first', b'h\x09j\0\0\0\1' + called()
    yield 'stop_first', b'N.' + called()
    yield 'stops_first', b'N.N.\x80\x02N.' + called()
    yield 'behind_a_broken_one', b'\xff\xff\x80\x02' + called()
    yield 'behind_a_broken_one_as_text', b'\xfe' * 9 + called()
    yield 'proto_255', b'\x80\xff' + called()
    yield 'proto_again', b'\x80\x02\x80\x04N0\x80\x05' + called()
    yield 'no_proto', called()
    yield 'frame_too_long', b'\x80\x04\x95' + b'\xff' * 7 + b'\x7f' + called()
    yield 'frame_too_short', b'\x80\x04\x95\1\0\0\0\0\0\0\0' + called()
    yield 'odd_numbers', b'I0x10\nL0x10L\nF1e\nInan\n0000' + called()
    yield 'bad_utf8', f.text('a').replace(b'a', b'\xff') + b'0' + called()
    yield 'blank_behind_the_module', called('os ', 'system')
    yield 'carriage_return', called('os\r', 'system')
    yield 'no_module', called('', 'system')
    yield 'dots', called('os.', 'system')
    yield 'zero_in_the_name', called('os\0', 'system')
    yield 'deep_marks', b'(' * 5000 + called()
    yield 'long_way_there', b'N0' * 20000 + called()
    yield 'magic_by_a_call', called('builtins', 'eval')
    yield 'next_buffer', b'\x80\x05\x97\x98' + called()


def pickles():
    """Name -> bytes of a pickle that is not to be called clean."""
    shapes = {}
    for prefix, group in (('spelled', spellings()), ('memo', memos()), ('call', calls()),
                          ('attribute', attributes()), ('trick', tricks())):
        for name, body in group:
            shapes[f'{prefix}_{name}'] = b'\x80\x04' + body + b'.'
    for protocol in range(6):
        shapes[f'protocol_{protocol}'] = (bytes([0x80, protocol]) if protocol else b'') + called(
            ) + b'.'
    for name, body in broken():
        shapes[f'broken_{name}'] = body if name.startswith('cut') else body + b'.'
    for gadget in GADGETS:
        module, name = gadget.rsplit('.', 1)
        shapes[f'gadget_{gadget}'] = f.pickle(called(module, name))
        parts = gadget.split('.')
        shapes[f'gadget4_{gadget}'] = f.pickle(
            stack_global(short(parts[0]), short('.'.join(parts[1:]))) + ONE + b'R', 4)
    return shapes


EVIL = f.pickle(called())


def plain_zip(records, **options):
    return f.archive([f.Entry(name.encode(), data) for name, data in records.items()], **options)


def npy(payload, descr="'|O'"):
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}".encode()
    head += b' ' * (-(len(head) + 11) % 64) + b'\n'
    return b'\x93NUMPY\1\0' + struct.pack('<H', len(head)) + head + payload


def tar_of(**members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w') as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


LEGACY = (b'\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.'
          b'\x80\x02}.')


def containers():
    """Name -> function that hides a pickle in a file."""
    with_record = f.records
    yield 'bare', lambda p: p
    yield 'data_pkl', lambda p: f.checkpoint(p)
    yield 'deflated', lambda p: f.checkpoint(p, data_pkl={'method': 8})
    yield 'another_record', lambda p: f.archive(with_record() + [f.Entry(b'archive/extra', p)])
    yield 'another_prefix', lambda p: f.archive(with_record() + [f.Entry(b'other/data.pkl', p)])
    yield 'crc', lambda p: f.checkpoint(p, data_pkl={'local': {'crc': 1}, 'central': {'crc': 1}})
    yield 'encrypted_flag', lambda p: f.checkpoint(p, data_pkl={'central': {'flags': 0x801}})
    yield 'local_size', lambda p: f.checkpoint(p, data_pkl={'local': {'stored': 1, 'size': 1}})
    yield 'two_names', lambda p: f.checkpoint(p, data_pkl={'local': {'name': b'archive/readme.m'}})
    yield 'no_directory', lambda p: f.checkpoint(p)[:-60]
    yield 'bytes_behind', lambda p: f.checkpoint() + p
    yield 'bytes_before', lambda p: p + f.checkpoint()
    yield 'nested_zip', lambda p: f.archive(with_record() + [
        f.Entry(b'archive/inner', f.checkpoint(p))])
    yield 'nested_deflated', lambda p: f.archive(with_record() + [
        f.Entry(b'archive/inner', f.checkpoint(p, data_pkl={'method': 8}), method=8)])
    yield 'two_zips', lambda p: f.checkpoint(p) + f.checkpoint()
    yield 'legacy_object', lambda p: LEGACY + p
    yield 'legacy_keys', lambda p: LEGACY + b'\x80\x02}.' + p
    yield 'legacy_behind', lambda p: LEGACY + b'\x80\x02}.\x80\x02].' + p
    yield 'tar', lambda p: tar_of(sys_info=b'\x80\x02}.', pickle=p)
    yield 'npy', npy
    yield 'npz', lambda p: plain_zip({'a.npy': npy(p)})
    yield 'npz_of_numbers_and_more', lambda p: plain_zip({
        'a.npy': npy(f.FLOATS, "'<f4'"), 'b': npy(p, '"|O"')})
    yield 'npz_deflated', lambda p: f.archive([f.Entry(b'a.npy', npy(p), method=8)])
    yield 'gzip', lambda p: gzip.compress(p, mtime=0)
    yield 'zlib', zlib.compress
    yield 'gzip_members', lambda p: gzip.compress(p[:3], mtime=0) + bytes(70_000) + gzip.compress(
        p[3:], mtime=0)
    yield 'tar_gzip', lambda p: gzip.compress(tar_of(x=b'', pickle=p), mtime=0)
    yield 'npy_of_records', lambda p: npy(p, "[('a', '|O'), ('b', '<i4')]")
    yield 'npy_escaped', lambda p: npy(p, r"'|\x4f'")
    yield 'behind_empty_records', lambda p: f.archive(with_record() + [
        f.Entry(b'archive/%d' % i, b'') for i in range(20)] + [f.Entry(b'archive/x.pkl', p)])
    yield 'behind_a_joblib_array', lambda p: (
        b'\x80\4' + joblib_array(b'\xff\xc3ab.\x80' * 5) + b'0' + p)
    yield 'in_a_joblib_array', lambda p: (
        b'\x80\4' + joblib_array(p, 'O', padded=False) + b'0N.')
    yield 'second_stream', lambda p: LEGACY + b'\x80\x02}.\x80\x02].' + bytes(7) + LEGACY + p
    yield 'load_from_bytes', lambda p: b'\x80\x03' + named(
        'torch.storage', '_load_from_bytes') + b'B' + struct.pack('<I', len(p)) + p + b'\x85R.'
    yield 'load_from_text', lambda p: f.pickle(
        named('torch.storage', '_load_from_bytes') + f.call(
            '_codecs', 'encode', p.decode('latin-1'), 'latin1') + b'\x85R')


def hidden_anywhere():
    """Where only what a pickle begins with tells: not for what is broken before."""
    import random
    noise = random.Random(5).randbytes(50_000).replace(b'\x80', b'\x81')
    yield 'in_a_tensor', lambda p: f.checkpoint(None, {'0': noise[:-7] + p + noise})
    yield 'in_noise', lambda p: noise + p + noise
    yield 'behind_zeros', lambda p: bytes(100_003) + p
    # joblib takes it for numbers, pickle for opcodes.
    yield 'as_a_joblib_array', lambda p: b'\x80\4' + joblib_array(p, padded=False) + b'0N.'


def zips():
    """Zip files that programs read differently, and nothing hostile in them."""
    lie = lambda **fields: f.checkpoint(data_pkl=fields)
    for flag in (0x1, 0x20, 0x40, 0x2000):
        yield f'flag_{flag:x}_central', lie(central={'flags': 0x800 | flag})
        yield f'flag_{flag:x}_local', lie(local={'flags': 0x800 | flag})
    yield 'name', lie(local={'name': b'archive/data.pk2'})
    yield 'name_of_a_tensor', f.checkpoint(data_0={'local': {'name': b'archive/data/1'}})
    yield 'method', lie(local={'method': 8})
    yield 'method_of_the_directory', lie(central={'method': 8})
    yield 'size', lie(local={'stored': 5, 'size': 5})
    yield 'two_sizes', lie(central={'size': 5})
    yield 'duplicate', f.archive(f.records() + f.records()[:1])
    yield 'duplicate_but_for_case', f.archive(f.records() + [
        f.Entry(b'archive/DATA.PKL', f.pickle(b'N'))])
    yield 'no_local_header', lie(local={'magic': b'PK\7\x08'})
    yield 'up', f.archive(f.records() + [f.Entry(b'archive/../x', b'')])
    yield 'absolute', f.archive(f.records() + [f.Entry(b'/etc/x', b'')])
    yield 'zero_in_a_name', f.archive(f.records() + [f.Entry(b'archive/a\0b', b'')])
    yield 'count', f.archive(f.records(), here=1, total=1)
    yield 'zip64_differs', f.archive(f.records(), zip64=True, zip64_lies={'total': 1, 'here': 1})
    yield 'unicode_name', lie(central={'extra': struct.pack('<HHBI', 0x7075, 8, 1, 0) + b'abc'})
    inner = f.archive(f.records(prefix='b'))
    yield 'end_in_the_comment', f.archive(f.records(), comment=inner)
    place = len(f.records()[0].data)
    yield 'overlap', lie(central={'stored': place + 500, 'size': place + 500})


def honest():
    import random
    rng = random.Random(9)
    plain = f.dictionary(w=f.tensor(), epoch=3, name='x' * 300)
    yield 'checkpoint', f.checkpoint()
    yield 'model', f.model(6, 30_000)
    yield 'deflated', f.checkpoint(data_pkl={'method': 8})
    # As they lie, deflated bytes look like anything.
    yield 'deflated_many', f.archive(f.records() + [
        f.Entry(b'archive/code/%d.py.debug_pkl' % i,
                f.pickle(f.text(''.join(rng.choices('abcdefgh (),.='[:2 + i % 13], k=20 + i)))),
                method=8) for i in range(1500)])
    yield 'no_crc', f.checkpoint(data_0={'central': {'crc': 0}, 'local': {'crc': 0}})
    yield 'comment', f.archive(f.records(), comment=b'made by hand')
    yield 'bytes_behind', f.checkpoint() + b'tail' * 10
    yield 'zip64', f.archive(f.records(), zip64=True)
    yield 'legacy', LEGACY + f.pickle(plain) + b'\x80\x02]X\1\0\0\x000a.' + struct.pack(
        '<q', 3) + f.FLOATS
    yield 'pickle', f.pickle(f.dictionary(a=1, b=(1, 2)))
    yield 'numbers', npy(f.FLOATS, "'<f4'")
    yield 'npz', plain_zip({'a.npy': npy(f.FLOATS, "'<f4'"), 'b.npy': npy(f.FLOATS, "'<f4'")})
    yield 'tar', tar_of(sys_info=b'\x80\x02}.', readme=b'hello')
    yield 'two_files', f.checkpoint() + f.checkpoint()
    yield 'empty_records', f.archive(f.records() + [
        f.Entry(b'archive/data/%d' % i, b'') for i in range(1, 3000)])
    yield 'words_packed', gzip.compress(tar_of(words=b'cos\nsin\nios\nlog\n' * 9, noise=rng.randbytes(
        60_000)), 0, mtime=0)
    yield 'map_in_an_array', f.with_pickle(f.call(
        'numpy.core.multiarray', '_reconstruct', named('numpy', 'memmap'), (0,), b'C\1b'))
    yield 'nested', f.archive(f.records() + [f.Entry(b'archive/inner', f.checkpoint())])
    yield 'getattr_of_an_allowed_class', f.with_pickle(f.dictionary(relu=getattr_of(
        named('torch._C', '_VariableFunctionsClass'), 'relu')))
    yield 'none_type', f.with_pickle(f.call('__builtin__', 'type', b'N'))
    yield 'partial', f.with_pickle(named('functools', 'partial') + named(
        'torch.nn.functional', 'relu') + b'\x85R')
    yield 'module', f.with_pickle(named('torch.nn.modules.linear', 'Linear') + b')\x81}b')
    yield 'script_class', f.with_pickle(named('__torch__.torch.nn', 'Linear') + b')\x81}b')
    yield 'old_module_in_a_stream', LEGACY + f.pickle(f.item(
        ('module', named('torch.nn', 'Linear'), 'a.py', 'class Linear: pass')) + b'Q)\x81}b')
    for i in range(6):
        yield f'noise_{i}', f.checkpoint(None, {'0': rng.randbytes(500_000)})
    for i, byte in enumerate((0, 0x80, 0x28, 0x4e, 0x63, 0x29, 0x2e, 0xff)):
        yield f'same_byte_{i}', f.checkpoint(None, {'0': bytes([byte]) * 200_000})
    yield 'small_numbers', f.checkpoint(None, {'0': b''.join(
        struct.pack('<q', n % 1000) for n in range(30_000))})
    words = ('topic\nos\nradios\nforecast\nother\nios\nandroid\nctypes\nsubprocess\nabacus\n'
             'math.cos\nRight\nimport os\ncast\nfoo\nRun\n')
    yield 'words', words.encode() * 50
    yield 'words_in_a_record', f.archive(f.records() + [
        f.Entry(b'archive/vocab.txt', words.encode()), f.Entry(b'archive/cos', b'cos\nsin\ntan\n')])
    yield 'text_with_code', f.checkpoint(f.pickle(f.dictionary(
        source='import os\nos.system("x")\n' * 20)))
    yield 'empty', b''


def unknown():
    import random
    rng = random.Random(2)
    yield 'class', f.with_pickle(named('models.yolo', 'Model') + b')\x81}b')
    yield 'function', f.with_pickle(named('models.common', 'autopad'))
    yield 'class_in_a_class', f.with_pickle(getattr_of(
        named('models', 'Outer'), 'Inner') + b')\x81}b')
    yield 'class_in_a_class_4', f.checkpoint(f.pickle(stack_global(
        short('models'), short('Outer.Inner')) + b')\x81}b', 4))
    yield 'bound_method', f.with_pickle(getattr_of(
        named('models', 'Net') + b')\x81}b', 'forward'))
    yield 'enumeration', f.with_pickle(f.call('models', 'Color', 1))
    yield 'main', f.with_pickle(named('__main__', 'Net') + b')\x81}b')
    yield 'other_class_of_torch', f.with_pickle(named('torch.fx', 'Graph') + b')\x81}b')
    for padded in (True, False):
        yield f'joblib_{padded}', f.pickle(b''.join(
            b'(' + joblib_array(rng.randbytes(10 + i), 'u1', padded) for i in range(200)) + b'l' * 200)
    yield 'joblib_texts', f.pickle(joblib_array(rng.randbytes(600), 'S3', count=200, dtype_bytes=3))
    yield 'joblib_objects', f.pickle(
        joblib_array(f.pickle(f.item((1, 'a')), 4), 'O', padded=False))
    yield 'cython', f.with_pickle(f.call('pandas._libs.arrays', '__pyx_unpickle_NDArrayBacked', 1))
    yield 'private_method', f.checkpoint(f.pickle(stack_global(short(
        'torch.optim.lr_scheduler'), short('CyclicLR._triangular_scale_fn')), 4))
    yield 'built_in', f.with_pickle(f.class_of('builtins', 'max'))


def unseen():
    yield 'seven_zip', b"7z\xbc\xaf\x27\x1c\0\4" + bytes(100)
    yield 'lz4', b'\x04\x22\x4d\x18' + bytes(100)
    yield 'lzma', b'\x5d\0\0\x80\0' + b'\xff' * 8 + bytes(100)
    yield 'xz', b'\xfd7zXZ\0\0\4' + bytes(100)
    yield 'encrypted', f.archive(f.records(data_pkl={
        'flags': 0x801, 'data': bytes(range(60)), 'local': {'size': 48}, 'central': {'size': 48}}))
    yield 'encrypted_aes', f.archive(f.records(data_pkl={'method': 99, 'flags': 0x801}))
    yield 'other_method', f.archive([f.Entry(b'a/x', b'abc', method=14)])
