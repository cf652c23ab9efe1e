"""Converts every torch.save file in a folder there and back, and asks torch.

    PENSTOCK_BINARY=.../penstock check_folder.py DIR

in a Python with PyTorch. Prints a row for each file; exit status 1 if one that
torch can read does not come back the same.
"""

import os
import shutil
import sys
import tempfile
import warnings
import zipfile

import torch

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))

import deep_compare  # pylint: disable=wrong-import-position
import penstock_cli  # pylint: disable=wrong-import-position

SUFFIXES = ('.pt', '.pth', '.bin', '.ckpt', '.jit', '.pkl')


def load(path):
    """As torch itself would, or without its guard where it must."""
    try:
        return torch.load(path, map_location='cpu', weights_only=True), True
    except Exception:  # pylint: disable=broad-except
        return torch.load(path, map_location='cpu', weights_only=False), False


def reading_of(path):
    """What torch reads, how, or why not."""
    try:
        value, safe = load(path)
        return value, safe, None
    except Exception as error:  # pylint: disable=broad-except
        return None, False, f'{type(error).__name__}: {error}'.partition('\n')[0][:60]


def check(path, folder):
    """(outcome, remark): ok, refused, FAILED."""
    base = os.path.basename(path)
    native, back = os.path.join(folder, 'native.pstk'), os.path.join(folder, base)
    value, safe, complaint = reading_of(path)
    for arguments in (('convert', path, native), ('verify', native),
                      ('convert', native, back, '--format', 'pt')):
        done = penstock_cli.run(*arguments)
        if done.returncode != 0:
            message = penstock_cli.text_of(done.stderr or done.stdout).strip()
            message = message.replace(path, base)
            return ('refused' if done.returncode == 2 else 'FAILED'), message
    with zipfile.ZipFile(back) as archive:
        if archive.testzip() is not None:
            return 'FAILED', 'a CRC is wrong'
    with open(path, 'rb') as one, open(back, 'rb') as other:
        same = 'same bytes' if one.read() == other.read() else 'other bytes'
    pickles = [torch._C.PyTorchFileReader(name).get_record('data.pkl') for name in (path, back)]
    same += ', same data.pkl' if pickles[0] == pickles[1] else ', other data.pkl'
    sizes = f'{os.path.getsize(path)} -> {os.path.getsize(native)}'
    if complaint:
        return 'ok', f'{sizes}, {same}; torch itself: {complaint}'
    try:
        for options in ({'weights_only': safe}, {'weights_only': safe, 'mmap': True}):
            deep_compare.require_same(value, torch.load(back, map_location='cpu', **options))
    except deep_compare.Difference as difference:
        return 'FAILED', str(difference)
    return 'ok', f'{sizes}, {same}, {"" if safe else "not "}weights_only'


def main(root):
    warnings.filterwarnings('ignore')
    failed = 0
    for place, _, names in sorted(os.walk(root)):
        for name in sorted(names):
            path = os.path.join(place, name)
            if not name.endswith(SUFFIXES):
                continue
            folder = tempfile.mkdtemp()
            try:
                outcome, remark = check(path, folder)
            finally:
                shutil.rmtree(folder)
            failed += outcome == 'FAILED'
            kind = 'zip' if zipfile.is_zipfile(path) else 'other'
            print(f'{outcome:8} {kind:6} {os.path.relpath(path, root):60} {remark}', flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
