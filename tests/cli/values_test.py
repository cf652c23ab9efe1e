"""cat and extract: the values of tensors, on the screen and for numpy."""

import ast
import itertools
import json
import os
import struct
import subprocess
import unittest

import checkpoint_files as f
import cli_case
import penstock_cli

BFLOATS = struct.pack('<4H', 0x3F80, 0xC040, 0x7FC0, 0x3DCD)  # 1, -3, nan, 0.1


def npy(descr, shape, data, fortran=False):
    """A .npy file, as numpy pads it."""
    text = repr({'descr': descr, 'fortran_order': fortran, 'shape': shape}).encode()
    text += b' ' * (-(len(text) + 11) % 64) + b'\n'
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(text)) + text + data


def read_npy(data):
    """The dict of the header, and the bytes of the array."""
    assert data[:8] == b'\x93NUMPY\x01\x00', data[:8]
    end = 10 + struct.unpack('<H', data[8:10])[0]
    assert end % 64 == 0 and data[end - 1:end] == b'\n'
    return ast.literal_eval(data[10:end].decode()), data[end:]


def mixed():
    """A transposed tensor, a bfloat16, a name that would leave its folder."""
    floats = f.storage(key='0', numel=6)
    brain = f.storage('torch BFloat16Storage', key='1', numel=4)
    return f.with_pickle(
        f.dictionary(**{'w': f.tensor(floats, 0, (2, 3), (1, 2)),
                        'b': f.tensor(brain, 0, (4,), (1,)),
                        's': f.tensor(floats, 5, (), ()),
                        '../up': f.tensor(floats, 0, (2,), (1,))}),
        storages={'0': struct.pack('<6f', 1, 2, 3, 4, 0.1, 6), '1': BFLOATS})


class CatTest(cli_case.CliTestCase):

    def cat(self, *arguments):
        return penstock_cli.text_of(self.must('cat', *arguments))

    def test_values_in_their_order_and_shortest_form(self):
        self.write('a.pt', mixed())
        self.must('convert', 'a.pt', 'a.pstk')
        for name in ('a.pt', 'a.pstk'):
            self.assertEqual(self.cat(name, 'w'), '# w  float32  [2, 3]\n'
                             '[[1.0 3.0 0.1]\n [2.0 4.0 6.0]]\n')
            self.assertEqual(self.cat(name, 'b'), '# b  bfloat16  [4]\n'
                             '[ 1.0 -3.0  nan  0.1]\n')
            self.assertEqual(self.cat(name, 's'), '# s  float32  []\n6.0\n')

    def test_rows_are_pythons(self):
        self.write('a.npy', npy('<i2', (5,), struct.pack('<5h', *range(5))))
        for rows, values in (('3', '3'), ('1:3', '[1 2]'), (':2', '[0 1]'), ('3:', '[3 4]'),
                             ('2:99', '[2 3 4]'), ('4:2', '[]'), (':', '[0 1 2 3 4]'),
                             (':-3', '[0 1]')):
            self.assertEqual(self.cat('a.npy', 'tensor', rows),
                             f'# tensor[{rows}]  int16  [5]\n{values}\n')
        self.assertEqual(self.cat('a.npy', 'tensor', '--', '-1').splitlines()[1], '4')
        for rows in ('5', 'x', '1:2:3', '99999999999999999999'):
            self.fails('row', 'cat', 'a.npy', 'tensor', rows)
        self.write('s.npy', npy('<i2', (), b'\1\0'))
        self.fails('scalar', 'cat', 's.npy', 'tensor', '0')

    def test_an_unknown_name_is_said(self):
        self.write('a.pt', mixed())
        self.fails('no tensor named "v"', 'cat', 'a.pt', 'v')

    def test_many_values_are_summarised(self):
        values = list(range(3000))
        self.write('a.npy', npy('<i4', (300, 10), struct.pack('<3000i', *values)))
        text = self.cat('a.npy', 'tensor')
        self.assertIn(' ...\n', text)
        self.assertEqual(text.splitlines()[1], '[[   0    1    2 ...    7    8    9]')
        self.assertEqual(text.splitlines()[-1], ' [2990 2991 2992 ... 2997 2998 2999]]')
        told = self.cat('a.npy', 'tensor', '--all')
        numbers = told.split('\n', 1)[1].replace('[', ' ').replace(']', ' ').split()
        self.assertEqual([int(number) for number in numbers], values)

    def test_every_long_dimension_is_cut(self):
        shape = (8, 3, 9, 11)
        at = lambda *index: sum(i * n for i, n in zip(index, (297, 99, 11, 1)))
        data = struct.pack('<2376i', *range(2376))
        self.write('c.npy', npy('<i4', shape, data))
        self.write('f.npy', npy('<i4', shape[::-1], data, fortran=True))
        told = self.cat('c.npy', 'tensor').split('\n', 1)[1]
        outer = lambda size: [*range(3), *range(size - 3, size)] if size > 6 else range(size)
        self.assertEqual(
            [int(number) for number in told.replace('[', ' ').replace(']', ' ').split()
             if number != '...'],
            [at(*index) for index in itertools.product(*map(outer, shape))])
        self.assertIn('[[[[   0    1    2 ...    8    9   10]\n   [  11   12   13 ...   19   20'
                      '   21]\n   [  22   23   24 ...   30   31   32]\n   ...\n   [  66', told)
        told = self.cat('f.npy', 'tensor').split('\n', 1)[1]
        self.assertEqual(
            [int(number) for number in told.replace('[', ' ').replace(']', ' ').split()
             if number != '...'],
            [at(*index[::-1]) for index in itertools.product(*map(outer, shape[::-1]))])
        self.assertEqual(self.cat('c.npy', 'tensor', '1:').splitlines()[-1],
                         '   [2365 2366 2367 ... 2373 2374 2375]]]]')
        self.assertNotIn('...', self.cat('c.npy', 'tensor', '7'))

    # 256 MB of a tensor, of which 36 elements are shown.
    def test_only_what_is_shown_is_read(self):
        side = 1 << 13
        with open(self.path('a.npy'), 'wb') as file:
            file.write(npy('<i4', (side, side), b''))
            start = file.tell()
            file.truncate(start + 4 * side * side)
            for row, column in ((0, 0), (side - 1, side - 1)):
                file.seek(start + 4 * (row * side + column))
                file.write(struct.pack('<i', 7))
        done, peak, _ = penstock_cli.run_measured('cat', self.path('a.npy'), 'tensor')
        self.assertEqual(penstock_cli.text_of(done.stdout).splitlines()[1:],
                         ['[[7 0 0 ... 0 0 0]', ' [0 0 0 ... 0 0 0]', ' [0 0 0 ... 0 0 0]', ' ...',
                          ' [0 0 0 ... 0 0 0]', ' [0 0 0 ... 0 0 0]', ' [0 0 0 ... 0 0 7]]'])
        if not os.environ.get('PENSTOCK_SANITIZED'):
            self.assertLess(peak, 64 << 20)

    def test_a_name_may_be_given_as_ls_shows_it(self):
        self.write('n.pt', f.with_pickle(f.dictionary(**{'a\nb': f.tensor(f.storage())})))
        shown = self.must('ls', 'n.pt').decode().splitlines()[1].split()[0]
        self.assertEqual(shown, 'a\\x0ab')
        self.assertEqual(self.must('cat', 'n.pt', shown), self.must('cat', 'n.pt', 'a\nb'))

    def test_json_holds_every_value(self):
        self.write('a.pt', mixed())
        told = penstock_cli.must_json('cat', self.path('a.pt'), 'w')
        self.assertEqual(told, {'schema': 'penstock.cat/1', 'file': self.path('a.pt'),
                                'name': 'w', 'dtype': 'float32', 'shape': [2, 3],
                                'rows': None, 'values': [[1, 3, 0.1], [2, 4, 6]]})
        told = penstock_cli.must_json('cat', self.path('a.pt'), 'b', '1:3')
        self.assertEqual((told['rows'], told['values']), ([1, 3], [-3, 'NaN']))
        told = penstock_cli.must_json('cat', self.path('a.pt'), 'w', '1')
        self.assertEqual((told['rows'], told['values']), (1, [2, 4, 6]))
        self.write('n.npy', npy('<c8', (2000,), struct.pack('<4000f', *range(4000))))
        told = penstock_cli.must_json('cat', self.path('n.npy'), 'tensor')
        self.assertEqual(told['values'], [[2 * i, 2 * i + 1] for i in range(2000)])
        self.write('u.npy', npy('<u8', (1,), b'\xff' * 8))
        self.assertEqual(penstock_cli.must_json('cat', self.path('u.npy'), 'tensor')['values'],
                         [2**64 - 1])


class ExtractTest(cli_case.CliTestCase):

    def setUp(self):
        super().setUp()
        self.write('a.pt', mixed())

    def test_arrays_are_numpys(self):
        told = json.loads(self.must('extract', 'a.pt', '[wbs]', '-o', 'x/y', '--json'))
        self.assertEqual((told['schema'], told['directory']), ('penstock.extract/1', 'x/y'))
        self.assertEqual([(array['name'], array['path'], array['npy_dtype'])
                          for array in told['arrays']],
                         [('w', 'x/y/w.npy', '<f4'), ('b', 'x/y/b.npy', '<f4'),
                          ('s', 'x/y/s.npy', '<f4')])
        for array in told['arrays']:
            self.assertEqual(array['file_bytes'], len(self.read(array['path'])))
        self.assertEqual(read_npy(self.read('x/y/w.npy')),
                         ({'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)},
                          struct.pack('<6f', 1, 3, 0.1, 2, 4, 6)))
        head, data = read_npy(self.read('x/y/b.npy'))
        self.assertEqual((head['descr'], head['shape']), ('<f4', (4,)))
        one, three, nan, tenth = struct.unpack('<4f', data)
        self.assertEqual((one, three, tenth), (1, -3, 0.10009765625))
        self.assertNotEqual(nan, nan)
        self.assertEqual(read_npy(self.read('x/y/s.npy'))[0]['shape'], ())

    def test_raw_bits_stay(self):
        self.must('extract', 'a.pt', 'b', '-o', 'x', '--as-raw')
        head, data = read_npy(self.read('x/b.npy'))
        self.assertEqual((head['descr'], data), ('<u2', BFLOATS))

    def test_no_name_leaves_the_folder(self):
        self.must('extract', 'a.pt', '*', '-o', 'x', '-q')
        self.assertEqual(self.names(), ['a.pt', 'x'])
        self.assertEqual(sorted(os.listdir(self.path('x'))),
                         ['%2E.%2Fup.npy', 'b.npy', 's.npy', 'w.npy'])

    def test_files_that_are_there_stay_without_force(self):
        self.must('extract', 'a.pt', 's', '-o', 'x', '-q')
        before = self.read('x/s.npy')
        self.write('x/s.npy', b'mine')
        self.fails(r's\.npy.*--force', 'extract', 'a.pt', '*', '-o', 'x')
        self.must('extract', 'a.pt', '*', '-o', 'x', '--force', '-q')
        self.assertEqual(self.read('x/s.npy'), before)

    def test_no_match_is_an_error(self):
        self.fails(r'matches v\*', 'extract', 'a.pt', 'v*', '-o', 'x')

    def test_a_file_in_place_of_the_folder_is_an_error(self):
        self.fails('a.pt', 'extract', 'a.pt', 'w', '-o', 'a.pt')
        self.fails('director', 'extract', 'a.pt', 'w', '-o', 'a.pt/x')

    def test_a_damaged_tensor_leaves_no_file(self):
        data = self.read('a.pt')
        place = data.index(BFLOATS)
        self.write('bad.pt', data[:place] + b'\xff' + data[place + 1:])
        done = self.run_command('extract', 'bad.pt', 'b', '-o', 'x')
        self.assertEqual(done.returncode, 2)
        self.assertIn(b'crc', done.stderr)
        self.assertEqual(os.listdir(self.path('x')), [])

    def test_numpy_and_the_command_give_each_other_the_same(self):
        python = os.environ.get('PENSTOCK_PYTHON')
        if not python:
            self.skipTest('PENSTOCK_PYTHON is not set')
        make = '''
import numpy as np
for kind in ('b1 u1 i1 u2 i2 u4 i4 u8 i8 f2 f4 f8 c8 c16 >u2 >i8 >f4 >f8 >c8').split():
    for order in 'CF':
        a = (np.arange(24) % 2 if kind == 'b1' else np.arange(24)).astype(kind)
        np.save(kind.replace('>', 'B') + order, np.asarray(a.reshape(2, 3, 4), order=order))
a = {'w': np.arange(6.0).reshape(2, 3), 'W': np.float32(3), 'e': np.zeros((0, 5), 'i8')}
np.savez('s', **a)
np.savez_compressed('c', **a)
'''
        subprocess.run([python, '-c', make], check=True, cwd=self.folder)
        names = [name for name in self.names() if name.endswith('.npy')]
        self.assertEqual(len(names), 38)
        for name in names:
            self.must('extract', name, '*', '-o', 'out-' + name, '-q')
        for name in ('s.npz', 'c.npz'):
            self.must('extract', name, '*', '-o', 'out-' + name, '-q')
            self.must('convert', name, name + '.pstk', '-q')
            self.must('convert', name + '.pstk', 'again-' + name, '--format', 'npz', '-q')
        compare = '''
import glob, numpy as np
def same(a, b):
    assert a.dtype == b.dtype.newbyteorder('=') and a.shape == b.shape, (a.dtype, b.dtype)
    assert a.tobytes() == b.astype(b.dtype.newbyteorder('=')).tobytes()
for name in glob.glob('[!o]*.npy'):
    same(np.load(f'out-{name}/tensor.npy'), np.load(name))
for name in ('s.npz', 'c.npz'):
    want, again = np.load(name), np.load('again-' + name)
    assert list(want) == list(again) == ['w', 'W', 'e'], list(again)
    for key in want:
        same(np.load(f'out-{name}/{key}.npy'), want[key])
        same(again[key], want[key])
'''
        done = subprocess.run([python, '-c', compare], cwd=self.folder, check=False,
                              stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 0, penstock_cli.text_of(done.stderr))


if __name__ == '__main__':
    unittest.main()
