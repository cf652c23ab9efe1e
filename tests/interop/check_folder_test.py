"""check_folder is fair to Penstock, and finds out one that lies."""

# pylint: disable=wrong-import-position
import torch_python

torch_python.enter()

import contextlib
import io
import json
import os
import pickle
import shutil
import stat
import sys
import unittest
from unittest import mock

import numpy
import safetensors.torch
import torch

import check_folder
import penstock_cli
import torch_files
import torch_reading

# Runs the real command, after or instead of which it does something wrong.
LIAR = """#!{python}
import os, subprocess, sys, time
arguments = sys.argv[1:]
if arguments[0] == 'convert' and {when}:
    {instead}
code = subprocess.run([{binary!r}, *arguments]).returncode
if arguments[0] == 'convert' and {when}:
    {after}
sys.exit(code)
"""
FLIP = """
    with open(arguments[2], 'r+b') as file:
        data = bytearray(file.read())
        data[data.index(b'needle')] ^= 1
        file.seek(0)
        file.write(data)"""


class Malicious:

    def __reduce__(self):
        return os.mkdir, (Malicious.path,)


class CheckFolderTest(unittest.TestCase):

    def setUp(self):
        self.folder = penstock_cli.scratch(1 << 20)
        self.addCleanup(shutil.rmtree, self.folder)
        self.files = os.path.join(self.folder, 'files')
        os.mkdir(self.files)

    def path(self, name):
        return os.path.join(self.files, name)

    def check(self, *options):
        """(exit status, rows by name, summary)"""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            status = check_folder.main(check_folder.parsed(
                [self.files, '--scratch', self.folder, *options]))
        *rows, summary = printed.getvalue().splitlines()
        return status, {row[29:90].strip(): row for row in rows}, summary

    def lie(self, when, instead='pass', after='pass'):
        path = os.path.join(self.folder, 'liar')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(LIAR.format(python=sys.executable, binary=penstock_cli.binary(),
                                   when=when, instead=instead, after=after))
        os.chmod(path, stat.S_IRWXU)
        return mock.patch.dict(os.environ, PENSTOCK_BINARY=path)

    def test_good_files_come_back_the_same(self):
        tensor = torch.arange(6.).reshape(2, 3).t()
        torch.save({'a': tensor, 'b': tensor[0]}, self.path('zip.pt'))
        torch.save([tensor], self.path('no suffix at all'))
        torch.save({'a': tensor}, self.path('legacy.pth'), _use_new_zipfile_serialization=False)
        safetensors.torch.save_file({'a': torch.ones(3)}, self.path('one.safetensors'))
        numpy.savez(self.path('some.npz'), a=numpy.ones(3))
        numpy.save(self.path('one.npy'), numpy.ones((2, 2)))
        torch_files.repacked(deflate=True)({'a': tensor}, self.path('deflated.pt'))
        status, rows, summary = self.check()
        self.assertEqual(status, 0, '\n'.join(rows.values()))
        self.assertIn('7 came back the same, 0 refused, 0 skipped, 0 failed', summary)
        self.assertIn('7 restored with equal SHA-256', summary)

    def test_shards_are_read_by_their_index(self):
        safetensors.torch.save_file({'a': torch.ones(3)}, self.path('1.safetensors'))
        safetensors.torch.save_file({'b': torch.zeros(2)}, self.path('2.safetensors'))
        with open(self.path('model.safetensors.index.json'), 'w', encoding='utf-8') as file:
            json.dump({'metadata': {'total_size': 20}, 'weight_map': {
                'a': '1.safetensors', 'b': '2.safetensors'}}, file)
        status, rows, _ = self.check()
        self.assertEqual(status, 0, '\n'.join(rows.values()))
        self.assertIn('same', rows['model.safetensors.index.json'])

    def test_what_is_no_checkpoint_is_refused_in_one_line(self):
        torch.save({'a': torch.ones(100)}, self.path('whole.pt'))
        with open(self.path('whole.pt'), 'rb') as file:
            data = file.read()
        os.unlink(self.path('whole.pt'))
        for name, content in (('cut.pt', data[:-100]), ('noise', os.urandom(3000)), ('empty', b''),
                              ('text.txt', b'hello\n'), ('flipped.pt', data.replace(
                                  data[-400:-396], b'\xff\xff\xff\xff'))):
            with open(self.path(name), 'wb') as file:
                file.write(content)
        status, rows, summary = self.check()
        self.assertEqual(status, 0, '\n'.join(rows.values()))
        self.assertIn('5 refused', summary)

    def test_folders_links_and_loops_are_walked_once(self):
        os.mkdir(self.path('sub'))
        torch.save(torch.ones(2), self.path('sub/one.pt'))
        os.symlink('sub/one.pt', self.path('link.pt'))
        os.symlink('.', self.path('loop'))
        os.symlink('nowhere', self.path('dangling.pt'))
        os.mkfifo(self.path('pipe.pt'))
        status, _, summary = self.check()
        self.assertEqual(status, 0)
        self.assertTrue(summary.startswith('4 files'), summary)
        self.assertIn('2 came back the same, 0 refused, 2 skipped', summary)

    def test_nothing_that_a_file_names_is_run(self):
        Malicious.path = os.path.join(self.folder, 'made')
        torch.save({'a': torch.ones(2), 'b': Malicious()}, self.path('evil.pt'))
        with open(self.path('evil.pkl'), 'wb') as file:
            pickle.dump(Malicious(), file)
        status, rows, _ = self.check()
        self.assertFalse(os.path.exists(Malicious.path))
        self.assertEqual(status, 0, '\n'.join(rows.values()))
        self.assertIn('by inert', rows['evil.pt'])
        read = torch_reading.read(self.path('evil.pt')).value
        self.assertIsInstance(read['b'], torch_reading.Inert)

    def test_a_changed_byte_of_a_tensor_is_found(self):
        data = torch.frombuffer(bytearray(b'needle and hay'), dtype=torch.uint8)
        torch.save({'a': data}, self.path('one.pt'))
        with self.lie("arguments[2].endswith('anew.pt')", after=FLIP):
            status, rows, _ = self.check()
        self.assertEqual(status, 1)
        self.assertIn('FAILED', rows['one.pt'])

    def test_a_changed_byte_of_a_restored_file_is_found(self):
        torch.save({'needle': torch.ones(3)}, self.path('one.pt'))
        with self.lie("arguments[2].endswith('restored')", after=FLIP):
            status, rows, _ = self.check()
        self.assertEqual(status, 1)
        self.assertIn('another one', rows['one.pt'])

    def test_bad_manners_are_failures(self):
        for wrong, remark in (
                ('os.kill(os.getpid(), 11)', 'exit code -11'),
                ('time.sleep(60)', 'took over'),
                ('sys.stderr.write("one\\ntwo\\n"); sys.exit(2)', 'with 2 lines'),
                ('sys.exit(2)', 'refused with'),
                ('sys.stderr.write("no\\n"); sys.exit(2)', 'but read by weights_only'),
                ('open(arguments[2], "w").close(); print("no", file=sys.stderr); sys.exit(2)',
                 'but left')):
            with self.subTest(remark):
                torch.save({'a': torch.ones(3)}, self.path('one.pt'))
                with self.lie('True', instead=wrong):
                    status, rows, _ = self.check('--timeout', '2')
                self.assertEqual(status, 1)
                self.assertIn(remark, rows['one.pt'])


if __name__ == '__main__':
    unittest.main(warnings='ignore')
