"""What `penstock ls --json` has to say of a checkpoint, told by torch."""

import re

import torch

PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray, torch.dtype,
         torch.device, torch.layout)


def tensors(root):
    """A row for each tensor, or None where names are a matter of opinion.

    Paths through dicts with str and int keys, lists and tuples; Python objects,
    sparse tensors and the like are left to other tests.
    """
    rows, numbers = [], {}
    work = [((), root)]
    on_path = set()
    while work:
        path, value = work.pop()
        if type(value) in (torch.Tensor, torch.nn.Parameter):
            if not is_plain(value):
                return None
            rows.append(row('.'.join(path) if path else 'tensor', value, numbers))
        elif isinstance(value, (dict, list, tuple)):
            if id(value) in on_path:
                return None  # shared or cyclic
            on_path.add(id(value))
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            if not all(type(key) in (str, int) for key, _ in pairs) or len(
                    getattr(value, '__dict__', ())) > 1:
                return None
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            work += reversed([((*path, str(key)), child) for key, child in pairs])
        elif type(value) not in PLAIN:
            return None
    names = [entry['name'] for entry in rows]
    if len(set(names)) != len(names) or any(re.search('[\ud800-\udfff]', n) for n in names):
        return None
    return rows


def is_plain(tensor):
    return (tensor.layout == torch.strided and tensor.device.type == 'cpu' and
            not tensor.is_nested and not tensor.is_quantized and not tensor.__dict__)


def row(name, tensor, numbers):
    storage = tensor.untyped_storage()
    return {
        'name': name,
        'dtype': str(tensor.dtype).removeprefix('torch.'),
        'shape': list(tensor.shape),
        'strides': list(tensor.stride()),
        'offset': tensor.storage_offset(),
        'bytes': tensor.numel() * tensor.itemsize,
        'storage_bytes': storage.nbytes(),
        'storage': numbers.setdefault(storage._cdata, len(numbers)),
    }


def without_storages(listed):
    """Rows of the command: its numbers of storages replaced by order of sight."""
    numbers = {}
    return [{key: entry[key] for key in ('name', 'dtype', 'shape', 'strides', 'offset',
                                         'bytes', 'storage_bytes')} |
            {'storage': numbers.setdefault(entry['storage'], len(numbers))}
            for entry in listed]
