"""Random checkpoints, and random ways in which torch writes them.

`Checkpoint(seed)` is the same one at every run in which sets have the same order
(PYTHONHASHSEED). Of what torch cannot write, or cannot read back as it wrote it,
the plainest form is taken.
"""

import collections
import contextlib
import decimal
import pickle
import random
import re
import warnings

import numpy
import safetensors.torch
import torch
from torch import nn

import checkpoint_cases
import torch_files
import torch_reading

warnings.filterwarnings('ignore')

DTYPES = [getattr(torch, name) for name in checkpoint_cases.DTYPES]
# Those that a legacy stream, safetensors, and nn.Module have in common.
COMMON = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64,
          torch.int32, torch.uint8, torch.bool]
QUANTIZED = [torch.qint8, torch.quint8, torch.qint32]
TEXTS = ('weight', 'bias', 'a.b.c', '', '.', 'layers.0.attention.q_proj.weight', '\u0394\u03b1',
         '\U0001f600', 'NUL\x00', '\ud800', 'module.x', 'tensor', 'x' * 300, '~2', '0', '-1',
         'line\nline', '"\\', '\x7f\x80', 'cpu', 'storage')
OPTIMIZERS = ('SGD', 'Adam', 'AdamW', 'RMSprop', 'Adagrad', 'NAdam', 'Rprop', 'ASGD')


class Maker:
    """One random value."""

    def __init__(self, rng, plain):
        self.rng = rng
        self.plain = plain  # only what a legacy stream can hold and weights_only lets through
        self.shared = []  # what may be named again
        self.dense = []

    def one_of(self, *makers):
        """Of (weight, maker) pairs; draws before it makes."""
        kinds = [maker for _, maker in makers]
        return self.rng.choices(kinds, [weight for weight, _ in makers])[0]()

    def root(self):
        return self.one_of((4, lambda: self.value(5)), (2, self.flat), (2, self.state_dict),
                           (1, self.training), (1, self.tensor), (1, lambda: self.dict_of(4)),
                           (1, lambda: self.list_of(4)), (0 if self.plain else 1, self.module))

    # ------------------------------------------------------------------ values

    def value(self, depth):
        deeper = 1 if depth else 0
        odd = 0 if self.plain else deeper
        return self.keep(self.one_of(
            (10, self.tensor), (8, self.atom), (2, self.torch_value), (4, self.again),
            (6 * deeper, lambda: self.dict_of(depth - 1)),
            (4 * deeper, lambda: self.list_of(depth - 1)),
            (3 * deeper, lambda: tuple(self.list_of(depth - 1))),
            (2 * deeper, self.set_of), (1 * deeper, self.cycle), (1 * deeper, self.state_dict),
            (2 * odd, self.special_tensor), (1 * odd, self.storage),
            (1 * odd, self.outside), (1 * odd, self.numpy_array)))

    def keep(self, made):
        self.shared.append(made)
        return made

    def again(self):
        return self.rng.choice(self.shared) if self.shared else None

    def text(self):
        rng = self.rng
        return rng.choice(TEXTS) if rng.randrange(2) else ''.join(
            rng.choices('abcxyz._0129', k=rng.randrange(12)))

    def integer(self):
        rng = self.rng
        return rng.choice([rng.randrange(-2, 300), rng.getrandbits(rng.randrange(1, 70)),
                           -rng.getrandbits(rng.randrange(1, 300)), 2**63, -2**31, 255,
                           rng.getrandbits(3000)])

    def real(self):
        rng = self.rng
        return rng.choice([rng.random(), rng.gauss(0, 1e30), float('nan'), float('-inf'), -0.0,
                           5e-324, 2.0**rng.randrange(-1074, 1023)])

    def data(self):
        made = self.rng.randbytes(self.rng.choice([1, 3, 40, 300]))
        return bytearray(made) if self.rng.randrange(4) == 0 else made

    def atom(self):
        return self.one_of((3, self.integer), (3, self.real), (4, self.text), (1, self.data),
                           (1, lambda: None), (1, lambda: bool(self.rng.randrange(2))),
                           (1, lambda: complex(self.real(), self.real())),
                           (0 if self.plain else 1, lambda: b''))

    def torch_value(self):
        rng = self.rng
        return rng.choice([torch.Size(rng.choices(range(9), k=rng.randrange(4))),
                           torch.device('cuda', rng.randrange(4)), torch.device('cpu'),
                           rng.choice(DTYPES), torch.strided, torch.sparse_coo])

    def key(self):
        rng = self.rng
        return self.one_of(
            (12, self.text), (4, lambda: rng.randrange(-3, 12)), (1, self.integer),
            (1, self.real), (1, lambda: rng.choice([True, False, None])),
            (2, lambda: (self.text(), rng.randrange(5))), (1, lambda: ()),
            (1, lambda: rng.randbytes(2)), (1, lambda: rng.choice(DTYPES)),
            (1, lambda: torch.device('cpu')))

    def dict_of(self, depth):
        rng = self.rng
        kind = rng.choice([dict, dict, collections.OrderedDict])
        if rng.randrange(12) == 0:
            kind = collections.Counter
        made = kind()
        for _ in range(rng.choice([0, 1, 2, 5, 9])):
            made[self.key()] = self.integer() if kind is collections.Counter else self.value(depth)
        if kind is collections.OrderedDict and rng.randrange(3) == 0:
            made._metadata = collections.OrderedDict(
                (self.text(), {'version': rng.randrange(4)}) for _ in range(rng.randrange(4)))
        return made

    def list_of(self, depth):
        if self.rng.randrange(40) == 0:
            return [self.atom() for _ in range(self.rng.choice([999, 1000, 1001, 2001]))]
        return [self.value(depth) for _ in range(self.rng.choice([0, 1, 2, 3, 4, 7]))]

    def set_of(self):
        made = {self.key() for _ in range(self.rng.randrange(5))}
        return frozenset(made) if not self.plain and self.rng.randrange(3) == 0 else made

    def cycle(self):
        made = [self.atom()]
        made.append(self.rng.choice([made, {'me': made}, (made, 1)]))
        return made

    def outside(self):
        """Objects that only Python's own unpickler rebuilds."""
        return self.one_of(
            (1, lambda: checkpoint_cases.Point(self.integer(), [self.atom()])),
            (1, lambda: checkpoint_cases.Color.RED),
            (1, lambda: checkpoint_cases.Named(self.atom(), self.tensor())),
            (1, lambda: decimal.Decimal('1.10')),
            (1, lambda: collections.deque([self.atom()], maxlen=3)),
            (1, lambda: collections.defaultdict(list, {self.text(): [self.atom()]})),
            (1, lambda: slice(1, self.integer(), None)),
            (1, lambda: checkpoint_cases.ListOfMine([self.atom(), self.tensor()])),
            (1, lambda: nn.Linear))

    def numpy_array(self):
        kind = self.rng.choice(['f4', '>f8', 'i2', '?', 'c16', 'U3', 'S4', 'M8[D]'])
        made = numpy.frombuffer(bytes(6 * numpy.dtype(kind).itemsize), kind).copy().reshape(2, 3)
        return self.rng.choice([made, made.T, made[0], made[0, 0]])

    # ----------------------------------------------------------------- tensors

    def shape(self):
        rng = self.rng
        if rng.randrange(60) == 0:
            return [rng.randrange(60_000, 400_000)]
        if rng.randrange(30) == 0:
            return [1] * rng.randrange(5, 20) + [2]
        return [rng.choice([0, 1, 2, 3, 3, 4, 5, 7, 17]) for _ in range(
            rng.choice([0, 1, 1, 2, 2, 2, 3, 4]))]

    def dtype(self):
        return self.rng.choice(COMMON if self.plain or self.rng.randrange(2) else DTYPES)

    def fresh(self, dtype, shape):
        """Any bits at all, or what compresses."""
        count = int(numpy.prod(shape, dtype=numpy.int64))
        if dtype == torch.bool:
            made = torch.randint(0, 2, (count,), dtype=torch.uint8)
        elif count > 4000 and self.rng.randrange(2):
            made = torch.randn(count * dtype.itemsize // 2 + 4).bfloat16().view(torch.uint8)
        else:
            made = torch.randint(0, 256, (count * dtype.itemsize,), dtype=torch.uint8)
        made = made[:count * dtype.itemsize].clone()
        return made.view(dtype).view(shape) if count else torch.empty(shape, dtype=dtype)

    def view_of(self, base):
        rng = self.rng
        storage = base.untyped_storage().nbytes() // base.itemsize
        def part():
            begin = rng.randrange(storage + 1)
            return base.as_strided((rng.randrange(storage - begin + 1),), (1,), begin)
        def overlapping():
            return base.as_strided((2, 2), (1, 1), storage - 3) if storage >= 3 else base
        def transposed():
            return base.permute(rng.sample(range(base.dim()), base.dim()))
        def expanded():
            return base.expand(rng.randrange(1, 4), *base.shape)
        def stepped():
            return base[rng.randrange(3)::rng.randrange(1, 4)] if base.dim() else base
        return rng.choice([part, overlapping, transposed, transposed, expanded, stepped,
                           lambda: base.detach()])()

    def tensor(self):
        rng = self.rng
        if self.dense and rng.randrange(4) == 0:
            made = rng.choice(self.dense)
        else:
            made = self.fresh(self.dtype(), self.shape())
        for _ in range(rng.choice([0, 0, 0, 1, 2])):
            made = self.view_of(made)
        if made.dim() == 4 and rng.randrange(2):
            made = made.contiguous(memory_format=torch.channels_last)
        self.dense.append(made)
        return self.dressed(made)

    def dressed(self, made):
        rng = self.rng
        trains = made.is_floating_point() and made.dtype in COMMON
        choice = rng.randrange(14)
        if choice == 0 and trains:
            return nn.Parameter(made, requires_grad=bool(rng.randrange(2)))
        if choice == 1 and trains:
            return made.detach().requires_grad_()
        if choice == 2 and made.dtype in (torch.complex64, torch.complex128):
            return rng.choice([made.conj(), torch._neg_view(made), made.conj().imag])
        if choice == 3 and not self.plain:
            return checkpoint_cases.with_attribute(made.detach(), tag=self.text())
        if choice == 4 and not self.plain:
            return nn.Buffer(made)
        return made

    def special_tensor(self):
        rng = self.rng
        cases = checkpoint_cases
        return self.one_of(
            (2, lambda: cases.coo(bool(rng.randrange(2)))),
            (1, lambda: torch.eye(3).to_sparse_csr()), (1, lambda: torch.eye(4).to_sparse_csc()),
            (1, lambda: torch.eye(4).to_sparse_bsr((2, 2))),
            (1, lambda: torch.nested.nested_tensor([torch.randn(2, 3), torch.randn(1, 3)])),
            (1, lambda: torch.empty(2, 3, device='meta')),
            (2, lambda: torch.quantize_per_tensor(torch.randn(3, 2), 0.1, 3,
                                                  rng.choice(QUANTIZED))),
            (1, lambda: cases.per_channel(rng.randrange(2), torch.qint8)),
            (1, lambda: cases.per_channel_float(3, 5, torch.quint4x2)))

    def storage(self):
        # Of a tensor of bytes: torch does not write one storage as two dtypes.
        made = self.fresh(torch.uint8, [self.rng.randrange(40)])
        return made.untyped_storage() if self.rng.randrange(2) else torch.LongStorage([1, -2])

    # ------------------------------------------------------------- checkpoints

    def flat(self):
        return {f'{self.text()}{i}': self.tensor() for i in range(self.rng.randrange(1, 12))}

    def module(self):
        rng = self.rng
        width = rng.randrange(1, 6)
        layers = [rng.choice([lambda: nn.Linear(width, width), lambda: nn.BatchNorm1d(width),
                              lambda: nn.LayerNorm(width), lambda: nn.Conv1d(width, width, 3),
                              lambda: nn.Embedding(5, width), lambda: nn.GRU(width, width),
                              lambda: nn.Dropout(0.1)])() for _ in range(rng.randrange(1, 5))]
        made = nn.Sequential(*layers)
        if rng.randrange(3) == 0:
            made.append(layers[0])  # ties
        return made.to(rng.choice([torch.float32, torch.float32, torch.bfloat16, torch.float64]))

    def state_dict(self):
        return self.module().state_dict(keep_vars=self.rng.randrange(5) == 0)

    def training(self):
        model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
        optimizer = getattr(torch.optim, self.rng.choice(OPTIMIZERS))(
            [{'params': list(model[:2].parameters())},
             {'params': list(model[2:].parameters()), 'lr': 0.5}], lr=self.rng.random())
        made = checkpoint_cases.checkpoint_of(model, optimizer, self.rng.randrange(1, 3))
        return made | {self.text(): self.value(2), 'rng': torch.get_rng_state()}


# ------------------------------------------------------------- ways of writing

@contextlib.contextmanager
def configured(**values):
    config = torch.utils.serialization.config.save
    before = {name: getattr(config, name) for name in values}
    for name, value in values.items():
        setattr(config, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)


WAYS = {  # how often each
    'default': 10, 'protocol': 3, 'config': 3, 'stream': 1, 'legacy': 4, 'others': 2, 'pickle': 1,
    'safetensors': 2, 'npz': 1, 'npy': 0.5}
FOREIGN = ('pickle', 'safetensors', 'npz', 'npy')
# What all of torch, safetensors and numpy have.
EVERYWHERE = [torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.int16,
              torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool,
              torch.complex64]
IN_SAFETENSORS = EVERYWHERE + [
    torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz]


class Checkpoint:
    """What is saved under a seed, and how.

    format   of the file, as penstock calls it
    exact    conversion.md 2 asks for the bytes of torch.save, if also
             weights_only reads it and it holds no b''
    mapped   torch.load(mmap=True) reads it
    """

    def __init__(self, seed):
        self.rng = random.Random(seed)
        torch.manual_seed(seed)
        numpy.random.seed(seed % 2**32)
        self.way = self.rng.choices(list(WAYS), list(WAYS.values()))[0]
        self.format = {'legacy': 'pt-legacy'}.get(
            self.way, self.way if self.way in FOREIGN else 'pt')
        self.exact = self.way == 'default'
        self.mapped = self.way in ('default', 'protocol', 'config', 'stream')
        plain = not self.mapped or self.rng.randrange(3) == 0
        maker = Maker(self.rng, plain)
        if self.way in ('safetensors', 'npz', 'npy'):
            self.value = self.table(maker)
        else:
            self.value = maker.root()

    def table(self, maker):
        """Contiguous tensors by names that a zip can hold."""
        dtypes = IN_SAFETENSORS if self.way == 'safetensors' else EVERYWHERE
        names = [f'{maker.text()}{i}' for i in range(self.rng.randrange(1, 12))]
        if self.way != 'safetensors':
            names = [re.sub('[^a-z0-9]', '_', name) for name in names]
        return {re.sub('[\0\ud800-\udfff]', '?', name): maker.fresh(
            self.rng.choice(dtypes), maker.shape()) for name in names}

    def save(self, path):
        """Returns how it was written."""
        way, write = self.writer()
        try:
            write(path)
            self.read(path)
        except Exception as error:  # pylint: disable=broad-except
            torch.save(self.value, path)
            way = f'default, as torch cannot with {way}: {type(error).__name__}'
            self.format, self.exact = 'pt', True
        return way

    def read(self, path, **options):
        """What its own library reads."""
        if self.format in ('pt', 'pt-legacy'):
            return torch.load(path, map_location='cpu', **{'weights_only': False} | options)
        if self.format == 'pickle':
            with open(path, 'rb') as file:
                return pickle.load(file)
        return torch_reading.read(path).value

    def writer(self):
        rng, value = self.rng, self.value
        if self.way == 'protocol':
            number = rng.choice([3, 4, 5])
            return f'protocol {number}', lambda path: torch.save(
                value, path, pickle_protocol=number)
        if self.way == 'config':
            values = {'storage_alignment': rng.choice([1, 8, 64, 512, 4096]),
                      'compute_crc32': bool(rng.randrange(2))}
            def write(path):
                with configured(**values):
                    torch.save(value, path)
            return 'config: ' + str(values), write
        if self.way == 'stream':
            return 'stream', lambda path: torch_files.save_through_stream(value, path)
        if self.way == 'legacy':
            number = rng.choice([2, 2, 3, 4])
            return f'legacy, protocol {number}', lambda path: torch.save(
                value, path, pickle_protocol=number, _use_new_zipfile_serialization=False)
        if self.way == 'others':
            name, write = rng.choice(OTHERS)
            return name, lambda path: write(value, path)
        if self.way in FOREIGN:
            return self.foreign_writer()
        return 'default', lambda path: torch.save(value, path)

    def foreign_writer(self):
        rng, value = self.rng, self.value
        def into_file(write):
            def to_path(path):
                with open(path, 'wb') as file:
                    write(file)
            return to_path
        if self.way == 'pickle':
            number = rng.choice([2, 3, 4, 5])
            return f'pickle, protocol {number}', into_file(
                lambda file: pickle.dump(value, file, number))
        if self.way == 'safetensors':
            metadata = rng.choice([None, {'format': 'pt'}, {'made by': 'chance'}])
            return 'safetensors', lambda path: safetensors.torch.save_file(
                value, path, metadata)
        arrays = {name: tensor.numpy() for name, tensor in value.items()}
        if self.way == 'npy':
            one = next(iter(arrays.values()))
            return 'npy', into_file(lambda file: numpy.save(
                file, numpy.asfortranarray(one) if rng.randrange(2) else one))
        savez = rng.choice([numpy.savez, numpy.savez_compressed])
        return savez.__name__, into_file(lambda file: savez(file, **arrays))


OTHERS = [
    ('layout 1.6', torch_files.layout('1.6')),
    ('layout 1.10', torch_files.layout('1.10')),
    ('layout 2.1', torch_files.layout('2.1')),
    ('deflated', torch_files.repacked(deflate=True)),
    ('repacked', torch_files.repacked(deflate=False, directories=True)),
    ('big endian', torch_files.big_endian()),
    ('locations', torch_files.at_locations('cuda:1', 'mps'))]
