"""What conversion.md 3 makes of a tree of dicts and lists: names and values."""

import collections

import torch

import deep_compare

NOT_IN_SAFETENSORS = (torch.complex128, torch.complex32, torch.bits8, torch.bits16, torch.bits1x8,
           torch.bits2x4, torch.bits4x2)
NOT_IN_NUMPY = NOT_IN_SAFETENSORS[1:] + (
    torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz, torch.float8_e8m0fnu, torch.float4_e2m1fn_x2)
PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray, torch.dtype,
         torch.device, torch.Size, set, frozenset)
CONTAINERS = (dict, list, tuple, collections.OrderedDict, collections.Counter)


class Tensors:
    """All tensors of a tree by name, in its order.

    names      name -> tensor
    whole      False if there is something inside which tensors may hide; then
               `names` are only some
    plain      True if it is all dicts, lists and values that need no class
    has_attributes  True if a tensor or a dict has some
    """

    def __init__(self, root):
        self.names = {}
        self.whole = self.plain = True
        self.has_attributes = False
        on_path = set()
        work = [((), root, False)]
        while work:
            path, value, leaving = work.pop()
            if leaving:
                on_path.discard(id(value))
            elif isinstance(value, torch.Tensor):
                self.add('.'.join(path) if path else 'tensor', value)
            elif type(value) in CONTAINERS:
                self.plain &= type(value) is not collections.Counter
                if id(value) in on_path:
                    self.whole = False
                    continue
                on_path.add(id(value))
                work.append((path, value, True))
                pairs = list(value.items() if isinstance(value, dict) else enumerate(value))
                # Penstock numbers these keys.
                named = [pair for pair in pairs if has_name(pair[0])]
                self.has_attributes |= bool(getattr(value, '__dict__', None))
                self.whole &= len(named) == len(pairs)
                work += reversed([((*path, text_of(key)), child, False)
                                  for key, child in named])
            elif type(value) is torch.layout:
                self.plain = False
            elif type(value) not in PLAIN:
                self.whole = self.plain = False

    def add(self, name, tensor):
        unique, count = name, 1
        while unique in self.names:
            count += 1
            unique = f'{name}~{count}'
        self.names[unique] = tensor
        self.plain &= not getattr(tensor, '__dict__', None)
        self.has_attributes |= bool(getattr(tensor, '__dict__', None))

    def made_of_others(self):
        """Names of tensors that are no view of one storage of numbers."""
        return [name for name, tensor in self.names.items() if
                tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested or
                tensor.device.type == 'meta']

    def of(self, dtypes):
        return [name for name, tensor in self.names.items() if tensor.dtype in dtypes]


def has_name(key):
    """Keys of other kinds have numbers in Penstock."""
    plain = (str, int, float, complex, bytes, type(None), torch.dtype)
    return isinstance(key, plain) or type(key) is tuple and all(
        isinstance(part, plain) for part in key)


def text_of(key):
    return key if isinstance(key, str) else repr(key)


def plain_bytes(tensor):
    """In C order, conjugation and negation done."""
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous().view(-1)
    if flat.numel() == 1:
        flat = flat.new_empty(1).copy_(flat)  # any stride is contiguous there
    return flat.view(torch.uint8) if flat.numel() else flat.new_empty(0, dtype=torch.uint8)


def require_same_elements(name, a, b):
    for what in ('dtype', 'shape'):
        if getattr(a, what) != getattr(b, what):
            deep_compare.differ(name, what, getattr(a, what), getattr(b, what))
    if a.dtype == torch.bool:  # torch copies any byte but 0 as 1
        a, b = (plain_bytes(tensor) != 0 for tensor in (a, b))
    if not torch.equal(plain_bytes(a), plain_bytes(b)):
        deep_compare.differ(name, 'elements', a, b)


def require_same_tensors(expected, found):
    """`expected` is a Tensors, `found` a dict by name."""
    for name, tensor in expected.names.items():
        if name not in found:
            deep_compare.differ(name, 'tensor', tensor, None)
        require_same_elements(name, tensor, found[name])
    more = set(found) - set(expected.names)
    if more and expected.whole:
        deep_compare.differ('', 'names', None, sorted(more))


def is_flat(root):
    """A dict from str to tensor: all that safetensors and npz know by themselves."""
    return type(root) in (dict, collections.OrderedDict) and not getattr(
        root, '__dict__', None) and all(
            isinstance(key, str) and isinstance(value, torch.Tensor)
            for key, value in root.items())


def require_same_table(a, b):
    """Of two dicts of tensors: their order is the format's."""
    if set(a) != set(b):
        deep_compare.differ('', 'names', sorted(set(a) - set(b)), sorted(set(b) - set(a)))
    for name, tensor in a.items():
        require_same_elements(name, tensor, b[name])


def require_same_tree(a, b):
    """Keys, types, values and elements; not strides, sharing or flags of tensors."""
    work = [('', a, b)]
    while work:
        path, a, b = work.pop()
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
            require_same_elements(path, a, b)
        elif isinstance(a, dict) and type(a) is type(b):
            deep_compare.require_same(list(a), list(b))
            work += [(f'{path}[{key!r:.60}]', *pair) for key, *pair in reversed(
                list(zip(a, a.values(), b.values())))]
            if hasattr(a, '__dict__'):
                work.append((f'{path} attributes', vars(a), vars(b)))
        elif type(a) in (list, tuple) and type(a) is type(b):
            if len(a) != len(b):
                deep_compare.differ(path, 'length', len(a), len(b))
            work += [(f'{path}[{i}]', a[i], b[i]) for i in reversed(range(len(a)))]
        elif isinstance(a, (float, complex)) and type(a) is type(b) and a != a:
            if b == b:
                deep_compare.differ(path, 'not a number', a, b)
        else:
            deep_compare.require_same(a, b)
