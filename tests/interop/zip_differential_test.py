"""What Penstock accepts has one reading: zipfile and torch have the same, or refuse.

    ./bazelw test //tests/interop:zip_differential_test --test_arg=--seed=7

Every file of zip_mutants is converted by convert_batch; of those that pass, what
torch reads of the result is compared with what torch.load(weights_only=True) reads
of the mutant itself, and with what torch reads of a sound file that is packed of
the records that Python's zipfile finds in it. That the files bite is seen by those
that the two others read differently: all of these have to be refused.
"""

# pylint: disable=wrong-import-position
import torch_python

torch_python.enter()

import argparse
import collections
import io
import os
import shutil
import subprocess
import sys
import unittest
import zipfile

import torch

import checkpoint_files
import deep_compare
import penstock_cli
import zip_mutants

OPTIONS = argparse.Namespace(seed=1, count=2000)

class Refused:
    """Somebody's answer."""

    def __init__(self, why):
        self.why = why

    def __repr__(self):
        return f'refused: {self.why}'


def by_torch(file):
    try:
        return torch.load(file, map_location='cpu', weights_only=True)
    except Exception as error:  # pylint: disable=broad-except
        return Refused(f'{type(error).__name__}: {error}'[:200])


def by_zipfile(data):
    """The records of zipfile in a sound file, in torch."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            entries = [checkpoint_files.Entry(name.encode(), file.read(name))
                       for name in file.namelist()]
    except Exception as error:  # pylint: disable=broad-except
        return Refused(f'{type(error).__name__}: {error}'[:200])
    return by_torch(io.BytesIO(checkpoint_files.archive(entries)))


def differ(a, b):
    """How; None for the same, or where one was refused."""
    if isinstance(a, Refused) or isinstance(b, Refused):
        return None
    try:
        deep_compare.require_same(a, b)
    except Exception as error:  # pylint: disable=broad-except
        return str(error) or type(error).__name__
    return None


class ZipDifferentialTest(unittest.TestCase):

    def setUp(self):
        self.folder = penstock_cli.scratch(512 << 20)
        self.addCleanup(shutil.rmtree, self.folder)

    def converted(self, mutants):
        """For each its path, or why it was refused."""
        jobs = os.path.join(self.folder, 'jobs')
        with open(jobs, 'w', encoding='utf-8') as file:
            for number, (_, _, data) in enumerate(mutants):
                path = os.path.join(self.folder, f'{number}')
                checkpoint_files.write(path + '.in', data)
                file.write(f'{path}.in\t{path}.pt\tpt\tnone\tanew\t1\n')
        done = subprocess.run([penstock_cli.runfile('tests', 'interop', 'convert_batch')],
                              input=jobs + '\n', capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.strip(), str(len(mutants)))
        with open(jobs + '.done', encoding='utf-8', errors='backslashreplace') as file:
            return [line.rstrip('\n').split('\t', 1) for line in file]

    def test_what_is_accepted_has_one_reading(self):
        print(f'seed {OPTIONS.seed}')
        mutants = list(zip_mutants.all_mutants(OPTIONS.seed, OPTIONS.count))
        answers = self.converted(mutants)
        counts = collections.Counter()
        complaints = []
        for number, ((family, what, data), (answer, remark)) in enumerate(zip(mutants, answers)):
            theirs = {'torch': by_torch(os.path.join(self.folder, f'{number}.in')),
                      'zipfile': by_zipfile(data)}
            ambiguous = differ(*theirs.values()) is not None
            counts[family, 'files'] += 1
            counts[family, 'accepted'] += answer == 'ok'
            counts[family, 'read in two ways by others'] += ambiguous
            if answer != 'ok':
                if 'INTERNAL' in remark:
                    complaints.append(f'{family}: {what}: {remark}')
                continue
            ours = by_torch(os.path.join(self.folder, f'{number}.pt'))
            for who, answer_of in theirs.items():
                how = differ(answer_of, ours)
                if how is not None:
                    complaints.append(f'{family}: {what}: {who}: {how}')
                counts[family, f'accepted by {who}, too'] += not isinstance(answer_of, Refused)
        for (family, what), count in sorted(counts.items()):
            print(f'{count:7} {family}: {what}')
        self.assertFalse(complaints, '\n'.join(complaints[:100]))
        for family in ('what is said twice', 'names', 'structure'):
            self.assertGreater(counts[family, 'accepted'], 10)
        for family in ('names', 'structure'):
            self.assertGreater(counts[family, 'read in two ways by others'], 3)


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--seed', type=int, default=OPTIONS.seed)
    parser.add_argument('--count', type=int, default=OPTIONS.count)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=sys.argv[:1] + rest, warnings='ignore')
