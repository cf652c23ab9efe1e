"""Puts every file of a folder through Penstock, and believes nothing it says.

    check_folder.py [options] DIR

in a Python with torch, safetensors and numpy; `./bazelw run //tests/interop:check_folder`
makes one. The command is the one that Bazel built, or PENSTOCK_BINARY.

Each file, whatever its name, goes to .pstk, back to the file that it was, and to a
.pt, a legacy .pt and a .safetensors written anew (and back). What torch,
safetensors or numpy read from these is compared with what they read from the
original, to the last bit; restored files by SHA-256. A file that is not read has to
be refused with one line and exit status 2, in time, leaving nothing behind.

Nothing of a file is executed: where weights_only refuses, unknown classes stay
inert (torch_reading.py). --trust lets torch.load run what it finds.

Prints a row for each file and a summary. Exit status 1 if one of them failed.
"""

import argparse
import collections
import dataclasses
import hashlib
import importlib.util
import multiprocessing
import os
import resource
import shutil
import stat
import sys
import tempfile
import time
import warnings

# `./bazelw run` starts the system's Python.
if importlib.util.find_spec('torch') is None and 'PENSTOCK_PYTHON' in os.environ:
    python = os.environ.pop('PENSTOCK_PYTHON')
    os.execv(python, [python, '-B', *sys.argv])

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))

# pylint: disable=wrong-import-position
import penstock_cli
import folder_judges
from folder_judges import Failure

SLOWEST_BYTES_PER_SECOND = 10 << 20


@dataclasses.dataclass
class Verdict:
    outcome: str = 'same'  # same, refused, skipped, FAILED
    format: str = ''
    restored: str = ''  # '', equal, none
    remarks: list = dataclasses.field(default_factory=list)


class Command:
    """Penstock with its memory, time and manners watched."""

    def __init__(self, options):
        self.options = options
        self.peak_bytes = 0

    def run(self, *arguments, about=0):
        """(exit code, one line); raises Failure for bad manners."""
        timeout = self.options.timeout + about / SLOWEST_BYTES_PER_SECOND
        limit = self.options.memory_limit << 20
        def confine():
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        try:
            done = penstock_cli.run(*arguments, timeout=timeout, preexec_fn=confine)
        except penstock_cli.subprocess.TimeoutExpired:
            raise Failure(f'{arguments[0]} took over {timeout:.0f} s') from None
        text = penstock_cli.text_of(done.stderr).strip()
        if done.returncode not in (0, 1, 2):
            raise Failure(f'{arguments[0]}: exit code {done.returncode}: {text[-200:]}')
        lines = text.splitlines()
        if done.returncode == 2 and len(lines) != 1:
            raise Failure(f'{arguments[0]} refused with {len(lines)} lines: {text[:200]!r}')
        return done.returncode, text, done.stdout

    def must(self, *arguments, about=0):
        code, text, output = self.run(*arguments, about=about)
        if code != 0:
            raise Failure(f'{arguments[0]}: exit code {code}: {text}')
        return output


def digest(path):
    hasher = hashlib.sha256()
    with open(path, 'rb') as file:
        while piece := file.read(1 << 20):
            hasher.update(piece)
    return hasher.hexdigest()


def in_child(work, timeout):
    """What work() returns; its crash or hang is a Failure, its errors come through.

    torch reads the files of strangers there, with whatever that does to a process.
    """
    here, there = multiprocessing.Pipe(duplex=False)
    def target():
        try:
            there.send((True, work()))
        except Exception as error:  # pylint: disable=broad-except
            there.send((False, f'{type(error).__name__}: {error}'.partition('\n')[0][:300]))
    child = multiprocessing.get_context('fork').Process(target=target)
    child.start()
    there.close()
    try:
        if not here.poll(timeout):
            raise Failure(f'the comparison took over {timeout:.0f} s')
        well, answer = here.recv()
    except EOFError:
        child.join()
        raise Failure(f'the comparison died: exit code {child.exitcode}') from None
    finally:
        child.kill()
        child.join()
    if not well:
        raise Failure(answer)
    return answer


class Check:
    """One file."""

    def __init__(self, path, folder, options):
        self.path, self.folder, self.options = path, folder, options
        self.command = Command(options)
        self.size = os.path.getsize(path)
        self.verdict = Verdict()
        self.native = os.path.join(folder, 'native.pstk')

    def run(self):
        try:
            code, text, _ = self.command.run('convert', self.path, self.native, '--quiet',
                                             about=self.size)
            if code:
                self.refused(text)
            else:
                self.converted()
        except Failure as failure:
            self.verdict.outcome = 'FAILED'
            self.verdict.remarks.append(str(failure))
        return self.verdict

    def refused(self, text):
        self.verdict.outcome = 'refused'
        self.verdict.remarks.append(text.replace(self.path, os.path.basename(self.path)))
        if os.listdir(self.folder):
            raise Failure(f'but left {os.listdir(self.folder)}')
        if folder_judges.knows(self.path):
            how = in_child(lambda: folder_judges.how_it_reads(self.path, self.options),
                           self.options.timeout + self.size / SLOWEST_BYTES_PER_SECOND)
            if how:
                raise Failure(f'but read by {how}')

    def converted(self):
        info = penstock_cli.json.loads(self.command.must('info', '--json', self.path))
        self.verdict.format = info['format']
        self.command.must('verify', self.native, about=self.size)
        self.restore()
        results = {name: path for name, path in (
            (target, self.write(target)) for target in folder_judges.TARGETS) if path}
        remarks = in_child(
            lambda: folder_judges.compare(self.path, results, self.options),
            self.options.timeout + 8 * self.size / SLOWEST_BYTES_PER_SECOND)
        self.verdict.remarks += remarks

    def restore(self):
        """Under a name without extension a .pstk becomes what it was made from."""
        origin = penstock_cli.json.loads(
            self.command.must('info', '--json', self.native)).get('origin')
        if not origin:
            self.verdict.restored = 'none'
            return
        restored = os.path.join(self.folder, 'restored')
        self.command.must('convert', self.native, restored, about=self.size)
        if digest(restored) != digest(self.path):
            raise Failure('the restored file is another one')
        self.verdict.restored = 'equal'
        os.unlink(restored)

    def write(self, target):
        """The path of what was written; None where the format cannot hold it."""
        spec = folder_judges.TARGETS[target]
        source = os.path.join(self.folder, spec.source) if spec.source else self.native
        path = os.path.join(self.folder, spec.file)
        if not os.path.exists(source):
            return None
        code, text, _ = self.command.run('convert', source, path, *spec.options, '--quiet',
                                         about=self.size)
        if code == 0:
            return path
        if os.path.exists(path):
            raise Failure(f'{target} refused, but is there')
        self.verdict.remarks.append(f'no {target}: {text.partition(": ")[2][:120]}')
        return None


def files_of(root):
    """Regular files, links to them followed, each real folder visited once."""
    seen, work = set(), [root]
    while work:
        folder = work.pop()
        if os.path.realpath(folder) in seen:
            continue
        seen.add(os.path.realpath(folder))
        folders = []
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.is_dir():
                folders.append(entry.path)
            else:
                yield entry.path
        work += reversed(folders)


def verdict_of(path, options):
    try:
        kind = os.stat(path).st_mode
    except OSError as error:
        return Verdict('skipped', remarks=[error.strerror])
    if not stat.S_ISREG(kind):
        return Verdict('skipped', remarks=['neither a file nor a folder'])
    folder = tempfile.mkdtemp(prefix='penstock-check-', dir=options.scratch)
    try:
        return Check(path, folder, options).run()
    finally:
        shutil.rmtree(folder)


def printable(text):
    return ''.join(c if c.isprintable() else '\ufffd' for c in os.fsencode(text).decode(
        'utf-8', 'replace'))


def main(options):
    warnings.filterwarnings('ignore')
    counts, hashes, begun = collections.Counter(), collections.Counter(), time.monotonic()
    for path in files_of(options.folder):
        verdict = verdict_of(path, options)
        counts[verdict.outcome] += 1
        hashes[verdict.restored] += 1
        name = printable(os.path.relpath(path, options.folder))
        print(f'{verdict.outcome:8} {verdict.format:12} {verdict.restored:6} {name:60} '
              f'{printable("; ".join(verdict.remarks))}', flush=True)
    print(f'{sum(counts.values())} files in {time.monotonic() - begun:.0f} s: '
          f'{counts["same"]} came back the same, {counts["refused"]} refused, '
          f'{counts["skipped"]} skipped, {counts["FAILED"]} failed; '
          f'{hashes["equal"]} restored with equal SHA-256, {hashes["none"]} without origin')
    return 1 if counts['FAILED'] else 0


def parsed(arguments):
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('folder')
    parser.add_argument('--trust', action='store_true', help='let torch.load run what it finds')
    parser.add_argument('--timeout', type=float, default=60, help='seconds for a small file')
    parser.add_argument('--memory-limit', type=int, default=2048, metavar='MIB',
                        help='for the data of one run of the command')
    parser.add_argument('--scratch', help='a folder with room for six times the largest file')
    options = parser.parse_args(arguments)
    # `bazel run` starts elsewhere; names are meant from where the user is.
    options.folder = os.path.join(os.environ.get('BUILD_WORKING_DIRECTORY', ''), options.folder)
    if not os.path.isdir(options.folder):
        parser.error(f'{options.folder}: no such folder')
    return options


if __name__ == '__main__':
    sys.exit(main(parsed(sys.argv[1:])))
