"""What torch wrote once or writes besides torch.save, with torch as the judge."""

# pylint: disable=wrong-import-position
import torch_python

torch_python.enter()

import collections
import hashlib
import io
import os
import pickle
import random
import shutil
import struct
import tarfile
import unittest

import torch

import deep_compare
import penstock_cli


def read(path):
    with open(path, 'rb') as file:
        return file.read()


class FormatsTest(unittest.TestCase):
    """A folder for each test, and a random seed that is told."""

    @classmethod
    def setUpClass(cls):
        cls.seed = int(os.environ.get('PENSTOCK_SEED', random.randrange(1 << 30)))
        print(f'PENSTOCK_SEED={cls.seed}')
        random.seed(cls.seed)
        torch.manual_seed(cls.seed)
        cls.folder = penstock_cli.scratch(64 << 20)
        cls.addClassCleanup(shutil.rmtree, cls.folder)

    def path(self, name):
        folder = os.path.join(self.folder, self._testMethodName)
        os.makedirs(folder, exist_ok=True)
        return os.path.join(folder, name)

    def converted(self, source):
        """What torch loads from what Penstock makes of `source`, by way of a .pstk."""
        penstock_cli.must('convert', source, self.path('m.pstk'))
        penstock_cli.must('convert', self.path('m.pstk'), self.path('back.pt'), '--format', 'pt')
        penstock_cli.must('verify', source)
        return torch.load(self.path('back.pt'), weights_only=False)


class TarWriter:
    """torch.save as it was from 0.1.6 to 0.1.9, for tensors of today."""

    def __init__(self):
        self.keys = {}
        self.storages = []
        self.tensors = []

    def key_of(self, thing):
        return self.keys.setdefault(thing, 140000000000000 + 16 * len(self.keys))

    def persistent_id(self, thing):
        if not isinstance(thing, torch.Tensor):
            return None
        storage = thing.untyped_storage()
        storage_key = self.key_of(('storage', storage.data_ptr()))
        if all(key != storage_key for key, *_ in self.storages):
            self.storages.append((storage_key, thing.dtype, bytes(storage)))
        key = self.key_of(('tensor', id(thing)))
        if all(key != other for other, *_ in self.tensors):
            self.tensors.append((key, storage_key, thing))
        return str(key)

    def save(self, value, path):
        writer = self

        class Pickler(pickle._Pickler):  # pylint: disable=protected-access

            def persistent_id(self, obj):
                return writer.persistent_id(obj)

        members = {name: io.BytesIO() for name in ('sys_info', 'pickle', 'tensors', 'storages')}
        Pickler(members['pickle'], 2).dump(value)
        pickle.dump({'protocol_version': 1000, 'little_endian': True,
                     'type_sizes': {'short': 2, 'int': 4, 'long': 8}}, members['sys_info'], 2)
        file = members['storages']
        pickle.dump(len(self.storages), file, 2)
        for key, dtype, data in self.storages:
            pickle.dump((key, 'cpu', getattr(torch, storage_name(dtype))), file, 2)
            file.write(struct.pack('<q', len(data) // dtype.itemsize) + data)
        pickle.dump([], file, 2)
        file = members['tensors']
        pickle.dump(len(self.tensors), file, 2)
        for key, storage_key, tensor in self.tensors:
            pickle.dump((key, storage_key, getattr(torch, tensor.type().split('.')[1])), file, 2)
            file.write(struct.pack('<ii', tensor.dim(), random.randrange(1 << 30)))
            file.write(struct.pack(f'<{2 * tensor.dim()}q', *tensor.shape, *tensor.stride()))
            file.write(struct.pack('<q', tensor.storage_offset()))
        with tarfile.open(path, 'w:', format=tarfile.PAX_FORMAT) as tar:
            for name in random.sample(list(members), len(members)):
                info = tarfile.TarInfo(name)
                info.size = members[name].tell()
                info.mtime = random.choice([0, 1.5])
                members[name].seek(0)
                tar.addfile(info, members[name])


def storage_name(dtype):
    return torch.empty(0, dtype=dtype).type().split('.')[1].replace('Tensor', 'Storage')


class TarTest(FormatsTest):

    def checkpoint(self):
        base = torch.randn(6, 4)
        tensors = {str(dtype): torch.randint(0, 100, (3, 2)).to(dtype) for dtype in (
            torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.int16,
            torch.int8, torch.uint8)}
        weight = torch.randn(300, 1000)
        return {
            'epoch': 3, 'base': base, 't': base.t(), 'row': base[2], 'step': base[::2, 1:3],
            'expanded': base[0, :1].expand(5), 'list': [weight, weight, None, 'text'],
            'nested': collections.OrderedDict(tensors), 'big': 2**70,
        }

    def test_tar_files_are_what_torch_reads(self):
        path = self.path('old.pth')
        TarWriter().save(self.checkpoint(), path)
        expected = torch.load(path, weights_only=False)
        deep_compare.require_same(expected, self.converted(path))
        self.assertEqual(penstock_cli.must_json('info', path)['format'], 'pt-tar')

    def test_tar_files_come_back_byte_for_byte(self):
        path = self.path('old.pth')
        TarWriter().save(self.checkpoint(), path)
        penstock_cli.must('convert', path, self.path('m.pstk'))
        penstock_cli.must('convert', self.path('m.pstk'), self.path('back.pth'))
        self.assertEqual(hashlib.sha256(read(self.path('back.pth'))).digest(),
                         hashlib.sha256(read(path)).digest())

    def test_every_verb_takes_a_tar_file(self):
        path = self.path('old.pth')
        TarWriter().save(self.checkpoint(), path)
        self.assertIn(b'nested.torch.int64', penstock_cli.must('ls', path))
        penstock_cli.must('cat', path, 'base')
        penstock_cli.must('extract', path, 'nested.*', '-o', self.path('out'))
        penstock_cli.must('convert', path, self.path('m.pt'))
        penstock_cli.must('diff', path, self.path('m.pt'))
        self.assertIn(b'pt-tar', penstock_cli.must('doctor', path))
        with open(path, 'r+b') as file:
            file.truncate(5000)
        done = penstock_cli.run('doctor', path)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b'cut off', done.stdout)


if __name__ == '__main__':
    unittest.main()
