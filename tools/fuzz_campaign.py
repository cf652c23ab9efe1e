#!/usr/bin/env python3
"""Builds the fuzz targets, runs each for a while and says what came of it.

    tools/fuzz_campaign.py [--seconds 600] [--jobs 2] [TARGET...]
    tools/fuzz_campaign.py --keep-bytes 12000 [TARGET...]

A TARGET is the name of a file fuzz/*.hex without its ending; none means all. What
a run finds stays in the cache directory, where the next one goes on from. With
--keep-bytes nothing is tried that is new: of the inputs there and in the tree, those
that cover most for their size, as many as fit, become the corpus in the tree; what is
below its line '# Found' stays, and does not count.
Exit code 1 where something was found.
"""

import argparse
import concurrent.futures
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get('XDG_CACHE_HOME', '~/.cache')).expanduser() / 'penstock/fuzz'
# What an input of a few kilobytes may take is part of what is tested.
LIMITS = ('-rss_limit_mb=512', '-malloc_limit_mb=256', '-timeout=5', '-report_slow_units=3600')
# Of memory that was freed, which would count: 256 MB if it is not said.
ENVIRONMENT = {**os.environ, 'ASAN_OPTIONS': 'quarantine_size_mb=64'}
MAX_FINDINGS = 5  # of one target: it is mended before it goes on
FOUND = '# Found'


@dataclasses.dataclass
class Target:
    corpus: pathlib.Path  # the .hex file

    @property
    def name(self):
        return self.corpus.stem

    @property
    def label(self):
        return f'//{self.corpus.parent.parent.relative_to(ROOT)}:{self.name}_fuzz'

    @property
    def folder(self):
        return CACHE / self.name

    @property
    def binary(self):
        return CACHE / f'{self.name}_fuzz'

    def inputs(self):
        lines = self.corpus.read_text(encoding='ascii').splitlines()
        return [bytes.fromhex(line) for line in lines if line and line[0] != '#']

    def command(self, *arguments):
        words = self.corpus.with_suffix('.dict')
        return ['nice', '-n', '19', str(self.binary), *LIMITS, *arguments,
                f'-artifact_prefix={CACHE}/{self.name}-',
                *([f'-dict={words}'] if words.exists() else [])]


@dataclasses.dataclass
class Outcome:
    executions: int = 0
    cpu_seconds: float = 0
    edges: int = 0
    features: int = 0
    peak_mb: int = 0
    findings: list = dataclasses.field(default_factory=list)


def build(targets):
    subprocess.run(['./bazelw', 'build', '--config=fuzz', '--noshow_progress',
                    *(t.label for t in targets)], cwd=ROOT, check=True, stdin=subprocess.DEVNULL)
    for target in targets:
        # Copied: the next build may be another one, while this still runs.
        built = ROOT / 'bazel-bin' / target.label[2:].replace(':', '/')
        target.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(built, f'{target.binary}.new')
        os.replace(f'{target.binary}.new', target.binary)
        for number, data in enumerate(target.inputs()):
            (target.folder / f'seed-{number}').write_bytes(data)


def last_number(pattern, text):
    numbers = re.findall(pattern, text)
    return int(numbers[-1]) if numbers else 0


def reproduces(target, finding):
    return subprocess.run(target.command('-runs=1', finding), env=ENVIRONMENT,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          check=False).returncode != 0


def run_once(target, seconds, outcome):
    """One process of libFuzzer, which ends with the first finding."""
    before = set(CACHE.glob(f'{target.name}-*-*'))
    path = CACHE / f'{target.name}.log'
    with open(path, 'wb') as file:
        running = subprocess.Popen(
            target.command(f'-max_total_time={seconds}', '-print_final_stats=1', target.folder),
            env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    outcome.cpu_seconds += usage.ru_utime + usage.ru_stime
    log = path.read_text(encoding='utf-8', errors='backslashreplace')
    outcome.executions += last_number(r'stat::number_of_executed_units:\s*(\d+)', log)
    outcome.peak_mb = max(outcome.peak_mb, last_number(r'stat::peak_rss_mb:\s*(\d+)', log))
    outcome.edges = max(outcome.edges, last_number(r'\bcov: (\d+)', log))
    outcome.features = max(outcome.features, last_number(r'\bft: (\d+)', log))
    if running.returncode == 0:
        return
    found = sorted(set(CACHE.glob(f'{target.name}-*-*')) - before)
    if not found:
        outcome.findings.append(f'exit code {running.returncode}: {path}')
    for finding in found:
        # On a machine that stood still, anything took too long.
        if '-timeout-' in finding.name and not reproduces(target, finding):
            finding.unlink()
        else:
            outcome.findings.append(str(finding))


def fuzz(target, seconds):
    outcome = Outcome()
    end = time.monotonic() + seconds
    while len(outcome.findings) < MAX_FINDINGS and end - time.monotonic() >= 1:
        run_once(target, int(end - time.monotonic()), outcome)
    return outcome


def features_of(target):
    """What each input in the target's folder covers, as libFuzzer numbers it: a set."""
    control = CACHE / f'{target.name}-control'
    control.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as least:
        subprocess.run(target.command('-set_cover_merge=1', f'-merge_control_file={control}',
                                      least, target.folder),
                       env=ENVIRONMENT, check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lines = control.read_text(encoding='utf-8').splitlines()
    control.unlink()
    # The number of files, that of the first folder's, their paths; then for each, by
    # its number: 'FT 3 17 205...'.
    paths = lines[2:2 + int(lines[0])]
    features = {}
    for line in lines[2 + len(paths):]:
        kind, number, *numbers = line.split()
        if kind == 'FT':
            features[pathlib.Path(paths[int(number)])] = set(map(int, numbers))
    return features


def best_within(max_bytes, features):
    """In turn the input that adds most for its size, of those that still fit."""
    sizes = {path: path.stat().st_size for path in features}
    kept, room = [], max_bytes
    missing = {path: set(numbers) for path, numbers in features.items() if sizes[path]}
    while True:
        missing = {path: left for path, left in missing.items() if left and sizes[path] <= room}
        if not missing:
            return kept
        best = max(missing, key=lambda path: (len(missing[path]) / sizes[path], path))
        room -= sizes[best]
        kept.append(best)
        added = missing[best].copy()
        for left in missing.values():
            left -= added


def keep(target, max_bytes):
    text = target.corpus.read_text(encoding='ascii')
    head = ''.join(line for line in re.findall(r'#.*\n', text.partition(FOUND)[0]))
    tail = FOUND + text.partition(FOUND)[2] if FOUND in text else ''
    features = features_of(target)
    kept = best_within(max_bytes, features)
    inputs = sorted((path.read_bytes() for path in kept), key=lambda data: (len(data), data))
    target.corpus.write_text(head + ''.join(data.hex() + '\n' for data in inputs) + tail,
                             encoding='ascii')
    covered, total = (len(set().union(*(features[path] for path in paths)))
                      for paths in (kept, features))
    print(f'{target.name}: {len(kept)} of {len(features)} inputs, {sum(map(len, inputs)):,} bytes: '
          f'{covered:,} of {total:,} features')


def print_table(outcomes):
    print('| target | executions | a CPU second | edges | features | peak MB | findings |')
    print('| --- | ---: | ---: | ---: | ---: | ---: | ---: |')
    for name, o in outcomes:
        print(f'| {name} | {o.executions:,} | {o.executions / max(o.cpu_seconds, 1):,.0f} | {o.edges:,} '
              f'| {o.features:,} | {o.peak_mb} | {len(o.findings)} |')
    for _, o in outcomes:
        for finding in o.findings:
            print(finding)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('targets', nargs='*')
    parser.add_argument('--seconds', type=int, default=600, help='for each target')
    parser.add_argument('--jobs', type=int, default=2, help='targets at once')
    parser.add_argument('--keep-bytes', type=int, help='rewrite the corpora, up to this size each')
    options = parser.parse_args()
    targets = [Target(path) for path in sorted(ROOT.glob('*/fuzz/*.hex'))]
    unknown = set(options.targets) - {t.name for t in targets}
    if unknown:
        parser.error(f'no such target: {", ".join(sorted(unknown))}')
    targets = [t for t in targets if not options.targets or t.name in options.targets]
    build(targets)
    if options.keep_bytes:
        for target in targets:
            keep(target, options.keep_bytes)
        return 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        outcomes = list(pool.map(lambda t: (t.name, fuzz(t, options.seconds)), targets))
    print_table(outcomes)
    return 1 if any(o.findings for _, o in outcomes) else 0


if __name__ == '__main__':
    sys.exit(main())
