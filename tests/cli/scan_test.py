"""`penstock scan` and `verify --origin`: nothing hostile passes, nothing honest fails."""

import collections
import io
import json
import os
import pickle
import random
import subprocess
import sys
import unittest

import checkpoint_files as f
import cli_case
import penstock_cli
import scan_shapes as shapes


# They name nothing, so that in the midst of numbers only chance tells them apart.
NAMELESS = ('call_calls_a_string',)
# Code of a project: unknown.
MILD = ('call_build_on_an_unknown_class', 'trick_getattr_of_an_array')


class ScanCase(cli_case.CliTestCase):

    def scan(self, files, *flags):
        """Name -> what the JSON says of it; `files` is name -> bytes."""
        folder = self.path('files')
        os.makedirs(folder, exist_ok=True)
        names = {}
        for number, (name, data) in enumerate(files.items()):
            names[f.write(os.path.join(folder, f'{number:05}'), data)] = name
        done = self.run_command('scan', '--json', *flags, folder)
        report = json.loads(done.stdout)
        self.assertEqual(report['schema'], 'penstock.scan/1')
        self.assertEqual(done.returncode, report['exit_code'])
        return {names[one['file']]: one for one in report['files'] if one['file'] in names}

    def assert_all(self, reports, exit_code, level=None):
        wrong = [(name, one['exit_code'], one.get('level'), one.get('findings', [])[:3])
                 for name, one in reports.items()
                 if one['exit_code'] != exit_code or (level and one['level'] != level)]
        self.assertFalse(wrong, '\n'.join(map(str, [len(wrong)] + wrong[:20])))


class ScanTest(ScanCase):

    def test_every_shape_in_every_container_is_found(self):
        total = 0
        tame = {name: data for name, data in shapes.pickles().items()
                if not name.startswith('gadget')}
        for container, hide in shapes.containers():
            files = {f'{container}/{name}': hide(data) for name, data in tame.items()}
            reports = self.scan(files)
            self.assertEqual(len(reports), len(files))
            self.assert_all({name: one for name, one in reports.items()
                             if name.partition('/')[2] not in MILD}, 1, 'dangerous')
            self.assert_all(reports, 1)
            total += len(files)
        self.assertGreater(total, 2000)

    def test_every_gadget_is_dangerous(self):
        files = {name: data for name, data in shapes.pickles().items() if 'gadget' in name}
        self.assert_all(self.scan(files), 1, 'dangerous')

    def test_shapes_are_dangerous_and_not_only_unknown(self):
        files = {name: data for name, data in shapes.pickles().items() if name not in MILD}
        self.assert_all(self.scan(files), 1, 'dangerous')

    def test_a_pickle_is_found_wherever_it_lies(self):
        for place, hide in shapes.hidden_anywhere():
            files = {f'{place}/{name}': hide(data) for name, data in shapes.pickles().items()
                     if not name.startswith('broken') and 'extension' not in name and
                     name not in NAMELESS + MILD}
            self.assert_all(self.scan(files), 1, 'dangerous')

    def test_every_zip_oddity_is_found(self):
        reports = self.scan(dict(shapes.zips()))
        self.assert_all(reports, 1)
        for name, one in reports.items():
            self.assertIn('zip', {finding['kind'] for finding in one['findings']}, name)

    def test_honest_files_are_clean(self):
        self.assert_all(self.scan(dict(shapes.honest())), 0, 'allow')

    def test_code_of_projects_is_unknown(self):
        files = dict(shapes.unknown())
        self.assert_all(self.scan(files), 1, 'unknown')
        self.assert_all(self.scan(files, '--fail-on', 'dangerous'), 0, 'unknown')

    def test_allow_accepts_by_pattern_what_is_unknown(self):
        files = {name: data for name, data in shapes.unknown() if name.startswith('class')}
        self.assert_all(self.scan(files, '--allow', 'models.*'), 0, 'allow')
        self.assert_all(self.scan(files, '--allow', 'other.*', '--allow', 'x'), 1)
        self.assert_all(self.scan({'evil': shapes.EVIL}, '--allow', '*'), 1, 'dangerous')

    def test_what_cannot_be_seen_is_code_2(self):
        self.assert_all(self.scan(dict(shapes.unseen())), 2, 'unseen')

    def test_a_finding_outweighs_what_cannot_be_seen(self):
        self.write('a.7z', dict(shapes.unseen())['seven_zip'])
        self.write('b.pt', shapes.EVIL)
        self.write('c.pt', f.checkpoint())
        self.assertEqual(self.run_command('scan', 'a.7z', 'c.pt').returncode, 2)
        self.assertEqual(self.run_command('scan', 'a.7z', 'b.pt', 'c.pt').returncode, 1)
        self.assertEqual(self.run_command('scan', 'missing', 'b.pt').returncode, 1)
        self.assertEqual(self.run_command('scan', 'missing', 'c.pt').returncode, 2)

    def test_each_finding_says_where_and_how(self):
        self.write('x.pt', f.checkpoint(f.pickle(b'N0' + shapes.called())))
        done = self.run_command('scan', '--json', 'x.pt')
        found = [one for one in json.loads(done.stdout)['files'][0]['findings']
                 if one['level'] != 'allow']
        self.assertEqual(len(found), 1)
        found[0].pop('reason')
        self.assertEqual(found[0], {
            'kind': 'global', 'level': 'dangerous', 'module': 'os', 'name': 'system',
            'called': True, 'called_by': 'REDUCE', 'record': 'archive/data.pkl', 'offset': 4,
            'opcode': 'GLOBAL'})
        text = penstock_cli.text_of(self.run_command('scan', 'x.pt').stdout)
        self.assertRegex(text, r'x\.pt: archive/data\.pkl: dangerous: os\.system, called: ')
        self.assertEqual(len(text.splitlines()), 2)

    def test_directories_with_loops_and_odd_files_end(self):
        os.makedirs(self.path('a/b'))
        self.write('a/b/good.pt', f.checkpoint())
        self.write('a/empty', b'')
        os.symlink('..', self.path('a/b/up'))
        os.symlink('itself', self.path('a/itself'))
        os.symlink('nowhere', self.path('a/dangling'))
        os.mkfifo(self.path('a/pipe'))
        done = self.run_command('scan', '--json', 'a')
        report = json.loads(done.stdout)
        self.assertEqual(done.returncode, 2)
        codes = {one['file']: one['exit_code'] for one in report['files']}
        self.assertEqual(codes, {'a/b/good.pt': 0, 'a/dangling': 2, 'a/empty': 0, 'a/itself': 2,
                                 'a/pipe': 2})
        os.remove(self.path('a/dangling'))
        self.write('a/evil.pt', shapes.EVIL)
        self.assertEqual(self.run_command('scan', 'a').returncode, 1)

    def test_what_is_given_back_and_dangerous_is_told(self):
        self.write('evil.pt', f.checkpoint(f.pickle(shapes.called())))
        self.write('good.pt', f.checkpoint())
        for name in ('evil', 'good'):
            self.must('convert', f'{name}.pt', f'{name}.pstk')
            done = self.run_command('convert', f'{name}.pstk', f'{name}.back.pt')
            self.assertEqual(done.returncode, 0)
            self.assertEqual(self.read(f'{name}.back.pt'), self.read(f'{name}.pt'))
            told = [line for line in penstock_cli.text_of(done.stderr).splitlines()
                    if 'warning' in line]
            self.assertEqual(told, [
                "penstock: warning: the file given back is dangerous: Python's pickle would run "
                'it (os.system, called in archive/data.pkl); `penstock scan` lists all of it'
            ] if name == 'evil' else [])

    def test_many_records_take_no_time(self):
        for data in (b'', b'0123456789'):
            self.write('many.pt', f.archive(f.records() + [
                f.Entry(b'archive/x/%d' % i, data) for i in range(60_000)]))
            done, peak, seconds = penstock_cli.run_measured('scan', self.path('many.pt'))
            self.assertEqual(done.returncode, 0, done.stdout[-300:])
            if not os.environ.get('PENSTOCK_SANITIZED'):
                self.assertLess(peak, 64 << 20)
                self.assertLess(seconds, 5)

    def test_names_cannot_write_to_the_terminal(self):
        self.write('x.pkl', f.pickle(f.class_of('a\x1b[31mb', 'c\rd')))
        out = self.run_command('scan', 'x.pkl').stdout
        self.assertNotIn(b'\x1b', out)
        self.assertNotIn(b'\r', out)

    def test_bombs_take_neither_time_nor_memory(self):
        bombs = {
            'zeros': f.archive([f.Entry(b'a/data.pkl', bytes(300 << 20), method=8)]),
            'beginnings': b'\x80\x04N' * 700_000,
            'globals': b''.join(b'ca%d\nb\n' % i for i in range(200_000)) + b'.',
            'marks': b'\x80\x02' + b'(' * 6_000_000,
            'memo': b'\x80\x04' + b''.join(
                b'\x8c\1ar' + i.to_bytes(4, 'little') for i in range(0, 900_000)),
            'one_line': b'c' + b'a' * 3_000_000,
            'lines': b'\x80\x02' + b'I1' * 1_000_000,
            'headers': f.local_header(f.Entry(b'a', b'', method=8), b'', 0) * 20_000,
            'ends': (b'PK\5\6' + bytes(18)) * 100_000,
        }
        for name, data in bombs.items():
            with self.subTest(name):
                self.write('bomb', data)
                code = ('import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], '
                        'stdout=subprocess.DEVNULL); used = resource.getrusage(resource.RUSAGE_CHILDREN); '
                        'print(used.ru_maxrss >> 10, int(used.ru_utime + used.ru_stime))')
                done = subprocess.run(
                    [sys.executable, '-c', code, penstock_cli.binary(), 'scan',
                     self.path('bomb')], stdout=subprocess.PIPE, timeout=600, check=True,
                    env=penstock_cli.environment())
                if not os.environ.get('PENSTOCK_SANITIZED'):
                    megabytes, seconds = map(int, done.stdout.split())
                    self.assertLess(megabytes, 500)
                    self.assertLess(seconds, 60)


class Inert:
    """Stands for everything that a pickle names."""

    def __new__(cls, *_, **__):
        return object.__new__(cls)

    def __init__(self, *_, **__):
        pass

    def __setstate__(self, state):
        pass

    def __setitem__(self, key, value):
        pass

    def append(self, value):
        pass

    def extend(self, values):
        pass

    def add(self, value):
        pass


def names_found_by(base, data):
    """What an unpickler of CPython asks for, until it ends or fails."""
    found = []

    class Recorder(base):
        def find_class(self, module, name):
            found.append((module, name))
            return Inert

        def persistent_load(self, pid):
            return Inert()

    try:
        Recorder(io.BytesIO(data), fix_imports=False, encoding='latin-1').load()
    except RecursionError:
        raise
    except Exception:  # any: the data are noise
        pass
    return found


def random_object(rng, depth=3):
    if depth and rng.random() < 0.6:
        items = [random_object(rng, depth - 1) for _ in range(rng.randrange(5))]
        return rng.choice([list, tuple])(items)
    return rng.choice([
        None, True, rng.randrange(-10**12, 10**12), rng.random(), 'word', 'os', b'bytes', 1j,
        collections.OrderedDict(a=1), {'k': 1}, frozenset([1]), range(3), os.path.join, len,
        io.BytesIO, random.Random, Exception('x'), slice(1, 2)])


class AgainstCPythonTest(ScanCase):

    def test_every_global_that_an_unpickler_asks_for_is_listed(self):
        rng = random.Random(11)
        pieces = [shapes.named(), shapes.named('a.b', 'C'), shapes.stack_global(), b'R', b')', b'0',
                  b'2', b'(', b't', b'N', b'q\1', b'h\1', b'\x94', b'h\0', shapes.short('os'),
                  shapes.short('system'), b'\x93', b'o', b'\x81', b']', b'a', b'b', b'}', b's',
                  b'e', b'1', b'p3\n', b'g3\n', b'(ia\nb\n', b'K\1', b'\x85', b'\x86', b'Q', b'.']
        files, wanted = {}, {}
        for i in range(4000):
            if i % 2:
                data = bytearray(pickle.dumps(random_object(rng), protocol=rng.randrange(2, 6)))
                for _ in range(rng.randrange(4)):
                    place = rng.randrange(2, len(data) + 1)
                    data[place:place + rng.randrange(3)] = rng.choice(pieces)
            else:
                data = b'\x80\4' + b''.join(rng.choices(pieces, k=rng.randrange(4, 40))) + b'.'
            files[f'{i}'] = bytes(data)
            wanted[f'{i}'] = {
                pair for base in (pickle.Unpickler, pickle._Unpickler)
                for pair in names_found_by(base, bytes(data))
                if all(part.isascii() and part.isprintable() for part in pair)}
        self.assertGreater(sum(map(bool, wanted.values())), 1000)
        for name, one in self.scan(files).items():
            found = {(x['module'], x['name']) for x in one['findings'] if x['kind'] == 'global'}
            self.assertLessEqual(wanted[name], found, (name, files[name]))


if __name__ == '__main__':
    unittest.main()
