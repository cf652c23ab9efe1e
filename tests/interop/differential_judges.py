"""What has to be true of every file that the differential test writes.

A judge gets (case, truth, path, counts): what torch reads from the original, the
file to judge, and a Counter for figures. It raises Complaint or Difference.
"""

import io
import re

import safetensors.torch
import torch

import deep_compare
import torch_reading
import tree_names


# Names that, with ".npy" behind, no record of a zip file may have
# (pytorch-format.md 2.7).
NO_RECORD = r'^/|\\|\0|[\ud800-\udfff]|(^|/)\.\./'


class Complaint(Exception):
    pass


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def require_done(case, step):
    well, remark = case.outcome[step]
    if not well:
        raise Complaint(remark)


def native(case, _truth, _path, _counts):
    require_done(case, 'native')


def same_value(case, truth, found):
    """To the last bit, or what formats without strides and ties can hold."""
    if case.checkpoint.format in ('safetensors', 'npz'):
        tree_names.require_same_table(truth, found)
    elif case.checkpoint.format == 'npy':
        tree_names.require_same_elements('', truth, found)
    else:
        deep_compare.require_same(truth, found)


def anew(case, truth, path, counts):
    """torch reads the same; where conversion.md 2 says so, from the same bytes."""
    require_done(case, 'anew')
    same_value(case, truth, case.load(path))
    if case.mapped:
        deep_compare.require_same(case.load(case.path('original'), mmap=True),
                                  case.load(path, mmap=True))
    same = read(path) == read(case.path('original'))
    counts['byte for byte torch.save\'s, ' + (
        'as they have to be' if case.exact() else 'of the others')] += same
    if case.exact() and not same:
        raise Complaint('other bytes than torch.save wrote')


def restored(case, _truth, path, counts):
    require_done(case, 'restored')
    if read(path) != read(case.path('original')):
        raise Complaint('the restored file is another one')
    counts['restored, byte for byte'] += 1


def torch_can_write_legacy(value):
    """Not: nested tensors, whose sizes it looks at before it has read them."""
    if any(tensor.is_nested for tensor in tree_names.Tensors(value).names.values()):
        return False
    try:
        file = io.BytesIO()
        torch.save(value, file, _use_new_zipfile_serialization=False)
        file.seek(0)
        deep_compare.require_same(
            value, torch.load(file, map_location='cpu', weights_only=False))
        return True
    except Exception:  # pylint: disable=broad-except
        return False


def legacy(case, truth, path, counts):
    # torch.load takes a bare storage without a type for one of bytes.
    is_bare = 'storages without a type' in case.outcome['legacy'][1]
    if is_bare or not torch_can_write_legacy(truth):
        counts['no legacy stream, neither by torch'] += 1
        return
    require_done(case, 'legacy')
    same_value(case, truth, case.load(path))
    counts['legacy streams'] += 1


def holds(case, step, expected, lacking, unnamable):
    """Whether it was written; wrong refusals and wrong writing are complaints."""
    lacking = lacking + [name for name in expected.names if re.search(unnamable, name)]
    well, remark = case.outcome[step]
    if lacking and well:
        raise Complaint(f'holds what the format cannot: {lacking[:5]}')
    if lacking and len(lacking) < 5:
        unnamed = [name for name in lacking if re.fullmatch(r'\w{1,60}', name, re.ASCII) and
                   name not in remark]
        if unnamed:
            raise Complaint(f'{remark} does not name {unnamed}')
    if not well and not lacking and expected.whole:
        raise Complaint(remark)
    return well


def as_safetensors(case, truth, path, counts):
    expected = tree_names.Tensors(truth)
    lacking = expected.made_of_others() + expected.of(tree_names.NOT_IN_SAFETENSORS)
    if not holds(case, 'safetensors', expected, lacking, '[\0\ud800-\udfff]'):
        counts['no safetensors, for its dtypes or layouts'] += 1
        return
    found = safetensors.torch.load_file(path)
    tree_names.require_same_tensors(expected, found)
    counts['safetensors'] += 1
    with safetensors.safe_open(path, 'pt') as file:
        metadata = file.metadata()
    if len(metadata) < 2:
        if safetensors.torch.save(found, metadata) != read(path):
            raise Complaint('other bytes than safetensors.torch.save gives')
        counts['byte for byte safetensors.torch.save\'s'] += 1


def as_npz(case, truth, path, counts):
    expected = tree_names.Tensors(truth)
    if expected.made_of_others() or not expected.names:
        return  # parts of sparse tensors are arrays, too
    if not holds(case, 'npz', expected, expected.of(tree_names.NOT_IN_NUMPY), NO_RECORD):
        counts['no npz, for its dtypes or layouts'] += 1
        return
    tree_names.require_same_tensors(expected, torch_reading.read(path).value)
    counts['npz'] += 1


def tree(case, truth, path, counts):
    """Back from safetensors: keys, types, values."""
    expected = tree_names.Tensors(truth)
    if not case.outcome['safetensors'][0]:
        return
    require_done(case, 'tree')
    found = torch.load(path, map_location='cpu', weights_only=False)
    if tree_names.is_flat(truth):
        tree_names.require_same_table(truth, found)
        counts['tables back from safetensors'] += 1
    elif expected.whole and expected.plain:
        tree_names.require_same_tree(truth, found)
        counts['trees back from safetensors'] += 1


JUDGES = {
    'native': native,
    'anew': anew,
    'restored': restored,
    'legacy': legacy,
    'safetensors': as_safetensors,
    'tree': tree,
    'npz': as_npz,
}
