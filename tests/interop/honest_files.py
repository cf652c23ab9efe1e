"""Files that nobody made to harm, by every program here that writes pickles.

`all_files()` gives (name, worst level that a scan may give it, write) each.
"""

import argparse
import collections
import datetime
import decimal
import enum
import fractions
import functools
import gzip
import io
import json
import pathlib
import pickle
import tarfile
import types
import uuid
import zipfile
import zlib

import numpy
import torch
import torch.nn.utils.prune
from torch import nn

import checkpoint_cases

LR = torch.optim.lr_scheduler


class Mode(enum.Enum):
    TRAIN = 1


class Level(enum.IntEnum):
    LOW = 1


class Config:
    class Inner:
        size = 3

    def __init__(self):
        self.inner = Config.Inner()
        self.activation = torch.relu
        self.hook = self.run

    def run(self):
        return self


def trained(make, *arguments, **options):
    """State of an optimizer that has made a step."""
    model = nn.Linear(3, 2)
    optimizer = make(model.parameters(), *arguments, **options)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step(lambda: model(torch.ones(1, 3)).sum())
    return optimizer


def modules():
    small = {
        'linear': nn.Linear(3, 2), 'bilinear': nn.Bilinear(2, 3, 4), 'conv': nn.Conv2d(3, 4, 3),
        'conv_transposed': nn.ConvTranspose1d(3, 4, 3), 'batch_norm': nn.BatchNorm2d(3),
        'sync_batch_norm': nn.SyncBatchNorm(3), 'layer_norm': nn.LayerNorm(4),
        'rms_norm': nn.RMSNorm(4), 'group_norm': nn.GroupNorm(2, 4), 'embedding': nn.Embedding(5, 3),
        'bag': nn.EmbeddingBag(5, 3), 'lstm': nn.LSTM(3, 4, 2), 'gru': nn.GRU(3, 4),
        'rnn_cell': nn.RNNCell(3, 4), 'attention': nn.MultiheadAttention(4, 2),
        'transformer': nn.Transformer(4, 2, 1, 1, 8, activation=nn.functional.gelu),
        'encoder': nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 2),
        'lazy': nn.LazyLinear(4), 'sequential': nn.Sequential(
            nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Softmax(dim=1)),
        'list': nn.ModuleList([nn.GELU(), nn.SiLU()]), 'dict': nn.ModuleDict({'a': nn.Tanh()}),
        'parameters': nn.ParameterList([torch.ones(2)]), 'upsample': nn.Upsample(scale_factor=2),
        'adaptive_softmax': nn.AdaptiveLogSoftmaxWithLoss(8, 10, [2, 4]),
        'old_weight_norm': nn.utils.weight_norm(nn.Linear(3, 2)),
        'spectral_norm': nn.utils.spectral_norm(nn.Linear(3, 2)),
        'data_parallel': nn.DataParallel(nn.Linear(2, 2)),
        'packed': nn.utils.rnn.pack_sequence([torch.ones(3), torch.ones(2)]),
    }
    nn.utils.prune.l1_unstructured(pruned := nn.Linear(3, 2), 'weight', 0.5)
    small['pruned'] = pruned
    for name in dir(nn):
        kind = getattr(nn, name)
        if isinstance(kind, type) and issubclass(kind, nn.Module) and (
                name.endswith(('Loss', 'Pool2d', 'ReLU', 'Pad2d')) or name in ('Identity', 'GLU')):
            try:
                small[name] = kind()
            except TypeError:
                continue
    return small


def optimizers():
    made = {name: getattr(torch.optim, name) for name in dir(torch.optim)
            if isinstance(getattr(torch.optim, name), type)}
    for name, kind in made.items():
        if name in ('Optimizer', 'SparseAdam', 'Muon'):
            continue
        yield name, trained(kind)
    sgd = torch.optim.SGD([torch.ones(2, requires_grad=True)], 0.1)
    for name, schedule in {
            'step': LR.StepLR(sgd, 3), 'multi': LR.MultiStepLR(sgd, [3, 5]),
            'cosine': LR.CosineAnnealingLR(sgd, 10), 'one_cycle': LR.OneCycleLR(sgd, 1, 10),
            'plateau': LR.ReduceLROnPlateau(sgd), 'cyclic': LR.CyclicLR(sgd, 0.1, 1),
            'warm': LR.CosineAnnealingWarmRestarts(sgd, 3),
            'sequential': LR.SequentialLR(sgd, [LR.ConstantLR(sgd), LR.ExponentialLR(sgd, 0.9)], [2]),
    }.items():
        yield f'{name}_state', schedule.state_dict()
        yield f'{name}_whole', schedule


def ordinary():
    """What else stands in checkpoints: allowed, all of it."""
    yield 'paths', [pathlib.Path('a/b'), pathlib.PurePosixPath('/x'), pathlib.PureWindowsPath('c:/')]
    yield 'times', [datetime.datetime(2024, 1, 2, 3, tzinfo=datetime.timezone.utc),
                    datetime.date(2024, 1, 2), datetime.time(1, 2), datetime.timedelta(3)]
    yield 'numbers', [decimal.Decimal('1.5'), fractions.Fraction(1, 3), 1 + 2j, 2**300, -1, 1e300,
                      float('nan'), True, None, ...]
    yield 'uuid', uuid.UUID(int=5)
    yield 'collections', [collections.OrderedDict(a=1), collections.Counter('abca'),
                          collections.deque([1, 2], 5), collections.defaultdict(list, a=[1]),
                          collections.defaultdict(int), {1, 2}, frozenset([3]), range(5),
                          slice(1, None), bytearray(b'abc'), b'abc' * 100, 'text' * 100]
    yield 'namespaces', [argparse.Namespace(lr=0.1, out=pathlib.Path('x')),
                         types.SimpleNamespace(a=1)]
    yield 'partials', [functools.partial(nn.LayerNorm, eps=1e-6), functools.partial(
        nn.functional.gelu, approximate='tanh'), functools.partial(nn.init.normal_, std=0.02)]
    yield 'functions', [torch.relu, torch.nn.functional.gelu, torch.tanh, torch.sigmoid]
    yield 'types', [int, str, dict, type(None), torch.float32, torch.Tensor, torch.nn.Linear,
                    numpy.float32, torch.device('cpu'), torch.Size([1]), torch.strided]
    arrays = {f'{kind}': numpy.arange(6).reshape(2, 3).astype(kind) for kind in (
        'f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 ? c8 c16 >f4 S5 U5 datetime64[D] m8[s]'.split())}
    yield 'arrays', arrays
    yield 'array_scalars', {name: array.ravel()[0] for name, array in arrays.items()}
    yield 'array_of_records', numpy.zeros(3, [('a', 'f4'), ('b', 'i8', (2,))])
    yield 'array_of_objects', numpy.array([1, 'a', None, {'k': 2}], dtype=object)
    yield 'array_masked', numpy.ma.masked_array([1, 2, 3], mask=[0, 1, 0])
    yield 'array_in_fortran', numpy.asfortranarray(numpy.ones((3, 4)))
    yield 'random_states', [numpy.random.default_rng(1), numpy.random.RandomState(2),
                            numpy.random.get_state(), torch.get_rng_state(),
                            numpy.random.Generator(numpy.random.Philox(3))]
    yield 'nested', functools.reduce(lambda inner, _: [inner], range(300), 'deep')
    yield 'many', {f'layer.{i}.weight': torch.full((3,), float(i)) for i in range(500)}
    yield 'source', {'code': 'import os\nos.system("x")\nc__builtin__\neval\n(' * 30,
                     'bytes': b'cos\nsystem\n', 'words': ['os', 'system', 'eval', 'builtins']}


def projects():
    """Code that is neither torch's nor numpy's: unknown."""
    yield 'enum', [Mode.TRAIN, Level.LOW]
    yield 'object', Config()
    yield 'class', Config.Inner
    yield 'exception', [ValueError('x'), KeyError('y')]
    yield 'named_functions', [max, print, len]


def pickled(protocol):
    return lambda value, path: path.write_bytes(pickle.dumps(value, protocol))


def saved(**options):
    return lambda value, path: torch.save(value, path, **options)


def packed(pack):
    def write(value, path):
        stream = io.BytesIO()
        torch.save(value, stream)
        path.write_bytes(pack(stream.getvalue()))
    return write


def as_tar(data):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode='w:gz') as file:
        info = tarfile.TarInfo('run/model.pt')
        info.size = len(data)
        file.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def as_zip(data):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', zipfile.ZIP_DEFLATED) as file:
        file.writestr('run/', b'')
        file.writestr('run/model.pt', data)
        file.writestr('run/config.json', json.dumps({'a': 1}))
    return stream.getvalue()


def save_array(value, path):
    array = numpy.empty(2, dtype=object)
    array[0] = value
    numpy.save(path, array)


# They hold bound or private methods of themselves.
BOUND = ('module_lazy', 'optimizer_cyclic_whole')

CONTAINERS = {
    'zip': torch.save,
    **{f'zip{protocol}': saved(pickle_protocol=protocol) for protocol in (1, 3, 4, 5)},
    **{f'legacy{protocol}': saved(_use_new_zipfile_serialization=False, pickle_protocol=protocol)
       for protocol in (1, 2, 4)},
    **{f'pickle{protocol}': pickled(protocol) for protocol in range(6)},
    'gzip': packed(gzip.compress), 'zlib': packed(zlib.compress), 'tar_gz': packed(as_tar),
    'zip_of_zip': packed(as_zip),
    'npy': save_array,
}


def write_npz(path):
    numpy.savez_compressed(path, a=numpy.ones(300), b=numpy.array([{}, 'x'], dtype=object))


def write_script(path):
    torch.jit.script(nn.Sequential(nn.Linear(3, 2), nn.ReLU())).save(path)


def write_trace(path):
    torch.jit.trace(nn.Conv2d(1, 2, 3).eval(), torch.ones(1, 1, 8, 8)).save(path)


def write_export(path):
    torch.export.save(torch.export.export(nn.Linear(3, 2), (torch.ones(1, 3),)), path)


def write_package(path):
    with torch.package.PackageExporter(path) as exporter:
        exporter.intern('**')
        exporter.extern(['torch.**', 'numpy.**'])
        exporter.save_pickle('model', 'model.pkl', nn.Linear(3, 2))
        exporter.save_text('model', 'notes.txt', 'import os\nos.system("x")\n')


def write_noise(path):
    random = numpy.random.default_rng(4)
    torch.save({'bits': torch.from_numpy(random.integers(0, 256, 8 << 20, numpy.uint8)),
                'small': torch.from_numpy(random.integers(0, 3, 1 << 20)),
                'normal': torch.from_numpy(random.normal(size=1 << 20).astype('f4')).bfloat16(),
                'ids': torch.arange(1 << 18)}, path)


def all_files():
    for case in checkpoint_cases.all_cases():
        yield (f'case_{case.name}', 'allow' if case.weights_only else 'unknown',
               lambda path, case=case: case.save(str(path)))
    groups = [('module', 'allow', modules().items()), ('optimizer', 'allow', optimizers()),
              ('ordinary', 'allow', ordinary()), ('project', 'unknown', projects())]
    for group, worst, values in groups:
        for name, value in values:
            level = 'unknown' if f'{group}_{name}' in BOUND else worst
            for container, write in CONTAINERS.items():
                yield (f'{group}_{name}_{container}', level,
                       lambda path, value=value, write=write: write(value, path))
    for write in (write_npz, write_script, write_trace, write_export, write_package, write_noise):
        yield write.__name__, 'allow', write
