"""Hostile files through every verb, in a process that the kernel kills for starting
a program or opening a socket, and that can write to its folder for output alone."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import unittest

import checkpoint_files as f
import hostile_test
import penstock_cli

CONFINED = penstock_cli.runfile('tests', 'cli', 'confined')

MAX_FILE_BYTES = 64 << 20  # far more than any file here is worth

# What a pickle can call by its name, to somebody's harm.
NAMES = ('os system', 'posix system', 'nt system', 'subprocess Popen', 'subprocess check_output',
         'builtins exec', 'builtins eval', 'builtins __import__', 'builtins open',
         '__builtin__ execfile', 'runpy run_path', 'runpy _run_code', 'webbrowser open',
         'importlib import_module', 'socket create_connection', 'urllib.request urlopen',
         'pty spawn', 'ctypes CDLL', 'shutil rmtree', 'functools partial',
         'operator methodcaller', 'pip main', 'code interact', 'timeit timeit', 'torch load',
         'torch.hub load', 'torch.jit load', 'pickle loads', 'marshal loads')
TOUCH = f.text(f'touch {hostile_test.MARK}')


def global_of(name):
    return f.class_of(*name.split(' '))


def text_line(name):
    return name.replace(' ', '\n').encode() + b'\n'


def stack_global(name):
    module, function = name.split(' ')
    return f.text(module) + f.text(function) + b'\x93'


CALLS = {  # opcode -> what calls a name by it, as one item
    'REDUCE': lambda name: global_of(name) + TOUCH + b'\x85R',
    'REDUCE of STACK_GLOBAL': lambda name: stack_global(name) + TOUCH + b'\x85R',
    'INST': lambda name: b'(' + TOUCH + b'i' + text_line(name),
    'OBJ': lambda name: b'(' + global_of(name) + TOUCH + b'o',
    'NEWOBJ': lambda name: global_of(name) + TOUCH + b'\x85\x81',
    'NEWOBJ_EX': lambda name: global_of(name) + TOUCH + b'\x85}\x92',
    'a call in the state of BUILD': lambda name: f.call('collections', 'OrderedDict') +
        f.dictionary(__setstate__=global_of(name) + TOUCH + b'\x85R') + b'b',
    'a call of a call': lambda name: f.call('builtins', 'getattr', global_of(name), '__call__') +
        TOUCH + b'\x85R',
}


# The first state gives an object a __setstate__, which the second one calls.
CALLED_BY_BUILD = f.call('collections', 'OrderedDict') + f.dictionary(
    __setstate__=global_of('os system')) + b'b' + TOUCH + b'b'


def legacy(body):
    """A stream of torch 0.4 with this pickle, and no storages."""
    return b''.join((f.pickle(b'\x8a\x0a' + bytes.fromhex('6cfc9c46f9206aa85019')),
                     f.pickle(b'M\xe9\x03'), f.pickle(b'}' + f.text('little_endian') + b'\x88s'),
                     f.pickle(body), f.pickle(b']')))


CONTAINERS = {
    'zip': lambda body: f.checkpoint(f.pickle(body, 4)),
    'legacy stream': legacy,
    'bare pickle': lambda body: f.pickle(body, 4),
}


def odd_files():
    yield from hostile_test.EXECUTE.items()
    for name, data in hostile_test.HARMLESS.items():
        # Those take seconds a verb, and show there what they show in one.
        if not name.startswith('a million') and name != 'sixty thousand records':
            yield name, data


def calling_files():
    for opcode, call in CALLS.items():
        body = b'](' + b''.join(map(call, NAMES)) + b'e'
        for container, make in CONTAINERS.items():
            yield f'{opcode}, {container}', make(body)


# What opens a file in a way of its own; any other verb opens it as info does.
OPENING = [('convert', 'in/x', 'out/x.pstk'), ('info', 'in/x'), ('doctor', 'in/x'),
           ('scan', 'in/x')]
VERBS = OPENING + [
    ('convert', 'in/x', 'out/x.pt'), ('convert', 'in/x', 'out/t16.pt', '--profile', 't16'),
    ('convert', 'in/x', 'out/x.safetensors'), ('convert', 'in/x', 'out/x.npz'),
    ('convert', 'in/x', 'out/legacy.pt', '--format', 'pt-legacy'), ('ls', 'in/x'),
    ('info', '--json', 'in/x'), ('verify', 'in/x'), ('cat', 'in/x', 'w'),
    ('extract', 'in/x', '*', '-o', 'out/arrays'), ('diff', 'in/x', 'in/x')]


@unittest.skipIf('PENSTOCK_SANITIZED' in os.environ, 'sanitizers start processes')
class ConfinedTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        if subprocess.run([CONFINED, '/tmp', '/bin/true'], check=False).returncode == 125:
            raise unittest.SkipTest('this kernel has no seccomp or no Landlock')

    def setUp(self):
        self.folder = penstock_cli.scratch(64 << 20)
        self.addCleanup(shutil.rmtree, self.folder)
        for name in ('in', 'out'):
            os.mkdir(os.path.join(self.folder, name))

    def confined(self, *command):
        environment = penstock_cli.environment() | {'TMPDIR': os.path.join(self.folder, 'out')}
        return subprocess.run([CONFINED, 'out', *command], cwd=self.folder, env=environment,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60, check=False,
                              preexec_fn=lambda: resource.setrlimit(
                                  resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES)))

    def python(self, program):
        return self.confined(sys.executable, '-S', '-c', program)

    def is_killed(self, program):
        done = self.python(f'{program}\nprint("alive")')
        self.assertEqual((done.returncode, done.stdout), (-signal.SIGSYS, b''), done.stderr)

    # The filter is what all else here stands on.
    def test_what_is_confined_can_compute_and_write_to_its_folder(self):
        done = self.python('import threading\nt = threading.Thread(target=print, args=("alive",))\n'
                           't.start(); t.join()\nopen("out/y", "w").write("x")')
        self.assertEqual((done.returncode, done.stdout), (0, b'alive\n'), done.stderr)
        self.assertEqual(os.listdir(os.path.join(self.folder, 'out')), ['y'])

    def test_whoever_starts_a_program_is_killed(self):
        for program in ('import os; os.execv("/bin/true", ["true"])',
                        'import os; os.execve(os.open("/bin/true", 0), ["true"], {})',
                        'import os; os.posix_spawn("/bin/true", ["true"], {})',
                        'import os; os.system("true")', 'import os; os.fork()',
                        'import subprocess; subprocess.run(["/bin/true"])'):
            with self.subTest(program):
                self.is_killed(program)

    def test_whoever_opens_a_socket_is_killed(self):
        for kind in ('socket.AF_INET', 'socket.AF_INET6', 'socket.AF_UNIX'):
            with self.subTest(kind):
                self.is_killed(f'import socket; socket.socket({kind})')
        self.is_killed('import socket; socket.socketpair()')

    def test_a_ring_cannot_be_made_behind_the_filter(self):
        done = self.python('import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n'
                           'print(libc.syscall(425, 1, 0), ctypes.get_errno())')
        self.assertEqual(done.stdout, b'-1 38\n', done.stderr)

    def test_nothing_else_can_be_written(self):
        f.write(os.path.join(self.folder, 'in/x'), b'data')
        for program in ('open("in/x", "w")', 'open("in/x", "r+")', 'open("y", "w")',
                        'import os; os.unlink("in/x")', 'import os; os.mkdir("y")',
                        'import os; os.rename("in/x", "out/x")', 'import os; os.symlink("a", "b")',
                        'open("/tmp/penstock-test-y", "w")'):
            with self.subTest(program):
                done = self.python(program)
                self.assertIn(b'Error: [Errno', done.stderr)
                self.assertEqual(done.returncode, 1)
        self.assertEqual(os.listdir(os.path.join(self.folder, 'in')), ['x'])
        self.assertEqual(os.listdir(os.path.join(self.folder, 'out')), [])

    def through(self, verbs, data):
        """Exit codes, by verb."""
        f.write(os.path.join(self.folder, 'in/x'), data)
        out = os.path.join(self.folder, 'out')
        codes = {}
        for verb in verbs:
            with self.subTest(verb):
                done = self.confined(penstock_cli.binary(), *verb)
                told = penstock_cli.text_of(done.stdout[-500:] + done.stderr[-500:])
                self.assertIn(done.returncode, (0, 1, 2), told)
                if done.returncode != 0:
                    self.assertNotEqual(told, '')
                codes[verb] = done.returncode
        with open(os.path.join(self.folder, 'in/x'), 'rb') as file:
            self.assertEqual(file.read(), data)
        self.assertEqual(sorted(os.listdir(self.folder)), ['in', 'out'])
        written = {name for _, folders, names in os.walk(out) for name in folders + names}
        self.assertNotIn(hostile_test.MARK, written)
        shutil.rmtree(out)
        os.mkdir(out)
        return codes

    def test_what_is_refused_starts_nothing_and_reaches_nothing(self):
        for table in (hostile_test.PICKLES, hostile_test.ZIPS):
            for name, (data, _) in table.items():
                with self.subTest(name):
                    self.assertEqual(self.through(OPENING, data)[OPENING[0]], 2)

    def test_a_state_that_would_be_called_is_refused(self):
        for name, make in CONTAINERS.items():
            with self.subTest(name):
                self.assertEqual(self.through(VERBS, make(CALLED_BY_BUILD))[OPENING[0]], 2)

    def test_what_is_read_starts_nothing_and_reaches_nothing(self):
        for name, data in odd_files():
            with self.subTest(name):
                self.assertEqual(self.through(VERBS, data)[OPENING[0]], 0)

    def test_names_are_called_by_no_opcode(self):
        for name, data in calling_files():
            with self.subTest(name):
                codes = self.through(VERBS, data)
                self.assertEqual(codes[('convert', 'in/x', 'out/x.pt')], 0, 'converts, as data')
                self.assertEqual(codes[('scan', 'in/x')], 1)
                told = penstock_cli.must_json('info', os.path.join(self.folder, 'in/x'))
                named = ' '.join(told['globals']).replace('__builtin__', 'builtins')
                for expected in NAMES:
                    self.assertIn(expected.replace('__builtin__', 'builtins'), named)

    def test_a_sound_file_passes_every_verb(self):
        codes = self.through(VERBS, f.checkpoint(f.pickle(f.dictionary(w=f.tensor()))))
        self.assertEqual(codes, dict.fromkeys(VERBS, 0))


if __name__ == '__main__':
    unittest.main()
