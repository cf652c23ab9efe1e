"""`penstock bench`: that it measures all it says, and finds wrong bytes."""

import json
import os
import shutil
import sys
import unittest
import xml.etree.ElementTree

import penstock_cli

# Talks as bench/peer_worker.py does; "saves" a checkpoint with one wrong byte.
FAKE_WORKER = """#!{python}
import json, shutil, sys
for line in sys.stdin:
    request = json.loads(line)
    answer = {{'seconds': [0.1, 0.2], 'cpu_seconds': 0.1, 'peak_bytes': 1}}
    if request['do'] == 'start':
        source = request['source']
        answer = {{'versions': {{'torch': 'fake'}}}}
    elif request['do'] == 'save_torch':
        shutil.copyfile(source, request['path'])
        {damage}
    else:
        answer['seconds'] = [0.1]
    print(json.dumps(answer), flush=True)
"""
DAMAGE = """
        with open(request['path'], 'r+b') as file:
            file.seek(file.seek(0, 2) // 2)
            byte = file.read(1)[0]
            file.seek(-1, 1)
            file.write(bytes([byte ^ 1]))
"""
QUICK = ('bench', '--size', '16MB', '--rounds', '1', '--seed', '7')


class BenchTest(unittest.TestCase):

    def setUp(self):
        self.folder = penstock_cli.scratch(512 << 20, in_memory=False)
        self.addCleanup(shutil.rmtree, self.folder)

    def run_bench(self, *arguments, **environment):
        variables = dict(penstock_cli.environment(), **environment)
        return penstock_cli.run(*arguments, cwd=self.folder, env=variables, timeout=280)

    def fails(self, code, words, *arguments, **environment):
        done = self.run_bench(*arguments, **environment)
        message = penstock_cli.text_of(done.stderr)
        self.assertEqual(done.returncode, code, message)
        self.assertIn(words, message)
        self.assertFalse([name for name in os.listdir(self.folder)
                          if name.startswith('penstock-bench')])

    def fake_python(self, damage):
        path = os.path.join(self.folder, 'fake-python')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(FAKE_WORKER.format(python=sys.executable, damage=damage))
        os.chmod(path, 0o755)
        return path

    def test_everything_is_measured_checked_and_written(self):
        done = self.run_bench(*QUICK, '--json', 'out.json', '--svg', 'out.svg')
        text = penstock_cli.text_of(done.stdout)
        self.assertEqual((done.returncode, done.stderr), (0, b''))
        with open(os.path.join(self.folder, 'out.json'), encoding='utf-8') as file:
            report = json.load(file)
        self.assertEqual(report['schema'], 'penstock.bench/1')
        self.assertEqual((report['rounds'], report['seed']), (1, 7))
        self.assertGreater(report['machine']['cores'], 0)
        self.assertIn('penstock', report['versions'])
        rows = {(row['section'], row['contender'], row['what']): row
                for row in report['rows']}
        for kind in ('.pt', 'raw .pstk', 'zstd .pstk'):
            for what in ('handed over', 'durable', 'replace, durable'):
                self.assertGreater(
                    rows['save', 'penstock ' + kind, what]['file_bytes'], 0)
            for what in ('new memory', "caller's memory"):
                self.assertIn(('load warm', 'penstock ' + kind, what), rows)
        self.assertIn(('load warm', 'penstock raw .pstk', 'mapped, verified'), rows)
        self.assertIn(('convert', 'penstock convert', '.pt to raw .pstk'), rows)
        self.assertIn(('open', 'penstock .pt', '100000 tensors, warm'), rows)
        contenders = {(row['section'], row['contender'], row['what'])
                      for row in report['rows']
                      if row['section'] not in ('copy', 'write', 'read')
                      and row['what'] != 'handed over'}
        self.assertEqual(report['checks_passed'], len(contenders))
        self.assertGreater(report['ceilings']['copy'], 0)
        for row in report['rows']:
            self.assertEqual(len(row['seconds']['rounds']), 1)
            self.assertGreater(row['seconds']['median'], 0)
            self.assertIn(row['what'], text)
        self.assertIn('results were compared, all equal', text)
        xml.etree.ElementTree.parse(os.path.join(self.folder, 'out.svg'))
        self.assertEqual(sorted(os.listdir(self.folder)), ['out.json', 'out.svg'])

    def test_tensors_of_each_kind(self):
        for kind in ('small', 'one'):
            done = self.run_bench(*QUICK, '--tensors', kind, '--only', 'save/*.pt/*')
            self.assertEqual(done.returncode, 0, penstock_cli.text_of(done.stderr))
            self.assertIn(f'({kind})', penstock_cli.text_of(done.stdout))

    def test_a_peer_that_saves_wrong_bytes_is_a_finding(self):
        arguments = (*QUICK, '--against', 'torch',
                     '--only', 'save/torch.save/handed over')
        done = self.run_bench(*arguments, PENSTOCK_PYTHON=self.fake_python('pass'))
        self.assertEqual(done.returncode, 0, penstock_cli.text_of(done.stderr))
        self.assertIn('torch fake', penstock_cli.text_of(done.stdout))
        self.fails(1, 'round 1, save/torch.save/handed over', *arguments,
                   PENSTOCK_PYTHON=self.fake_python(DAMAGE))

    def test_peers_replace_files_and_read_parts(self):
        done = self.run_bench(*QUICK, '--against', 'torch',
                              '--only', 'save/torch.save/replace, durable',
                              '--only', 'part/torch.load*',
                              PENSTOCK_PYTHON=self.fake_python('pass'))
        self.assertEqual(done.returncode, 0, penstock_cli.text_of(done.stderr))
        text = penstock_cli.text_of(done.stdout)
        self.assertRegex(text, r'(?m)^torch\.save +replace, durable +0\.08')
        self.assertRegex(text, r'(?m)^torch\.load mmap=True +one tensor, cold')
        self.assertRegex(text, r'(?m)^torch\.load mmap=True +10 % of its rows, cold')

    def test_peers_that_are_not_there_are_said_to_be_missing(self):
        self.fails(2, '--against', *QUICK, '--against', 'torch',
                   PENSTOCK_PYTHON='/no/such/python')

    def test_programs_as_peers(self):
        done = self.run_bench(*QUICK, '--against', 'cp,zstd', '--only', 'convert/*')
        self.assertEqual(done.returncode, 0, penstock_cli.text_of(done.stderr))
        text = penstock_cli.text_of(done.stdout)
        self.assertRegex(text, r'(?m)^cp +a \.pt, fsync')
        self.assertRegex(text, r'(?m)^zstd -T0 -1 +a \.pt, fsync')

    def test_what_does_not_fit_is_refused_before_anything_is_made(self):
        self.fails(2, 'the benchmark needs', 'bench', '--size', '900TB')
        self.fails(2, 'of memory', 'bench', '--size', '900GB', '--only', 'copy/*')

    def test_usage(self):
        self.fails(2, 'nothing has such a name', *QUICK, '--only', 'no such row')
        self.fails(2, 'is no size', 'bench', '--size', 'much')
        self.fails(2, 'no-such-folder', *QUICK, '--dir', 'no-such-folder')
        self.fails(2, 'against', *QUICK, '--against', 'floppy')


if __name__ == '__main__':
    unittest.main()
