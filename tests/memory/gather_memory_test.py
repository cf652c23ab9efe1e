"""Tensors that are made contiguous take their memory out of the budget."""

import os
import shutil
import unittest

import penstock_cli

import checkpoint_files as f

ROWS = 5000
COLUMNS = 5000
BUDGET = 160 << 20
PROGRAM_BYTES = 32 << 20


def write_checkpoint(path):
    """A float32 matrix of 100 MB that is saved transposed, and its like as it is."""
    numel = ROWS * COLUMNS
    body = b'}('
    entries = []
    for key, stride in (('0', (1, ROWS)), ('1', (COLUMNS, 1))):
        body += f.text(f'w{key}') + f.tensor(
            f.storage('torch FloatStorage', key, numel), size=(ROWS, COLUMNS), stride=stride)
        entries.append(f.Entry(f'x/data/{key}'.encode(), os.urandom(4 * numel)))
    entries = [f.Entry(b'x/data.pkl', f.pickle(body + b'u')),
               f.Entry(b'x/byteorder', b'little'), f.Entry(b'x/version', b'3\n')] + entries
    with open(path, 'wb') as file:
        f.write_archive(file, entries)


@unittest.skipIf('PENSTOCK_SANITIZED' in os.environ, 'sanitizers need memory of their own')
class GatherMemoryTest(unittest.TestCase):

    def setUp(self):
        self.folder = penstock_cli.scratch(1_000_000_000, in_memory=False)
        self.addCleanup(shutil.rmtree, self.folder)
        write_checkpoint(os.path.join(self.folder, 'x.pt'))

    def peak_of(self, *arguments):
        # So many threads that the pump would take all of the budget.
        peak, _ = penstock_cli.must_measured(
            'convert', 'x.pt', *arguments, '--threads', '64',
            '--memory', f'{BUDGET >> 20}MiB', cwd=self.folder)
        return peak

    def test_what_a_format_needs_contiguous(self):
        for name in ('x.safetensors', 'x.npz'):
            with self.subTest(name):
                self.assertLessEqual(self.peak_of(name), BUDGET + PROGRAM_BYTES)

    def test_what_a_cast_makes_contiguous(self):
        self.assertLessEqual(self.peak_of('x.pstk', '--dtype', 'f16'), BUDGET + PROGRAM_BYTES)


if __name__ == '__main__':
    unittest.main()
