"""What check_folder writes of each file, and what has to be true of it."""

import collections

import deep_compare
import torch_reading
import tree_names


class Failure(Exception):
    pass


Target = collections.namedtuple('Target', 'file source options')

# By name; a source of None is the .pstk. In this order.
TARGETS = {
    'pt': Target('anew.pt', None, ('--format', 'pt')),
}


def how_it_reads(path, options):
    """'' where nobody reads it either."""
    try:
        return torch_reading.read(path, options.trust).how
    except Exception:  # pylint: disable=broad-except
        return ''


def knows(path):
    """Whether a library reads such files: not JSON that is no index, for one."""
    return not path.endswith('.json') or path.endswith('.index.json')


def same_tree(truth, path, options):
    deep_compare.require_same(truth, torch_reading.read(path, options.trust).value)


JUDGES = {
    'pt': same_tree,
}


def compare(path, results, options):
    """Remarks; raises for a difference."""
    try:
        truth = torch_reading.read(path, options.trust)
    except Exception as error:  # pylint: disable=broad-except
        text = f'{type(error).__name__}: {error}'.partition('\n')[0]
        return [f'not compared: {text[:100]}']
    for target, written in results.items():
        try:
            JUDGES[target](truth.value, written, options)
        except deep_compare.Difference as difference:
            raise Failure(f'{target}: {difference}') from None
    return [f'by {truth.how}']
