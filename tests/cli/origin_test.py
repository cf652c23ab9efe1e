"""The very same file back: --origin, and what edits and --format do to it."""

import os
import random
import unittest

import checkpoint_files as f
import cli_case
import penstock_cli


def odd_files():
    """Zip files that torch reads and this project's writer would not write."""
    records = f.records()
    return {
        'plain': f.checkpoint(),
        'large': f.model(6, 300_000),
        'a comment': f.archive(records, comment=b'made by hand'),
        'another record': f.archive(records + [f.Entry(b'archive/notes.txt', b'hello' * 99)]),
        'bytes behind': f.checkpoint() + b'tail' * 10,
        'a deflated pickle': f.checkpoint(data_pkl={'method': 8}),
        'no crc': f.checkpoint(data_0={'central': {'crc': 0}, 'local': {'crc': 0}}),
        'no tensor': f.with_pickle(f.dictionary(epoch=3)),
    }


class OriginTest(cli_case.CliTestCase):

    def restored(self, name):
        done = self.run_command('convert', f'{name}.pstk', f'{name}.back.pt')
        self.assertEqual(done.returncode, 0, done)
        self.assertIn(b'restored original', done.stderr)
        return self.read(f'{name}.back.pt')

    def test_the_very_file_comes_back(self):
        for name, data in odd_files().items():
            for codec in ('zstd', 'none'):
                with self.subTest(name, codec=codec):
                    self.write('x.pt', data)
                    self.must('convert', 'x.pt', 'x.pstk', '--codec', codec)
                    self.assertEqual(self.restored('x'), self.read('x.pt'))
                    self.must('verify', 'x.pstk')

    def test_it_survives_another_pstk_and_a_pipe(self):
        self.write('x.pt', f.model(6, 300_000) + b'tail')
        piped = self.must('convert', 'x.pt', '-')
        self.write('x.pstk', piped)
        self.must('convert', 'x.pstk', 'y.pstk', '--codec', 'none')
        self.assertEqual(self.restored('y'), self.read('x.pt'))
        self.assertEqual(self.must('convert', 'y.pstk', '-', '--format', 'pstk'), piped)

    def test_a_format_asked_for_is_written_anew(self):
        self.write('x.pt', f.checkpoint() + b'tail')
        self.must('convert', 'x.pt', 'x.pstk')
        self.must('convert', 'x.pstk', 'y.pt', '--format', 'pt')
        self.assertNotEqual(self.read('y.pt'), self.read('x.pt'))
        self.must('verify', 'y.pt')

    def test_never_keeps_nothing(self):
        self.write('x.pt', f.checkpoint() + os.urandom(20_000))
        self.must('convert', 'x.pt', 'with.pstk')
        self.must('convert', 'x.pt', 'without.pstk', '--origin', 'never')
        self.assertLess(len(self.read('without.pstk')) + 20_000, len(self.read('with.pstk')))
        self.assertNotIn(b'restored', self.run_command('convert', 'without.pstk', 'y.pt').stderr)

    def test_a_large_rest_is_left_out_unless_wanted(self):
        noise = f.Entry(b'archive/noise', random.Random(1).randbytes(400_000))
        self.write('x.pt', f.archive(f.records() + [noise]))
        done = self.run_command('convert', 'x.pt', 'x.pstk')
        self.assertEqual(done.returncode, 0)
        self.assertIn(b'--origin always', done.stderr)
        self.assertNotIn(b'restored', self.run_command('convert', 'x.pstk', 'y.pt').stderr)
        done = self.run_command('convert', 'x.pt', 'x.pstk', '--origin', 'always')
        self.assertNotIn(b'--origin', done.stderr)
        self.assertEqual(self.restored('x'), self.read('x.pt'))

    def test_damage_to_it_is_found(self):
        self.write('x.pt', f.checkpoint() + random.Random(1).randbytes(2_000))
        self.must('convert', 'x.pt', 'x.pstk')
        whole = self.read('x.pstk')
        found = 0
        for place in range(64, len(whole), 97):
            self.write('x.pstk', whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1:])
            self.assertEqual(self.run_command('verify', 'x.pstk').returncode, 1, place)
            done = self.run_command('convert', 'x.pstk', 'y.pt')
            if done.returncode == 0:
                self.assertEqual(self.read('y.pt'), self.read('x.pt'), place)
                os.unlink(self.path('y.pt'))
            else:
                found += 1
        self.assertGreater(found, 20)

    def test_verify_compares_it_with_the_tree(self):
        for name, data in odd_files().items():
            with self.subTest(name):
                self.write('x.pt', data)
                self.must('convert', 'x.pt', 'x.pstk')
                out = penstock_cli.text_of(self.must('verify', '--origin', 'x.pstk'))
                self.assertIn('its origin has the same tree and tensors', out)
        self.must('convert', 'x.pt', 'y.pstk', '--origin', 'never')
        self.fails('no origin', 'verify', '--origin', 'y.pstk')
        self.fails('no origin', 'verify', '--origin', 'x.pt')


if __name__ == '__main__':
    unittest.main()
