"""Random checkpoints through Penstock, with PyTorch as the judge.

    ./bazelw test //tests/interop:differential_test \
        --test_arg=--seed=1234 --test_arg=--count=1

runs one of them again: a case is its seed. Each is written by torch, converted by
convert_batch (one process for all) in every way of STEPS, and judged by what torch
reads from the results. Every fortieth also goes through the command itself, which
has to write the same bytes.
"""

# pylint: disable=wrong-import-position
import os

os.environ['PYTHONHASHSEED'] = '0'  # the order of sets

import torch_python

torch_python.enter()

import argparse
import collections
import dataclasses
import random
import re
import shutil
import subprocess
import sys
import time
import unittest

import torch

import deep_compare
import penstock_cli
import random_checkpoints
from differential_judges import JUDGES, Complaint

BATCH = 200
BY_COMMAND = 40  # every so many
OPTIONS = argparse.Namespace(seed=1, count=2000)


@dataclasses.dataclass
class Step:
    """One conversion of every case.

    format   as convert_batch has it; '' for that of the original
    mode     of a .pstk whether it keeps its origin; else whether to restore it
    command  options that ask the command for the same
    """

    source: str  # the step that wrote what it reads
    suffix: str
    format: str
    mode: str
    command: tuple = ()


STEPS = {  # the name is also the folder of the files
    'native': Step('original', '.pstk', 'pstk', 'always', ('--origin', 'always')),
    'restored': Step('native', '', '', 'restore'),
    'anew': Step('native', '.pt', 'pt', 'anew', ('--format', 'pt')),
    'legacy': Step('native', '.pt', 'pt-legacy', 'anew', ('--format', 'pt-legacy')),
    'safetensors': Step('native', '.safetensors', 'safetensors', 'anew',
                        ('--format', 'safetensors')),
    'tree': Step('safetensors', '.pt', 'pt', 'anew'),
    'npz': Step('native', '.npz', 'npz', 'anew', ('--format', 'npz')),
}


class Case:

    def __init__(self, seed, folder):
        self.seed = seed
        self.folder = folder
        rng = random.Random(f'options {seed}')
        self.codec = rng.choice(['zstd', 'none'])
        self.threads = rng.choice([1, 1, 2, 4])
        self.checkpoint = random_checkpoints.Checkpoint(seed)
        self.way = self.checkpoint.save(self.path('original'))
        self.kind = re.match('[^:,]*', self.way).group()
        self.mapped = rng.randrange(3) == 0 and self.checkpoint.mapped
        self.outcome = {}  # step -> (well, remark)

    def path(self, step):
        # A .pt holds its own name, so every step has a folder.
        suffix = STEPS[step].suffix if step in STEPS else '.pt'
        return os.path.join(self.folder, step, f'{self.seed}{suffix}')

    def job(self, step):
        spec = STEPS[step]
        return '\t'.join((self.path(spec.source), self.path(step),
                          spec.format or self.checkpoint.format, self.codec, spec.mode,
                          str(self.threads)))

    def truth(self):
        """What is in the original."""
        path = self.path('original')
        self.safe = self.checkpoint.format in ('pt', 'pt-legacy')
        if self.safe:
            try:
                return self.load(path)
            except Exception:  # pylint: disable=broad-except
                self.safe = False
        return self.checkpoint.read(path)

    def load(self, path, **options):
        """As torch would of itself, or without its guard where it has to."""
        return torch.load(path, map_location='cpu', weights_only=self.safe, **options)

    def exact(self):
        return self.checkpoint.exact and self.safe


class Batch:
    """Cases whose files are in `folder`; their conversions run beside this process."""

    def __init__(self, seeds, folder):
        self.folder = folder
        for name in ('original', 'command', *STEPS):
            os.makedirs(os.path.join(folder, name))
        self.cases = [Case(seed, folder) for seed in seeds]
        self.jobs = [(case, step) for case in self.cases for step in STEPS]
        self.list = os.path.join(folder, 'jobs')
        with open(self.list, 'w', encoding='utf-8') as file:
            file.writelines(case.job(step) + '\n' for case, step in self.jobs)

    def read_outcomes(self):
        with open(self.list + '.done', encoding='utf-8', errors='backslashreplace') as file:
            lines = file.read().splitlines()
        for (case, step), line in zip(self.jobs, lines):
            kind, _, remark = line.partition('\t')
            case.outcome[step] = (kind == 'ok', remark)
        return len(lines)


class Converter:

    def __init__(self):
        self.process = subprocess.Popen(
            [penstock_cli.runfile('tests', 'interop', 'convert_batch')],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self, batch):
        self.process.stdin.write(batch.list + '\n')
        self.process.stdin.flush()

    def wait(self, batch):
        answer = self.process.stdout.readline()
        done = batch.read_outcomes()
        if answer.strip() != str(len(batch.jobs)):
            case, step = batch.jobs[min(done, len(batch.jobs) - 1)]
            raise Complaint(f'seed {case.seed}: the converter died at {step}, '
                            f'exit status {self.process.wait()}')

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def by_command(case):
    """The command writes what the library wrote."""
    for name, step in STEPS.items():
        if not case.outcome[name][0]:
            continue
        written = os.path.join(case.folder, 'command', os.path.basename(case.path(name)))
        codec = ('--codec', case.codec) if step.suffix == '.pstk' else ()
        penstock_cli.must('convert', case.path(step.source), written, '--quiet', *codec,
                          *step.command)
        if read(written) != read(case.path(name)):
            raise Complaint(f'the command wrote another {name} than the library')


def read(path):
    with open(path, 'rb') as file:
        return file.read()


class DifferentialTest(unittest.TestCase):

    def setUp(self):
        self.folder = penstock_cli.scratch(512 << 20)
        self.addCleanup(shutil.rmtree, self.folder)
        self.converter = Converter()
        self.addCleanup(self.converter.close)
        self.counts = collections.Counter()
        self.complaints = collections.defaultdict(list)  # those that are alike together

    def judge(self, case):
        truth = case.truth()
        self.counts['read by weights_only'] += case.safe
        self.counts['files of ' + case.kind] += 1
        for step in STEPS:
            self.complaint_of(case, step, lambda: JUDGES[step](  # pylint: disable=cell-var-from-loop
                case, truth, case.path(step), self.counts))
        if case.seed % BY_COMMAND == 0:
            self.counts['also by the command'] += 1
            self.complaint_of(case, 'command', lambda: by_command(case))

    def complaint_of(self, case, step, judged):
        try:
            judged()
        except Exception as error:  # pylint: disable=broad-except
            kind = type(error).__name__ + ': '
            if isinstance(error, (Complaint, deep_compare.Difference, AssertionError)):
                kind = ''
            text = f'{step}: {kind}{error}'.replace(case.folder, '')[:600]
            alike = self.complaints[re.sub(r"\[.*?\]|'.*?'|\d+", '', text)[:60]]
            alike.append(f'seed {case.seed} ({case.way}), {text}')

    def test_what_torch_writes_comes_back(self):
        begun = time.monotonic()
        last = OPTIONS.seed + OPTIONS.count
        print(f'seeds {OPTIONS.seed} to {last - 1}', flush=True)
        running = None
        for first in [*range(OPTIONS.seed, last, BATCH), None]:
            fresh = first and Batch(range(first, min(first + BATCH, last)),
                                    os.path.join(self.folder, str(first)))
            if running:
                self.converter.wait(running)
            if fresh:
                self.converter.start(fresh)
            for case in running.cases if running else ():
                self.judge(case)
            if running:
                shutil.rmtree(running.folder)
            running = fresh
        for what, count in sorted(self.counts.items()):
            print(f'{count:7} {what}')
        print(f'{OPTIONS.count} checkpoints in {time.monotonic() - begun:.0f} s')
        if self.complaints:
            self.fail('\n'.join(f'{len(alike)} like this:\n' + '\n'.join(alike[:3])
                                for alike in self.complaints.values()))


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--seed', type=int, default=OPTIONS.seed)
    parser.add_argument('--count', type=int, default=OPTIONS.count)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=sys.argv[:1] + rest, warnings='ignore')
