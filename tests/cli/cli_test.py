"""The command as a user meets it: options, output, pipes, terminals."""

import io
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
import unittest
import zipfile

import checkpoint_files as f
import cli_case
import penstock_cli


class UsageTest(cli_case.CliTestCase):

    def test_help_is_on_stdout_with_exit_code_0(self):
        for arguments in (['--help'], ['convert', '--help'], ['ls', '--help'],
                          ['info', '--help'], ['verify', '--help'], ['demo', '--help']):
            with self.subTest(arguments):
                done = self.run_command(*arguments)
                self.assertEqual((done.returncode, done.stderr), (0, b''))
                self.assertIn(b'Usage:', done.stdout)
        self.assertRegex(self.must('--version'), rb'^penstock \d+\.\d+\.\d+\n$')

    def test_help_has_a_line_for_each_verb_and_its_examples_alone(self):
        _, _, verbs = self.must('--help').decode().partition('Subcommands:\n')
        verbs, _, examples = verbs.partition('\n\n')
        self.assertEqual(len(verbs.splitlines()), 11, verbs)
        for line in verbs.splitlines():
            verb = line.split()[0]
            self.assertLess(len(line), 110)
            self.assertIn(f'\n  penstock {verb}', examples)
            told = self.must(verb, '--help').decode()
            self.assertEqual(set(re.findall(r'^  penstock (\w+)', told, re.M)), {verb})

    def test_wrong_usage_is_exit_code_2(self):
        self.write('a.pt', f.checkpoint())
        for arguments in ([], ['frobnicate'], ['convert'], ['convert', 'a.pt'],
                          ['convert', 'a.pt', 'b.pstk', 'c'], ['ls', '--frobnicate', 'a.pt'],
                          ['convert', 'a.pt', 'b.pstk', '--codec', 'lz4'],
                          ['convert', 'a.pt', 'b.pstk', '--threads', '0'],
                          ['convert', 'a.pt', 'b.pstk', '--threads', '-1'],
                          ['convert', 'a.pt', 'b.pstk', '--threads', 'many'],
                          ['convert', 'a.pt', 'b.pstk', '--memory', 'much'],
                          ['convert', 'a.pt', 'b.pstk', '--memory', '-1'],
                          ['convert', 'a.pt', 'b.pstk', '--format', 'onnx']):
            with self.subTest(arguments):
                done = self.run_command(*arguments)
                self.assertEqual(done.returncode, 2, done)
                self.assertRegex(done.stderr, rb'\Apenstock: [^\n]+\n\Z')
                self.assertEqual(done.stdout, b'')
        self.assertEqual(self.names(), ['a.pt'])
        self.assertIn(b'no subcommand frobnicate', self.run_command('frobnicate').stderr)

    def test_too_little_memory_names_the_least(self):
        self.write('a.pt', f.model())
        self.fails(r'\d', 'convert', 'a.pt', 'b.pstk', '--memory', '1000')


class JsonTest(cli_case.CliTestCase):

    def setUp(self):
        super().setUp()
        tied = f.tensor(f.storage(numel=4), 1, (3,), (1,))
        self.write('a.pt', f.with_pickle(
            f.dictionary(w=f.tensor(f.storage(numel=4), size=(2, 2), stride=(1, 2)), v=tied,
                         epoch=3, big=2**60, name='run', evil=f.call('os', 'getcwd')),
            storages={'0': f.FLOATS + bytes(4)}))
        self.must('convert', 'a.pt', 'a.pstk')

    def check(self, value, shape):
        """`shape`: key -> type, in the order of the output."""
        self.assertEqual(list(value), list(shape))
        for key, kind in shape.items():
            self.assertIs(type(value[key]), kind, key)

    def test_ls(self):
        for name, form in (('a.pt', 'pt'), ('a.pstk', 'pstk')):
            told = penstock_cli.must_json('ls', self.path(name))
            self.check(told, {'schema': str, 'file': str, 'format': str, 'tensors': list})
            self.assertEqual((told['schema'], told['format']), ('penstock.ls/1', form))
            self.assertEqual(told['file'], self.path(name))
            w, v = told['tensors']
            self.check(w, {'name': str, 'dtype': str, 'shape': list, 'strides': list,
                           'offset': int, 'storage': int, 'bytes': int, 'storage_bytes': int,
                           'stored_bytes': int, 'codec': str})
            self.assertEqual(
                {key: w[key] for key in ('name', 'dtype', 'shape', 'strides', 'offset', 'bytes',
                                         'storage_bytes')},
                {'name': 'w', 'dtype': 'float32', 'shape': [2, 2], 'strides': [1, 2],
                 'offset': 0, 'bytes': 16, 'storage_bytes': 16})
            self.assertEqual((v['name'], v['shape'], v['offset']), ('v', [3], 1))
            self.assertEqual(v['storage'], w['storage'])
            self.assertIn(w['codec'], ('zstd', 'none'))

    def test_ls_stays_narrow_beside_a_long_name(self):
        long_name = 'k' * 300
        self.write('n.pt', f.with_pickle(f.dictionary(**{'w': f.tensor(f.storage()),
                                                         'é': f.tensor(f.storage()),
                                                         long_name: f.tensor(f.storage())})))
        head, short, accent, long_one = self.must('ls', 'n.pt').decode().splitlines()
        self.assertEqual(short.index('float32'), accent.index('float32'))
        self.assertLess(len(short), 100)
        self.assertTrue(head.startswith('name  dtype '), head)
        self.assertTrue(long_one.startswith(long_name + '  float32 '), long_one)

    def test_ls_by_glob(self):
        self.write('m.pt', f.model(12, 10))
        told = penstock_cli.must_json('ls', self.path('m.pt'), 'layers.1*')
        self.assertEqual([entry['name'] for entry in told['tensors']],
                         ['layers.1.weight', 'layers.10.weight', 'layers.11.weight'])
        lines = self.must('ls', 'm.pt').decode().splitlines()
        self.assertEqual(len(lines), 13)
        self.assertRegex(lines[1], r'^layers\.0\.weight +float32 +\[10\] +40 B ')
        done = self.run_command('ls', 'm.pt', 'nothing*')
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, rb'nothing\*')

    def test_info(self):
        for name, form in (('a.pt', 'pt'), ('a.pstk', 'pstk')):
            told = penstock_cli.must_json('info', self.path(name))
            self.check(told, {
                'schema': str, 'file': str, 'format': str, 'writer': str, 'codec': str,
                'file_bytes': int, 'tensors': int, 'elements': int, 'storages': int,
                'raw_bytes': int, 'stored_bytes': int, 'unchecked_bytes': int,
                'origin': type(None) if form == 'pt' else dict, 'metadata': dict,
                'dtypes': dict, 'ties': list, 'globals': list, 'objects': dict,
                'warnings': list, 'tree': dict})
            self.assertEqual((told['schema'], told['format']), ('penstock.info/1', form))
            self.assertEqual(told['file_bytes'], len(self.read(name)))
            self.assertEqual((told['tensors'], told['elements'], told['storages'],
                              told['raw_bytes']), (2, 7, 1, 16))
            self.assertEqual(told['dtypes'],
                             {'float32': {'tensors': 2, 'elements': 7, 'bytes': 28}})
            self.assertEqual(told['ties'], [['w', 'v']])
            self.assertRegex(' '.join(told['globals']), r'os getcwd')
            self.assertEqual(told['objects'], {'os.getcwd': 1})
            entries = {entry['key']: entry['value'] for entry in told['tree']['entries']}
            self.assertEqual(list(entries), ['w', 'v', 'epoch', 'big', 'name', 'evil'])
            self.assertEqual(entries['w'],
                             {'kind': 'tensor', 'dtype': 'float32', 'shape': [2, 2]})
            self.assertEqual((entries['epoch'], entries['big'], entries['name']),
                             (3, str(2**60), 'run'))
            self.assertEqual(entries['evil']['class'], 'os.getcwd')

    def test_verify(self):
        shape = {'schema': str, 'file': str, 'format': str, 'sound': bool, 'findings': list,
                 'tensors': int, 'file_bytes': int, 'raw_bytes': int, 'unverified_bytes': int,
                 'compared_origin': bool, 'seconds': float}
        for name, form in (('a.pt', 'pt'), ('a.pstk', 'pstk')):
            told = penstock_cli.must_json('verify', self.path(name))
            self.check(told, shape)
            self.assertEqual((told['schema'], told['format'], told['sound'], told['findings'],
                              told['tensors'], told['raw_bytes'], told['unverified_bytes']),
                             ('penstock.verify/1', form, True, [], 2, 16, 0))
        damaged = self.read('a.pt').replace(f.FLOATS, f.FLOATS[::-1])
        done = self.run_command('verify', '--json', self.write('bad.pt', damaged))
        self.assertEqual(done.returncode, 1)
        told = penstock_cli.json.loads(done.stdout)
        self.check(told, shape)
        self.assertFalse(told['sound'])
        self.assertEqual([type(x) for x in told['findings']], [str])

    def test_info_shows_numbers_as_python_does(self):
        numbers = {'least': 5e-324, 'tiny': 1e-320, 'tenth': 0.1, 'one': 1.0, 'nan': float('nan'),
                   'less': float('-inf'), 'long': 2**64, 'neg': -2**70, 'yes': True, 'none': None}
        self.write('n.pt', f.with_pickle(f.dictionary(**{
            name: f.real(number) if isinstance(number, float) else
                  b'N' if number is None else number for name, number in numbers.items()})))
        lines = self.must('info', 'n.pt').decode().splitlines()
        for name, number in numbers.items():
            self.assertIn(f'  {name}: {number!r}', lines)
        told = penstock_cli.must_json('info', self.path('n.pt'))
        entries = {entry['key']: entry['value'] for entry in told['tree']['entries']}
        self.assertEqual((entries['least'], entries['tenth'], entries['nan']),
                         (5e-324, 0.1, 'nan'))
        self.assertEqual(entries['long'], {'kind': 'int', 'text': str(2**64)})

    def test_a_record_without_crc_is_told_as_unverified(self):
        crc = {'local': {'crc': 0}, 'central': {'crc': 0}}
        self.write('nocrc.pt', f.checkpoint(data_0=crc))
        told = penstock_cli.must_json('verify', self.path('nocrc.pt'))
        self.assertEqual((told['sound'], told['unverified_bytes']), (True, 12))
        self.assertIn(b'CRC', self.must('verify', 'nocrc.pt'))


class ConvertTest(cli_case.CliTestCase):

    def setUp(self):
        super().setUp()
        self.write('a.pt', f.model(8, 150_001))

    def test_pipes_give_the_same_bytes_as_the_direct_way(self):
        self.must('convert', 'a.pt', 'direct.pstk')
        direct = self.read('direct.pstk')
        piped = self.must('convert', 'a.pt', '-')
        self.assertEqual(piped, direct)
        done = self.run_command('convert', '-', 'b.pstk', input=piped)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.read('b.pstk'), direct)
        self.assertEqual(self.must('convert', '-', '-', input=self.read('a.pt')), direct)
        first = subprocess.Popen([penstock_cli.binary(), 'convert', self.path('a.pt'), '-'],
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        with first:
            self.must('convert', '-', 'c.pstk', stdin=first.stdout)
        self.assertEqual(first.returncode, 0)
        self.assertEqual(self.read('c.pstk'), direct)
        self.must('convert', 'direct.pstk', 'one.pt')
        self.must('ls', '-', input=direct)
        self.must('info', '-', input=self.read('a.pt'))
        self.assertIn(b'sound', self.must('verify', '--origin', '-', input=direct))
        self.assertIn(b'allow', self.must('scan', '-', input=self.read('a.pt')))

    def test_a_name_must_say_the_format(self):
        self.fails('says no format', 'convert', 'a.pt', 'a.safetensor')
        self.fails('says no format', 'convert', 'a.pt', 'a')
        self.must('convert', 'a.pt', 'a', '--format', 'pstk')
        self.must('convert', 'a', 'a.v2')
        self.assertEqual(self.read('a.v2'), self.read('a.pt'))

    def test_options_of_another_format_are_refused(self):
        for words, arguments in (('--codec is for pstk', ('a.pt', 'b.pt', '--codec', 'none')),
                                 ('--origin always is', ('a.pt', 'b.pt', '--origin', 'always')),
                                 ('--profile is for pt', ('a.pt', 'b.pstk', '--profile', 't27')),
                                 ('--ties is for safe', ('a.pt', 'b.npz', '--ties', 'copy')),
                                 ('--shard-size is', ('a.pt', 'b.pt', '--shard-size', '1GB')),
                                 ('--int-keys is for', ('a.pt', 'b.pstk', '--int-keys'))):
            with self.subTest(arguments):
                self.fails(words, 'convert', *arguments)

    def test_a_pt_on_stdout_is_a_zip_with_right_crcs(self):
        self.must('convert', 'a.pt', 'a.pstk')
        data = self.must('convert', 'a.pstk', '-', '--format', 'pt')
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            self.assertIsNone(file.testzip())
            self.assertEqual({name.partition('/')[0] for name in file.namelist()}, {'archive'})
            self.assertEqual(file.read('archive/data/3'), f.weights(150_001, 3))
        self.must('convert', 'a.pstk', 'archive.pt', '--format', 'pt')
        self.assertEqual(self.read('archive.pt'), data)

    def test_what_comes_back_has_the_same_bytes(self):
        for codec in ('zstd', 'none'):
            self.must('convert', 'a.pt', 'a.pstk', '--codec', codec)
            self.must('verify', 'a.pstk')
            self.must('convert', 'a.pstk', 'b.pt', '--format', 'pt')
            with zipfile.ZipFile(self.path('b.pt')) as file:
                for i in range(8):
                    self.assertEqual(file.read(f'b/data/{i}'), f.weights(150_001, i))

    def test_any_number_of_threads_and_any_memory_give_the_same_bytes(self):
        self.must('convert', 'a.pt', 'a.pstk')
        self.must('convert', 'a.pstk', 'b.pt')
        native, back = self.read('a.pstk'), self.read('b.pt')
        for options in (['--threads', '1'], ['--threads', '2'], ['-j', '8'],
                        ['--memory', '32MiB'], ['-j', '8', '--memory', '1GB']):
            with self.subTest(options):
                self.must('convert', 'a.pt', 'a.pstk', *options)
                self.assertEqual(self.read('a.pstk'), native)
                self.must('convert', 'a.pstk', 'b.pt', *options)
                self.assertEqual(self.read('b.pt'), back)

    def test_codecs(self):
        sizes = {}
        for codec in ('zstd', 'none', 'auto'):
            done = self.run_command('convert', 'a.pt', codec + '.pstk', '--codec', codec)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(b'codec:' in done.stderr, codec == 'auto', done.stderr)
            sizes[codec] = len(self.read(codec + '.pstk'))
            self.must('verify', codec + '.pstk')
            self.assertIn(penstock_cli.must_json('info', self.path(codec + '.pstk'))['codec'],
                          (codec, 'zstd', 'none') if codec == 'auto' else (codec,))
        raw = 8 * 150_001 * 4
        self.assertLess(sizes['zstd'], 0.95 * raw)
        self.assertLess(sizes['none'], raw * 1.001 + 64 * 8 + 70_000)
        self.assertIn(sizes['auto'], range(sizes['zstd'] - 500, sizes['none'] + 500))

    def test_the_format_follows_option_extension_or_source(self):
        def kind(name):
            return penstock_cli.must_json('info', self.path(name))['format']
        for name, wanted in (('x.pstk', 'pstk'), ('x.pt', 'pt'), ('x.pth', 'pt'),
                             ('x.bin', 'pt'), ('x.ckpt', 'pt')):
            self.must('convert', 'a.pt', name)
            self.assertEqual(kind(name), wanted, name)
        self.must('convert', 'x.pstk', 'y.other')
        self.assertEqual(kind('y.other'), 'pt')
        self.must('convert', 'a.pt', 'z.pt', '--format', 'pstk')
        self.assertEqual(kind('z.pt'), 'pstk')

    # Of what is given, whatever its name says.
    def test_the_source_is_told_by_its_content(self):
        self.must('convert', 'a.pt', 'native.pt', '--format', 'pstk')
        os.rename(self.path('a.pt'), self.path('a.pstk'))
        self.must('convert', 'a.pstk', 'b.pstk')
        self.assertEqual(self.read('b.pstk'), self.read('native.pt'))

    def test_zstd_accepts_every_pstk(self):
        if shutil.which('zstd') is None:
            self.skipTest('zstd is not installed')
        self.write('small.pt', f.checkpoint())
        self.write('none.pt', f.with_pickle(b'N', storages={}))
        for source in ('a.pt', 'small.pt', 'none.pt'):
            for codec in ('zstd', 'none'):
                name = f'{codec}-{source}.pstk'
                self.must('convert', source, name, '--codec', codec)
                for option in ('-t', '-l'):
                    with self.subTest(name=name, option=option):
                        done = subprocess.run(['zstd', '-q', option, self.path(name)],
                                              capture_output=True, timeout=60, check=False)
                        self.assertEqual((done.returncode, done.stderr), (0, b''))

    def test_quiet_says_nothing_and_the_summary_is_on_stderr(self):
        done = self.run_command('convert', 'a.pt', 'a.pstk')
        self.assertEqual(done.stdout, b'')
        self.assertRegex(done.stderr, rb'\Aa\.pstk: 8 tensors, 4\.80 MB of tensors in [^\n]*\n\Z')
        done = self.run_command('convert', '-q', 'a.pt', 'a.pstk')
        self.assertEqual((done.stdout, done.stderr), (b'', b''))


class TerminalTest(cli_case.CliTestCase):

    def under_a_terminal(self, *arguments):
        """What a user sees on stderr, and the exit code.

        Stops the command for a second once it writes, so that it takes that long on
        any machine.
        """
        before = self.names()
        leader, follower = pty.openpty()
        running = subprocess.Popen([penstock_cli.binary(), *arguments], cwd=self.folder,
                                   stdout=subprocess.PIPE, stderr=follower,
                                   stdin=subprocess.DEVNULL)
        os.close(follower)
        seen, deadline = b'', time.monotonic() + 120
        while self.names() == before and running.poll() is None:
            time.sleep(0.001)
        running.send_signal(signal.SIGSTOP)
        time.sleep(1)
        running.send_signal(signal.SIGCONT)
        with running:
            while time.monotonic() < deadline:
                if select.select([leader], [], [], 1)[0]:
                    try:
                        data = os.read(leader, 65536)
                    except OSError:  # how Linux says that the other end is closed
                        break
                    if not data:
                        break
                    seen += data
            running.stdout.read()
        os.close(leader)
        return running.returncode, seen

    def test_progress_is_for_terminals_only(self):
        self.write('a.pt', f.model(8, 6_000_000))
        done = self.run_command('convert', 'a.pt', 'b.pstk', '-j', '1')
        self.assertNotIn(b'\r', done.stderr)
        self.assertNotIn(b'\x1b', done.stderr)
        os.remove(self.path('b.pstk'))
        code, seen = self.under_a_terminal('convert', 'a.pt', 'b.pstk', '-j', '1')
        self.assertEqual(code, 0)
        self.assertRegex(seen, rb'\rconverting +\d+ % +[\d.]+ MB of 192 MB +[^\r]*/s [^\r]*left')
        self.assertRegex(seen, rb'\r\x1b\[K')
        self.assertRegex(seen, rb'b\.pstk: 8 tensors')

    def test_a_checkpoint_is_not_written_to_a_terminal(self):
        self.write('a.pt', f.checkpoint())
        leader, follower = pty.openpty()
        try:
            self.fails('terminal', 'convert', 'a.pt', '-', stdout=follower)
        finally:
            os.close(leader)
            os.close(follower)

    def test_names_cannot_drive_the_terminal(self):
        self.write('a.pt', f.with_pickle(
            b'}' + f.text('\x1b]0;pwned\x07\u202ex\x9b') + f.tensor() + b's'))
        for arguments in (['ls', 'a.pt'], ['info', 'a.pt'], ['ls', '--json', 'a.pt']):
            shown = self.must(*arguments)
            self.assertNotIn(b'\x1b', shown)
            self.assertNotIn(b'\x07', shown)


class DemoTest(cli_case.CliTestCase):

    def test_the_demo_leaves_nothing_behind_unless_asked(self):
        shown = self.must('demo', '--size', '20MB', '--dir', self.folder, timeout=300)
        self.assertRegex(shown, rb'equal: \d+ tensors')
        self.assertEqual(self.names(), [])
        shown = self.must('demo', '--size', '20MB', '--dir', self.folder, '--keep', timeout=300)
        kept, = self.names()
        self.assertIn(kept.encode(), shown)
        inside = cli_case.contents_of(self.path(kept))
        self.assertEqual(sorted(inside), ['back/model.pt', 'model.pstk', 'model.pt'])
        self.assertEqual(inside['model.pt'], inside['back/model.pt'])
        with zipfile.ZipFile(io.BytesIO(inside['model.pt'])) as file:
            self.assertIsNone(file.testzip())

    def test_the_demo_works_where_the_user_is(self):
        self.must('demo', '--size', '1MB', '--keep', timeout=300)
        self.assertRegex(self.names()[0], '^penstock-demo-')

    def test_the_demo_says_when_there_is_no_room(self):
        self.fails('free space', 'demo', '--size', '1000TB', '--dir', self.folder)
        self.fails('', 'demo', '--size', '1', '--dir', self.folder)
        self.fails('', 'demo', '--dir', self.path('missing'))


@unittest.skipIf('PENSTOCK_SANITIZED' in os.environ, 'sanitizers need memory of their own')
class BudgetTest(cli_case.CliTestCase):

    def test_memory_stays_within_its_budget(self):
        self.write('a.pt', f.model(8, 6_000_000))
        for arguments in (['a.pt', 'a.pstk'], ['a.pstk', 'b.pt']):
            for memory in (32, 64):
                with self.subTest(arguments=arguments, memory=memory):
                    peak, _ = penstock_cli.must_measured(
                        'convert', '-q', *arguments, '-j', '8', '--memory', f'{memory}MiB',
                        cwd=self.folder)
                    self.assertLess(peak, (memory + 32) << 20)


if __name__ == '__main__':
    unittest.main()
