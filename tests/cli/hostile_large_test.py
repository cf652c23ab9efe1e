"""Large files that were made to hurt, made on the fly: memory and time are bounded.

What a file may cost is BASE bytes of memory and so many for each of its bytes as a
case says; CPU time is bounded, too. Each is converted and shown.
"""

import os
import re
import resource
import shutil
import struct
import unittest
import zlib

import checkpoint_files as f
import penstock_cli

BASE = 64 << 20
VERBS = (('convert', 'x.pt', 'x.pstk', '--codec', 'none'), ('info', 'x.pt'))
MILLION = 1_000_000


class Case:
    """A file, and what has to come of it.

    make      () -> bytes, or (path) -> None
    words     what the refusal says; None: every verb succeeds
    per_byte  of memory, for each byte of the file
    """

    def __init__(self, make, words=None, per_byte=32, seconds=15):
        self.make, self.words, self.per_byte, self.seconds = make, words, per_byte, seconds


def packed(head, piece, count, tail):
    """Deflated bytes of head, `count` times piece, and tail; their size and CRC."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    size, crc, out = 0, 0, []
    for part in (head, *[piece] * count, tail):
        out.append(packer.compress(part))
        size, crc = size + len(part), zlib.crc32(part, crc)
    return b''.join(out) + packer.flush(), size, crc


def deflated(name, piece, count, head=b'', tail=b'', **records):
    """A checkpoint one record of which is deflated."""
    data, size, crc = packed(head, piece, count, tail)
    made = f.records(**records)
    lies = {'method': 8, 'size': size, 'crc': crc}
    for number, old in enumerate(made):
        if old.name == f'archive/{name}'.encode():
            made[number] = f.Entry(old.name, data, local=lies, central=lies)
    return f.archive(made)


def deflated_pickle(piece, count):
    return deflated('data.pkl', piece * (1 << 20), count, b'\x80\x02', b'N.')


def zeros_deflated(size):
    return deflated('data/0', bytes(1 << 20), size >> 20, data=f.pickle(f.dictionary(
        w=f.tensor(f.storage(numel=size // 4), size=(size // 4,)))))


def keys(each):
    """A dict of a million keys."""
    return f.with_pickle(b'}(' + b''.join(each(i) + b'N' for i in range(MILLION)) + b'u')


def write_entries(path):
    entries = f.records() + [f.Entry(b'archive/x/%d' % i, b'') for i in range(MILLION)]
    with open(path, 'wb') as file:
        f.write_archive(file, entries, zip64=True, here=0xffff, total=0xffff)


def write_byteorder(path):
    """A byteorder record of 1 GiB, which takes no room."""
    with open(path, 'wb') as file:
        f.write_archive(file, f.records(byteorder={'data': b'', 'hole': 1 << 30}))


def deep_names(levels):
    """A tensor at each level of dicts in dicts: names as long as they are deep."""
    body = f.tensor() + b'q\x000}' + f.text('t') + b'h\x00sq\x01'
    step = b'0}(' + f.text('t') + b'h\x00' + f.text('d') + b'h\x01uq\x01'
    return f.with_pickle(body + step * levels)


def legacy(body, keys_of=b']', rest=b''):
    """A legacy stream of this object."""
    magic = bytes.fromhex('80028a0a6cfc9c46f9206aa850192e')
    return (magic + f.pickle(f.number(1001)) + f.pickle(f.dictionary(little_endian=True)) +
            f.pickle(body) + f.pickle(keys_of) + rest)


def source_ids(megabytes):
    """Classes with their source code in the stream."""
    return legacy(f.item(tuple(f.item((
        'module', f.class_of('m', f'C{i}'), 'a.py', 'x' * 10**6)) + b'Q'
        for i in range(megabytes))))


def nested(levels):
    """_load_from_bytes of _load_from_bytes..., each in a legacy stream."""
    body = b'N'
    for _ in range(levels):
        stream = legacy(body)
        body = f.class_of('torch.storage', '_load_from_bytes') + (
            b'B' + struct.pack('<I', len(stream)) + stream) + b'\x85R'
    return f.with_pickle(body)


CASES = {
    # Every byte makes a node that may grow.
    'two million lists': Case(lambda: f.with_pickle(b'(' + b']' * 2 * MILLION + b't'),
                               per_byte=160, seconds=15),
    'two million lists in a bare pickle': Case(
        lambda: f.pickle(b'(' + b']' * 2 * MILLION + b't'), per_byte=160),
    'two million lists in a legacy stream': Case(
        lambda: legacy(b'(' + b']' * 2 * MILLION + b't'), per_byte=160),
    'ten million copies on the stack': Case(
        lambda: f.with_pickle(b'N' + b'2' * 10 * MILLION), 'pickle_limit.*stack'),
    'twenty million Nones': Case(lambda: f.with_pickle(b'N0' * 20 * MILLION + b'N')),
    'half a million globals': Case(lambda: f.with_pickle(b'(' + b''.join(
        b'cm%d\nn\n' % i for i in range(MILLION // 2)) + b't')),
    'texts of digits': Case(lambda: f.with_pickle(
        b'(' + (b'I' + b'9' * 4000 + b'\n') * 2500 + b't')),
    'integers of 64 KiB': Case(lambda: f.with_pickle(
        b'(' + (b'\x8b\x00\x00\x01\x00' + b'\x11' * 65536) * 150 + b't')),

    # Keys that are alike to Python's hash, to its ==, or to a bad hash of bytes.
    'multiples of 2^61 - 1 as keys': Case(lambda: keys(lambda i: f.number(i * (2**61 - 1)))),
    'NaN as keys': Case(lambda: keys(lambda i: f.real(float('nan')))),
    'one key in three types': Case(lambda: keys(
        lambda i: (b'\x88', b'K\x01', f.real(1))[i % 3])),
    'text that differs at the end': Case(lambda: keys(lambda i: f.text('k' * 20 + str(i)))),
    'tuples of tuples as keys': Case(lambda: keys(
        lambda i: b')\x85K\x00' + f.number(i) + b'\x87'), per_byte=64),

    # A few kilobytes that ask for gigabytes.
    'a pickle of Nones, deflated': Case(lambda: deflated_pickle(b'N0', 500), 'zip_limit.*deflated'),
    'lists, deflated': Case(lambda: deflated_pickle(b']0', 4), 'pickle_limit.*nodes.*deflated'),
    'a text, deflated': Case(lambda: deflated(
        'data.pkl', bytes(1 << 20), 200, b'\x80\x02X' + struct.pack('<I', 200 << 20), b'.'),
                             'zip_limit'),
    'a version, deflated': Case(lambda: deflated('version', bytes(1 << 20), 900, b'3'),
                                'zip_limit'),
    'half a gigabyte of zeros, deflated': Case(lambda: zeros_deflated(512 << 20)),
    'a byteorder of a gigabyte': Case(write_byteorder, 'byteorder_bad', per_byte=0),
    'names as long as they are deep': Case(lambda: deep_names(100_000), 'sharing multiplies'),

    'a million records': Case(write_entries),
    'a hundred megabytes of source': Case(lambda: source_ids(100), per_byte=4),
    'streams in streams': Case(lambda: nested(30), 'nested_depth'),
}


class HostileLargeTest(unittest.TestCase):

    def setUp(self):
        self.folder = penstock_cli.scratch(2 << 30)
        self.addCleanup(shutil.rmtree, self.folder)

    def judge(self, case):
        path = os.path.join(self.folder, 'x.pt')
        data = case.make(path) if case.make.__code__.co_argcount else f.write(path, case.make())
        del data
        allowed = BASE + case.per_byte * os.path.getsize(path)
        sanitized = 'PENSTOCK_SANITIZED' in os.environ
        limit = None if sanitized else lambda: resource.setrlimit(
            resource.RLIMIT_CPU, (case.seconds, case.seconds + 1))
        peaks = []
        for verb in VERBS:
            done, peak, seconds = penstock_cli.run_measured(*verb, cwd=self.folder,
                                                            preexec_fn=limit)
            said = penstock_cli.text_of(done.stderr)
            peaks.append(f'{verb[0]} {peak >> 20} MiB {seconds:.1f} s')
            if case.words is None:
                self.assertEqual(done.returncode, 0, said[-300:])
            else:
                self.assertIn(done.returncode, (1, 2), said[-300:])
                said += penstock_cli.text_of(done.stdout)
                self.assertRegex(said[-2000:], re.compile(case.words, re.S))
            if not sanitized:
                self.assertLess(peak, allowed, verb)
        return (f'{os.path.getsize(path) >> 10} KiB, at most {allowed >> 20} MiB: ' +
                ', '.join(peaks))

    def test_memory_and_time_are_bounded(self):
        for name, case in CASES.items():
            with self.subTest(name):
                print(f'{name}: {self.judge(case)}', flush=True)
            for left in os.listdir(self.folder):
                os.remove(os.path.join(self.folder, left))


if __name__ == '__main__':
    unittest.main()
