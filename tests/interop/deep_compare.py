"""Are two loaded checkpoints the same, to the last bit?

Compared are types, key order, numbers as bits, which objects are one object,
attributes; of tensors dtype, shape, stride, offset, flags, which storages are one
storage, and the bytes of whole storages. Iterative in depth through cycles.
"""

import struct
import types

import numpy
import torch

ATOMS = (type(None), bool, int, str, bytes, type(Ellipsis), torch.dtype,
         torch.layout, torch.device, torch.memory_format, torch.qscheme, type,
         types.FunctionType, types.BuiltinFunctionType)


class Difference(Exception):
    pass


def differ(path, what, a, b):
    raise Difference(f'{path}: {what}: {a!r:.300} became {b!r:.300}')


def same_atoms(a, b):
    if isinstance(a, (type, types.FunctionType, types.BuiltinFunctionType)):
        return a is b
    return a == b


class Comparison:
    """Of one pair of values; holds on to what it saw, so that ids stay unique."""

    def __init__(self):
        self.partner = {}  # id in a -> object in b
        self.reverse = {}
        self.storages = {}  # StorageImpl in a -> in b
        self.storages_back = {}
        self.kept = []
        self.work = []

    def run(self, a, b):
        self.work.append(('', a, b))
        while self.work:
            self.step(*self.work.pop())

    def later(self, path, a, b):
        self.kept += [a, b]
        self.work.append((path, a, b))

    def all_later(self, path, a, b):
        if len(a) != len(b):
            differ(path, 'length', len(a), len(b))
        for index in reversed(range(len(a))):
            self.later(f'{path}[{index}]', a[index], b[index])

    def step(self, path, a, b):
        if type(a) is not type(b):
            differ(path, 'type', type(a), type(b))
        if isinstance(a, ATOMS) and type(a) in ATOMS or isinstance(a, type):
            if not same_atoms(a, b):
                differ(path, 'value', a, b)
            return
        if type(a) in (float, complex):
            bits = [struct.pack('<2d', x.real, x.imag) for x in (a, b)]
            if bits[0] != bits[1]:
                differ(path, 'bits', a, b)
            return
        if not self.new_pair(path, a, b):
            return
        if isinstance(a, torch.Tensor):
            self.tensors(path, a, b)
        elif isinstance(a, (torch.UntypedStorage, torch.TypedStorage)):
            self.bare_storages(path, a, b)
        elif type(a) in (list, tuple):
            self.all_later(path, a, b)
        elif type(a) in (set, frozenset):
            self.all_later(path, sorted(a, key=repr), sorted(b, key=repr))
        elif type(a) is dict:
            self.all_later(f'{path} keys', list(a), list(b))
            self.all_later(path, list(a.values()), list(b.values()))
        elif type(a) is numpy.ndarray:
            self.arrays(path, a, b)
        else:
            self.objects(path, a, b)

    def new_pair(self, path, a, b):
        """False where the pair was seen; they must be paired with one another."""
        if type(a) in (tuple, frozenset):
            # May be shared or not: nobody can change one through the other.
            key = (id(a), id(b))
            fresh = key not in self.partner
            self.partner[key] = b
            return fresh
        if self.partner.setdefault(id(a), b) is not b:
            differ(path, 'one object', a, 'two objects')
        if self.reverse.setdefault(id(b), a) is not a:
            differ(path, 'two objects', a, 'one object')
        self.kept += [a, b]
        key = (id(a), id(b))
        fresh = key not in self.partner
        self.partner[key] = b
        return fresh

    def tensors(self, path, a, b):
        nested = a.is_nested  # then the shape holds symbols, new ones at each load
        lazy = isinstance(a, torch.nn.parameter.UninitializedTensorMixin)
        for what in ('dtype', 'layout', 'device', 'requires_grad', 'is_quantized',
                     'is_nested') + (() if nested or lazy else ('shape',)):
            if getattr(a, what) != getattr(b, what):
                differ(path, what, getattr(a, what), getattr(b, what))
        if str(a.layout) != 'torch.jagged':  # their attributes hold such symbols too
            self.later(f'{path} attributes', a.__dict__, b.__dict__)
        if a.is_quantized:
            self.quantization(path, a, b)
        for name in parts_of(a):
            self.later(f'{path}.{name}()', getattr(a, name)(), getattr(b, name)())
        if a.layout != torch.strided or nested or lazy:
            return
        for what in ('stride', 'storage_offset', 'is_conj', 'is_neg'):
            if getattr(a, what)() != getattr(b, what)():
                differ(path, what, getattr(a, what)(), getattr(b, what)())
        if a.device.type != 'meta':
            self.untyped_storages(path, untyped_storage_of(a), untyped_storage_of(b))

    def quantization(self, path, a, b):
        names = ['qscheme']
        if a.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
            names += ['q_scale', 'q_zero_point']
        else:
            names += ['q_per_channel_scales', 'q_per_channel_zero_points',
                      'q_per_channel_axis']
        for name in names:
            self.later(f'{path}.{name}()', getattr(a, name)(), getattr(b, name)())

    def bare_storages(self, path, a, b):
        if isinstance(a, torch.TypedStorage):
            if a.dtype != b.dtype:
                differ(path, 'dtype', a.dtype, b.dtype)
            a, b = (getattr(x, '_untyped_storage', None) or x.untyped() for x in (a, b))
        self.untyped_storages(path, a, b)

    def untyped_storages(self, path, a, b):
        if self.storages.setdefault(a._cdata, b._cdata) != b._cdata:
            differ(path, 'storages', 'one', 'two')
        if self.storages_back.setdefault(b._cdata, a._cdata) != a._cdata:
            differ(path, 'storages', 'two', 'one')
        if a.nbytes() != b.nbytes():
            differ(path, 'bytes of the storage', a.nbytes(), b.nbytes())
        if (a._cdata, 'compared') in self.storages:
            return
        self.storages[(a._cdata, 'compared')] = True
        self.kept += [a, b]
        bytes_a, bytes_b = (torch.empty(0, dtype=torch.uint8).set_(s) for s in (a, b))
        if not torch.equal(bytes_a, bytes_b):
            place = int((bytes_a != bytes_b).nonzero()[0])
            differ(path, f'byte {place} of the storage', int(bytes_a[place]),
                   int(bytes_b[place]))

    def arrays(self, path, a, b):
        for what in ('dtype', 'shape', 'strides'):
            if getattr(a, what) != getattr(b, what):
                differ(path, what, getattr(a, what), getattr(b, what))
        if a.dtype.hasobject:
            self.later(path, a.tolist(), b.tolist())
        elif a.tobytes() != b.tobytes():
            differ(path, 'bytes of the array', a, b)

    def objects(self, path, a, b):
        """What pickle would write of them: class, arguments, state, items."""
        parts = []
        for value in (a, b):
            reduced = value.__reduce_ex__(4)
            if isinstance(reduced, str):
                reduced = (reduced,)
            reduced = list(reduced)
            for index in (3, 4):  # iterators of items and of pairs
                if len(reduced) > index and reduced[index] is not None:
                    reduced[index] = list(reduced[index])
            parts.append(reduced)
        self.all_later(f'{path} {type(a).__name__}', *parts)


def untyped_storage_of(tensor):
    if hasattr(tensor, 'untyped_storage'):
        return tensor.untyped_storage()
    return tensor.storage().untyped()  # before torch 2.0


def parts_of(tensor):
    """Methods that give the strided tensors a tensor is made of."""
    if tensor.is_nested:
        if str(tensor.layout) == 'torch.jagged':
            return ('values', 'offsets')
        return ('values', '_nested_tensor_size', '_nested_tensor_strides',
                '_nested_tensor_storage_offsets')
    return {
        torch.sparse_coo: ('_indices', '_values', 'is_coalesced'),
        torch.sparse_csr: ('crow_indices', 'col_indices', 'values'),
        torch.sparse_bsr: ('crow_indices', 'col_indices', 'values'),
        torch.sparse_csc: ('ccol_indices', 'row_indices', 'values'),
        torch.sparse_bsc: ('ccol_indices', 'row_indices', 'values'),
    }.get(tensor.layout, ())


def require_same(a, b):
    """Raises Difference, which names the place."""
    Comparison().run(a, b)
