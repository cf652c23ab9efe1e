"""Over 4 GiB of torch, there and back: storages and offsets beyond 32 bits."""

# pylint: disable=wrong-import-position
import torch_python

torch_python.enter()

import filecmp
import os
import shutil
import unittest
import zipfile

import torch

import deep_compare
import penstock_cli

GIANT = (1 << 32) + 8  # bytes of one storage; the next ones lie beyond 4 GiB
NEEDED_DISK = 15_000_000_000


def fill(path, size):
    """Bytes like those of weights in bfloat16, of which none repeats in a chunk."""
    torch.manual_seed(3)
    block = bytes((torch.randn(5_000_001) * 0.02).bfloat16().view(torch.uint8).numpy())
    with open(path, 'wb') as file:
        while size > 0:
            file.write(block[:size])
            size -= len(block)


class LargeTest(unittest.TestCase):

    def setUp(self):
        self.folder = penstock_cli.scratch(NEEDED_DISK, in_memory=False)
        self.addCleanup(shutil.rmtree, self.folder)
        free = shutil.disk_usage(self.folder).free
        if free < NEEDED_DISK:
            self.skipTest(f'{free} bytes are free on the disk, {NEEDED_DISK} are needed')

    def path(self, name):
        return os.path.join(self.folder, name)

    def save(self):
        folder = penstock_cli.scratch(GIANT)  # in memory, where there is room
        self.addCleanup(shutil.rmtree, folder)
        source = os.path.join(folder, 'giant')
        fill(source, GIANT)
        giant = torch.from_file(source, shared=False, size=GIANT // 2,
                                dtype=torch.bfloat16)
        torch.save({'before': torch.arange(5.), 'giant': giant.view(-1, 4), 'tied': giant[-4:],
                    'empty': torch.empty(0), 'after': torch.randn(1000, 1000), 'epoch': 3},
                   self.path('x.pt'))
        del giant
        os.remove(source)

    def test_a_storage_beyond_4_gib_comes_back_the_same(self):
        self.save()
        penstock_cli.must('convert', self.path('x.pt'), self.path('x.pstk'), timeout=600)
        os.mkdir(self.path('back'))
        penstock_cli.must('convert', self.path('x.pstk'), self.path('back/x.pt'), '--format', 'pt',
                          timeout=600)
        self.assertTrue(filecmp.cmp(self.path('x.pt'), self.path('back/x.pt'), shallow=False))
        loaded = [torch.load(self.path(name), mmap=True) for name in ('x.pt', 'back/x.pt')]
        deep_compare.require_same(*loaded)
        self.assertEqual(loaded[1]['giant'].untyped_storage().nbytes(), GIANT)
        with zipfile.ZipFile(self.path('back/x.pt')) as file:
            self.assertIsNone(file.testzip())


if __name__ == '__main__':
    unittest.main(warnings='ignore')
