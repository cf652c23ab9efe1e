"""Makes .pt files byte by byte, sound or not, without PyTorch.

Pickles are put together from opcodes and archives from headers, so that each
field of both can lie.
"""

import dataclasses
import io
import random
import struct
import zlib


# ------------------------------------------------------------------------ pickle

def text(value):
    data = value.encode('utf-8', 'surrogatepass')
    return b'X' + struct.pack('<I', len(data)) + data


def number(value):
    if 0 <= value < 256:
        return b'K' + bytes([value])
    if -2**31 <= value < 2**31:
        return b'J' + struct.pack('<i', value)
    data = value.to_bytes(value.bit_length() // 8 + 1, 'little', signed=True)
    return b'\x8a' + bytes([len(data)]) + data


def real(value):
    return b'G' + struct.pack('>d', value)


def item(value):
    """Opcodes of an int, str or tuple; bytes are opcodes already."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return b'\x88' if value else b'\x89'
    if isinstance(value, int):
        return number(value)
    if isinstance(value, str):
        return text(value)
    return b'(' + b''.join(map(item, value)) + b't'


def class_of(module, name):
    return f'c{module}\n{name}\n'.encode()


def call(module, name, *arguments):
    return class_of(module, name) + item(arguments) + b'R'


def storage(kind='torch FloatStorage', key='0', numel=3, location='cpu', word='storage'):
    module, _, name = kind.partition(' ')
    return item((word, class_of(module, name), key, location, numel)) + b'Q'


HOOKS = call('collections', 'OrderedDict')


def tensor(of=None, offset=0, size=(3,), stride=(1,), requires_grad=False):
    return call('torch._utils', '_rebuild_tensor_v2', of or storage(), offset, size, stride,
                requires_grad, HOOKS)


def dictionary(**values):
    return b'}(' + b''.join(text(k) + item(v) for k, v in values.items()) + b'u'


def pickle(body, protocol=2):
    return bytes([0x80, protocol]) + body + b'.'


# --------------------------------------------------------------------------- zip

@dataclasses.dataclass
class Entry:
    """A record; `local` and `central` say which header fields lie, and how."""
    name: bytes
    data: bytes
    method: int = 0
    flags: int = 0x800
    hole: int = 0  # this many zero bytes stand for the data, and take no room
    behind: bytes = b''  # what is deflated
    after: bytes = b''  # follows the data: a descriptor, a gap
    local: dict = dataclasses.field(default_factory=dict)
    central: dict = dataclasses.field(default_factory=dict)

    def stored(self):
        if self.method != 8:
            return self.data
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(self.data) + packer.flush() + self.behind


def header(entry, stored, offset, lies):
    fields = {'version': 20, 'flags': entry.flags, 'method': entry.method,
              'crc': zlib.crc32(entry.data), 'stored': entry.hole or len(stored),
              'size': entry.hole or len(entry.data),
              'name': entry.name, 'extra': b'', 'offset': offset, 'disk': 0, 'comment': b'',
              'made': 0, 'time': 0, 'date': 0, 'internal': 0, 'external': 0}
    assert set(lies) <= set(fields) | {'magic', 'padding'}, lies
    return fields | lies


def local_header(entry, stored, offset):
    f = header(entry, stored, offset, entry.local)
    pad = -(offset + 30 + len(f['name']) + len(f['extra']) + 4) % 64
    extra = f['extra'] + f.get('padding', b'FB' + struct.pack('<H', pad) + b'Z' * pad)
    return f.get('magic', b'PK\3\4') + struct.pack(
        '<HHHHHIIIHH', f['version'], f['flags'], f['method'], f['time'], f['date'], f['crc'],
        f['stored'], f['size'], len(f['name']), len(extra)) + f['name'] + extra


def central_header(entry, stored, offset):
    f = header(entry, stored, offset, entry.central)
    return f.get('magic', b'PK\1\2') + struct.pack(
        '<HHHHHHIIIHHHHHII', f['made'], f['version'], f['flags'], f['method'], f['time'],
        f['date'], f['crc'], f['stored'], f['size'], len(f['name']), len(f['extra']),
        len(f['comment']), f['disk'], f['internal'], f['external'],
        f['offset']) + f['name'] + f['extra'] + f['comment']


def write_archive(file, entries, zip64=False, comment=b'', zip64_lies=None,
                  locator_lies=None, **lies):
    """A zip of entries; `lies` are fields of the end record."""
    offsets = []
    for entry in entries:
        offsets.append(file.tell())
        stored = entry.stored()
        file.write(local_header(entry, stored, offsets[-1]) + stored)
        file.seek(entry.hole, io.SEEK_CUR)
        file.write(entry.after)
    start = file.tell()
    for entry, offset in zip(entries, offsets):
        file.write(central_header(entry, entry.stored(), offset))
    place = file.tell()
    end = {'disk': 0, 'start_disk': 0, 'here': len(entries), 'total': len(entries),
           'size': place - start, 'offset': start}
    if zip64:
        z = end | {'magic': b'PK\6\6', 'length': 44, 'made': 45, 'needed': 45, 'more': b''} | (
            zip64_lies or {})
        file.write(z['magic'] + struct.pack(
            '<QHHIIQQQQ', z['length'], z['made'], z['needed'], z['disk'], z['start_disk'],
            z['here'], z['total'], z['size'], z['offset']) + z['more'])
        w = {'magic': b'PK\6\7', 'disk': 0, 'offset': place, 'disks': 1} | (locator_lies or {})
        file.write(w['magic'] + struct.pack('<IQI', w['disk'], w['offset'], w['disks']))
    end |= {'comment_length': len(comment)} | lies
    file.write(b'PK\5\6' + struct.pack(
        '<HHHHIIH', end['disk'], end['start_disk'], end['here'], end['total'], end['size'],
        end['offset'], end['comment_length']) + comment)


def archive(entries, **options):
    file = io.BytesIO()
    write_archive(file, entries, **options)
    return file.getvalue()


FLOATS = struct.pack('<3f', 1, 2, 3)


def records(data=None, storages=None, prefix='archive', **changes):
    """Entries of a checkpoint with this data.pkl.

    `changes`: a record's name with _ for . and / -> fields of its Entry.
    """
    contents = {'data.pkl': pickle(dictionary(w=tensor())) if data is None else data,
                'byteorder': b'little'}
    for key, payload in ({'0': FLOATS} if storages is None else storages).items():
        contents[f'data/{key}'] = payload
    contents['version'] = b'3\n'
    entries = []
    for name, payload in contents.items():
        fields = changes.pop(name.replace('.', '_').replace('/', '_'), {})
        if fields is not None:
            entries.append(Entry(**{'name': f'{prefix}/{name}'.encode(), 'data': payload} |
                                 fields))
    assert not changes, changes
    return entries


def checkpoint(data=None, storages=None, **changes):
    """The bytes of a sound file, where nothing is changed."""
    return archive(records(data, storages, **changes))


def with_pickle(body, **options):
    """A checkpoint whose data.pkl is this body, between PROTO and STOP."""
    return checkpoint(pickle(body), **options)


def weights(count, seed=1):
    """`count` float32 like those of a trained layer, quickly made."""
    rng = random.Random(seed)
    one = b''.join(struct.pack('<f', rng.gauss(0, 0.02)) for _ in range(min(count, 50_000)))
    return (one * (count * 4 // len(one) + 1))[:count * 4]


def model(num_tensors=4, count=100_000):
    """A plain state_dict of float32 tensors."""
    names = [f'layers.{i}.weight' for i in range(num_tensors)]
    body = b'}(' + b''.join(
        text(name) + tensor(storage(key=str(i), numel=count), size=(count,))
        for i, name in enumerate(names)) + b'u'
    return checkpoint(pickle(body), {str(i): weights(count, i) for i in range(num_tensors)})


def write(path, data):
    with open(path, 'wb') as file:
        file.write(data)
    return path


def write_sparse(path, size):
    """A checkpoint of one tensor of `size` zero bytes, which take no room."""
    entries = records(pickle(tensor(storage(numel=size // 4), size=(size // 4,))),
                      data_0={'data': b'', 'hole': size})
    with open(path, 'wb') as file:
        write_archive(file, entries)
    return path
