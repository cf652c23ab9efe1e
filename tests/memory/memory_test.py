"""Four gigabytes through a budget of megabytes, bit for bit."""

import filecmp
import os
import random
import shutil
import struct
import time
import unittest
import zipfile
import zlib

import penstock_cli

import checkpoint_files as f

TOTAL_BYTES = 4_000_000_000
# What the program itself takes: code, stacks, the tree and index of 60 tensors.
PROGRAM_BYTES = 32 << 20
NEEDED_DISK = 13_000_000_000


def pattern():
    """float32 like trained weights; longer than any chunk, so that none repeats."""
    rng = random.Random(7)
    return b''.join(struct.pack('<f', rng.gauss(0, 0.02)) for _ in range(400_001))


def bfloat16_of(float32):
    result = bytearray(len(float32) // 2)
    result[0::2] = float32[2::4]
    result[1::2] = float32[3::4]
    return bytes(result)


def blocks(source, size):
    """`size` bytes of a source that is repeated."""
    while size > 0:
        yield source[:size]
        size -= len(source)


def write_checkpoint(path):
    """A model in bfloat16 and its two fp32 moments, streamed."""
    sources = {'torch FloatStorage': pattern()}
    sources['torch BFloat16Storage'] = bfloat16_of(sources['torch FloatStorage'])
    body, tensors = b'}(', []
    count = TOTAL_BYTES // 10 // 20
    for layer in range(20):
        for part, kind, width in (('weight', 'torch BFloat16Storage', 2),
                                  ('exp_avg', 'torch FloatStorage', 4),
                                  ('exp_avg_sq', 'torch FloatStorage', 4)):
            key = str(len(tensors))
            numel = count + 1000 * layer
            body += f.text(f'layers.{layer}.{part}') + f.tensor(
                f.storage(kind, key, numel), size=(numel // 100, 100), stride=(100, 1))
            tensors.append((f'x/data/{key}'.encode(), sources[kind], numel * width))
    entries = [f.Entry(b'x/data.pkl', f.pickle(body + b'u')),
               f.Entry(b'x/byteorder', b'little'), f.Entry(b'x/version', b'3\n')]
    for name, source, size in tensors:
        crc = 0
        for block in blocks(source, size):
            crc = zlib.crc32(block, crc)
        lies = {'crc': crc}
        entries.append(f.Entry(name, b'', hole=size, local=lies, central=lies))
    with open(path, 'wb') as file:
        f.write_archive(file, entries)
    with zipfile.ZipFile(path) as archive, open(path, 'r+b') as file:
        for name, source, size in tensors:
            info = archive.getinfo(name.decode())
            file.seek(info.header_offset + 26)
            lengths = struct.unpack('<HH', file.read(4))
            file.seek(sum(lengths), os.SEEK_CUR)
            for block in blocks(source, size):
                file.write(block)


class MemoryTest(unittest.TestCase):

    def setUp(self):
        self.folder = penstock_cli.scratch(NEEDED_DISK, in_memory=False)
        self.addCleanup(shutil.rmtree, self.folder)
        # The source may lie in memory, which spares the disk.
        self.source = os.path.join(penstock_cli.scratch(TOTAL_BYTES), 'x.pt')
        self.addCleanup(shutil.rmtree, os.path.dirname(self.source))
        free = shutil.disk_usage(self.folder).free
        if free < NEEDED_DISK:
            self.skipTest(f'{free} bytes are free on the disk, {NEEDED_DISK} are needed')

    def path(self, name):
        return os.path.join(self.folder, name)

    def within(self, budget, *arguments):
        start = time.monotonic()
        peak, seconds = penstock_cli.must_measured(
            *arguments, '--memory', f'{budget}MiB', cwd=self.folder)
        print(f'{" ".join(map(os.path.basename, arguments))} --memory {budget}MiB: '
              f'{peak / 2**20:.0f} MiB, {time.monotonic() - start:.1f} s, '
              f'{seconds:.1f} s of CPU', flush=True)
        self.assertLessEqual(peak, (budget << 20) + PROGRAM_BYTES)

    def assert_same_file(self, a, b):
        self.assertTrue(filecmp.cmp(self.path(a), self.path(b), shallow=False))

    def assert_same_records(self, a, b):
        """zipfile compares the CRCs as it reads."""
        with zipfile.ZipFile(self.path(a)) as one, zipfile.ZipFile(self.path(b)) as other:
            keys = [name for name in one.namelist() if '/data/' in name]
            self.assertEqual(len(keys), 60)
            for name in keys:
                with one.open(name) as x, other.open(name) as y:
                    while True:
                        block = x.read(8 << 20)
                        self.assertEqual(block, y.read(8 << 20), name)
                        if not block:
                            break

    def test_four_gigabytes_there_and_back_within_the_budget(self):
        write_checkpoint(self.source)
        self.within(256, 'convert', self.source, 'x.pstk')
        self.within(64, 'convert', self.source, 'y.pstk')
        self.assert_same_file('x.pstk', 'y.pstk')
        os.remove(self.path('y.pstk'))
        self.within(64, 'verify', 'x.pstk')
        os.mkdir(self.path('back'))
        self.within(256, 'convert', 'x.pstk', 'back/x.pt', '--format', 'pt')
        self.assert_same_records(self.source, 'back/x.pt')
        self.within(64, 'convert', 'x.pstk', 'restored.pt')
        self.assert_same_file(self.source, 'restored.pt')
        os.remove(self.path('restored.pt'))
        os.remove(self.source)
        os.mkdir(self.path('again'))
        self.within(64, 'convert', 'x.pstk', 'again/x.pt', '--format', 'pt')
        self.assert_same_file('back/x.pt', 'again/x.pt')
        self.within(64, 'verify', 'again/x.pt')


if __name__ == '__main__':
    unittest.main()
