"""Another PyTorch as the judge: what it writes, and what it can read.

    python3 -m venv ~/torch-1.13
    ~/torch-1.13/bin/pip install torch==1.13.1 'numpy<2'
    ./bazelw run //tests/interop:other_torch -- --python ~/torch-1.13/bin/python

Every case of checkpoint_cases that the other torch can make is written by it, as a
zip file and as a legacy stream; every case is written by the torch of the tests, too.
Each of these files that the other torch can load goes through Penstock: to .pstk and
back to the very file, and from there to a .pt of profile t16 and to a legacy stream,
both written anew, which the other torch loads and compares with the file itself.
TorchScript that it writes has the names that it gives, and comes back as it was.

Prints figures; the exit status is 1 where something differs.
"""

import argparse
import collections
import os
import shutil
import subprocess
import sys
import warnings

import penstock_cli

warnings.filterwarnings('ignore')


def save_all(folder, **options):
    """Files of all cases that this torch can make and write."""
    import checkpoint_cases  # pylint: disable=import-outside-toplevel
    os.mkdir(folder)
    for case in checkpoint_cases.all_cases():
        if case.truth is not None or (options and case.write is not None):
            continue  # not what torch reads right, or not of torch.save
        path = os.path.join(folder, case.name + '.pt')
        try:
            if options:
                case.write = lambda value, path: torch.save(value, path, **options)
            case.save(path)
        except Exception:  # pylint: disable=broad-except
            if os.path.exists(path):
                os.unlink(path)


def load(path):
    return torch.load(path, map_location='cpu')


# What an older torch does not know of what a newer one wrote.
NOT_KNOWN = {'big_endian.pt': lambda: torch.__version__ < '2.1'}  # the record byteorder


class Judge:
    """Of one folder of files."""

    def __init__(self, folder):
        self.folder = folder
        self.counts = collections.Counter()
        self.complaints = []
        os.makedirs(os.path.join(folder, 'anew'))

    def convert(self, *arguments):
        done = penstock_cli.run('convert', *arguments)
        return penstock_cli.text_of(done.stderr).strip() if done.returncode else None

    def written_anew(self, name, truth, native, *options):
        kind = options[-1]
        made = os.path.join(self.folder, 'anew', name)  # a .pt holds its own name
        remark = self.convert(native, made, *options)
        if remark is not None:
            self.counts[f'{kind}: refused'] += 1
            if kind != 'pt-legacy':
                self.complaints.append(f'{name}: {kind}: {remark}')
            return
        try:
            deep_compare.require_same(truth, load(made))
        except Exception as error:  # pylint: disable=broad-except
            self.complaints.append(f'{name}: {kind}: {type(error).__name__}: {error}')
            return
        self.counts[f'{kind}: the same'] += 1
        with open(made, 'rb') as a, open(os.path.join(self.folder, name), 'rb') as b:
            self.counts[f'{kind}: byte for byte the file itself'] += a.read() == b.read()

    def file(self, name):
        path = os.path.join(self.folder, name)
        native = path + '.pstk'
        remark = self.convert(path, native, '--origin', 'always')
        try:
            truth = load(path)
        except Exception:  # pylint: disable=broad-except
            self.counts['cannot be loaded'] += 1
            return
        self.counts['files'] += 1
        if remark is not None:
            self.complaints.append(f'{name}: {remark}')
            return
        remark = self.convert(native, path + '.back')
        if remark is None:
            with open(path, 'rb') as a, open(path + '.back', 'rb') as b:
                remark = None if a.read() == b.read() else 'the restored file is another one'
        if remark is not None:
            self.complaints.append(f'{name}: {remark}')
        self.written_anew(name, truth, native, '--format', 'pt', '--profile', 't16')
        self.written_anew(name, truth, native, '--format', 'pt-legacy')

    def script(self, name, model):
        path = os.path.join(self.folder, name + '.ts')
        torch.jit.save(torch.jit.script(model), path)
        listed = {row['name'] for row in penstock_cli.must_json('ls', path)['tensors']}
        missing = set(torch.jit.load(path).state_dict()) - listed
        if missing:
            self.complaints.append(f'{name}: no {sorted(missing)}')
        self.convert(path, path + '.pstk')
        self.convert(path + '.pstk', path + '.back')
        with open(path, 'rb') as a, open(path + '.back', 'rb') as b:
            if a.read() != b.read():
                self.complaints.append(f'{name}: the restored file is another one')
        self.counts['TorchScript'] += 1


def scripts():
    nn = torch.nn
    yield 'linear', nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
    yield 'conv', nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten())
    yield 'lstm', nn.LSTM(3, 4, 2, bidirectional=True)
    yield 'half', nn.Linear(3, 4).half()
    yield 'embedding', nn.EmbeddingBag(10, 4)
    quantized = nn.Sequential(torch.quantization.QuantStub(), nn.Linear(3, 4))
    quantized.qconfig = torch.quantization.get_default_qconfig('fbgemm')
    prepared = torch.quantization.prepare(quantized)
    prepared(torch.randn(2, 3))
    yield 'quantized', torch.quantization.convert(prepared)


def judge(folder):
    print(f'torch {torch.__version__}')
    save_all(os.path.join(folder, 'zip'))
    save_all(os.path.join(folder, 'legacy'), _use_new_zipfile_serialization=False)
    os.mkdir(os.path.join(folder, 'script'))
    complaints = 0
    for part in ('zip', 'legacy', 'new', 'script'):
        found = Judge(os.path.join(folder, part))
        for name in sorted(set(os.listdir(found.folder)) - {'anew'}):
            if not NOT_KNOWN.get(name, lambda: False)():
                found.file(name)
        if part == 'script':
            for name, model in scripts():
                found.script(name, model.eval())
        print(f'{part}: {", ".join(f"{count} {what}" for what, count in found.counts.items())}')
        for complaint in found.complaints:
            print(f'  {complaint[:500]}')
        complaints += len(found.complaints)
    return 1 if complaints else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--python', required=True, help='an interpreter with the other torch')
    arguments = parser.parse_args()
    folder = penstock_cli.scratch(1 << 30, in_memory=False)
    try:
        for python, step in ((os.environ['PENSTOCK_PYTHON'], 'write'),
                             (arguments.python, 'judge')):
            code = subprocess.run([python, '-B', os.path.abspath(__file__), step, folder],
                                  check=False).returncode
            if code != 0:
                return code
        return 0
    finally:
        shutil.rmtree(folder)


if __name__ == '__main__':
    if sys.argv[1:2] in (['write'], ['judge']):
        import torch

        import deep_compare
        if sys.argv[1] == 'judge':
            sys.exit(judge(sys.argv[2]))
        save_all(os.path.join(sys.argv[2], 'new'))
    else:
        sys.exit(main())
