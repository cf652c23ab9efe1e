"""Bad input, full disks, replaced files, interrupts: one line, and nothing is lost."""

import gzip
import json
import os
import re
import resource
import select
import shutil
import signal
import stat
import subprocess
import time
import unittest

import checkpoint_files as f
import cli_case
import penstock_cli

NOBODY = 65534


class BadInputTest(cli_case.CliTestCase):

    def refuses(self, words, name, data=None, codes=(2,)):
        """By every verb; and a destination that exists stays as it was."""
        if data is not None:
            self.write(name, data)
        self.write('old.pstk', b'old')
        for arguments in (('convert', name, 'new.pstk'), ('convert', name, 'old.pstk'),
                          ('convert', name, 'new.pt'), ('ls', name), ('ls', name, '--json'),
                          ('info', name)):
            with self.subTest(name=name, arguments=arguments):
                message = self.fails(words, *arguments)
                self.assertIn(name, message)
        with self.subTest(name=name, verb='verify'):
            done = self.run_command('verify', name)
            self.assertIn(done.returncode, codes)
            self.assertRegex(penstock_cli.text_of(done.stdout + done.stderr),
                             re.compile(words, re.I))

    def test_what_is_not_there(self):
        self.refuses('no such file', 'missing.pt')
        self.refuses('no such file', 'no/folder/missing.pt')
        self.write('a.pt', f.checkpoint())
        self.fails('no/folder/b.pstk: there is no such directory', 'convert', 'a.pt',
                   'no/folder/b.pstk')

    def test_a_directory(self):
        os.mkdir(self.path('folder'))
        self.refuses('folder: is a directory, .*penstock doctor', 'folder')
        self.write('a.pt', f.checkpoint())
        self.fails('directory', 'convert', 'a.pt', 'folder')

    def test_shards_that_are_not_what_their_index_says(self):
        def index(**weight_map):
            return self.write('pytorch_model.bin.index.json',
                              json.dumps({'weight_map': weight_map}).encode())
        self.write('1.bin', f.checkpoint())  # has w
        name = 'pytorch_model.bin.index.json'
        index(w='1.bin')
        self.must('convert', name, 'whole.pt')
        self.must('diff', name, '1.bin')
        for weight_map, words in (({'w': '2.bin'}, '2\\.bin.*no such file'),
                                  ({'w': '../1.bin'}, 'beside the index.*1\\.bin'),
                                  ({'w': '1.bin', 'x': '1.bin'}, '1\\.bin does not have "x"'),
                                  ({'x': '1.bin'}, '1\\.bin does not have "x"')):
            with self.subTest(weight_map):
                index(**weight_map)
                self.refuses(words, name, codes=(1, 2))
        index(w='1.bin')
        self.write('1.bin', f.checkpoint()[:-30])
        self.refuses('zip_truncated', name, codes=(1, 2))
        done = self.run_command('doctor', '--json', name)
        self.assertEqual(done.returncode, 1)

    def test_what_is_no_regular_file(self):
        self.write('a.pt', f.checkpoint())
        self.fails('', 'ls', '/dev/null')
        self.fails('', 'convert', 'a.pt', '/dev/full')

    def test_files_of_other_kinds_are_named(self):
        self.refuses('empty', 'empty.pt', b'')
        self.refuses('LFS.*git lfs pull', 'pointer.pt',
                     b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n')
        self.refuses('HTML', 'page.pt', b'<!DOCTYPE html>\n<html><body>404</body></html>\n')
        self.refuses('HTML', 'page2.pt', b'\n\n <html>')
        self.refuses('JSON', 'error.pt', b'{"error": "unauthorized"}')
        self.refuses('gzip.*decompress', 'a.pt.gz', gzip.compress(f.checkpoint()))
        self.refuses('zstd.*decompress', 'a.zst', b'\x28\xb5\x2f\xfd\x04\x00\x01\x00\x00')
        self.refuses('safetensors', 'a.safetensors', b'\x03\0\0\0\0\0\0\0{a}',
                     codes=(1, 2))
        self.refuses('legacy', 'legacy.pt', bytes.fromhex(
            '80028a0a6cfc9c46f9206aa850192e80024de9032e'), codes=(1, 2))
        self.refuses('GGUF', 'model.gguf', b'GGUF' + bytes(100))
        self.refuses('', 'noise.pt', bytes(range(1, 250)))
        self.refuses('', 'zeros.pt', bytes(5000))

    def test_truncated_downloads(self):
        whole = f.model(2, 5000)
        for length in (1, 3, 4, 100, len(whole) // 10, len(whole) // 2, len(whole) - 1000,
                       len(whole) - 22, len(whole) - 1):
            self.refuses('', 'cut.pt', whole[:length], codes=(1, 2))
        self.refuses('truncat|incomplete|cut', 'cut.pt', whole[:len(whole) // 2], codes=(1, 2))
        self.write('a.pt', whole)
        self.must('convert', 'a.pt', 'a.pstk')
        native = self.read('a.pstk')
        os.remove(self.path('a.pt'))
        os.remove(self.path('a.pstk'))
        for length in (1, 15, 100, len(native) // 2, len(native) - 100, len(native) - 1):
            self.refuses('', 'cut.pstk', native[:length], codes=(1, 2))

    def test_a_wrong_crc_is_a_finding(self):
        data = bytearray(f.model(3, 5000))
        place = data.index(f.weights(5000, 1)) + 777
        data[place] ^= 4
        self.write('a.pt', data)
        done = self.run_command('verify', 'a.pt')
        self.assertEqual(done.returncode, 1, done)
        self.assertRegex(done.stdout, rb'layers\.1\.weight[^\n]*zip_crc_mismatch[^\n]*data/1')
        self.assertRegex(done.stdout, rb'DAMAGED')
        self.assertEqual(self.run_command('ls', 'a.pt').returncode, 0)
        self.fails('CRC', 'convert', 'a.pt', 'b.pstk')
        self.assertEqual(penstock_cli.must_json('ls', self.path('a.pt'))['schema'],
                         'penstock.ls/1')

    # 300 places all over a file with raw and coded storages, tables and padding.
    def test_a_flipped_bit_in_a_pstk_is_found(self):
        for codec in ('zstd', 'none'):
            self.write('a.pt', f.model(3, 30_000))
            self.must('convert', 'a.pt', 'a.pstk', '--codec', codec)
            whole = self.read('a.pstk')
            for i in range(0, 150):
                bit = i * (len(whole) * 8 - 1) // 149
                damaged = bytearray(whole)
                damaged[bit // 8] ^= 1 << bit % 8
                self.write('bad.pstk', damaged)
                with self.subTest(codec=codec, bit=bit):
                    done = self.run_command('verify', 'bad.pstk')
                    self.assertIn(done.returncode, (1, 2), done)
                    self.assertEqual(done.returncode == 1, done.stderr == b'', done)
                    self.assertIn(b'bad.pstk', done.stdout + done.stderr)
                if i % 10 == 0:
                    with self.subTest(codec=codec, bit=bit, verb='convert'):
                        done = self.run_command('convert', 'bad.pstk', 'out.pt')
                        # Padding is compared by verify only.
                        self.assertIn(done.returncode, (0, 2), done)
                        if done.returncode == 0:
                            self.must('verify', 'out.pt')
                            os.remove(self.path('out.pt'))
            self.assertEqual(self.names(), ['a.pstk', 'a.pt', 'bad.pstk'])

    def test_permissions(self):
        if os.geteuid() == 0:
            if not self.can_be_nobody():
                self.skipTest('runs as root, whom nothing is forbidden, and cannot be another')
            options = {'user': NOBODY, 'group': NOBODY, 'extra_groups': []}
        else:
            options = {}
        self.write('secret.pt', f.checkpoint())
        self.write('open.pt', f.checkpoint())
        os.chmod(self.path('secret.pt'), 0)
        os.chmod(self.path('open.pt'), 0o644)
        os.chmod(self.folder, 0o555)
        self.addCleanup(os.chmod, self.folder, 0o755)
        environment = penstock_cli.environment()
        for words, arguments in (('permission denied', ('ls', 'secret.pt')),
                                 ('permission denied', ('convert', 'open.pt', 'b.pstk'))):
            done = subprocess.run([self.copied, *arguments], cwd=self.folder, timeout=60,
                                  stdin=subprocess.DEVNULL, capture_output=True, check=False,
                                  env=environment, **options)
            self.assertEqual(done.returncode, 2, done)
            self.assertRegex(penstock_cli.text_of(done.stderr), re.compile(words, re.I))
        self.assertEqual(self.names(), ['open.pt', 'penstock', 'secret.pt'])

    copied = None

    def can_be_nobody(self):
        """Copies the command to where anybody may run it."""
        self.copied = shutil.copy(penstock_cli.binary(), self.path('penstock'))
        os.chmod(self.copied, 0o755)
        os.chmod(self.folder, 0o755)
        try:
            return subprocess.run([self.copied, '--version'], user=NOBODY, group=NOBODY,
                                  extra_groups=[], capture_output=True, timeout=60,
                                  check=False).returncode == 0
        except OSError:
            return False


class FullDiskTest(cli_case.CliTestCase):

    def limited(self, limit):
        def limit_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        return {'preexec_fn': limit_files, 'restore_signals': False}

    @unittest.skipIf('PENSTOCK_SANITIZED' in os.environ, 'TSan itself dies of such a limit')
    def test_a_file_size_limit_leaves_nothing_behind(self):
        self.write('a.pt', f.model(4, 200_000))
        self.must('convert', 'a.pt', 'a.pstk')
        self.write('old.pt', b'old')
        for limit in (0, 4096, 100_000, 1_000_000):
            for arguments in (('a.pt', 'b.pstk'), ('a.pstk', 'b.pt'), ('a.pstk', 'old.pt')):
                with self.subTest(limit=limit, arguments=arguments):
                    self.fails('too large|no space', 'convert', *arguments,
                               **self.limited(limit))

    def test_a_full_disk_leaves_nothing_behind(self):
        disk = self.path('disk')
        os.mkdir(disk)
        mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1M', 'none', disk],
                                 capture_output=True, check=False)
        if mounted.returncode != 0:
            self.skipTest('no file system may be mounted here: ' +
                          penstock_cli.text_of(mounted.stderr).strip())
        self.addCleanup(subprocess.run, ['umount', disk], check=True)
        self.write('a.pt', f.model(4, 200_000))
        self.must('convert', 'a.pt', 'a.pstk')
        self.write('disk/old.pt', b'old')
        for arguments in (('a.pt', 'disk/b.pstk'), ('a.pstk', 'disk/b.pt'),
                          ('a.pstk', 'disk/old.pt')):
            with self.subTest(arguments):
                self.fails('no space|are free', 'convert', *arguments)

    def test_a_full_device_behind_stdout_is_an_error(self):
        self.write('a.pt', f.checkpoint())
        with open('/dev/full', 'wb') as full:
            self.fails('no space', 'convert', 'a.pt', '-', stdout=full)

    def test_what_is_printed_into_a_full_device_is_an_error(self):
        self.write('a.pt', f.with_pickle(f.dictionary(w=f.tensor(f.storage()))))
        for arguments in (('ls', 'a.pt'), ('info', 'a.pt'), ('cat', 'a.pt', 'w'),
                          ('verify', 'a.pt'), ('scan', 'a.pt'), ('doctor', 'a.pt'),
                          ('diff', 'a.pt', 'a.pt'), ('--help',), ('ls', '--json', 'a.pt')):
            with self.subTest(arguments), open('/dev/full', 'wb') as full:
                self.fails('standard output: cannot be written', *arguments, stdout=full)

    def test_who_closes_a_pipe_is_told_nothing(self):
        self.write('a.pt', f.checkpoint())
        reader, writer = os.pipe()
        os.close(reader)
        try:
            done = self.run_command('ls', 'a.pt', stdout=writer)
            self.assertEqual((done.returncode, done.stderr), (2, b''))
        finally:
            os.close(writer)

    def test_closed_streams_do_not_become_the_file(self):
        self.write('a.pt', f.model(4, 1000))
        self.must('convert', 'a.pt', 'good.pstk')
        for closed in ('<&-', '>&-', '2>&-', '<&- >&- 2>&-'):
            with self.subTest(closed):
                done = subprocess.run(
                    ['sh', '-c', f'exec "$0" convert a.pt b.pstk {closed}',
                     penstock_cli.binary()], cwd=self.folder, timeout=60, check=False,
                    capture_output=True, env=penstock_cli.environment())
                self.assertEqual(self.read('b.pstk'), self.read('good.pstk'))
                self.assertEqual(done.returncode, 0, done)
        done = subprocess.run(['sh', '-c', 'exec "$0" ls a.pt >&-', penstock_cli.binary()],
                              cwd=self.folder, timeout=60, check=False, capture_output=True,
                              env=penstock_cli.environment())
        self.assertEqual((done.returncode, done.stderr),
                         (2, b'penstock: standard output: cannot be written\n'))

    def test_an_empty_tmpdir_is_none(self):
        self.write('a.pt', f.checkpoint())
        done = self.run_command('ls', '-', input=self.read('a.pt'),
                                env=penstock_cli.environment() | {'TMPDIR': ''})
        if done.returncode != 0:  # a sandbox lets nobody write there
            self.assertIn(b'penstock: /var/tmp: ', done.stderr)

    def test_a_reader_that_goes_away_is_an_error(self):
        self.write('a.pt', f.model(4, 200_000))
        reader, writer = os.pipe()
        os.close(reader)
        try:
            self.fails('pipe', 'convert', 'a.pt', '-', stdout=writer)
        finally:
            os.close(writer)

    def test_an_input_that_cannot_be_spooled(self):
        self.write('a.pt', f.model(4, 200_000))
        with open(self.path('a.pt'), 'rb') as file:
            self.fails('temporary', 'convert', '-', 'b.pstk', stdin=file,
                       env=penstock_cli.environment() | {'TMPDIR': self.path('missing')})


class ReplaceTest(cli_case.CliTestCase):

    def setUp(self):
        super().setUp()
        self.write('a.pt', f.model(2, 1000))
        self.must('convert', 'a.pt', 'good.pstk')
        self.good = self.read('good.pstk')

    def test_a_reader_of_the_old_file_keeps_it(self):
        self.write('b.pstk', b'old')
        with open(self.path('b.pstk'), 'rb') as old:
            self.must('convert', 'a.pt', 'b.pstk')
            self.assertEqual(old.read(), b'old')
        self.assertEqual(self.read('b.pstk'), self.good)

    def test_permissions_stay_and_new_files_have_the_umask(self):
        self.write('b.pstk', b'old')
        os.chmod(self.path('b.pstk'), 0o604)
        self.must('convert', 'a.pt', 'b.pstk')
        self.assertEqual(stat.S_IMODE(os.stat(self.path('b.pstk')).st_mode), 0o604)
        self.must('convert', 'a.pt', 'c.pstk', umask=0o027)
        self.assertEqual(stat.S_IMODE(os.stat(self.path('c.pstk')).st_mode), 0o640)

    def test_a_link_is_replaced_and_not_its_target(self):
        self.write('target', b'target')
        os.symlink('target', self.path('b.pstk'))
        self.must('convert', 'a.pt', 'b.pstk')
        self.assertFalse(os.path.islink(self.path('b.pstk')))
        self.assertEqual(self.read('b.pstk'), self.good)
        self.assertEqual(self.read('target'), b'target')

    def test_a_file_may_be_converted_onto_itself(self):
        self.must('convert', 'a.pt', 'before.pstk', '--origin', 'never')
        for arguments in (['--format', 'pstk'], ['--format', 'pt'], ['--format', 'pt']):
            self.must('convert', 'a.pt', 'a.pt', *arguments)
        self.must('verify', 'a.pt')
        self.must('convert', 'a.pt', 'after.pstk', '--origin', 'never')
        self.assertEqual(self.read('before.pstk'), self.read('after.pstk'))
        self.assertEqual(self.names(), ['a.pt', 'after.pstk', 'before.pstk', 'good.pstk'])

    def test_names_that_need_care(self):
        for name in ('-x.pstk', 'sp ace.pstk', '\u03b1.pstk', 'q\'"\\n.pstk', '.pstk',
                     os.fsdecode(b'latin1-\xe9.pstk'), 'n' * 240 + '.pstk'):
            with self.subTest(name):
                self.must('convert', 'a.pt', './' + name)
                self.assertEqual(self.read(name), self.good)
                self.must('verify', './' + name)
                self.must('ls', '--json', './' + name)


class InterruptTest(cli_case.CliTestCase):

    def interrupt(self, number, arguments, when, **options):
        """Sends a signal as soon as `when()`, and waits for the end."""
        running = subprocess.Popen([penstock_cli.binary(), *arguments], cwd=self.folder,
                                   stderr=subprocess.PIPE, env=penstock_cli.environment(),
                                   **options)
        try:
            deadline = time.monotonic() + 60
            while not (self.catches(running, number) and when()) and running.poll() is None:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.001)
            running.send_signal(number)
            _, message = running.communicate(timeout=60)
        finally:
            if running.poll() is None:
                running.kill()
                running.communicate()
        self.assertEqual((running.returncode, message), (130, b'penstock: interrupted\n'))

    def catches(self, running, number):
        with open(f'/proc/{running.pid}/status', encoding='ascii') as file:
            mask = re.search(r'^SigCgt:\s*([0-9a-f]+)', file.read(), re.M)
        return mask is not None and int(mask[1], 16) >> (number - 1) & 1

    def test_an_interrupt_leaves_no_temporary(self):
        f.write_sparse(self.path('big.pt'), 1 << 30)
        self.write('old.pstk', b'old')
        before = self.names()
        for number in (signal.SIGINT, signal.SIGTERM):
            for arguments in (['convert', 'big.pt', 'old.pstk', '--codec', 'none'],
                              ['convert', 'big.pt', 'new.pt']):
                with self.subTest(number=number, arguments=arguments):
                    self.interrupt(number, arguments, lambda: self.names() != before)
                    self.assertEqual(self.names(), before)
                    self.assertEqual(self.read('old.pstk'), b'old')

    def test_an_interrupt_ends_waiting_for_a_pipe(self):
        reader, writer = os.pipe()
        self.addCleanup(os.close, writer)
        self.addCleanup(os.close, reader)
        os.write(writer, f.model(1, 1000)[:1000])
        self.interrupt(signal.SIGINT, ['convert', '-', 'b.pstk'],
                       lambda: not select.select([reader], [], [], 0)[0], stdin=reader)
        self.assertEqual(self.names(), [])

    def test_an_interrupt_ends_writing_to_a_pipe_that_nobody_reads(self):
        self.write('a.pt', f.model(4, 200_000))
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        self.interrupt(signal.SIGINT, ['convert', 'a.pt', '-'],
                       lambda: select.select([reader], [], [], 0)[0], stdout=writer)

    def test_an_interrupt_ends_verifying(self):
        f.write_sparse(self.path('big.pt'), 3 << 30)
        self.interrupt(signal.SIGINT, ['verify', 'big.pt', '--threads', '1'], lambda: True)


if __name__ == '__main__':
    unittest.main()
