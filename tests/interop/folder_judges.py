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
    'pt-legacy': Target('legacy.pt', None, ('--format', 'pt-legacy')),
    'safetensors': Target('anew.safetensors', None, ('--format', 'safetensors')),
    'tree': Target('tree.pt', 'anew.safetensors', ('--format', 'pt')),
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


def same_tensors(truth, path, options):
    tree_names.require_same_tensors(tree_names.Tensors(truth),
                                    torch_reading.read(path, options.trust).value)


def same_plain_tree(truth, path, options):
    expected = tree_names.Tensors(truth)
    if tree_names.is_flat(truth):
        tree_names.require_same_table(truth, torch_reading.read(path).value)
    elif expected.whole and expected.plain:
        tree_names.require_same_tree(truth, torch_reading.read(path, options.trust).value)


JUDGES = {
    'pt': same_tree,
    'pt-legacy': same_tree,
    'safetensors': same_tensors,
    'tree': same_plain_tree,
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
