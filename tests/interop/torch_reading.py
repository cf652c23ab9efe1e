"""What PyTorch, safetensors and NumPy read from a file, running nothing of it.

torch.load with weights_only reads most. Where it refuses, the same torch.load gets
an unpickler that finds only what weights_only trusts: every other class or function
becomes an inert one, which keeps what it was given and does nothing.
"""

import builtins
import collections
import io
import json
import os
import pickle
import types
import zipfile

import numpy
import safetensors.torch
import torch
from torch import _weights_only_unpickler

HARMLESS = {name: getattr(builtins, name) for name in (
    'set', 'frozenset', 'complex', 'slice', 'range', 'bytearray', 'bytes', 'int', 'str',
    'float', 'bool', 'list', 'dict', 'tuple', 'object')}


class Inert:
    """An object of a class that is not looked up."""

    def __new__(cls, *args, **kwargs):
        made = super().__new__(cls)
        made.given = (args, kwargs)
        made.state, made.items, made.pairs = None, [], []
        return made

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        self.state = state

    def append(self, item):
        self.items.append(item)

    add = append

    def extend(self, items):
        self.items += items

    def __setitem__(self, key, value):
        self.pairs.append((key, value))

    def __call__(self, *args, **kwargs):
        return Inert(self, args, kwargs)

    def __reduce_ex__(self, protocol):
        return (type(self), self.given, self.state, iter(self.items), iter(self.pairs))

    def __repr__(self):
        return f'<inert {type(self).__module__}.{type(self).__name__}>'


INERT_CLASSES = {}


def inert_class(module, name):
    return INERT_CLASSES.setdefault((module, name), type(
        name, (Inert,), {'__module__': module}))


def rebuild_from_type(function, kind, args, state):
    """Of a subclass of Tensor that is not known."""
    if issubclass(kind, Inert):
        made = kind(function(*args))
        made.state = state
        return made
    return torch._tensor._rebuild_from_type_v2(function, kind, args, state)


class InertUnpickler(pickle.Unpickler):

    def find_class(self, module, name):
        modern = {'__builtin__': 'builtins', 'copy_reg': 'copyreg'}.get(module, module)
        if modern == 'builtins' and name in HARMLESS:
            return HARMLESS[name]
        if (module, name) == ('torch.storage', '_load_from_bytes'):
            return lambda data: load_inertly(io.BytesIO(data))
        if (module, name) == ('torch._tensor', '_rebuild_from_type_v2'):
            return rebuild_from_type
        known = _weights_only_unpickler._get_allowed_globals().get(f'{module}.{name}')
        return inert_class(module, name) if known is None else known


INERT_PICKLE = types.ModuleType('inert_pickle')
INERT_PICKLE.Unpickler = InertUnpickler
INERT_PICKLE.load = lambda file, **options: InertUnpickler(file, **options).load()


def load_inertly(file):
    return torch.load(file, map_location='cpu', weights_only=False, pickle_module=INERT_PICKLE)


Reading = collections.namedtuple('Reading', 'value how')


def numpy_tensor(array):
    """As a .pt holds it; raises TypeError for what torch has no dtype for."""
    if array.dtype.byteorder == '>' or not array.flags.writeable:
        array = array.astype(array.dtype.newbyteorder('='), order='K')
    return torch.from_numpy(array)


def is_npz(path):
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as file:
        names = file.namelist()
    return bool(names) and all(name.endswith('.npy') for name in names)


def read_sharded(path):
    with open(path, encoding='utf-8') as file:
        places = json.load(file)['weight_map']
    shards = {name: safetensors.torch.load_file(os.path.join(os.path.dirname(path), name))
              for name in sorted(set(places.values()))}
    return {name: shards[place][name] for name, place in places.items()}


def torch_attempts(path, trust):
    """(how, function) in the order in which to try."""
    # Mapped, a file larger than the memory can be compared.
    mapped = zipfile.is_zipfile(path) and os.path.getsize(path) > 64 << 20
    def load(**options):
        return torch.load(path, map_location='cpu', mmap=mapped or None, **options)
    def bare():
        with open(path, 'rb') as file:
            return InertUnpickler(file).load()
    yield 'weights_only', lambda: load(weights_only=True)
    if trust:
        yield 'trusted', lambda: load(weights_only=False)
    else:
        yield 'inert', lambda: load(weights_only=False, pickle_module=INERT_PICKLE)
    yield 'bare pickle', bare


def is_torchscript(path):
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as file:
        return any(name.endswith('/constants.pkl') for name in file.namelist())


def read(path, trust=False):
    """Raises what the last attempt raised."""
    with open(path, 'rb') as file:
        head = file.read(9)
    if head[:6] == b'\x93NUMPY':
        return Reading(numpy_tensor(numpy.load(path, allow_pickle=False)), 'numpy')
    if is_npz(path):
        with numpy.load(path, allow_pickle=False) as file:
            return Reading({name: numpy_tensor(file[name]) for name in file.files}, 'numpy')
    if path.endswith('.index.json'):
        return Reading(read_sharded(path), 'safetensors')
    if head[8:] == b'{' and int.from_bytes(head[:8], 'little') < os.path.getsize(path):
        return Reading(safetensors.torch.load_file(path), 'safetensors')
    if is_torchscript(path):
        raise TypeError('TorchScript, whose code is not run here')
    complaints = []
    for how, attempt in torch_attempts(path, trust):
        try:
            return Reading(attempt(), how)
        except Exception as error:  # pylint: disable=broad-except
            complaints.append(error)
    raise complaints[0]
