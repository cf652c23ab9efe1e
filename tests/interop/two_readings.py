"""Files that somebody changed: who reads them, and what for.

Penstock reads through convert_batch, which writes them anew, so that torch can say
what it read.
"""

import os
import subprocess

import torch

import checkpoint_files
import deep_compare
import penstock_cli


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


def differ(a, b):
    """How; None for the same, or where one was refused."""
    if isinstance(a, Refused) or isinstance(b, Refused):
        return None
    return differ_at_all(a, b)


def differ_at_all(a, b):
    """As differ; a value and a refusal are not the same."""
    try:
        deep_compare.require_same(a, b)
    except deep_compare.Difference as difference:
        return str(difference)
    except Exception as error:  # pylint: disable=broad-except
        return str(error) if can_be_compared(a) else None
    return None


def can_be_compared(value):
    """Not: a quantised tensor of a dtype that is none, which torch cannot describe."""
    try:
        deep_compare.require_same(value, value)
    except Exception:  # pylint: disable=broad-except
        return False
    return True


def converted(folder, files, formats=('pt',)):
    """Of each (path, bytes), written there: for each format (it went well, remark).

    What was written lies at path + '.' + format.
    """
    jobs = os.path.join(folder, 'jobs')
    with open(jobs, 'w', encoding='utf-8') as file:
        for path, data in files:
            checkpoint_files.write(path, data)
            for kind in formats:
                file.write(f'{path}\t{path}.{kind}\t{kind}\tnone\tanew\t1\n')
    done = subprocess.run([penstock_cli.runfile('tests', 'interop', 'convert_batch')],
                          input=jobs + '\n', capture_output=True, text=True, check=True)
    if done.stdout.strip() != str(len(files) * len(formats)):
        raise AssertionError(f'{done.stdout} of {len(files) * len(formats)} jobs')
    with open(jobs + '.done', encoding='utf-8', errors='backslashreplace') as file:
        answers = [line.rstrip('\n').split('\t', 1) for line in file]
    answers = [(answer == 'ok', remark) for answer, remark in answers]
    return [answers[i:i + len(formats)] for i in range(0, len(answers), len(formats))]
