"""Moves a test into the interpreter that has PyTorch."""

import os
import sys


def enter():
    """Returns in PENSTOCK_PYTHON, which ./bazelw sets.

    Where there is none, ends the process: skipped, with the reason, or failed
    under PENSTOCK_REQUIRE_TORCH=1.
    """
    python = os.environ.get('PENSTOCK_PYTHON')
    if not python:
        reason = os.environ.get('PENSTOCK_PYTHON_ERROR', 'PENSTOCK_PYTHON is not set')
        if os.environ.get('PENSTOCK_REQUIRE_TORCH') == '1':
            sys.exit(f'PyTorch is required here: {reason}')
        print(f'skipped: {reason}')
        sys.exit(0)
    if os.environ.pop('PENSTOCK_IN_TORCH_PYTHON', None) != '1':
        os.environ['PENSTOCK_IN_TORCH_PYTHON'] = '1'
        os.execv(python, [python, '-B', *sys.argv])
