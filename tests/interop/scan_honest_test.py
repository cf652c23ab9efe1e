"""`penstock scan` over what honest programs write: nothing is more than it is.

It prints how many files of each level there were.
"""

import collections
import json
import os
import pathlib
import random
import shutil
import unittest
import warnings

import torch_python

torch_python.enter()

import numpy  # noqa: E402
import torch  # noqa: E402

import honest_files  # noqa: E402
import penstock_cli  # noqa: E402

LEVELS = ('allow', 'unknown', 'unseen', 'dangerous')
# What torch or Python names in them is of the standard library.
DANGEROUS = {'case_object_classes'}


class ScanHonestTest(unittest.TestCase):

    def setUp(self):
        self.folder = pathlib.Path(penstock_cli.scratch(1 << 30))
        self.addCleanup(shutil.rmtree, self.folder)
        warnings.simplefilter('ignore')

    def test_no_honest_file_is_worse_than_it_is(self):
        worst = {}
        for number, (name, level, write) in enumerate(honest_files.all_files()):
            path = self.folder / f'{number:05}{".npy" if name.endswith("npy") else ""}'
            torch.manual_seed(1)
            random.seed(1)
            numpy.random.seed(1)
            write(path)
            worst[str(path)] = (name, 'dangerous' if name in DANGEROUS else level)
        done = penstock_cli.run('scan', '--json', self.folder, timeout=600)
        counts = collections.Counter()
        wrong = []
        for one in json.loads(done.stdout)['files']:
            # Some cases write a second file beside theirs.
            name, level = worst.get(one['file'], (one['file'], 'unknown'))
            counts[one['level']] += 1
            if LEVELS.index(one['level']) > LEVELS.index(level):
                wrong.append((name, [finding for finding in one['findings']
                                     if finding['level'] == one['level']][:2]))
        print(dict(counts))
        self.assertFalse(wrong, '\n'.join(map(str, [len(wrong)] + wrong[:20])))
        self.assertGreater(sum(counts.values()), 2000)
        self.assertGreater(counts['allow'], 2000)

    def test_random_bits_raise_no_alarm(self):
        """Also its memory: what a scan holds does not grow with the file."""
        path = self.folder / 'big.pt'
        generator = torch.Generator().manual_seed(7)
        torch.save({f'layer.{i}': torch.randint(
            -2**63, 2**63 - 1, (8 << 20,), generator=generator)
                    for i in range(4)}, path)
        done, peak, seconds = penstock_cli.run_measured('scan', '--json', path, timeout=600)
        one = json.loads(done.stdout)['files'][0]
        print(f'{one["file_bytes"] >> 20} MiB: {seconds:.2f} s, peak {peak >> 20} MiB')
        self.assertEqual((one['level'], done.returncode), ('allow', 0), one['findings'][:3])
        if not os.environ.get('PENSTOCK_SANITIZED'):
            self.assertLess(peak, 32 << 20)


if __name__ == '__main__':
    unittest.main()
