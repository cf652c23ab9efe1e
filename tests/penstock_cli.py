"""Runs the `penstock` command for tests.

The binary is the one that Bazel built, or PENSTOCK_BINARY.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile


def binary():
    by_hand = os.environ.get('PENSTOCK_BINARY')
    return os.path.abspath(by_hand) if by_hand else runfile('cli', 'penstock')


def runfile(*parts):
    """What Bazel built: beside this file in the runfiles, else in the source tree."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    built = os.path.join(root, *parts)
    return built if os.path.exists(built) else os.path.join(root, 'bazel-bin', *parts)


def environment():
    """Without what `bazel run` sets: the command would change its folder.

    Temporary files go where a sandbox lets them.
    """
    variables = {key: value for key, value in os.environ.items()
                 if key != 'BUILD_WORKING_DIRECTORY'}
    if 'TEST_TMPDIR' in variables:
        variables.setdefault('TMPDIR', variables['TEST_TMPDIR'])
    return variables


# Seconds. Sanitizers make a program 10 times slower.
TIMEOUT = 1200 if os.environ.get('PENSTOCK_SANITIZED') else 120


def run(*arguments, timeout=TIMEOUT, **options):
    """Never raises for an exit code; a negative one is a signal."""
    options.setdefault('stdout', subprocess.PIPE)
    options.setdefault('stderr', subprocess.PIPE)
    options.setdefault('env', environment())
    if 'input' not in options:
        options.setdefault('stdin', subprocess.DEVNULL)
    return subprocess.run([binary(), *map(os.fspath, arguments)], timeout=timeout,
                          check=False, **options)


def must(*arguments, **options):
    """Standard output of a run that has to succeed."""
    done = run(*arguments, **options)
    if done.returncode != 0:
        raise AssertionError(f'penstock {" ".join(map(str, arguments))}: exit code '
                             f'{done.returncode}: {text_of(done.stderr)}')
    return done.stdout


def must_json(*arguments, **options):
    return json.loads(must(*arguments, '--json', **options))


_MEASURE = """
import os, sys
running = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(running, 0)
print(usage.ru_maxrss << 10, usage.ru_utime + usage.ru_stime,
      os.waitstatus_to_exitcode(status), file=sys.stderr)
"""


def run_measured(*arguments, timeout=TIMEOUT, **options):
    """As run, then the peak of its memory in bytes, and CPU seconds.

    A child begins with the peak of whoever forks it, so a small process does.
    """
    done = subprocess.run(
        [sys.executable, '-SEI', '-c', _MEASURE, binary(), *map(os.fspath, arguments)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(), timeout=timeout, check=False, **options)
    told, _, measured = done.stderr.rstrip(b'\n').rpartition(b'\n')
    done.stderr = told + b'\n' if told else b''
    peak, seconds, code = measured.split()
    done.returncode = int(code)
    return done, int(peak), float(seconds)


def must_measured(*arguments, **options):
    """Peak memory in bytes, and CPU seconds, of a run that has to succeed."""
    done, peak, seconds = run_measured(*arguments, **options)
    if done.returncode != 0:
        raise AssertionError(f'exit code {done.returncode}: {text_of(done.stderr)}')
    return peak, seconds


def text_of(data):
    return data.decode('utf-8', 'backslashreplace')


def scratch(min_bytes, in_memory=True):
    """A new folder: in memory where that has twice the room, else on disk."""
    shared = '/dev/shm'
    if in_memory and os.access(shared, os.W_OK):
        if shutil.disk_usage(shared).free > 2 * min_bytes:
            return tempfile.mkdtemp(prefix='penstock-test-', dir=shared)
    return tempfile.mkdtemp(prefix='penstock-test-',
                            dir=os.environ.get('TEST_TMPDIR'))
