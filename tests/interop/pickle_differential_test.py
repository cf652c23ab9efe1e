"""Pickles that Penstock accepts have one reading: torch has the same, or refuses.

    ./bazelw test //tests/interop:pickle_differential_test --test_arg=--seed=7 \
        --test_arg=--count=100000 --test_timeout=3600

Every file of pickle_mutants is converted by convert_batch, to .pt and safetensors.
What torch.load(weights_only=True) reads of the mutant is compared with what it reads
of the .pt, to the last bit: values, types, order, sharing, storages, flags; and, by
the names that a tree of dicts and lists gives them, with the tensors in the other:
the .pt could carry on what was never understood. Where torch takes a file that
Penstock refuses, the reason has to be one of REFUSED.
"""

# pylint: disable=wrong-import-position
import torch_python

torch_python.enter()

import argparse
import collections
import os
import re
import resource
import shutil
import sys
import unittest

import safetensors.torch

import penstock_cli
import pickle_mutants
import tree_names
import two_readings

OPTIONS = argparse.Namespace(seed=1, count=6000)
BATCH = 500
MEMORY = 8 << 30  # a number that was changed may be the size of a bytearray

# What torch takes and Penstock does not, by what is said of it.
REFUSED = {
    'protocols that nobody has': 'pickle_protocol: protocol (6|255), 0 to 5 are known',
    'a storage that is named again with another size': r'storage_size: storage \w+ has \d+ '
                                                       r'bytes, the pickle says \d+ ',
    'a storage that is named again with a negative size': r'storage_size: storage \w+ has -\d+ '
                                                          'elements',
    'a storage that is named again with another dtype': 'storage_dtype_conflict: ',
    'a storage that is named by another class': 'persid_bad: the second part is no storage class',
    'a location that is no text': 'persid_bad: the location is no short text',
    'an element count that is no int': 'persid_bad: the element count is no int',
    'arguments in a list': 'pickle_type: the arguments of a call are no tuple',
    'a key that is a text and a number': 'persid_bad: storage .* is named by a text and by a ',
    'None for sizes or strides': 'tensor_args: sizes or strides are no tuple',
    'None for a dtype': 'tensor_args: the seventh argument of a tensor is no dtype',
    'an OrderedDict with two states': 'pickle_type: the object has state already',
    'bool as a size or stride': 'tensor_args: a size or stride is no whole number from 0 on',
    'no bool as requires_grad': 'tensor_args: requires_grad is no bool',
    'empty metadata that is no dict': "tensor_args: a tensor's metadata is no dict",
}


def tensors_differ(truth, path, well, remark):
    """Between a tree and what of it is in safetensors."""
    expected = tree_names.Tensors(truth)
    # Tensors among attributes have names, too.
    expected.whole &= not expected.has_attributes
    if expected.made_of_others() or expected.of(tree_names.NOT_IN_SAFETENSORS):
        return None
    if not well:
        known = re.search('NUL|not UTF-8|a scalar of dtype F4', remark)
        return remark if expected.whole and not known else None
    try:
        tree_names.require_same_tensors(expected, safetensors.torch.load_file(path))
    except Exception as error:  # pylint: disable=broad-except
        return str(error) or type(error).__name__
    return None


class PickleDifferentialTest(unittest.TestCase):

    def setUp(self):
        self.folder = penstock_cli.scratch(64 << 20)
        self.addCleanup(shutil.rmtree, self.folder)
        self.counts = collections.Counter()
        self.complaints = []

    def judge(self, what, path, answers):
        (well, remark), safetensors_answer = answers
        truth = two_readings.by_torch(path)
        by_torch = not isinstance(truth, two_readings.Refused)
        self.counts['accepted' if well else 'refused',
                    'read by torch' if by_torch else 'refused by torch'] += 1
        if 'INTERNAL' in remark + safetensors_answer[1]:
            self.complaints.append(f'{what}: {remark}')
        if not by_torch:
            return
        if not well:
            reasons = [reason for reason, said in REFUSED.items() if re.search(said, remark)]
            self.counts['read by torch alone', *reasons] += 1
            if len(reasons) != 1:
                self.complaints.append(f'{what}: refused: {remark}')
            return
        how = (two_readings.differ_at_all(truth, two_readings.by_torch(path + '.pt')) or
               tensors_differ(truth, path + '.safetensors', *safetensors_answer))
        if how is not None:
            self.complaints.append(f'{what}: {how}')

    def test_what_is_accepted_has_one_reading(self):
        print(f'seed {OPTIONS.seed}')
        before = resource.getrlimit(resource.RLIMIT_AS)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_AS, before)
        mutants = list(pickle_mutants.all_mutants(OPTIONS.seed, OPTIONS.count))
        paths = [os.path.join(self.folder, str(number)) for number in range(BATCH)]
        for first in range(0, len(mutants), BATCH):
            batch = mutants[first:first + BATCH]
            resource.setrlimit(resource.RLIMIT_AS, before)
            answers = two_readings.converted(
                self.folder, [(path, data) for path, (_, data) in zip(paths, batch)],
                ('pt', 'safetensors'))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, before[1]))
            for path, (what, _), answer in zip(paths, batch, answers):
                self.judge(what, path, answer)
        for what, count in sorted(self.counts.items(), key=str):
            print(f'{count:7} {", ".join(what)}')
        self.assertFalse(self.complaints, '\n'.join(self.complaints[:200]))
        self.assertGreater(self.counts['accepted', 'read by torch'], OPTIONS.count // 5)
        self.assertGreater(self.counts['refused', 'refused by torch'], OPTIONS.count // 20)


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--seed', type=int, default=OPTIONS.seed)
    parser.add_argument('--count', type=int, default=OPTIONS.count)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=sys.argv[:1] + rest, warnings='ignore')
