"""Checkpoints of every kind that torch.save writes into a zip file.

`all_cases()` gives one Case each. What a case holds is made when it is written,
seeded, so that two runs write the same files.
"""

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import os
import pathlib
import random
import sys
import types

import numpy
import torch
from torch import nn

import torch_files


@dataclasses.dataclass
class Case:
    name: str
    make: object  # () -> value
    write: object = None  # (value, path) -> None; torch.save without it
    weights_only: bool = True  # torch itself reads it so
    mmap: bool = True
    exact: bool = True  # comes back byte for byte
    # Loads the original in place of torch.load, where torch reads it wrongly.
    truth: object = None

    def save(self, path):
        torch.manual_seed(1)
        random.seed(1)
        numpy.random.seed(1)
        (self.write or torch.save)(self.make(), path)


CASES = []


def case(name, **options):
    """Of a function that makes the value."""
    def add(make):
        CASES.append(Case(name, make, **options))
        return make
    return add


def values(prefix, table, **options):
    for name, value in table.items():
        make = value if callable(value) else functools.partial(lambda x: x, value)
        CASES.append(Case(f'{prefix}_{name}', make, **options))


def arange():
    return torch.arange(6.).reshape(2, 3)


# ------------------------------------------------------------- tensors, storages

def tied():
    p = arange()
    return {'a': p, 'b': p}


def tied_by_storage():
    p = arange()
    return {'a': p, 'b': p.view(-1), 'c': p.t(), 'other': arange()}


def overlapping():
    n = torch.arange(10)
    return [n, n[1::2], n[3:7], n.as_strided((3, 3), (2, 1), 1)]


values('tensor', {
    'alone': lambda: torch.tensor([1., 2., 3.]),
    'transposed': lambda: {'w': arange().t()},
    'expanded': lambda: {'w': arange()[0:1].expand(4, 3)},
    'sliver': lambda: {'w': torch.arange(1000)[990:]},
    'overlapping': overlapping,
    'tied': tied,
    'tied_by_storage': tied_by_storage,
    'scalar': lambda: {'w': torch.tensor(7.)},
    'empty': lambda: {'w': torch.empty(0, 3), 'v': torch.empty(2, 0, 4)},
    'empty_with_offset': lambda: {'w': torch.arange(9.)[9:], 'v': torch.arange(9.)[4:4]},
    'ndim_20': lambda: {'w': torch.randn([1] * 10 + [2] * 10)},
    'channels_last': lambda: {'w': torch.randn(2, 3, 4, 5).to(
        memory_format=torch.channels_last)},
    'permuted': lambda: {'w': torch.randn(3, 5, 7, 2).permute(3, 1, 0, 2)},
    'twelve': lambda: {f't{i}': torch.tensor(float(i)) for i in range(12)},
    'requires_grad': lambda: {'w': torch.ones(2, requires_grad=True)},
    'conj': lambda: {'w': torch.randn(3, dtype=torch.cfloat).conj()},
    'neg': lambda: {'w': torch.randn(3, dtype=torch.cfloat).conj().imag},
    'conj_and_neg': lambda: {'w': torch._neg_view(
        torch.randn(3, dtype=torch.cfloat).conj())},
    'meta': lambda: {'m': torch.empty(2, 3, device='meta'), 'w': arange()},
    'in_a_set_of_names': lambda: {'': arange(), '.': arange(), 'a.b': arange(),
                                  'a': {'b': arange()}},
    'long': lambda: {'w': torch.randn(700_001), 'v': torch.randn(3, 400_003).bfloat16()},
})

SPECIAL = {  # bit patterns that arithmetic would not leave alone
    torch.float64: (torch.int64, [0x7ff8dead00000001, 0x7ff0000000000001, -1, 1,
                                  -0x8000000000000000, 0x7ff0000000000000]),
    torch.float32: (torch.int32, [0x7fc0beef, 0x7f800001, -1, 1, -0x80000000, 0x7f800000]),
    torch.float16: (torch.int16, [0x7e01, 0x7c01, -1, 1, -0x8000, 0x7c00]),
    torch.bfloat16: (torch.int16, [0x7fc1, 0x7f81, -1, 1, -0x8000, 0x7f80]),
    torch.complex64: (torch.int32, [0x7fc0beef, -0x80000000, 0x7f800001, 1]),
    torch.complex128: (torch.int64, [0x7ff8dead00000001, -0x8000000000000000, 1, -1]),
}
DTYPES = ('float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 '
          'complex128 complex32 uint16 uint32 uint64 float8_e5m2 float8_e4m3fn '
          'float8_e5m2fnuz float8_e4m3fnuz float8_e8m0fnu float4_e2m1fn_x2 bits8 '
          'bits1x8 bits2x4 bits4x2 bits16').split()


def of_dtype(dtype):
    def raw(count):
        data = torch.randint(0, 2 if dtype == torch.bool else 256,
                             (count * torch.empty(0, dtype=dtype).element_size(),), dtype=torch.uint8)
        return data.view(dtype)
    result = {'random': raw(60).view(3, 4, 5), 'empty': raw(0), 'scalar': raw(1).view(()),
              'tail': raw(77)[70:], 'strided': raw(60).view(6, 10).t(),
              'expanded': raw(1).expand(5, 2)}
    if dtype in SPECIAL:
        kind, patterns = SPECIAL[dtype]
        result['special'] = torch.tensor(patterns, dtype=kind).view(dtype)
    return result


for dtype_name in DTYPES:
    if hasattr(torch, dtype_name):
        values('dtype', {dtype_name: functools.partial(
            of_dtype, getattr(torch, dtype_name))})


@case('dtype_all_in_one')
def all_dtypes():
    return {name: of_dtype(getattr(torch, name)) for name in DTYPES}


@case('two_dtypes_on_one_storage', write=torch_files.save_as_v3, exact=False)
def two_dtypes():
    x = torch.arange(4.)
    return [x, x.view(torch.int32), x.view(torch.float64)]


@case('uint8_and_v3_on_one_storage')
def byte_views():
    x = torch.arange(8, dtype=torch.uint8)
    return [x, x.view(torch.float8_e4m3fn), x.view(torch.uint16), x.untyped_storage()]


@case('bare_storages')
def bare_storages():
    x = torch.arange(5.)
    return {'typed': torch.LongStorage([1, 2, 3]), 'untyped': x.untyped_storage(),
            'empty': torch.UntypedStorage(0)}


# ------------------------------------------------------ Parameters and attributes

class Tagged(torch.Tensor):
    pass


def with_attribute(tensor, **attributes):
    for name, value in attributes.items():
        setattr(tensor, name, value)
    return tensor


values('parameter', {
    'plain': lambda: nn.Parameter(arange().view(3, 2).t()),
    'frozen': lambda: {'p': nn.Parameter(arange(), requires_grad=False)},
    'tied': lambda: (lambda p: {'a': p, 'b': p, 'data': p.data})(nn.Parameter(arange())),
    'with_attribute': lambda: {'p': with_attribute(nn.Parameter(arange()), tag='x')},
})
values('attributes', {
    'tensor': lambda: {'t': with_attribute(arange(), tag='x', also=arange())},
    'buffer': lambda: {'t': nn.Buffer(arange())},
})
values('attributes', {
    'subclass': lambda: {'t': with_attribute(arange().as_subclass(Tagged), n=1)},
    'subclass_plain': lambda: {'t': arange().as_subclass(Tagged)},
    'subclass_parameter': lambda: {'t': nn.Parameter(arange().as_subclass(Tagged))},
}, weights_only=False)


# --------------------------------------------------------- sparse, nested, quantised

def coo(coalesced, *dense):
    indices = torch.tensor([[0, 1, 1], [2, 0, 0 if not coalesced else 2]])
    result = torch.sparse_coo_tensor(indices, torch.randn(3, *dense), (2, 3, *dense))
    return result.coalesce() if coalesced else result


values('sparse', {
    'coalesced': lambda: {'s': coo(True)},
    'uncoalesced': lambda: {'s': coo(False)},
    'hybrid': lambda: {'s': coo(True, 4)},
    'empty': lambda: {'s': torch.sparse_coo_tensor(size=(3, 4))},
    'csr': lambda: {'s': torch.eye(4).to_sparse_csr()},
    'csc': lambda: {'s': torch.eye(4).to_sparse_csc()},
    'bsr': lambda: {'s': torch.eye(4).to_sparse_bsr((2, 2))},
    'bsc': lambda: {'s': torch.eye(4).to_sparse_bsc((2, 2))},
    'csr_batched': lambda: {'s': torch.stack([torch.eye(4)] * 3).to_sparse_csr()},
    'csr_int32': lambda: {'s': torch.sparse_csr_tensor(
        torch.tensor([0, 1, 2], dtype=torch.int32),
        torch.tensor([0, 1], dtype=torch.int32), torch.ones(2))},
})
values('nested', {
    'strided': lambda: {'n': torch.nested.nested_tensor(
        [torch.randn(2, 5), torch.randn(3, 5)])},
    'jagged': lambda: {'n': torch.nested.nested_tensor(
        [torch.randn(2, 5), torch.randn(3, 5)], layout=torch.jagged)},
})


def per_channel(axis, dtype):
    return torch.quantize_per_channel(torch.randn(4, 4), torch.rand(4).double() + 0.1,
                                      torch.arange(4), axis, dtype)


def per_channel_float(rows, columns, dtype):
    return torch.quantize_per_channel(
        torch.randn(rows, columns), torch.rand(rows) + 0.1, torch.rand(rows), 0, dtype)


values('quantized', {
    'per_tensor': lambda: [torch.quantize_per_tensor(torch.randn(3, 4), 0.1, 5, dtype)
                           for dtype in (torch.qint8, torch.quint8, torch.qint32)],
    'per_channel': lambda: [per_channel(0, torch.qint8), per_channel(1, torch.quint8)],
    'float_qparams': lambda: [per_channel_float(4, 3, torch.quint8)],
    'quint2x4': lambda: [per_channel_float(4, 5, torch.quint2x4)],
    'quint4x2': lambda: [per_channel_float(4, 3, torch.quint4x2),
                         per_channel_float(3, 5, torch.quint4x2)],
})


# ------------------------------------------- functions that rebuild, one by one

class Rebuilt:
    """Is pickled as a call of one of torch's functions, old ones too."""

    def __init__(self, function, *arguments, state=None):
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.call


def rebuilt(function, *arguments, **options):
    return {'t': Rebuilt(function, *arguments, **options), 'plain': arange()}


def raw_storage():
    return arange()._typed_storage()


values('rebuilt', {
    'v1': lambda: rebuilt(torch._utils._rebuild_tensor, raw_storage(), 1, (2, 2), (1, 2)),
    'v2': lambda: rebuilt(torch._utils._rebuild_tensor_v2, raw_storage(), 1, (2,), (2,), True,
                          collections.OrderedDict()),
    'v2_without_hooks': lambda: rebuilt(torch._utils._rebuild_tensor_v2, raw_storage(), 1, [2],
                                        torch.Size([2]), False, None),
    'v3': lambda: rebuilt(torch._utils._rebuild_tensor_v3, arange().untyped_storage(), 1, (2,),
                          (2,), False, {}, torch.int16),
    'parameter': lambda: rebuilt(torch._utils._rebuild_parameter, arange(), True, {}),
    'parameter_with_state': lambda: rebuilt(
        torch._utils._rebuild_parameter_with_state, arange(), True, {}, {'tag': [1]}),
    'parameter_of_0_4': lambda: rebuilt(nn.Parameter, arange(), False),
    'coo_of_three': lambda: rebuilt(
        torch._utils._rebuild_sparse_tensor, torch.sparse_coo,
        (torch.tensor([[0, 1]]), torch.ones(2), torch.Size([3]))),
    'meta': lambda: rebuilt(torch._utils._rebuild_meta_tensor_no_storage, torch.float16, (2, 3),
                            (3, 1), False),
    'nested': lambda: rebuilt(
        torch._utils._rebuild_nested_tensor, torch.arange(6.), torch.tensor([[2], [4]]),
        torch.tensor([[1], [1]]), torch.tensor([0, 2])),
    'from_cpu_tensor': lambda: rebuilt(
        torch._utils._rebuild_device_tensor_from_cpu_tensor, arange(), torch.float32, 'cpu', True),
    'quantized': lambda: rebuilt(
        torch._utils._rebuild_qtensor, torch.quantize_per_tensor(arange(), 0.5, 3, torch.quint8)
        ._typed_storage(), 1, (2,), (2,), (torch.per_tensor_affine, 0.5, 3), False, {}),
}, exact=False)
values('rebuilt', {
    'from_type': lambda: rebuilt(
        torch._tensor._rebuild_from_type, torch._utils._rebuild_tensor_v2, Tagged,
        (raw_storage(), 0, (2, 3), (3, 1), False, {}), {'tag': 'x'}),
    'variable': lambda: rebuilt(torch.autograd.Variable, arange()),
    'size_and_device': lambda: rebuilt(torch.Size, (2, 3)),
    'generator': lambda: {'g': torch.Generator().manual_seed(7)},
    'uninitialized': lambda: [nn.UninitializedParameter(), nn.UninitializedBuffer()],
}, exact=False, weights_only=False)


# -------------------------------------------------------- state_dicts and training

def checkpoint_of(model, optimizer, steps=2, unused=()):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = sum((p * p).sum() for n, p in model.named_parameters() if n not in unused)
        loss.backward()
        optimizer.step(lambda: loss) if isinstance(
            optimizer, torch.optim.LBFGS) else optimizer.step()
    return {'epoch': 3, 'model': model.state_dict(), 'optimizer': optimizer.state_dict(),
            'loss': float(loss), 'args': {'lr': 0.1, 'name': 'run', 'resume': None}}


def small():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


class TiedNet(nn.Module):

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.blocks = nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])
        self.blocks.append(self.blocks[0])
        self.named = nn.ModuleDict({'x': nn.Linear(4, 1, bias=False)})
        self.loose = nn.ParameterList([nn.Parameter(torch.ones(2))])
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer('hidden', torch.arange(3.), persistent=False)
        self.register_buffer('shown', torch.arange(3))
        self.register_buffer('nothing', None)
        self.register_parameter('also_nothing', None)
        self.plain_attribute = torch.arange(4)


values('state_dict', {
    'linear': lambda: nn.Linear(3, 4).state_dict(),
    'conv_bn': lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).state_dict(),
    'lstm': lambda: nn.LSTM(3, 3).state_dict(),
    'transformer': lambda: nn.Transformer(8, 2, 1, 1, 16).state_dict(),
    'tied': lambda: TiedNet().state_dict(),
    'half': lambda: small().half().state_dict(),
    'bfloat16': lambda: small().bfloat16().state_dict(),
    'keep_vars': lambda: small().state_dict(keep_vars=True),
    'of_one_letter_names': lambda: {k: torch.ones(1) for k in 'abcab' 'xyz'},
    'plain_dict': lambda: dict(small().state_dict()),
    'prefixed': lambda: collections.OrderedDict(
        ('_orig_mod.module.' + k, v) for k, v in small().state_dict().items()),
    'parametrized': lambda: torch.nn.utils.parametrizations.weight_norm(
        nn.Linear(3, 4)).state_dict(),
})


def optimizer_case(name, **options):
    def make():
        model = small()
        kind = getattr(torch.optim, name)
        unused = ('2.bias',) if name != 'LBFGS' else ()
        return checkpoint_of(model, kind(model.parameters(), **options), unused=unused)
    return make


values('optimizer', {
    'adam': optimizer_case('Adam'),
    'adamw_amsgrad': optimizer_case('AdamW', amsgrad=True),
    'sgd': optimizer_case('SGD', lr=0.1),
    'sgd_momentum': optimizer_case('SGD', lr=0.1, momentum=0.9),
    'lbfgs': optimizer_case('LBFGS', lr=0.1, max_iter=2),
    'adagrad': optimizer_case('Adagrad'),
    'rmsprop': optimizer_case('RMSprop', centered=True, momentum=0.1),
    'adadelta': optimizer_case('Adadelta'),
    'nadam': optimizer_case('NAdam'),
    'radam': optimizer_case('RAdam'),
    'asgd': optimizer_case('ASGD'),
    'rprop': optimizer_case('Rprop'),
    'adam_tensor_lr': optimizer_case('Adam', lr=torch.tensor(0.01)),
})


@case('optimizer_groups')
def optimizer_groups():
    model = small()
    return checkpoint_of(model, torch.optim.AdamW([
        {'params': [p for p in model.parameters() if p.dim() > 1], 'weight_decay': 0.1},
        {'params': [p for p in model.parameters() if p.dim() <= 1], 'lr': 1e-5}]))


@case('schedulers')
def schedulers():
    schedule = torch.optim.lr_scheduler
    def optimizer():
        return torch.optim.SGD(small().parameters(), lr=0.1, momentum=0.9)
    first = optimizer()
    result = {
        'lambda': schedule.LambdaLR(optimizer(), lambda e: 0.9 ** e),
        'cosine': schedule.CosineAnnealingLR(optimizer(), 10),
        'multistep': schedule.MultiStepLR(optimizer(), [2, 2, 5]),
        'exponential': schedule.ExponentialLR(optimizer(), 0.9),
        'plateau': schedule.ReduceLROnPlateau(optimizer()),
        'warm': schedule.CosineAnnealingWarmRestarts(optimizer(), 3),
        'sequential': schedule.SequentialLR(first, [
            schedule.ConstantLR(first), schedule.LinearLR(first)], [2]),
    }
    for name, scheduler in result.items():
        scheduler.step(*([1.5] if name == 'plateau' else []))
    return {name: scheduler.state_dict() for name, scheduler in result.items()}


@case('grad_scaler')
def grad_scaler():
    return {'on': {'scale': 65536.0, 'growth_factor': 2.0, 'backoff_factor': 0.5,
                   'growth_interval': 2000, '_growth_tracker': 0},
            'off': torch.amp.GradScaler('cpu', enabled=False).state_dict()}


@case('rng_states', weights_only=False, mmap=True)
def rng_states():
    return {'torch': torch.get_rng_state(), 'python': random.getstate(),
            'numpy': numpy.random.get_state()}


# ----------------------------------------------------------------- whole models

def hook(module, *unused):
    return None


class CyclicNet(nn.Module):

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.__dict__['myself'] = self
        self.register_forward_hook(self.on_forward)
        self.register_forward_hook(hook)

    def on_forward(self, *unused):
        return None


def cyclic_by_attribute():
    model = CyclicNet()
    model.layer.parent = [model]
    return model


values('module', {
    'sequential': lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout()),
    'tied': TiedNet,
    'in_dict': lambda: {'model': small().eval(), 'epoch': 1},
    'transformer': lambda: nn.TransformerEncoderLayer(8, 2, 16),
    'data_parallel': lambda: nn.DataParallel(small()),
    'weight_norm': lambda: nn.utils.weight_norm(nn.Linear(3, 4)),
    'cyclic': cyclic_by_attribute,
    'optimizer_object': lambda: torch.optim.Adam(small().parameters()),
    'gru': lambda: nn.GRU(3, 4, 2, bidirectional=True),
    'lazy': lambda: nn.LazyLinear(4),
}, weights_only=False)


# ------------------------------------------------------------- values of Python

def shared_parts():
    part, text, pair = [1, 2], 'some.text', (1, 'x')
    return {'a': part, 'b': part, 'c': [part, {'d': part}], 'e': text, 'f': text,
            'g': pair, 'h': pair}


def self_containing():
    result = [1]
    result.append(result)
    inner = {}
    inner['me'] = inner
    inner['outer'] = result
    result.append(inner)
    return result


def tuple_in_its_list():
    result = []
    result.append((result, 1))
    return (result, result[0])


def deep(levels):
    result = []
    for level in range(levels):
        result = {level: result} if level % 3 == 0 else [result]
    return result


INTS = [0, 1, 255, 256, 65535, 65536, -1, -128, 2**31 - 1, 2**31, -2**31, -2**31 - 1,
        2**53, 2**63 - 1, 2**63, -2**63, -2**63 - 1, 2**64, 2**70, -2**127, 3**400,
        -(2**2000)]
FLOATS = [float('nan'), float('inf'), float('-inf'), -0.0, 0.0, 5e-324,
          1.7976931348623157e308, 0.1, 1.5]
STRINGS = ['', 'a', 'ab', 'with.dot', 'NUL \x00 inside', '\u20ac', '\U0001f600', '\u0394\u03b1',
           'x' * 300, 'y' * 70_000, '\x7f\x80\xff', 'line\nline\r\t', '"quoted" \\']

values('value', {
    'empty_dict': {}, 'empty_list': [], 'empty_tuple': (), 'none': None,
    'true': True, 'int': 7, 'float': 0.5, 'str': 'text',
    'empty_ordered_dict': collections.OrderedDict,
    'ints': lambda: list(INTS), 'floats': lambda: list(FLOATS),
    'strings': lambda: list(STRINGS) + [dict.fromkeys(STRINGS, 1)],
    'surrogates': lambda: ['\ud800', 'a\udfffb', {'\udc80': 1}],
    'tuples': lambda: [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((), ((),)), (None,) * 70],
    'nested': lambda: {'a': [1, (2, [3, {'b': (None, True)}])], 5: {'c': 1.0}, (1, 'x'): [],
                       None: 0, -7: 1, 2.5: 2, '': 3, 1: 4, 2**70: 5, (): 6},
    'bool_keys': lambda: {True: 'yes', False: 'no', 'True': 1},
    'float_keys': lambda: {0.5: 1, float('inf'): 2, -0.0: 3},
    'bytes': lambda: [b'\x00\xff', b'plain', bytes(range(256)), b'z' * 1000],
    'bytearray': lambda: [bytearray(b'abc\xff'), bytearray(b'')],
    'set': lambda: [{1, 2}, {'a'}, {(1, 2), 3.5, None}],
    'complex': lambda: [1 + 2j, complex(float('nan'), -0.0)],
    'counter': lambda: collections.Counter('abca'),
    'dtypes': lambda: [torch.float16, torch.float8_e4m3fn, torch.bool, torch.qint8, torch.int4],
    'torch_values': lambda: [torch.device('cuda', 1), torch.device('cpu'), torch.Size([2, 3]),
                             torch.Size([]), torch.strided, torch.sparse_coo],
    'shared': shared_parts, 'cycle': self_containing, 'tuple_in_its_list': tuple_in_its_list,
    'deep': lambda: deep(150),
    'metadata': lambda: with_attribute(collections.OrderedDict(a=torch.ones(1), b=2),
                                       _metadata={'': {'version': 1}}, note=[1]),
    'ordered_cycle': lambda: (lambda d: (d.__dict__.update(me=d), d)[1])(
        collections.OrderedDict(x=1)),
    **{f'dict_{n}': functools.partial(lambda n: {i: i for i in range(n)}, n)
       for n in (999, 1000, 1001, 2000, 2001)},
    **{f'list_{n}': functools.partial(lambda n: list(range(n)), n)
       for n in (999, 1000, 1001, 2000, 2001)},
    **{f'ordered_{n}': functools.partial(
        lambda n: collections.OrderedDict((f'k{i}', i) for i in range(n)), n)
       for n in (1000, 1001)},
    'many_strings': lambda: {f'layers.{i}.weight': f'v{i}' for i in range(300)},
})


class Color(enum.Enum):
    RED = 1


class Flags(enum.IntFlag):
    A = 1
    B = 2


@dataclasses.dataclass
class Point:
    x: int
    y: list = dataclasses.field(default_factory=list)


class Slotted:
    __slots__ = ('a', 'b')

    def __init__(self, a, b):
        self.a, self.b = a, b

    def __getstate__(self):
        return None, {'a': self.a, 'b': self.b}


class NewArguments:

    def __new__(cls, a, *, b):
        made = super().__new__(cls)
        made.ab = (a, b)
        return made

    def __getnewargs_ex__(self):
        return (self.ab[0],), {'b': self.ab[1]}


class ListOfMine(list):
    pass


class DictOfMine(dict):
    pass


Named = collections.namedtuple('Named', 'a b')

values('object', {
    'empty_bytes': lambda: [b'', 1],
    'frozenset': lambda: [frozenset([1, 2]), frozenset(), {frozenset('a'): 1}],
    'slice_range': lambda: [slice(1, None, 2), range(3), range(-5, 100, 7), ..., NotImplemented],
    'default_dict': lambda: with_attribute(DictOfMine(a=1), note=2),
    'defaultdict': lambda: collections.defaultdict(list, a=[1]),
    'deque': lambda: [collections.deque([1, 2, 3], maxlen=3), collections.deque()],
    'huge_int': lambda: [2**3000, -(7**2000)],
    'version': lambda: {'torch': torch.__version__},
    'classes': lambda: [int, str, dict, nn.Linear, type(None), torch.relu, len, OSError,
                        os.path.join, range, Point],
    'namespace': lambda: argparse.Namespace(lr=0.1, names=['a'], nested=argparse.Namespace(x=1)),
    'pathlib': lambda: [pathlib.PurePosixPath('/a/b'), pathlib.Path('c')],
    'datetime': lambda: [datetime.datetime(2024, 2, 29, 1, 2, 3, 4, datetime.timezone.utc),
                         datetime.date(2020, 1, 1), datetime.timedelta(days=2, seconds=1)],
    'decimal': lambda: [decimal.Decimal('1.10'), decimal.Decimal('NaN')],
    'enum': lambda: [Color.RED, Flags.A, Flags.A | Flags.B],
    'dataclass': lambda: [Point(1, [2]), Point(3)],
    'namedtuple': lambda: Named(1, [2]),
    'slots': lambda: Slotted(1, [2]),
    'subclasses': lambda: [ListOfMine([1, 2]), with_attribute(ListOfMine(), x=1),
                           DictOfMine(a=1)],
    'partial': lambda: functools.partial(max, 1, key=abs),
    'generator_free_function': lambda: [hook, CyclicNet.on_forward],
}, weights_only=False)
values('numpy', {
    'c_order': lambda: numpy.arange(6.).reshape(2, 3),
    'fortran': lambda: numpy.asfortranarray(numpy.arange(6).reshape(2, 3)),
    'big_endian': lambda: numpy.arange(3, dtype='>f4'),
    'structured': lambda: numpy.array([(1, 2.5, b'ab')], dtype='i4,f8,S2'),
    'object': lambda: numpy.array([1, 'x', None, [2]], dtype=object),
    'scalar_array': lambda: numpy.array(3.5),
    'scalars': lambda: [numpy.float64(1), numpy.int32(-2), numpy.bool_(True)],
    'strings': lambda: numpy.array(['a', '\u20ac\u20ac']),
    'dates': lambda: numpy.array(['2020-01-01'], dtype='datetime64[D]'),
}, weights_only=False)


# ---------------------------------------------------------- what others save

def foreign_class(module, name, base=object):
    """A class whose module exists only here, as in somebody's project."""
    parts = module.split('.')
    for i in range(len(parts)):
        full = '.'.join(parts[:i + 1])
        if full not in sys.modules:
            sys.modules[full] = types.ModuleType(full)
        if i:
            setattr(sys.modules['.'.join(parts[:i])], parts[i], sys.modules[full])
    made = getattr(sys.modules[module], name, None) or type(
        name, (base,), {'__module__': module})
    setattr(sys.modules[module], name, made)
    return made


def new(kind, **state):
    made = kind.__new__(kind)
    made.__dict__.update(state)
    return made


def omega(parent, content):
    made = new(foreign_class('omegaconf_like.dictconfig', 'DictConfig'), _parent=parent,
               _metadata=new(foreign_class('omegaconf_like.base', 'Metadata'), key=None,
                             ref_type=int))
    made._content = {key: omega(made, value) if isinstance(value, dict) else new(
        foreign_class('omegaconf_like.nodes', 'AnyNode'), _val=value, _parent=made)
        for key, value in content.items()}
    return made


@case('others_omegaconf', weights_only=False)
def omegaconf():
    return {'cfg': omega(None, {'lr': 0.1, 'model': {'dim': 4, 'act': 'gelu'}}),
            'model': small().state_dict()}


@case('others_lightning')
def lightning():
    made = checkpoint_of(model := small(), torch.optim.Adam(model.parameters()))
    return {'epoch': 1, 'global_step': 20, 'pytorch-lightning_version': '2.1.0',
            'state_dict': made['model'], 'optimizer_states': [made['optimizer']],
            'loops': {'fit_loop': {'state_dict': {}, 'epoch_progress': {'total': {'ready': 1}}}},
            'callbacks': {"ModelCheckpoint{'monitor': None}": {'best_model_path': '/a/b.ckpt'}},
            'lr_schedulers': [], 'hparams_name': 'kwargs', 'hyper_parameters': {'lr': 1e-3}}


@case('others_deepspeed', weights_only=False)
def deepspeed():
    fragment = foreign_class('deepspeed_like.utils', 'fragment_address')
    return {'module': small().state_dict(), 'buffer_names': ['1.running_mean'],
            'optimizer': None, 'param_shapes': [collections.OrderedDict(
                (k, v.shape) for k, v in small().named_parameters())],
            'sparse_tensor_module_names': set(), 'skipped_steps': 0, 'ds_version': '0.12',
            'slices': collections.OrderedDict(w=new(fragment, numel=4, start=0)),
            'groups': [torch.randn(100)]}


@case('others_megatron', weights_only=False)
def megatron():
    return {'args': argparse.Namespace(params_dtype=torch.bfloat16, kind=Color.RED,
                                       lr=1e-4, iteration=500),
            'checkpoint_version': 3.0, 'iteration': 500,
            'model': {'language_model': {'embedding': {'word_embeddings': nn.Embedding(
                8, 4).state_dict()}, 'encoder': small().state_dict()}},
            'rng_state': [{'random_rng_state': random.getstate(),
                           'np_rng_state': numpy.random.get_state(),
                           'torch_rng_state': torch.get_rng_state(), 'cuda': None}]}


@case('others_yolo', weights_only=False)
def yolo():
    model = TiedNet().half()
    model.__class__ = foreign_class('yolo_like.tasks', 'DetectionModel', TiedNet)
    return {'epoch': -1, 'best_fitness': None, 'model': model, 'ema': None, 'updates': None,
            'train_args': {'task': 'detect', 'imgsz': 640}, 'date': '2024-01-01'}


# ------------------------------------------------- options, names, other writers

def saved_with(**options):
    return lambda value, path: torch.save(value, path, **options)


def training():
    model = small()
    return checkpoint_of(model, torch.optim.Adam(model.parameters())) | {
        'bytes': b'\x00\xff', 'set': {1, 2}, 'text': 'same', 'again': 'same'}


for protocol in (1, 3, 4, 5):
    CASES.append(Case(f'protocol_{protocol}', training, saved_with(pickle_protocol=protocol),
                      weights_only=False, exact=False))
    CASES.append(Case(
        f'protocol_{protocol}_values', lambda: [
            shared_parts(), self_containing(), list(INTS), STRINGS, b'', b'a\x00', {1, 'b'},
            frozenset([1]), 1 + 2j, bytearray(b'x'), bytearray(), range(3), Point(1), Color.RED,
            deep(50), collections.OrderedDict(a=1), tuple_in_its_list()],
        saved_with(pickle_protocol=protocol), weights_only=False, exact=False))
values('protocol_4', {
    'new_arguments': lambda: NewArguments(1, b=[2]),
    'memory_format': lambda: torch.channels_last,
    'method': lambda: [CyclicNet.on_forward, Point.__init__],
}, write=saved_with(pickle_protocol=4), weights_only=False, exact=False)
values('protocol_5', {
    'numpy': lambda: [numpy.arange(6.), numpy.asfortranarray(numpy.ones((2, 3)))],
}, write=saved_with(pickle_protocol=5), weights_only=False, exact=False)

for alignment in (1, 48, 512, 4096):
    CASES.append(Case(f'alignment_{alignment}', training, torch_files.with_config(
        'storage_alignment', alignment), exact=False))
CASES += [
    Case('without_crc', training, torch_files.with_config('compute_crc32', False), exact=False),
    Case('skipped_data', lambda: {'a': torch.ones(300), 'b': torch.ones(2, 2)},
         torch_files.save_skipping_data, exact=False),
    Case('through_a_stream', training, torch_files.save_through_stream, exact=False),
    Case('name \u03b1 \u00e9 space', training),
    Case('name.with.dots', training),
    Case('layout_1_6', training, torch_files.layout('1.6'), exact=False),
    Case('layout_1_10', training, torch_files.layout('1.10'), exact=False),
    Case('layout_2_1', training, torch_files.layout('2.1'), exact=False),
    Case('deflated', training, torch_files.repacked(deflate=True), mmap=False, exact=False),
    Case('repacked', training, torch_files.repacked(deflate=False), mmap=False, exact=False),
    Case('with_directories', training, torch_files.repacked(deflate=False, directories=True),
         mmap=False, exact=False),
    Case('locations', training, torch_files.at_locations('cuda:1', 'mps', 'npu:0', 'xpu:3'),
         exact=False),
    Case('big_endian', lambda: {name: of_dtype(getattr(torch, name)) for name in DTYPES[:12]},
         torch_files.big_endian(), mmap=False, exact=False),
    Case('big_endian_untyped', lambda: {n: of_dtype(getattr(torch, n)) for n in DTYPES[12:]},
         torch_files.big_endian(), mmap=False, exact=False, truth=torch_files.little_endian_twin),
    Case('two_hundred_layers', lambda: {f'layers.{i}.{part}': torch.randn(3, i % 7) for i in range(
        200) for part in ('weight', 'bias')}),
]


def random_value(rng, depth, pool):
    """Anything weights_only lets through; `pool` is what may be shared."""
    kind = rng.randrange(14 if depth else 8)
    if kind == 0 and pool:
        return rng.choice(pool)
    if kind < 3:
        shape = [rng.randrange(4) for _ in range(rng.randrange(4))]
        made = torch.randn(shape).to(rng.choice(
            [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.float8_e5m2]))
        if rng.randrange(3) == 0 and made.dim() > 1:
            made = made.transpose(0, 1)
    elif kind < 8:
        return rng.choice([None, True, rng.randrange(-10**rng.randrange(30), 10**9),
                           rng.random(), f'k{rng.randrange(9)}', 'a.b' * rng.randrange(3),
                           b'\xf0', 1j])
    elif kind < 10:
        made = [random_value(rng, depth - 1, pool) for _ in range(rng.randrange(5))]
    elif kind < 11:
        made = tuple(random_value(rng, depth - 1, pool) for _ in range(rng.randrange(5)))
    else:
        made = {} if kind < 13 else collections.OrderedDict()
        for i in range(rng.randrange(6)):
            key = rng.choice([i, f'key.{i}', f'k{i}', (i, 'x'), None, -i * 10**12])
            made[key] = random_value(rng, depth - 1, pool)
    pool.append(made)
    return made


def random_checkpoint(seed):
    rng, pool = random.Random(seed), []
    return [random_value(rng, 5, pool) for _ in range(3)]


for seed in range(20):
    CASES.append(Case(f'random_{seed}', functools.partial(random_checkpoint, seed)))


def all_cases():
    names = [made.name for made in CASES]
    assert len(set(names)) == len(names), collections.Counter(names).most_common(1)
    return CASES
