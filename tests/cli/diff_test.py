"""`penstock diff` as a user meets it: exit codes, lines, JSON, formats."""

import json
import struct
import unittest

import checkpoint_files as f
import cli_case
import penstock_cli


def floats(*values):
    return struct.pack(f'<{len(values)}f', *values)


def of(payload=f.FLOATS, **values):
    """A checkpoint of tensor `w`, and other values."""
    count = len(payload) // 4
    return f.with_pickle(
        f.dictionary(w=f.tensor(f.storage(numel=count), size=(count,)), **values),
        storages={'0': payload})


class DiffTest(cli_case.CliTestCase):

    def diff(self, a, b, *options, code=1):
        done = self.run_command('diff', a, b, '--json', *options)
        self.assertEqual(done.returncode, code, done)
        told = json.loads(done.stdout)
        self.assertEqual(told['schema'], 'penstock.diff/1')
        self.assertEqual(told['same'], code == 0)
        return told

    def test_the_same_in_two_formats(self):
        self.write('a.pt', f.model(8, 150_001))
        self.must('convert', 'a.pt', 'a.pstk')
        told = self.diff('a.pt', 'a.pstk', code=0)
        self.assertEqual(list(told), [
            'schema', 'a', 'b', 'same', 'removed', 'added', 'common', 'identical', 'by_digest',
            'close', 'changed', 'values', 'read_bytes', 'seconds'])
        self.assertEqual((told['common'], told['identical'], told['read_bytes']),
                         (8, 8, 2 * 8 * 150_001 * 4))
        self.assertEqual(self.must('diff', 'a.pt', 'a.pstk'),
                         b'same: 8 of 8 tensors identical\n')

    def test_native_files_are_not_read_where_their_digests_agree(self):
        self.write('a.pt', f.model(8, 150_001))
        self.must('convert', 'a.pt', 'a.pstk')
        self.must('convert', 'a.pt', 'b.pstk')
        told = self.diff('a.pstk', 'b.pstk', code=0)
        self.assertEqual((told['identical'], told['by_digest'], told['read_bytes']), (8, 8, 0))

    def test_a_changed_tensor_is_measured(self):
        self.write('a.pt', of(floats(3, 4, 0, 12)))
        self.write('b.pt', of(floats(3, 4, 5, 12)))
        changed, = self.diff('a.pt', 'b.pt')['changed']
        self.assertEqual(changed, {
            'name': 'w', 'dtypes': ['float32', 'float32'], 'shapes': [[4], [4]], 'elements': 4,
            'changed': 1, 'changed_share': 0.25, 'beyond_tolerance': 1, 'not_finite': 0,
            'max_abs': 5.0, 'relative_l2': 5 / 13})
        done = self.run_command('diff', 'a.pt', 'b.pt')
        self.assertEqual(done.stdout,
                         b'differ: 0 of 1 tensors identical, 1 changed\n'
                         b'! w  float32[4]  25 % changed, max abs 5, relative L2 0.3846\n')

    def test_tolerance(self):
        self.write('a.pt', of(floats(1, 2, 10)))
        self.write('b.pt', of(floats(1, 2, 11)))
        self.diff('a.pt', 'b.pt')
        self.assertEqual(self.diff('a.pt', 'b.pt', '--atol', '1', code=0)['close'], 1)
        self.diff('a.pt', 'b.pt', '--rtol', '0.1', code=0)
        self.diff('a.pt', 'b.pt', '--rtol', '0.05')

    def test_infinities_are_text_in_json(self):
        self.write('a.pt', of(floats(0, 0)))
        self.write('b.pt', of(floats(0, 1)))
        changed, = self.diff('a.pt', 'b.pt')['changed']
        self.assertEqual(changed['relative_l2'], 'inf')

    def test_names_shapes_and_values(self):
        one = f.tensor(f.storage(numel=3))
        self.write('a.pt', f.with_pickle(f.dictionary(w=one, gone=one, epoch=1, name='x')))
        two = f.tensor(f.storage(numel=3), size=(2,))
        self.write('b.pt', f.with_pickle(f.dictionary(w=two, new=one, epoch=2, seed=5)))
        told = self.diff('a.pt', 'b.pt')
        self.assertEqual([x['name'] for x in told['removed']], ['gone'])
        self.assertEqual([x['name'] for x in told['added']], ['new'])
        self.assertEqual(told['changed'], [
            {'name': 'w', 'dtypes': ['float32', 'float32'], 'shapes': [[3], [2]]}])
        self.assertEqual(told['values'], [
            {'path': 'epoch', 'a': '1', 'b': '2'}, {'path': 'name', 'a': "'x'", 'b': None},
            {'path': 'seed', 'a': None, 'b': '5'}])
        lines = self.run_command('diff', 'a.pt', 'b.pt').stdout.decode().splitlines()
        self.assertEqual(lines, [
            'differ: 0 of 1 tensors identical, 1 changed, 1 removed, 1 added, '
            '3 other values changed',
            '- gone  float32[3]', '+ new  float32[3]', '! w  float32[3] -> float32[2]',
            '! epoch: 1 -> 2', "- name: 'x'", '+ seed: 5'])

    def test_only_tensors(self):
        self.write('a.pt', of(epoch=1))
        self.write('b.pt', of(epoch=2))
        self.diff('a.pt', 'b.pt')
        self.diff('a.pt', 'b.pt', '--tensors', code=0)

    def test_many_differences_are_cut_unless_all_are_asked_for(self):
        self.write('a.pt', of(**{f'v{i}': 1 for i in range(60)}))
        self.write('b.pt', of(**{f'v{i}': 2 for i in range(60)}))
        lines = self.run_command('diff', 'a.pt', 'b.pt').stdout.decode().splitlines()
        self.assertEqual(len(lines), 52)
        self.assertRegex(lines[-1], '10 more')
        lines = self.run_command('diff', '--all', 'a.pt', 'b.pt').stdout.decode().splitlines()
        self.assertEqual(len(lines), 61)

    def test_errors_are_exit_code_2(self):
        self.write('a.pt', of())
        self.fails('no such file', 'diff', 'a.pt', 'missing.pt')
        self.fails('no such file', 'diff', 'missing.pt', 'a.pt')
        self.write('page.pt', b'<html>')
        self.fails('HTML', 'diff', 'a.pt', 'page.pt')
        damaged = self.read('a.pt').replace(f.FLOATS, f.FLOATS[::-1])
        self.write('bad.pt', damaged)
        self.fails('bad.pt.*CRC', 'diff', 'a.pt', 'bad.pt')
        self.fails('bad.pt.*CRC', 'diff', 'bad.pt', 'a.pt')
        for wrong in (['--rtol', '-1'], ['--atol', 'much']):
            self.assertEqual(self.run_command('diff', 'a.pt', 'a.pt', *wrong).returncode, 2)

    def test_memory_stays_bounded(self):
        self.write('a.pt', f.model(4, 16_000_000))
        self.must('convert', 'a.pt', 'a.pstk')
        peak, _ = penstock_cli.must_measured('diff', self.path('a.pt'), self.path('a.pstk'),
                                             '--memory', '64MiB')
        self.assertLess(peak, 120 << 20)


if __name__ == '__main__':
    unittest.main()
