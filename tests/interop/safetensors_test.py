"""safetensors files, with the package from PyPI as the judge, both ways.

What `penstock convert` writes is loaded by safetensors, and equal byte for byte
to save_file's where only one metadata key is there; what save_file writes is
read; what the package refuses is refused.
"""

# pylint: disable=wrong-import-position
import torch_python

torch_python.enter()

import collections
import concurrent.futures
import hashlib
import json
import os
import random
import shutil
import struct
import unittest

import safetensors
import safetensors.torch
import torch

import deep_compare
import penstock_cli

DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32,
    torch.int64, torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz, torch.float8_e8m0fnu, torch.float4_e2m1fn_x2
]


def tensor_of(dtype, *shape):
    """Any bits; bool holds 0 and 1."""
    count = torch.Size(shape).numel()
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, dtype=torch.bool)
    data = torch.randint(0, 256, (count * dtype.itemsize,), dtype=torch.uint8)
    return data.view(dtype).reshape(shape)


def bits(tensor):
    tensor = tensor.detach().resolve_conj().resolve_neg().contiguous()
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b''


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def file_of(header, data=b''):
    if isinstance(header, dict):
        header = json.dumps(header)
    if isinstance(header, str):
        header = header.encode('utf-8', 'surrogatepass')
    return struct.pack('<Q', len(header)) + header + data


class SafetensorsTest(unittest.TestCase):

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

    def convert(self, value, *options, name='m.safetensors'):
        """Writes `value` with torch and gives the path of what became of it."""
        torch.save(value, self.path('m.pt'))
        penstock_cli.must('convert', self.path('m.pt'), self.path(name), *options)
        return self.path(name)

    def same_tensors(self, expected, found):
        self.assertEqual(set(expected), set(found))
        for name, tensor in expected.items():
            with self.subTest(name=name):
                self.assertEqual(found[name].dtype, tensor.dtype)
                self.assertEqual(found[name].shape, tensor.shape)
                self.assertEqual(bits(found[name]), bits(tensor))

    def every_kind(self):
        tensors = {}
        for dtype in random.sample(DTYPES, len(DTYPES)):
            for shape in random.sample([(), (0,), (1,), (3, 0, 2), (2, 3), (1, 1, 5, 1)], 6):
                if dtype != torch.float4_e2m1fn_x2 or shape:
                    tensors[f'{dtype}.{len(tensors)}.\u00e9"\\\n\x7f'] = tensor_of(dtype, *shape)
        tensors[''] = torch.zeros(1)
        return tensors

    def test_a_flat_state_dict_is_written_as_save_file_does(self):
        for tensors in (self.every_kind(), {}, {'a': torch.arange(300_000)},
                        {f'layers.{i}.w': torch.full((2,), float(i)) for i in range(2000)},
                        collections.OrderedDict(b=torch.nn.Parameter(torch.ones(3)))):
            written = self.convert(tensors)
            safetensors.torch.save_file(tensors, self.path('theirs'), metadata={'format': 'pt'})
            self.assertEqual(read(written), read(self.path('theirs')))

    def test_their_files_come_as_load_file_gives_them(self):
        theirs = self.path('theirs.safetensors')
        for metadata in (None, {'format': 'pt'}, {'a': 'b', 'c': 'd\n\u00e9'}):
            safetensors.torch.save_file(self.every_kind(), theirs, metadata=metadata)
            penstock_cli.must('convert', theirs, self.path('back.pt'))
            expected = safetensors.torch.load_file(theirs)
            found = torch.load(self.path('back.pt'))
            # Of empty tensors at one place safetensors has no order.
            self.assertEqual([name for name in found if found[name].numel()],
                             [name for name in expected if expected[name].numel()])
            self.same_tensors(expected, found)

    def test_their_files_come_back_the_very_same(self):
        theirs, ours = self.path('theirs.safetensors'), self.path('back.safetensors')
        safetensors.torch.save_file(self.every_kind(), theirs, metadata={'a': 'b', 'c': 'd'})
        penstock_cli.must('convert', theirs, self.path('m.pstk'))
        penstock_cli.must('convert', self.path('m.pstk'), ours)
        self.assertEqual(hashlib.sha256(read(ours)).digest(),
                         hashlib.sha256(read(theirs)).digest())
        penstock_cli.must('convert', self.path('m.pstk'), ours, '--format', 'safetensors')
        with safetensors.safe_open(ours, 'pt') as file:
            self.assertEqual(file.metadata(), {'a': 'b', 'c': 'd', 'format': 'pt'})
        self.same_tensors(safetensors.torch.load_file(theirs), safetensors.torch.load_file(ours))

    def test_views_are_written_as_what_they_show(self):
        base = torch.complex(torch.arange(24.), torch.arange(24.) - 9).reshape(4, 6)
        tensors = {
            't': base.t(), 'part': base[1:3, ::2], 'row': base[3], 'conj': base.conj() * 1,
            'lazy': base.conj(), 'imag': base.clone().conj().imag, 'expanded': torch.ones(1).expand(2, 5),
            'flipped': torch.arange(6.).reshape(2, 3).permute(1, 0),
        }
        self.same_tensors(tensors, safetensors.torch.load_file(self.convert(tensors)))

    def test_trees_types_and_ties_come_back(self):
        linear = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        shared = [1, 2]
        weight = torch.ones(2, 3)
        value = {
            'model': linear.state_dict(), 'epoch': 3, 5: torch.zeros(2), '5': torch.ones(1),
            (1, 'x'): [weight, weight, weight.detach()], 'none': None,
            'floats': [0.1, -0.0, float('inf'), 5e-324, 1e308], 'big': [2**53, -2**63, 2**200, -2**64],
            'bytes': [b'\x00\xff', bytearray(b'x')], 'set': {1, 'a'}, 'complex': 1.5 - 2j,
            'text': 'a\n\u00e9\ud800', 'dtype': torch.bfloat16, 'device': torch.device('cuda', 1),
            'size': torch.Size([2, 0]), 'shared': [shared, shared], 'empty': [{}, [], (), set()],
        }
        written = self.convert(value)
        penstock_cli.must('convert', written, self.path('back.pt'))
        back = torch.load(self.path('back.pt'), weights_only=False)
        self.assertIs(back['shared'][0], back['shared'][1])
        a, b, c = back[1, 'x']
        self.assertEqual({x.untyped_storage().data_ptr() for x in (b, c)},
                         {a.untyped_storage().data_ptr()})
        self.assertEqual(back['model']._metadata, value['model']._metadata)
        # One object under two names is two tensors of one storage now.
        value[1, 'x'] = [weight, weight.detach(), weight.detach()]
        deep_compare.require_same(value, back)
        # The same again, from the tree that was read.
        again = self.convert(back, name='again.safetensors')
        self.assertEqual(len(read(again)), len(read(written)))

    def test_ties_that_a_change_broke_are_two_tensors(self):
        weight = torch.ones(4)
        written = self.convert({'a': weight, 'b': weight.detach()})
        tensors = safetensors.torch.load_file(written)
        with safetensors.safe_open(written, 'pt') as file:
            metadata = file.metadata()
        tensors['b'][2] = 7
        safetensors.torch.save_file(tensors, written, metadata=metadata)
        penstock_cli.must('convert', written, self.path('back.pt'))
        self.same_tensors(tensors, torch.load(self.path('back.pt')))

    def test_dropped_ties_are_named_as_save_model_does(self):
        model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
        model[1].weight = model[0].weight
        ours = self.convert(model.state_dict(), '--ties', 'drop')
        safetensors.torch.save_model(model, self.path('theirs'))
        self.same_tensors(safetensors.torch.load_file(self.path('theirs')),
                          safetensors.torch.load_file(ours))
        with safetensors.safe_open(ours, 'pt') as file:
            self.assertEqual(file.metadata()['1.weight'], '0.weight')
        other = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
        other[1].weight = other[0].weight
        self.assertEqual(safetensors.torch.load_model(other, ours), (set(), []))
        penstock_cli.must('convert', ours, self.path('back.pt'))
        back = torch.load(self.path('back.pt'))
        self.assertEqual(back['0.weight'].data_ptr(), back['1.weight'].data_ptr())

    def test_shards_are_save_files_with_an_index(self):
        tensors = {f'l{i}': tensor_of(torch.bfloat16, 1 + i % 7, 500) for i in range(40)}
        self.convert(tensors, '--shard-size', '10KB')
        index = json.loads(read(self.path('m.safetensors.index.json')))
        self.assertEqual(index['metadata'], {
            'total_size': sum(t.numel() * t.itemsize for t in tensors.values())})
        shards = collections.defaultdict(dict)
        for name, shard in index['weight_map'].items():
            shards[shard][name] = tensors[name]
        self.assertEqual(sorted(shards), [
            f'm-{i + 1:05}-of-{len(shards):05}.safetensors' for i in range(len(shards))])
        for shard, part in shards.items():
            size = sum(t.numel() * t.itemsize for t in part.values())
            self.assertTrue(size <= 10_000 or len(part) == 1, size)
            safetensors.torch.save_file(part, self.path('theirs'), metadata={'format': 'pt'})
            self.assertEqual(read(self.path(shard)), read(self.path('theirs')))
        penstock_cli.must('convert', self.path('m.safetensors.index.json'), self.path('back.pt'))
        self.same_tensors(tensors, torch.load(self.path('back.pt')))

    def test_shards_keep_the_tree(self):
        value = {'model': {'w': torch.ones(9), 'v': torch.zeros(9)}, 'step': 7}
        self.convert(value, '--shard-size', '36')
        penstock_cli.must('convert', self.path('m.safetensors.index.json'), self.path('back.pt'))
        deep_compare.require_same(value, torch.load(self.path('back.pt')))

    def test_an_index_that_lies_is_refused(self):
        safetensors.torch.save_file({'a': torch.ones(1)}, self.path('1.safetensors'))
        index = self.path('x.safetensors.index.json')
        for weight_map, words in (({'a': '1.safetensors', 'b': '1.safetensors'}, 'does not have'),
                                  ({'a': '2.safetensors'}, '2.safetensors'), ({}, ''),
                                  ({'a': '../1.safetensors'}, 'beside the index')):
            with open(index, 'w', encoding='utf-8') as file:
                json.dump({'metadata': {}, 'weight_map': weight_map}, file)
            done = penstock_cli.run('ls', index)
            self.assertEqual(done.returncode != 0, bool(weight_map))
            self.assertIn(words, penstock_cli.text_of(done.stderr))

    def test_all_that_cannot_be_written_is_named_at_once(self):
        value = {
            'good': torch.ones(2), 'c128': torch.ones(2, dtype=torch.complex128),
            'half': torch.ones(2, dtype=torch.complex32), 'sparse': torch.eye(3).to_sparse(),
            'csr': torch.eye(3).to_sparse_csr(), 'meta': torch.ones(2, device='meta'),
            'q': torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        }
        torch.save(value, self.path('m.pt'))
        done = penstock_cli.run('convert', self.path('m.pt'), self.path('m.safetensors'))
        self.assertNotEqual(done.returncode, 0)
        text = penstock_cli.text_of(done.stderr)
        for name in value:
            (self.assertNotIn if name == 'good' else self.assertIn)(f'{name}: ', text)
        self.assertIn('--drop', text)
        self.assertFalse(os.path.exists(self.path('m.safetensors')))


# One tensor, and ways to say it badly or oddly.
FIELDS = '"dtype":"F32","shape":[1],"data_offsets":[0,4]'
ONE = '{"a":{' + FIELDS + '}}'

# What safetensors accepts and Penstock does not: it has two meanings, or none in
# torch.
STRICTER = {
    'twice': '{"a":{' + FIELDS + '},"a":{' + FIELDS + '}}',
    'metadata twice': '{"__metadata__":{"a":"b","a":"c"},' + ONE[1:],
    'nul': ONE.replace('"a"', '"a\\u0000"'),
    'array': '{"a":["F32",[1],[0,4]]}',
    'dtype as object': ONE.replace('"F32"', '{"F32":null}'),
    'rank': ONE.replace('[1]', '[' + ','.join(['1'] * 65) + ']'),
}

HEADERS = {
    'plain': ONE, 'leading': '\n ' + ONE, 'trailing': ONE + '\n\t ', 'null': ONE + '\0',
    'bom': '\ufeff' + ONE, 'rest': ONE + 'x', 'comma': ONE[:-1] + ',}', 'empty': '{}', 'no': '',
    'array': '[]', 'metadata null': '{"__metadata__":null,' + ONE[1:],
    'metadata int': '{"__metadata__":{"a":1},' + ONE[1:],
    'metadata list': '{"__metadata__":[],' + ONE[1:],
    'metadata again': '{"__metadata__":{},"__metadata__":{},' + ONE[1:],
    'no name': ONE.replace('"a"', '""'), 'pair': ONE.replace('"a"', '"\\ud83d\\ude00"'),
    'lone': ONE.replace('"a"', '"\\ud83d"'), 'low': ONE.replace('"a"', '"\\udc00"'),
    'raw surrogate': ONE.replace('"a"', '"\ud800"'), 'control': ONE.replace('"a"', '"\x01"'),
    'unknown': ONE.replace('"dtype"', '"x":[{"y":null}],"dtype"'),
    'unknown twice': ONE.replace('"dtype"', '"x":1,"x":2,"dtype"'),
    'huge': ONE.replace('"dtype"', '"x":1e999,"dtype"'),
    'deep': ONE.replace('"dtype"', '"x":' + '[' * 125 + ']' * 125 + ',"dtype"'),
    'deeper': ONE.replace('"dtype"', '"x":' + '[' * 126 + ']' * 126 + ',"dtype"'),
    'dtype again': ONE.replace('"dtype"', '"dtype":"F32","dtype"'),
    'lower': ONE.replace('F32', 'f32'), 'f6': ONE.replace('F32', 'F6_E2M3'),
    'float': ONE.replace('[1]', '[1.0]'), 'negative': ONE.replace('[1]', '[-1]'),
    'minus zero': ONE.replace('[1]', '[-0]').replace('[0,4]', '[0,0]'),
    'zeros': ONE.replace('[1]', '[01]'), 'long': ONE.replace('[0,4]', '[0,4,4]'),
    'short': ONE.replace('[0,4]', '[0]'), 'backwards': ONE.replace('[0,4]', '[4,0]'),
    'later': ONE.replace('[0,4]', '[1,5]'), 'larger': ONE.replace('[1]', '[2]'),
    'overflow': ONE.replace('[1]', '[9223372036854775808,2,0]').replace('[0,4]', '[0,0]'),
    'scalar': ONE.replace('[1]', '[]'), 'f4': ONE.replace('F32', 'F4').replace('[1]', '[2,4]'),
    'f4 odd': ONE.replace('F32', 'F4').replace('[1]', '[8,1]'),
    'bool': ONE.replace('F32', 'BOOL').replace('[1]', '[2,2]'),
    'hole': ONE[:-1] + ',"z":{"dtype":"F32","shape":[0],"data_offsets":[2,2]}}',
    'boundary': ONE[:-1] + ',"z":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}',
    'beyond': ONE[:-1] + ',"z":{"dtype":"F32","shape":[0],"data_offsets":[9,9]}}',
}


class HeaderTest(unittest.TestCase):
    """The same verdict as safetensors, on every kind of header."""

    @classmethod
    def setUpClass(cls):
        cls.folder = penstock_cli.scratch(16 << 20)
        cls.addClassCleanup(shutil.rmtree, cls.folder)

    def verdicts(self, files):
        """For each: whether safetensors and Penstock open it, with all tensors."""
        paths = []
        for i, data in enumerate(files):
            paths.append(os.path.join(self.folder, f'{self._testMethodName}-{i}'))
            with open(paths[-1], 'wb') as file:
                file.write(data)

        def theirs(path):
            try:
                with safetensors.safe_open(path, 'pt') as file:
                    return {name: list(file.get_tensor(name).shape) for name in file.keys()}
            except Exception:  # pylint: disable=broad-except
                return None

        def ours(path):
            done = penstock_cli.run('ls', path, '--json')
            self.assertGreaterEqual(done.returncode, 0)
            if done.returncode != 0:
                return None
            return {t['name']: t['shape'] for t in json.loads(done.stdout)['tensors']}

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(zip(map(theirs, paths), pool.map(ours, paths)))

    def test_headers(self):
        bodies = [file_of(header, b'\0' * (0 if '[0,0]' in header and 'z' not in header or
                                           header == '{}' else 4))
                  for header in HEADERS.values()]
        for name, (theirs, ours) in zip(HEADERS, self.verdicts(bodies)):
            with self.subTest(header=name):
                self.assertEqual(ours, theirs)

    def test_what_has_two_meanings_is_refused(self):
        bodies = [file_of(header, b'\0' * 4) for header in STRICTER.values()]
        for name, (theirs, ours) in zip(STRICTER, self.verdicts(bodies)):
            with self.subTest(header=name):
                self.assertIsNotNone(theirs)
                self.assertIsNone(ours)

    # Each bit of a header; in a name or a dtype a flip may be harmless.
    def test_flipped_bits(self):
        whole = file_of('{"__metadata__":{"k":"v"},"a":{"dtype":"U8","shape":[2],'
                        '"data_offsets":[0,2]},"b":{"dtype":"I8","shape":[],'
                        '"data_offsets":[2,3]}}', b'xyz')
        files = []
        for bit in range(len(whole) * 8):
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            files.append(bytes(damaged))
        accepted = 0
        for bit, (theirs, ours) in enumerate(self.verdicts(files)):
            # A NUL as a name, and a name that is there twice.
            stricter = theirs is not None and ours is None and (
                len(theirs) < 2 or any('\0' in name for name in theirs))
            with self.subTest(bit=bit):
                self.assertTrue(ours == theirs or stricter, (theirs, ours))
            accepted += ours is not None
        self.assertGreater(accepted, 0)
        print(f'{accepted} of {len(files)} flips leave a file')


if __name__ == '__main__':
    unittest.main(warnings='ignore')
