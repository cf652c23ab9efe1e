"""Zip files that others make, with torch as the judge.

TorchScript archives, files that were packed again with deflate, and files
without CRC-32; and what profile t16 writes.
"""

# pylint: disable=wrong-import-position
import torch_python

torch_python.enter()

import json
import os
import shutil
import typing
import unittest
import zipfile

import torch
import torch.utils.serialization

import penstock_cli


class Inner(torch.nn.Module):
    """Tensors that stand in state_dict() and tensors that do not."""

    maybe: typing.Optional[torch.Tensor]

    def __init__(self):
        super().__init__()
        base = torch.arange(12.)
        self.weight = torch.nn.Parameter(base.view(3, 4).t())
        self.register_buffer('view', base[2:6])
        self.register_buffer('count', torch.tensor(3))
        self.register_buffer('passing', torch.ones(5), persistent=False)
        self.register_buffer('maybe', torch.ones(7))
        self.plain = torch.zeros(4)
        self.pair = [torch.ones(1), torch.ones(2)]

    def forward(self, x):
        return x + self.plain.sum() + self.pair[0] + torch.tensor([1., 2.])


class Outer(torch.nn.Module):

    def __init__(self):
        super().__init__()
        self.inner = Inner()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
        self.tied = self.inner
        self.last = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))

    def forward(self, x):
        return self.tied(self.layers(x))


def scripts():
    yield 'scripted', torch.jit.script(Outer().eval())
    yield 'lstm', torch.jit.script(torch.nn.LSTM(3, 4, 2, bidirectional=True))
    yield 'traced', torch.jit.trace(
        torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)),
        torch.ones(1, 1, 5, 5))
    yield 'frozen', torch.jit.freeze(
        torch.jit.script(torch.nn.Sequential(torch.nn.Linear(3, 4)).eval()))


def equal(a, b):
    return a.dtype == b.dtype and a.stride() == b.stride() and torch.equal(a, b)


class ZipTest(unittest.TestCase):

    def setUp(self):
        self.folder = penstock_cli.scratch(64 << 20)
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def convert(self, *arguments):
        done = penstock_cli.run('convert', '-q', *arguments)
        self.assertEqual(done.returncode, 0, penstock_cli.text_of(done.stderr))

    def content(self, name):
        with open(self.path(name), 'rb') as file:
            return file.read()

    def test_torchscript_has_torchs_names_and_comes_back_as_it_was(self):
        for name, module in scripts():
            with self.subTest(name):
                original = self.path(name + '.jit')
                module.save(original)
                expected = torch.jit.load(original).state_dict()
                self.convert(original, self.path('anew.pt'))
                found = torch.load(self.path('anew.pt'), weights_only=True)
                self.assertEqual(
                    [key for key in found
                     if not key.startswith(('attributes.', 'constants.'))], list(expected))
                for key, tensor in expected.items():
                    self.assertTrue(equal(found[key], tensor), key)
                self.convert(original, self.path('native.pstk'))
                self.convert(self.path('native.pstk'), self.path('back.jit'))
                self.assertEqual(self.content('back.jit'), self.content(name + '.jit'))
        # With bytecode, as for telephones.
        mobile = self.path('mobile.ptl')
        torch.jit.script(Outer().eval())._save_for_lite_interpreter(mobile)
        self.convert(mobile, self.path('anew.pt'))
        found = torch.load(self.path('anew.pt'), weights_only=True)
        for key, tensor in torch.jit.load(mobile).state_dict().items():
            self.assertTrue(equal(found[key], tensor), key)
        self.assertIn('attributes.inner.pair.1', self.names_of('scripted.jit'))
        self.assertIn('constants.0', self.names_of('frozen.jit'))

    def names_of(self, name):
        done = penstock_cli.run('ls', self.path(name))
        self.assertEqual(done.returncode, 0, penstock_cli.text_of(done.stderr))
        return penstock_cli.text_of(done.stdout)

    def save(self, name, **config):
        tensors = {'big': torch.arange(700_000), 'odd': torch.ones(3, dtype=torch.bool),
                   'none': torch.empty(0, 2), 't': torch.arange(6.).view(2, 3).t()}
        with torch.utils.serialization.config.patch(config):
            torch.save(tensors, self.path(name))
        return tensors

    def check(self, name, tensors):
        loaded = torch.load(self.path(name), weights_only=True)
        self.assertEqual(list(loaded), list(tensors))
        for key, tensor in tensors.items():
            self.assertTrue(equal(loaded[key], tensor), key)

    def test_deflated_files_are_read_and_come_back_as_they_were(self):
        tensors = self.save('m.pt')
        with zipfile.ZipFile(self.path('m.pt')) as plain, zipfile.ZipFile(
                self.path('d.pt'), 'w', zipfile.ZIP_DEFLATED) as deflated:
            for entry in plain.namelist():
                deflated.writestr(entry, plain.read(entry))
        self.convert(self.path('d.pt'), self.path('anew.pt'))
        self.check('anew.pt', tensors)
        self.convert('--origin', 'always', self.path('d.pt'), self.path('native.pstk'))
        self.convert(self.path('native.pstk'), self.path('back.pt'))
        self.assertEqual(self.content('back.pt'), self.content('d.pt'))

    def test_files_without_crc_are_read_and_reported_as_unverified(self):
        tensors = self.save('m.pt', **{'save.compute_crc32': False,
                                       'save.storage_alignment': 4096})
        done = penstock_cli.run('verify', '--json', self.path('m.pt'))
        report = json.loads(done.stdout)
        self.assertTrue(report['sound'])
        self.assertEqual(report['unverified_bytes'], report['raw_bytes'])
        self.assertGreater(report['raw_bytes'], 0)
        self.convert(self.path('m.pt'), self.path('anew.pt'))
        self.check('anew.pt', tensors)

    def test_profile_t16_loads_in_every_way(self):
        tensors = self.save('m.pt')
        self.convert('--profile', 't16', self.path('m.pt'), self.path('old.pt'))
        self.check('old.pt', tensors)
        mapped = torch.load(self.path('old.pt'), weights_only=True, mmap=True)
        self.assertTrue(equal(mapped['big'], tensors['big']))
        with zipfile.ZipFile(self.path('old.pt')) as file:
            self.assertIsNone(file.testzip())
            self.assertEqual(file.namelist()[-1], 'old/version')
            self.assertNotIn('old/byteorder', file.namelist())


if __name__ == '__main__':
    unittest.main()
