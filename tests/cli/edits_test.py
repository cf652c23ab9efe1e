"""`penstock convert` with options that change the checkpoint."""

import io
import struct
import unittest
import zipfile

import checkpoint_files as f
import cli_case
import penstock_cli


def bf16(*values):
    """Of numbers that bf16 holds exactly."""
    return b''.join(struct.pack('<f', value)[2:] for value in values)


def view(key, numel=3, kind='torch FloatStorage', location='cpu', **fields):
    return f.tensor(f.storage(kind, key, numel, location),
                    **({'size': (numel,)} | fields))


def state_dict(*names, location='cpu'):
    """A float32 tensor 1, 2, 3 for each name."""
    body = b'}(' + b''.join(f.text(name) + view(str(i), location=location)
                            for i, name in enumerate(names)) + b'u'
    return f.with_pickle(body, storages={str(i): f.FLOATS for i in range(len(names))})


def module(parameters, modules=b'}'):
    """A pickled nn.Module of a class that is nowhere to be found."""
    state = f.dictionary(training=True, _parameters=parameters, _buffers=b'}',
                         _modules=modules)
    return f.class_of('lost.models', 'Net') + b')\x81' + state + b'b'


class EditsTest(cli_case.CliTestCase):

    def ls(self, name):
        return penstock_cli.must_json('ls', self.path(name))['tensors']

    def names_of(self, name):
        return [tensor['name'] for tensor in self.ls(name)]

    def convert(self, *options, to='b.pt'):
        done = self.run_command('convert', 'a.pt', to, *options)
        message = penstock_cli.text_of(done.stderr)
        self.assertEqual(done.returncode, 0, message)
        return message

    def records(self, name='b.pt'):
        """Record -> bytes, without the folder in the archive."""
        with zipfile.ZipFile(io.BytesIO(self.read(name))) as archive:
            return {n.partition('/')[2]: archive.read(n) for n in archive.namelist()}

    def test_keep_and_drop(self):
        self.write('a.pt', state_dict('a.w', 'a.b', 'b.w'))
        for to in ('b.pt', 'b.pstk', 'b.safetensors', 'b.npz'):
            with self.subTest(to):
                message = self.convert('--keep', 'a.*', '--keep', 'b.w', '--drop', '*.b', to=to)
                self.assertEqual(sorted(self.names_of(to)), ['a.w', 'b.w'])
                self.assertIn('kept 2 of 3', message)
                self.assertIn('2 tensors', message)

    def test_strip_prefix_and_rename(self):
        self.write('a.pt', state_dict('module.layer1.w', 'module.layer2.w'))
        message = self.convert('--strip-prefix', 'module.', '--rename', r'layer(\d)=stage.\1',
                               '--rename', 'w$=weight')
        self.assertEqual(self.names_of('b.pt'), ['stage.1.weight', 'stage.2.weight'])
        self.assertIn('renamed 2 keys', message)
        self.assertEqual(self.records()['data/0'], f.FLOATS)

    def test_equal_names_are_an_error_naming_both(self):
        self.write('a.pt', state_dict('w', 'module.w'))
        message = self.fails('would both', 'convert', 'a.pt', 'b.pt', '--strip-prefix', 'module.')
        self.assertIn('module.w', message)

    def test_a_wrong_pattern_is_an_error(self):
        self.write('a.pt', state_dict('w'))
        self.fails(r'--rename', 'convert', 'a.pt', 'b.pt', '--rename', '(=x')
        for option, value in (('--rename', 'no-equals-sign'), ('--dtype', 'int8')):
            done = self.run_command('convert', 'a.pt', 'b.pt', option, value)
            self.assertEqual(done.returncode, 2)
        self.assertEqual(self.names(), ['a.pt'])

    def test_dtype_casts_what_has_dimensions(self):
        self.write('a.pt', f.with_pickle(
            f.dictionary(w=view('0'), tied=view('0'), step=view('1', 1, size=(), stride=()),
                         n=view('2', 3, 'torch IntStorage'),
                         large=view('3', 3, 'torch DoubleStorage')),
            storages={'0': f.FLOATS, '1': struct.pack('<f', 257), '2': bytes(12),
                      '3': struct.pack('<3d', 1e300, -1e300, 0.5)}))
        for to in ('b.pt', 'b.pstk'):
            message = self.convert('--dtype', 'bf16', to=to)
            self.assertIn('3 tensors cast', message)
            self.assertIn('1 left because they have no dimensions', message)
            self.assertIn('2 numbers were too large', message)
            tensors = {tensor['name']: tensor for tensor in self.ls(to)}
            self.assertEqual({name: tensor['dtype'] for name, tensor in tensors.items()},
                             {'w': 'bfloat16', 'tied': 'bfloat16', 'step': 'float32',
                              'n': 'int32', 'large': 'bfloat16'})
            self.assertEqual(tensors['w']['storage'], tensors['tied']['storage'])
        records = self.records()
        self.assertEqual(records['data/0'], bf16(1, 2, 3))
        self.assertEqual(records['data/1'], struct.pack('<f', 257))
        self.assertEqual(records['data/3'], b'\x80\x7f\x80\xff\x00\x3f')

    def test_a_storage_of_two_dtypes_is_an_error_naming_both(self):
        bytes_ = f.storage('torch.storage UntypedStorage', '0', 12)
        x, y = (f.call('torch._utils', '_rebuild_tensor_v3', bytes_, 0, (3,), (1,), False,
                       f.HOOKS, f.class_of('torch', dtype)) for dtype in ('float32', 'int32'))
        self.write('a.pt', f.with_pickle(f.dictionary(x=x, y=y), storages={'0': f.FLOATS}))
        message = self.fails('cannot be cast', 'convert', 'a.pt', 'b.pt', '--dtype', 'f16')
        self.assertRegex(message, r'x .* y ')

    def test_select(self):
        self.write('a.pt', f.with_pickle(
            f.dictionary(epoch=3, model=f.dictionary(w=view('0')), opt=view('1')),
            storages={'0': f.FLOATS, '1': f.FLOATS}))
        self.convert('--select', 'model')
        self.assertEqual(self.names_of('b.pt'), ['w'])
        self.assertEqual([name for name in self.records() if name.startswith('data/')],
                         ['data/0'])
        self.fails('modle', 'convert', 'a.pt', 'c.pt', '--select', 'modle')

    def test_a_module_of_an_unknown_class_gives_up_its_state_dict(self):
        conv = module(f.dictionary(weight=view('0'), bias=b'N'))
        net = module(f.dictionary(scale=view('1')), f.dictionary(conv=conv))
        for name, body, path in (('a.pt', net, '.'),
                                 ('a.pt', f.dictionary(epoch=1, model=net), 'model')):
            self.write(name, f.with_pickle(body, storages={'0': f.FLOATS, '1': f.FLOATS}))
            self.convert('--select', path)
            self.assertEqual(self.names_of('b.pt'), ['scale', 'conv.weight'])
            pickle = self.records()['data.pkl']
            self.assertIn(b'OrderedDict', pickle)
            self.assertNotIn(b'lost.models', pickle)

    def test_map_location(self):
        self.write('a.pt', state_dict('w', location='cuda:1'))
        self.convert('--map-location', 'cpu')
        self.assertNotIn(b'cuda', self.records()['data.pkl'])
        self.assertEqual(self.records()['data/0'], f.FLOATS)

    def test_what_is_edited_keeps_and_restores_no_origin(self):
        self.write('a.pt', state_dict('module.w'))
        self.convert(to='whole.pstk')
        self.must('convert', 'whole.pstk', 'again.pt')
        self.assertEqual(self.read('again.pt'), self.read('a.pt'))
        self.must('convert', 'whole.pstk', 'edited.pt', '--strip-prefix', 'module.')
        self.assertEqual(self.names_of('edited.pt'), ['w'])
        self.must('convert', 'whole.pstk', 'edited.pstk', '--strip-prefix', 'module.')
        self.must('convert', 'edited.pstk', 'last.pt')
        self.assertEqual(self.names_of('last.pt'), ['w'])

    def test_damage_is_found_on_the_way(self):
        damaged = bytearray(f.model(1))
        damaged[damaged.index(f.weights(100_000, 0)[:64]) + 1000] ^= 1
        self.write('a.pt', bytes(damaged))
        self.fails('crc_mismatch', 'convert', 'a.pt', 'b.pt', '--dtype', 'bf16')
        self.fails('crc_mismatch', 'convert', 'a.pt', 'b.pstk', '--rename', 'l=m')


if __name__ == '__main__':
    unittest.main()
