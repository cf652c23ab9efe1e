"""Checkpoints of several files, and of several in one, as torch writes them."""

# pylint: disable=wrong-import-position
import torch_python

torch_python.enter()

import json
import os
import resource
import shutil
import subprocess
import sys
import unittest
import zipfile

import torch
import torch.distributed.checkpoint as dcp
import torch.package
from torch import distributed
from torch.distributed._shard import sharded_tensor
from torch.distributed.checkpoint import format_utils
from torch.distributed.tensor import Replicate, Shard, distribute_tensor, init_device_mesh

import dcp_ranks
import deep_compare
import penstock_cli


def restrung(value):
    """With the keys of dicts as DCP has them: text."""
    if isinstance(value, dict):
        return {str(key): restrung(item) for key, item in value.items()}
    return [restrung(item) for item in value] if isinstance(value, list) else value


def plain(value):
    """With keys in order and tensors contiguous: neither is part of what DCP promises."""
    if isinstance(value, dict):
        return {key: plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value)
    if isinstance(value, torch.Tensor):
        return value.detach().resolve_conj().clone(memory_format=torch.contiguous_format)
    return value


class ContainersCase(unittest.TestCase):

    def setUp(self):
        self.folder = penstock_cli.scratch(64 << 20)
        self.addCleanup(shutil.rmtree, self.folder)
        torch.manual_seed(1)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def converted(self, source, *options):
        """What torch loads from what Penstock makes of `source`, by way of a .pstk."""
        penstock_cli.must('convert', source, self.path('m.pstk'), *options)
        penstock_cli.must('convert', self.path('m.pstk'), self.path('back.pt'), '--format', 'pt')
        penstock_cli.must('verify', source)
        return torch.load(self.path('back.pt'), weights_only=False)

    def same(self, a, b):
        deep_compare.require_same(a, b)

    def names(self, name):
        return {row['name'] for row in penstock_cli.must_json('ls', self.path(name))['tensors']}

    def comes_back(self, name):
        """The very file, by way of a .pstk."""
        penstock_cli.must('convert', self.path(name), self.path('o.pstk'), '--origin', 'always')
        penstock_cli.must('convert', self.path('o.pstk'), self.path('back-' + name))
        with open(self.path(name), 'rb') as a, open(self.path('back-' + name), 'rb') as b:
            self.assertEqual(a.read(), b.read())


class ShardsTest(ContainersCase):

    def test_shards_of_torch_are_one_checkpoint(self):
        tied = torch.randn(5, 3)
        parts = [{'a': torch.randn(300, 7), 'b': tied, 'c': tied},
                 {'d': torch.randn(3).to(torch.bfloat16), 'e': torch.tensor(4)},
                 {'f': torch.randn(40, 2)}]
        weight_map = {}
        for number, part in enumerate(parts, 1):
            name = f'pytorch_model-{number:05}-of-00003.bin'
            torch.save(part, self.path(name), _use_new_zipfile_serialization=number != 2)
            weight_map.update((key, name) for key in part)
        index = self.path('pytorch_model.bin.index.json')
        with open(index, 'w', encoding='utf-8') as file:
            json.dump({'metadata': {'total_size': 1}, 'weight_map': weight_map}, file)
        loaded = self.converted(index)
        self.same(loaded, parts[0] | parts[1] | parts[2])
        self.assertEqual(loaded['b'].data_ptr(), loaded['c'].data_ptr())
        info = penstock_cli.must_json('info', index)
        self.assertEqual(info['format'], 'pt')
        self.assertIsNone(info.get('origin'))


class DistributedTensorTest(ContainersCase):
    """In torch.save: what this process holds, and of what it is a part."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        distributed.init_process_group('gloo', rank=0, world_size=1,
                                       store=distributed.HashStore())
        cls.addClassCleanup(distributed.destroy_process_group)

    def test_dtensor(self):
        mesh = init_device_mesh('cpu', (1,))
        whole = torch.randn(4, 3)
        value = {'d': distribute_tensor(whole, mesh, [Shard(0)]),
                 'p': torch.nn.Parameter(distribute_tensor(whole.t(), mesh, [Replicate()]))}
        torch.save(value, self.path('d.pt'))
        loaded = self.converted(self.path('d.pt'))
        for name, tensor in value.items():
            self.assertIs(type(loaded[name]), type(tensor))
            self.assertEqual(loaded[name].placements, tensor.placements)
            self.assertEqual((loaded[name].shape, loaded[name].stride(),
                              loaded[name].requires_grad),
                             (tensor.shape, tensor.stride(), tensor.requires_grad))
            self.same(loaded[name].to_local(), tensor.to_local())
        self.comes_back('d.pt')
        self.assertIn('d._local_tensor', self.names('d.pt'))

    def test_sharded_tensor(self):
        whole = torch.randn(4, 3)
        shard = sharded_tensor.Shard.from_tensor_and_offsets(whole, [0, 0], 0)
        torch.save({'s': sharded_tensor.init_from_local_shards([shard], 4, 3)}, self.path('s.pt'))
        loaded = self.converted(self.path('s.pt'))['s']
        self.assertEqual(loaded.metadata().size, whole.shape)
        self.same(loaded.local_shards()[0].tensor, whole)
        self.comes_back('s.pt')
        self.assertEqual(self.names('s.pt'), {'s.state.0.0.tensor'})


class DcpTest(ContainersCase):

    def judged(self, directory):
        """What torch itself makes of the directory."""
        format_utils.dcp_to_torch_save(directory, self.path('torch.pt'))
        return torch.load(self.path('torch.pt'), weights_only=False)

    def test_one_process(self):
        model = torch.nn.Sequential(torch.nn.Linear(5, 300), torch.nn.BatchNorm1d(300))
        optimizer = torch.optim.Adam(model.parameters())
        model(torch.randn(4, 5)).sum().backward()
        optimizer.step()
        value = {'model': model.state_dict(), 'optim': optimizer.state_dict(), 'epoch': 4,
                 'list': [torch.ones(2), torch.zeros(3)], 'text': 'x', 'none': None,
                 'view': torch.randn(6, 4).t(), 'f8': torch.randn(3).to(torch.float8_e4m3fn),
                 'empty': torch.empty(0, 3), 'conj': torch.randn(3, dtype=torch.cfloat).conj()}
        dcp.save(value, checkpoint_id=self.path('d'))
        loaded = self.converted(self.path('d'))
        self.same(plain(loaded), plain(self.judged(self.path('d'))))
        self.same(plain(loaded), plain(restrung(value)))
        self.assertEqual(loaded['view'].stride(), (1, 4))  # as it was saved
        with_ints = self.converted(self.path('d'), '--int-keys')
        self.same(plain(with_ints['optim']), plain(value['optim']))
        model.load_state_dict(with_ints['model'])
        optimizer.load_state_dict(with_ints['optim'])

    def test_a_file_for_each_item_and_metadata_by_its_name(self):
        value = {'a': torch.randn(40, 3), 'b': {'c': torch.arange(5)}, 'n': [1, 'x']}
        writer = dcp.FileSystemWriter(self.path('d'), single_file_per_rank=False)
        dcp.save(value, storage_writer=writer)
        self.assertGreater(len(os.listdir(self.path('d'))), 3)
        self.same(self.converted(self.path('d', '.metadata')), value)

    def test_more_files_than_may_be_open(self):
        value = {f't{i}': torch.randn(3, i % 7) for i in range(400)}
        writer = dcp.FileSystemWriter(self.path('d'), single_file_per_rank=False)
        dcp.save(value, storage_writer=writer)
        self.assertGreater(len(os.listdir(self.path('d'))), 400)
        penstock_cli.must('convert', self.path('d'), self.path('m.pt'), '--memory', '64MiB',
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200)))
        self.same(torch.load(self.path('m.pt')), value)

    def test_two_processes(self):
        ranks = [subprocess.Popen(
            [sys.executable, '-B', dcp_ranks.__file__, str(rank), self.path('store'),
             self.path('d')], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                 for rank in range(2)]
        for rank in ranks:
            output, _ = rank.communicate(timeout=240)
            self.assertEqual(rank.returncode, 0, output.decode())
        self.assertIn('__1_0.distcp', os.listdir(self.path('d')))
        directory = self.path('d')
        loaded = self.converted(directory, '--int-keys', '--memory', '64MiB')
        whole = dcp_ranks.whole()
        for name, tensor in whole['model'].items():
            with self.subTest(name):
                self.assertTrue(torch.equal(loaded['model'][name], tensor))
        self.same(plain(restrung(loaded)), plain(restrung(self.judged(directory))))
        self.same(plain(loaded['optim']), plain(whole['optim']))
        # Every verb.
        info = penstock_cli.must_json('info', directory)
        self.assertEqual(info['format'], 'dcp')
        rows = penstock_cli.must_json('ls', directory)['tensors']
        self.assertEqual({row['name'] for row in rows} - {'optim.state.0.step'},
                         {f'model.{name}' for name in whole['model']} |
                         {'optim.state.0.exp_avg'})
        self.assertIn(b'2.5', penstock_cli.must('cat', directory, 'model.scalar'))
        penstock_cli.must('extract', directory, 'model.columns', '-o', self.path('npy'))
        penstock_cli.must('diff', directory, self.path('m.pstk'))
        self.assertTrue(penstock_cli.must_json('doctor', directory)['readable'])
        # A chunk that is gone, and one that is damaged.
        place = self.path('d', '__1_0.distcp')
        with open(place, 'r+b') as file:
            data = file.read()
            at = data.index(loaded['model']['rows'][4:].contiguous().numpy().tobytes())
            file.seek(at)
            file.write(bytes([data[at] ^ 1]))
        done = penstock_cli.run('verify', directory)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b'model.rows', done.stdout + done.stderr)
        os.unlink(place)
        done = penstock_cli.run('convert', directory, self.path('x.pt'))
        self.assertEqual(done.returncode, 2)
        self.assertIn(b'__1_0.distcp', done.stderr)


class Program(torch.nn.Module):

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 4)
        self.tied = self.linear.weight
        self.register_buffer('transposed', torch.randn(2, 3).t())
        self.register_buffer('view', torch.arange(20.)[10:14])
        self.register_buffer('empty', torch.empty(0, 3))
        self.register_buffer('bf16', torch.randn(4).to(torch.bfloat16))
        self.register_buffer('passing', torch.ones(2), persistent=False)
        self.constant = torch.tensor([1, 2, 3])

    def forward(self, x):
        return self.linear(x) + self.passing.sum() + self.constant.sum() + self.view.sum()


class Pt2Test(ContainersCase):

    def exported(self):
        return torch.export.export(Program(), (torch.randn(2, 3),))

    def is_the_program(self, loaded, program):
        constants = {f'constants.{name}': value for name, value in program.constants.items()
                     if isinstance(value, torch.Tensor)}
        wanted = dict(program.state_dict) | constants
        self.assertEqual(set(loaded), set(wanted))
        for name, tensor in wanted.items():
            with self.subTest(name):
                self.assertEqual(loaded[name].dtype, tensor.dtype)
                self.assertEqual(loaded[name].shape, tensor.shape)
                self.assertEqual(loaded[name].stride(), tensor.stride())
                self.assertTrue(torch.equal(loaded[name], tensor))
        self.assertEqual(loaded['tied'].data_ptr(), loaded['linear.weight'].data_ptr())

    def test_an_exported_program(self):
        program = self.exported()
        torch.export.save(program, self.path('m.pt2'))
        self.is_the_program(self.converted(self.path('m.pt2')), program)
        self.assertEqual(penstock_cli.must_json('info', self.path('m.pt2'))['format'], 'pt2')
        self.comes_back('m.pt2')

    def test_an_exported_program_as_before_torch_2_8(self):
        from torch._export.serde.serialize import serialize
        program = self.exported()
        parts = serialize(program)
        with zipfile.ZipFile(self.path('m.pt2'), 'w') as file:
            file.writestr('version', '8.8')
            file.writestr('serialized_exported_program.json', parts.exported_program)
            file.writestr('serialized_state_dict.pt', parts.state_dict)
            file.writestr('serialized_constants.pt', parts.constants)
            file.writestr('serialized_example_inputs.pt', parts.example_inputs)
        self.is_the_program(self.converted(self.path('m.pt2')), program)
        self.comes_back('m.pt2')


class PackageTest(ContainersCase):

    def test_a_package(self):
        shared = torch.randn(3, 2)
        layer = torch.nn.Linear(2, 2)
        with torch.package.PackageExporter(self.path('p.pt')) as exporter:
            exporter.extern('**')
            exporter.save_pickle('model', 'model.pkl', {'w': shared, 'layer': layer})
            exporter.save_pickle('other.sub', 'net', [shared, shared[1]], pickle_protocol=4)
            exporter.save_text('text', 'a.txt', 'hello')
            exporter.save_source_string('code', 'x = 1')
        loaded = self.converted(self.path('p.pt'))
        self.assertEqual(set(loaded), {'model/model.pkl', 'other/sub/net'})
        model, net = loaded['model/model.pkl'], loaded['other/sub/net']
        self.assertTrue(torch.equal(model['w'], shared))
        self.assertTrue(torch.equal(model['layer'].weight, layer.weight))
        self.assertTrue(torch.equal(net[1], shared[1]))
        self.assertEqual(net[0].untyped_storage().data_ptr(),
                         model['w'].untyped_storage().data_ptr())
        info = penstock_cli.must_json('info', self.path('p.pt'))
        self.assertEqual(info['format'], 'torch-package')
        self.comes_back('p.pt')


class OriginTest(ContainersCase):

    def test_several_files_have_no_origin(self):
        dcp.save({'a': torch.ones(3)}, checkpoint_id=self.path('d'))
        done = penstock_cli.run('convert', self.path('d'), self.path('m.pstk'),
                                '--origin', 'always')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b'several files', done.stderr)


if __name__ == '__main__':
    unittest.main()
