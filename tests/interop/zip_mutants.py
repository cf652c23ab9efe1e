"""Checkpoints in zip files that two readers could take for two different things.

`all_mutants(seed)` gives (family, what, bytes): what a zip file says twice made to
differ, names that are one name to somebody, structures with two readings, and
damage by a seeded chance. Most hold other bytes for each reading, so that whoever
chooses another one is seen.
"""

import io
import random
import struct
import zipfile
import zlib

import checkpoint_files as f

OTHER = struct.pack('<3f', -7, -8, -9)  # in place of FLOATS
OTHER_PICKLE = f.pickle(f.dictionary(v=f.tensor(size=(2,), stride=(1,), offset=1)))
RECORDS = ('data.pkl', 'byteorder', 'data/0', 'version')
KEYS = {name: name.replace('.', '_').replace('/', '_') for name in RECORDS}
SIDES = {'local': ('local',), 'central': ('central',), 'both': ('local', 'central')}


def with_lies(record, sides, lies, **options):
    return f.archive(f.records(**{KEYS[record]: {side: lies for side in sides}}), **options)


def zip64(*numbers):
    return struct.pack(f'<HH{len(numbers)}Q', 1, 8 * len(numbers), *numbers)


def unicode_path(name, real):
    data = struct.pack('<BI', 1, zlib.crc32(real)) + name
    return struct.pack('<HH', 0x7075, len(data)) + data


def header_lies(size):
    """(what, fields) of one header of a record of `size` bytes."""
    for bit in range(16):
        yield f'flag {bit}', {'flags': 0x800 ^ 1 << bit}
    for method in (1, 6, 8, 9, 12, 14, 93, 99, 0xffff):
        yield f'method {method}', {'method': method}
    for crc in (0, 1, 0xffffffff):
        yield f'crc {crc}', {'crc': crc}
    for number in (0, 1, size - 1, size + 1, size + 64, 0x7fffffff, 0xfffffffe, 0xffffffff):
        yield f'size {number}', {'size': number}
        yield f'stored {number}', {'stored': number}
        yield f'sizes {number}', {'size': number, 'stored': number}
        yield f'zip64 sizes {number}', {'size': 0xffffffff, 'stored': 0xffffffff,
                                        'extra': zip64(number, number)}
        yield f'needless zip64 {number}', {'extra': zip64(number, number)}
        yield f'zip64 twice {number}', {'size': 0xffffffff, 'stored': 0xffffffff,
                                        'extra': zip64(size, size) + zip64(number, number)}
    for extra in (b'\1', b'\1\0\xff\0', zip64(size)[:-4], struct.pack('<HH', 1, 0),
                  struct.pack('<HHQ', 0x7875, 8, 1)):
        yield f'extra {extra.hex()}', {'extra': extra}
        yield f'extra {extra.hex()} for a size', {'size': 0xffffffff, 'extra': extra}
    for version in (0, 45, 63, 0xffff):
        yield f'version {version}', {'version': version}
    for kind in (0x07, 0x08, 0x0a, 0x0d, 0x14, 0x17, 0x18, 0x5455, 0x6375, 0x7855, 0x9901,
                 0xa11e, 0xcafe):
        yield f'extra of kind {kind:#x}', {'extra': struct.pack('<HHQ', kind, 8, size)}
    for time in (1, 0x21, 0xffff):
        yield f'time {time}', {'time': time, 'date': time}
    for number in (size, size + 1):
        for count in (1, 3, 4):
            yield f'zip64 of {count} numbers {number}', {
                'size': 0xffffffff, 'stored': 0xffffffff, 'extra': zip64(*[number] * count)}
            yield f'zip64 of {count} for a size {number}', {
                'size': 0xffffffff, 'extra': zip64(*[number] * count)}


def central_lies(size):
    """(what, fields) that the directory alone has."""
    for system in (0, 1, 3, 10, 19, 255):
        for attributes in (1, 0x10, 0o40755 << 16, 0o120777 << 16, 0o100644 << 16, 0xffffffff):
            yield f'attributes {attributes:#x} of {system}', {
                'made': system << 8, 'external': attributes}
    for internal in (1, 0xffff):
        yield f'internal {internal}', {'internal': internal}
    for offset in (0, 1, 64, 0xffffffff):
        yield f'offset {offset}', {'offset': offset}
        yield f'zip64 offset {offset}', {'offset': 0xffffffff, 'extra': zip64(offset)}
        yield f'zip64 offset {offset} behind sizes', {
            'offset': 0xffffffff, 'extra': zip64(size, size, offset)}
        yield f'zip64 sizes and offset {offset}', {
            'size': 0xffffffff, 'stored': 0xffffffff, 'offset': 0xffffffff,
            'extra': zip64(size, size, offset)}
    for disk in (1, 0xffff):
        yield f'disk {disk}', {'disk': disk}
    yield 'zip64 disk', {'disk': 0xffff, 'extra': struct.pack('<HHI', 1, 4, 0)}
    yield 'comment', {'comment': b'PK\1\2'}


def padding_lies():
    """(what, local fields) of what aligns a record."""
    for padding in (b'', b'FB\0\0', b'FB\4\0ZZZZ', b'FB\4\0ZZZ', b'FB\xff\xff', b'FB', b'F',
                    b'fb\4\0\0\0\0\0', b'FB\4\0PK\3\4', bytes(9)):
        yield f'padding {padding.hex()}', {'padding': padding}


def descriptors(crc, stored, size):
    """(what, bytes) of data descriptors, right and wrong."""
    for signature in (b'PK\7\x08', b'', b'PK\7\7', b'PK\3\4'):
        for form in ('<III', '<IQQ', '<IQI', '<II'):
            numbers = (crc, stored, size)[:len(form) - 1]
            yield f'{signature.hex()} {form}', signature + struct.pack(form, *numbers)
            for place in range(len(numbers)):
                for number in (0, numbers[place] ^ 1, 0xffffffff):
                    lies = list(numbers)
                    lies[place] = number
                    yield (f'{signature.hex()} {form}, {place} is {number}',
                           signature + struct.pack(form, *lies))


def described():
    """Records with descriptors, whether their headers say so or not, and with gaps."""
    crc = zlib.crc32(f.FLOATS)
    zeros = {'crc': 0, 'size': 0, 'stored': 0}
    for name, sizes in (('zeros', zeros), ('right sizes', {}), ('zeros and a CRC', {
            'size': 0, 'stored': 0}), ('wide', {**zeros, 'size': 0xffffffff,
                                                'stored': 0xffffffff, 'extra': zip64(12, 12)})):
        for local, central in ((0x808, 0x808), (0x808, 0x800), (0x800, 0x808), (0x800, 0x800)):
            for what, data in [('none', b''), *descriptors(crc, 12, 12)]:
                yield f'{name}, flags {local:#x} and {central:#x}: {what}', f.archive(f.records(
                    data_0={'after': data, 'local': {**sizes, 'flags': local},
                            'central': {'flags': central}}))
    other = f.archive([f.Entry(b'archive/data/0', OTHER)])
    start, _ = parts(other)
    for record in RECORDS:
        for gap in (b'\0', bytes(64), b'PK\3\4', other[:start], other):
            yield f'gap of {len(gap)} behind {record}', f.archive(
                f.records(**{KEYS[record]: {'after': gap}}))


def names_of(name):
    folder, _, rest = name.rpartition(b'/')
    yield from (name.upper(), name.title(), folder.upper() + b'/' + rest, folder + b'//' + rest,
                folder + b'/./' + rest, folder + b'/x/../' + rest, b'./' + name, b'/' + name,
                name + b'/', name + b'\0', name + b'\0x', name + b' ', name + b'.',
                name.replace(b'/', b'\\'), b'C:/' + name, b'\xef\xbb\xbf' + name, name + b'\xff',
                name + '\u0301'.encode(), rest, b'other/' + rest, b'', b'archive', b'archive/',
                b'archive/data/1', b'archive/data.pkl', name + b'x' * 600)


def redundancy():
    """What both headers of a record say: A."""
    for record, size in zip(RECORDS, (len(f.records()[0].data), 6, 12, 2)):
        for side, sides in SIDES.items():
            for what, lies in header_lies(size):
                yield f'{side} {record} {what}', with_lies(record, sides, lies)
            for name in names_of(f'archive/{record}'.encode()):
                yield f'{side} {record} called {name[:40]}', with_lies(
                    record, sides, {'name': name})
                yield f'{side} {record} also called {name[:40]}', with_lies(
                    record, sides, {'extra': unicode_path(name, f'archive/{record}'.encode())})
        for what, lies in central_lies(size):
            yield f'directory: {record} {what}', with_lies(record, ('central',), lies)
        for what, lies in padding_lies():
            yield f'{record} {what}', with_lies(record, ('local',), lies)
    for size in (11, 12, 13):
        for stored in (11, 12, 13):
            lies = {'size': size, 'stored': stored}
            yield f'deflated as {stored} of {size}', f.archive(f.records(
                data_0={'method': 8, 'local': lies, 'central': lies}))


def doubles():
    """Records of one name, or of nearly one: B."""
    for record, data in zip(RECORDS, (OTHER_PICKLE, b'big', OTHER, b'9\n')):
        name = f'archive/{record}'.encode()
        for other in (name, *names_of(name)):
            entry = f.Entry(other, data)
            for place, made in (('first', [entry, *f.records()]),
                                ('last', [*f.records(), entry]),
                                ('second', [f.records()[0], entry, *f.records()[1:]])):
                yield f'{record} and {place} {other[:40]}', f.archive(made)
            yield f'{record} is {other[:40]}', f.archive(
                [e for e in f.records() if e.name != name] + [entry])
    for prefix in ('\u00e9', '\u0394', 'a b', 'A', 'archive/data', '.', '..', '', ' '):
        for flags in (0, 0x800):
            made = f.records(prefix=prefix)
            for entry in made:
                entry.flags = flags
            yield f'folder {prefix!r}, flags {flags}', f.archive(made)


def parts(data):
    """Offsets of the directory and of the end of an archive without comment."""
    size, start = struct.unpack('<II', data[-10:-2])
    return start, start + size


def moved(data, offset):
    """The directory and end of `data` as if it began at `offset`."""
    file = io.BytesIO()
    file.seek(offset)
    f.write_archive(file, f.records())
    return file.getvalue()[offset:]


def structures():
    """One file, two ends, two directories: C."""
    good = f.checkpoint()
    other = f.checkpoint(storages={'0': OTHER})
    start, end = parts(good)
    end_fields = ('disk', 'start_disk', 'here', 'total', 'size', 'offset')
    for field in end_fields:
        for number in (0, 1, 3, 4, 5, 46, start, end, 0xffff, 0xffffffff):
            number &= 0xffff if field not in ('size', 'offset') else 0xffffffff
            yield f'end: {field} {number}', f.archive(f.records(), **{field: number})
            yield f'end of zip64: {field} {number}', f.archive(f.records(), zip64=True, **{
                field: number})
            yield f'zip64 end: {field} {number}', f.archive(f.records(), zip64=True, zip64_lies={
                field: number})
            yield f'zip64 end alone: {field} {number}', f.archive(
                f.records(), zip64=True, zip64_lies={field: number}, here=0xffff, total=0xffff,
                size=0xffffffff, offset=0xffffffff)
    for lies in ({'disk': 1}, {'disks': 0}, {'disks': 2}, {'offset': 0}, {'offset': start},
                 {'offset': end - 1}, {'offset': end + 1}, {'magic': b'JUNK'}):
        yield f'locator: {lies}', f.archive(f.records(), zip64=True, locator_lies=lies)
    for lies in ({'length': 43}, {'length': 45}, {'length': 0}, {'magic': b'JUNK'}, {'made': 0},
                 {'needed': 20}, {'needed': 62}, {'more': b'x'}, {'more': b'x', 'length': 45},
                 {'length': 2**63}, {'here': 2**32 + 4, 'total': 2**32 + 4},
                 {'size': 2**32 + 1}, {'offset': 2**63}):
        yield f'zip64 end: {lies}', f.archive(f.records(), zip64=True, zip64_lies=lies)
    for what, pair in (('twice', good + good), ('then another', good + other),
                       ('then another, moved', good + moved(other, len(good))),
                       ('in front of its end', other[:-22] + good),
                       ('before its directory', good[:start] + other[start:]),
                       ('and the other end', good + other[-22:]),
                       ('and the end again', good + good[-22:])):
        yield f'one checkpoint {what}', pair
    for comment in (b'x', other[-22:], good[-22:], other[parts(other)[0]:], other,
                    b'PK\5\6', b'PK\5\6' + bytes(18), good[-22:-2] + b'\x16\0'):
        yield f'comment of {len(comment)} bytes', f.archive(f.records(), comment=comment)
        yield f'{len(comment)} bytes behind', good + comment
        yield f'{len(comment)} bytes before', comment + good
        yield f'{len(comment)} bytes before, counted', comment + moved(good, len(comment))
        yield f'{len(comment)} bytes before the directory', (
            good[:start] + comment + good[start:end] + good[end:-6] +
            struct.pack('<I', start + len(comment)) + good[-2:])
        yield f'{len(comment)} bytes before the end', good[:end] + comment + good[end:]
    for length in (0, 1, 21, 22, 0xffff):
        for comment in (b'', b'x', bytes(22)):
            yield f'comment of {len(comment)} that says {length}', f.archive(
                f.records(), comment=comment, comment_length=length)
    for count in (1, 100, 65_514, 65_535, 65_536, 70_000):
        yield f'{count} zeros behind', good + bytes(count)
    made = f.records()
    made.append(f.Entry(b'archive/data/1', f.archive(f.records(storages={'0': OTHER}))))
    yield 'a checkpoint in a record', f.archive(made)
    yield 'directory of two, end of one', f.archive(f.records() + [
        f.Entry(b'archive/data/0', OTHER)], here=4, total=4)
    for first, second in ((0, 2), (2, 0), (1, 2), (2, 3)):
        made = f.records()
        made.append(f.Entry(b'archive/data/1', OTHER, central={'offset': 64 * first + second}))
        yield f'a header within record {first}, {second} on', f.archive(made)
    for order in ((3, 2, 1, 0), (2, 0, 1, 3)):
        yield f'records in order {order}', f.archive([f.records()[i] for i in order])


def with_descriptors(deflate):
    """As a program writes that cannot seek."""
    file = io.BytesIO()

    class Pipe(io.RawIOBase):

        def writable(self):
            return True

        def write(self, data):
            return file.write(data)

    with zipfile.ZipFile(Pipe(), 'w', zipfile.ZIP_DEFLATED if deflate else 0) as archive:
        for entry in f.records():
            archive.writestr(entry.name.decode(), entry.data)
    return file.getvalue()


def chances(seed, count):
    """Bytes of sound files changed, most of them in what is no payload."""
    rng = random.Random(f'zip mutants {seed}')
    sound = [f.checkpoint(), f.archive(f.records(), zip64=True), with_descriptors(False),
             with_descriptors(True), f.archive(f.records() + [f.Entry(b'archive/data/1', OTHER)]),
             f.archive(f.records(data_0={'method': 8}), zip64=True, here=0xffff, total=0xffff,
                       size=0xffffffff, offset=0xffffffff)]
    for number in range(count):
        base = rng.choice(sound)
        data = bytearray(base)
        tail = parts(base)[0] if rng.randrange(3) else 0  # the directory, most often
        tail = min(tail, len(data) - 60)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            at = rng.randrange(tail, len(data))
            kind = rng.randrange(6)
            if kind == 0:
                data[at] ^= 1 << rng.randrange(8)
            elif kind == 1:
                data[at] = rng.choice((0, 1, 0xff, data[at] + 1 & 0xff, data[at] - 1 & 0xff))
            elif kind == 2:
                source = rng.randrange(len(data) - 4)
                data[at:at + 4] = data[source:source + 4]
            elif kind == 3:
                del data[at:at + rng.choice((1, 2, 4, 46))]
            elif kind == 4:
                source = rng.randrange(len(data) - 46)
                data[at:at] = data[source:source + rng.choice((1, 2, 4, 22, 46))]
            else:
                data[at:at + 4] = struct.pack('<I', rng.choice((0, 0xffffffff, at, len(data))))
        yield f'chance {number}', bytes(data)


def pickles(seed, count):
    """Bytes of sound pickles changed; their CRC is right."""
    rng = random.Random(f'pickle mutants {seed}')
    sound = [
        f.dictionary(w=f.tensor(), v=f.tensor(size=(2,), offset=1)),
        f.item((f.tensor(), 1, -300, 2**40, 'text', (), f.real(1.5), b'N', b'\x88')),
        f.dictionary(w=f.call('torch._utils', '_rebuild_tensor_v3', f.storage(
            'torch.storage UntypedStorage', numel=12), 0, (3,), (2,), False, f.HOOKS,
            f.class_of('torch', 'uint16'))),
        f.call('collections', 'OrderedDict') + b'(' + f.text('a') + f.tensor(
            size=(1, 3), stride=(3, 1)) + b'u' + f.dictionary(_metadata=1) + b'b',
        b']q\x00(' + f.tensor() + b'q\x01h\x01K\x07h\x00e',
        f.call('torch._utils', '_rebuild_parameter', f.tensor(), True, f.HOOKS),
        f.call('_codecs', 'encode', 'abc', 'latin1'),
    ]
    for number in range(count):
        body = bytearray(rng.choice(sound))
        for _ in range(rng.choice((1, 1, 2, 3))):
            at = rng.randrange(len(body))
            kind = rng.randrange(5)
            if kind == 0:
                body[at] = rng.randrange(256)
            elif kind == 1:
                body[at] = rng.choice(b'().NK\x85\x86\x87RbhqX]}eusat02')
            elif kind == 2:
                body[at] = body[at] + rng.choice((1, -1)) & 0xff
            elif kind == 3:
                del body[at:at + rng.choice((1, 2, 5))]
            else:
                source = rng.randrange(len(body))
                body[at:at] = body[source:source + rng.choice((1, 2, 5, 20))]
            body = body or bytearray(b'N')
        yield f'pickle {number}', f.with_pickle(bytes(body))


def all_mutants(seed, count):
    """(family, what, bytes) of each."""
    for family, made in (('what is said twice', redundancy()), ('names', doubles()),
                         ('structure', structures()), ('descriptors and gaps', described()), ('chance', chances(seed, count)),
                         ('pickles', pickles(seed, count))):
        for what, data in made:
            yield family, what, data
