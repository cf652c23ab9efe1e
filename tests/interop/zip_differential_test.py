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
import sys
import unittest
import zipfile

import checkpoint_files
import penstock_cli
import two_readings
import zip_mutants

OPTIONS = argparse.Namespace(seed=1, count=2000)


def by_zipfile(data):
    """The records of zipfile in a sound file, in torch."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            entries = [checkpoint_files.Entry(name.encode(), file.read(name))
                       for name in file.namelist()]
    except Exception as error:  # pylint: disable=broad-except
        return two_readings.Refused(f'{type(error).__name__}: {error}'[:200])
    return two_readings.by_torch(io.BytesIO(checkpoint_files.archive(entries)))


class ZipDifferentialTest(unittest.TestCase):

    def setUp(self):
        self.folder = penstock_cli.scratch(512 << 20)
        self.addCleanup(shutil.rmtree, self.folder)

    def test_what_is_accepted_has_one_reading(self):
        print(f'seed {OPTIONS.seed}')
        mutants = list(zip_mutants.all_mutants(OPTIONS.seed, OPTIONS.count))
        paths = [os.path.join(self.folder, str(number)) for number in range(len(mutants))]
        answers = two_readings.converted(
            self.folder, [(path, data) for path, (_, _, data) in zip(paths, mutants)])
        counts = collections.Counter()
        complaints = []
        for path, (family, what, data), [(well, remark)] in zip(paths, mutants, answers):
            theirs = {'torch': two_readings.by_torch(path),
                      'zipfile': by_zipfile(data)}
            ambiguous = two_readings.differ(*theirs.values()) is not None
            counts[family, 'files'] += 1
            counts[family, 'accepted'] += well
            counts[family, 'read in two ways by others'] += ambiguous
            if not well:
                if 'INTERNAL' in remark:
                    complaints.append(f'{family}: {what}: {remark}')
                continue
            ours = two_readings.by_torch(path + '.pt')
            for who, answer_of in theirs.items():
                if isinstance(answer_of, two_readings.Refused):
                    continue
                counts[family, f'accepted by {who}, too'] += 1
                how = two_readings.differ_at_all(answer_of, ours)
                if how is not None:
                    complaints.append(f'{family}: {what}: {who}: {how}')
        for (family, what), count in sorted(counts.items()):
            print(f'{count:7} {family}: {what}')
        self.assertFalse(complaints, '\n'.join(complaints[:100]))
        for family in ('what is said twice', 'names', 'structure'):
            self.assertGreater(counts[family, 'accepted'], 10)
        for family in ('what is said twice', 'names', 'structure'):
            self.assertGreater(counts[family, 'read in two ways by others'], 3)


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--seed', type=int, default=OPTIONS.seed)
    parser.add_argument('--count', type=int, default=OPTIONS.count)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=sys.argv[:1] + rest, warnings='ignore')
