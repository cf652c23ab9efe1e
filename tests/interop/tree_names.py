"""What conversion.md 3 makes of a tree of dicts and lists: names and values."""

import torch

import deep_compare

UNNAMED = (torch.complex128, torch.complex32, torch.bits8, torch.bits16, torch.bits1x8,
           torch.bits2x4, torch.bits4x2)
PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray, torch.dtype,
         torch.device, torch.layout, torch.Size, set, frozenset)


class Tensors:
    """All tensors of a tree by name, in its order.

    names      name -> tensor
    unnamable  names of tensors that safetensors has no dtype or layout for
    whole      False if there is something inside which tensors may hide; then
               `names` are only some
    """

    def __init__(self, root):
        self.names, self.unnamable, self.whole = {}, [], True
        on_path = set()
        work = [((), root, False)]
        while work:
            path, value, leaving = work.pop()
            if leaving:
                on_path.discard(id(value))
            elif isinstance(value, torch.Tensor):
                self.add('.'.join(path) if path else 'tensor', value)
            elif isinstance(value, (dict, list, tuple)) and not isinstance(value, torch.Size):
                if id(value) in on_path or type(value).__reduce__ is not object.__reduce__ \
                        and not isinstance(value, dict):
                    self.whole = False
                    continue
                on_path.add(id(value))
                work.append((path, value, True))
                pairs = value.items() if isinstance(value, dict) else enumerate(value)
                work += reversed([((*path, text_of(key)), child, False)
                                  for key, child in pairs])
            elif type(value) not in PLAIN:
                self.whole = False

    def add(self, name, tensor):
        unique, count = name, 1
        while unique in self.names:
            count += 1
            unique = f'{name}~{count}'
        self.names[unique] = tensor
        if (tensor.dtype in UNNAMED or tensor.layout != torch.strided or tensor.is_quantized or
                tensor.is_nested or tensor.device.type == 'meta'):
            self.unnamable.append(unique)


def text_of(key):
    return key if isinstance(key, str) else repr(key)


def plain_bytes(tensor):
    """In C order, conjugation and negation done."""
    tensor = tensor.detach().resolve_conj().resolve_neg().contiguous()
    return tensor.view(-1).view(torch.uint8) if tensor.numel() else tensor.new_empty(
        0, dtype=torch.uint8)


def require_same_elements(name, a, b):
    for what in ('dtype', 'shape'):
        if getattr(a, what) != getattr(b, what):
            deep_compare.differ(name, what, getattr(a, what), getattr(b, what))
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


def require_same_tree(a, b):
    """Keys, types, values and elements; not strides, sharing or flags of tensors."""
    work = [('', a, b)]
    while work:
        path, a, b = work.pop()
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
            require_same_elements(path, a, b)
        elif isinstance(a, dict) and type(a) is type(b):
            deep_compare.require_same(list(a), list(b))
            work += [(f'{path}[{key!r:.60}]', a[key], b[key]) for key in reversed(list(a))]
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
