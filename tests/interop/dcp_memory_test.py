"""Two gigabytes in chunks of a checkpoint of many processes, through megabytes.

torch.distributed.checkpoint cuts tensors as they lie on the processes, so a tensor's
bytes come from many places. What is put together takes its memory out of the budget.
"""

# pylint: disable=wrong-import-position
import torch_python

torch_python.enter()

import io
import os
import pickle
import shutil
import unittest

import torch
from torch.distributed.checkpoint import filesystem, metadata

import penstock_cli

BUDGET = 160 << 20
PROGRAM_BYTES = 32 << 20  # code, stacks, the tree and index of few tensors


def cut(size, parts):
    """(offset, size) of each."""
    step = size // parts
    return [(i * step, step) for i in range(parts)]


class Directory:
    """Writes chunks of tensors into files, as the processes of a mesh would."""

    def __init__(self, path):
        os.mkdir(path)
        self.path = path
        self.tensors, self.slices = {}, {}

    def add(self, name, tensor, grid):
        """In chunks of `grid` parts of each dimension; a file for each row of them."""
        chunks = []
        for row, (top, height) in enumerate(cut(tensor.shape[0], grid[0])):
            for left, width in cut(tensor.shape[1], grid[1]):
                chunk = tensor[top:top + height, left:left + width].clone()
                chunks.append(metadata.ChunkStorageMetadata(
                    torch.Size((top, left)), torch.Size((height, width))))
                data = io.BytesIO()
                torch.save(chunk, data)
                with open(os.path.join(self.path, f'__{row}_0.distcp'), 'ab') as file:
                    place = file.tell()
                    file.write(data.getbuffer())
                index = metadata.MetadataIndex(name, torch.Size((top, left)), len(chunks) - 1)
                self.slices[index] = filesystem._StorageInfo(  # pylint: disable=protected-access
                    f'__{row}_0.distcp', place, data.tell())
        self.tensors[name] = metadata.TensorStorageMetadata(
            metadata.TensorProperties(tensor.dtype), tensor.shape, chunks)

    def finish(self):
        with open(os.path.join(self.path, '.metadata'), 'wb') as file:
            pickle.dump(metadata.Metadata(self.tensors, {name: (name,) for name in self.tensors},
                                          self.slices), file)


@unittest.skipIf('PENSTOCK_SANITIZED' in os.environ, 'sanitizers need memory of their own')
class DcpMemoryTest(unittest.TestCase):

    def setUp(self):
        self.folder = penstock_cli.scratch(8_000_000_000, in_memory=False)
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def tensor(self, name):
        torch.manual_seed(len(name))
        return {'by_rows': lambda: torch.randn(8192, 16384),
                'in_blocks': lambda: torch.randn(16384, 16384).bfloat16(),
                'by_columns': lambda: torch.randn(4096, 65536)}[name]()

    def test_what_is_put_together_takes_its_memory_out_of_the_budget(self):
        directory = Directory(self.path('d'))
        grids = {'by_rows': (16, 1), 'in_blocks': (8, 8), 'by_columns': (1, 32)}
        for name, grid in grids.items():
            directory.add(name, self.tensor(name), grid)
        directory.finish()
        for codec in ('none', 'zstd'):
            peak, seconds = penstock_cli.must_measured(
                'convert', self.path('d'), self.path('m.pstk'), '--codec', codec,
                '--memory', f'{BUDGET >> 20}MiB', timeout=900)
            print(f'{codec}: peak {peak / 2**20:.0f} MiB, {seconds:.1f} s of CPU')
            self.assertLessEqual(peak, BUDGET + PROGRAM_BYTES, codec)
        penstock_cli.must('convert', self.path('m.pstk'), self.path('m.pt'), timeout=900)
        loaded = torch.load(self.path('m.pt'), mmap=True)
        for name in grids:
            with self.subTest(name):
                self.assertTrue(torch.equal(loaded[name], self.tensor(name)))


if __name__ == '__main__':
    unittest.main(warnings='ignore')
