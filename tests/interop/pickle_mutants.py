"""Pickles of torch.save, changed opcode by opcode: still checkpoints, most of them.

`all_mutants(seed, count)` gives (what, bytes): archives of torch whose data.pkl is
another one, with its CRC made right. What is changed is what a checkpoint says
(numbers, texts, names, references) and how it says it (protocols, other opcodes for
the same value, marks, the memo, parts that trade places, come twice, are shared).
"""

import collections
import io
import pickletools
import random
import struct
import zipfile

import torch

import checkpoint_cases
import checkpoint_files as f

MOST_BYTES = 6000  # of a file that is changed
OPCODES = {opcode.code.encode('latin1'): opcode for opcode in pickletools.opcodes}
Operation = collections.namedtuple('Operation', 'name argument code')
Sound = collections.namedtuple('Sound', 'name operations records')


def operations(pickle):
    """What genops finds, with the bytes of each."""
    found = list(pickletools.genops(pickle))
    ends = [place for _, _, place in found[1:]] + [len(pickle)]
    return [Operation(opcode.name, argument, pickle[place:end])
            for (opcode, argument, place), end in zip(found, ends)]


def raw(code):
    return Operation('', None, code)


def sound_files():
    """Those of torch.save that weights_only reads, without data.pkl."""
    for case in checkpoint_cases.all_cases():
        if not case.weights_only or case.truth is not None or case.write is not None:
            continue
        file = io.BytesIO()
        torch.manual_seed(1)
        torch.save(case.make(), file)
        if file.tell() > MOST_BYTES:
            continue
        with zipfile.ZipFile(file) as archive:
            records = {name.partition('/')[2]: archive.read(name)
                       for name in archive.namelist()}
        yield Sound(case.name, operations(records.pop('data.pkl')), records)


def packed(operations_, records):
    pickle = b''.join(operation.code for operation in operations_)
    return f.archive([f.Entry(f'archive/{name}'.encode(), data) for name, data in
                      {'data.pkl': pickle, **records}.items()])


def spans_of(made):
    """[begin, end) of the operations that make a value, with and without its PUT."""
    spans = []
    stack = []  # (whether it is a mark, where it begins)
    for place, operation in enumerate(made):
        opcode = OPCODES[operation.code[:1]]
        before = opcode.stack_before
        begin = place
        if pickletools.markobject in before:
            while stack and not stack[-1][0]:
                stack.pop()
            before = before[:before.index(pickletools.markobject) + 1]
        for _ in before:
            if not stack:
                return spans
            begin = stack.pop()[1]
        for kind in opcode.stack_after:
            is_mark = kind is pickletools.markobject
            stack.append((is_mark, begin))
            if not is_mark:
                spans.append((begin, place + 1))
        if operation.name in ('BINPUT', 'LONG_BINPUT') and spans:
            spans.append((spans[-1][0], place + 1))
    return spans


# ---------------------------------------------------------------- what is changed

NUMBERS = (0, 1, 2, 3, 4, 5, 6, 8, 12, 24, -1, -2, 255, 256, 2**31 - 1, 2**31, -2**31, 2**32,
           2**53, 2**62, 2**63 - 1, 2**63, -2**63, 2**64, 2**70)
TEXTS = ('0', '1', '2', '00', '+1', '1 ', 'storage', 'module', 'cpu', 'cuda:0', 'meta', 'a', '',
         'w', 'latin1', 'utf-8', 'ascii', 'torch.strided', 'torch.sparse_coo', 'conj', 'neg',
         '_metadata', '\ud800', '\u20ac', 'x.y', '\x00')
# Not torch.Tensor and FloatTensor: called alone they are empty tensors to torch, and objects
# of a class here.
GLOBALS = [('torch', name) for name in (
    'FloatStorage HalfStorage LongStorage IntStorage ByteStorage BoolStorage DoubleStorage '
    'BFloat16Storage ComplexFloatStorage QInt8Storage float32 float16 int64 uint8 bool int32 '
    'uint16 float8_e4m3fn complex64 qint8 quint4x2 Size device '
    'per_tensor_affine per_channel_affine UntypedStorage').split()] + [
    ('torch._utils', name) for name in (
        '_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter '
        '_rebuild_parameter_with_state _rebuild_qtensor _rebuild_sparse_tensor '
        '_rebuild_meta_tensor_no_storage _rebuild_nested_tensor').split()] + [
    ('torch.storage', 'UntypedStorage'), ('torch.storage', 'TypedStorage'),
    ('torch.nn.parameter', 'Parameter'), ('torch._tensor', '_rebuild_from_type_v2'),
    ('torch.serialization', '_get_layout'), ('collections', 'OrderedDict'),
    ('collections', 'Counter'), ('builtins', 'set'), ('__builtin__', 'set'),
    ('builtins', 'complex'), ('builtins', 'bytearray'), ('_codecs', 'encode'),
    ('torch.cuda', 'FloatStorage'), ('torch.sparse', 'FloatTensor'), ('builtins', 'dict'),
    ('builtins', 'list'), ('collections', 'defaultdict')]
ATOMS = (b'N', b'\x88', b'\x89', f.real(1.0), f.real(0.0), f.real(-0.0), f.real(float('nan')),
         f.real(2.5), b')', b']', b'}', b'\x8f', f.number(1), f.number(0), f.text('a'))
LOOSE = (b'0', b'1', b'2', b'(', b'N', b'\x88', b')', b']', b'}', b'\x8f', b'a', b'e', b's', b'u',
         b't', b'\x85', b'\x86', b'\x87', b'l', b'd', b'R', b'\x81', b'b', b'Q', b'q\x00',
         b'h\x00', b'\x94', b'\x90', b'\x91', b'K\x00', b'.', b'\x80\x02', b'\x98')


def integers(value):
    """Opcodes for one integer: shortest, longest, as text."""
    yield f.number(value)
    if 0 <= value < 256:
        yield b'K' + bytes([value])
        yield b'M' + struct.pack('<H', value)
    if -2**31 <= value < 2**31:
        yield b'J' + struct.pack('<i', value)
    for more in (1, 2, 9):
        data = value.to_bytes(value.bit_length() // 8 + more, 'little', signed=True)
        yield b'\x8a' + bytes([len(data)]) + data
        yield b'\x8b' + struct.pack('<i', len(data)) + data
    yield f'I{value}\n'.encode()
    yield f'L{value}L\n'.encode()


def texts(value):
    data = value.encode('utf-8', 'surrogatepass')
    yield f.text(value)
    yield b'\x8d' + struct.pack('<Q', len(data)) + data
    if len(data) < 256:
        yield b'\x8c' + bytes([len(data)]) + data
        yield b'U' + bytes([len(data)]) + data
    yield b'T' + struct.pack('<i', len(data)) + data


def get(index):
    return b'h' + bytes([index]) if index < 256 else b'j' + struct.pack('<I', index)


def put(index):
    return b'q' + bytes([index]) if index < 256 else b'r' + struct.pack('<I', index)


def chosen(rng, made, *names):
    """The place of an operation of these names; None where there is none."""
    places = [place for place, operation in enumerate(made) if operation.name in names]
    return rng.choice(places) if places else None


INTEGERS = ('BININT', 'BININT1', 'BININT2', 'LONG1')
GETS = ('BINGET', 'LONG_BINGET')
PUTS = ('BINPUT', 'LONG_BINPUT')


def a_number(rng, made):
    place = chosen(rng, made, *INTEGERS)
    if place is None:
        return
    others = [o.argument for o in made if o.name in INTEGERS]
    old = made[place].argument
    made[place] = raw(f.number(rng.choice(
        (rng.choice(NUMBERS), rng.choice(others), old + 1, old - 1, 2 * old, -old))))


def a_text(rng, made):
    place = chosen(rng, made, 'BINUNICODE')
    if place is not None:
        others = [o.argument for o in made if o.name == 'BINUNICODE']
        made[place] = raw(f.text(rng.choice((rng.choice(TEXTS), rng.choice(others)))))


def a_name(rng, made):
    place = chosen(rng, made, 'GLOBAL')
    if place is not None:
        made[place] = raw(f.class_of(*rng.choice(GLOBALS)))


def an_atom(rng, made):
    place = chosen(rng, made, *INTEGERS, 'BINUNICODE', 'NONE', 'NEWTRUE', 'NEWFALSE', 'BINFLOAT',
                   'EMPTY_TUPLE', 'EMPTY_DICT', 'EMPTY_LIST', *GETS)
    if place is not None:
        made[place] = raw(rng.choice(ATOMS))


def a_reference(rng, made):
    place = chosen(rng, made, *GETS)
    puts = [o.argument for o in made if o.name in PUTS]
    if place is not None and puts:
        made[place] = raw(get(rng.choice(puts + [made[place].argument + 1])))


def a_value_by_reference(rng, made):
    """What was made before, in place of a value."""
    spans = spans_of(made)
    begin, end = rng.choice(spans)
    puts = [o.argument for o in made[:begin] if o.name in PUTS]
    if puts:
        made[begin:end] = [raw(get(rng.choice(puts)))]


def a_memo_number(rng, made):
    place = chosen(rng, made, *PUTS)
    if place is not None:
        puts = [o.argument for o in made if o.name in PUTS]
        made[place] = raw(rng.choice((put(rng.choice(puts)), put(rng.choice(
            (300, 2**32 - 1, len(puts)))), b'', b'\x94')))


def two_memo_numbers(rng, made):
    a, b = chosen(rng, made, *PUTS), chosen(rng, made, *PUTS)
    if a is not None:
        made[a], made[b] = made[b], made[a]


def a_value(rng, made):
    """Another value in place of one."""
    spans = spans_of(made)
    begin, end = rng.choice(spans)
    other = made[slice(*rng.choice(spans))]
    made[begin:end] = other


def two_values(rng, made):
    """Trade places."""
    a, b = sorted(rng.sample(spans_of(made), 2))
    if a[1] <= b[0]:
        made[a[0]:b[1]] = made[slice(*b)] + made[a[1]:b[0]] + made[slice(*a)]


def neighbours(rng, made, times):
    """A value and the one behind it, as a pair of a dict is: twice, or not at all."""
    spans = spans_of(made)
    begin, middle = rng.choice(spans)
    ends = [span[1] for span in spans if span[0] == middle]
    if ends:
        end = max(ends)
        made[begin:end] = made[begin:end] * times


def neighbours_twice(rng, made):
    neighbours(rng, made, 2)


def neighbours_gone(rng, made):
    neighbours(rng, made, 0)


def a_value_inside(rng, made):
    """A value within a container of its own."""
    begin, end = rng.choice(spans_of(made))
    kind = rng.randrange(6)
    front, behind = ((b'', b'\x85'), (b']', b'a'), (b'(', b't'), (b'](', b'e'), (b'(', b'l'),
                     (b'}' + f.text('w'), b's'))[kind]
    made[end:end] = [raw(behind)]
    made[begin:begin] = [raw(front)]


def a_marks_place(rng, made):
    place = chosen(rng, made, 'MARK')
    if place is not None:
        mark = made.pop(place)
        to = min(max(place + rng.choice((-3, -2, -1, 1, 2, 3)), 0), len(made))
        made.insert(to, mark)


def an_opcode(rng, made):
    """Another one of its kind."""
    kinds = (('TUPLE', 'TUPLE1', 'TUPLE2', 'TUPLE3', 'LIST', 'FROZENSET', 'DICT'),
             ('SETITEM', 'SETITEMS', 'APPEND', 'APPENDS', 'ADDITEMS', 'BUILD'),
             ('EMPTY_TUPLE', 'EMPTY_LIST', 'EMPTY_DICT', 'EMPTY_SET', 'NONE'),
             ('REDUCE', 'NEWOBJ', 'BUILD', 'TUPLE2'), ('NEWTRUE', 'NEWFALSE', 'NONE'))
    codes = {opcode.name: opcode.code.encode('latin1') for opcode in pickletools.opcodes}
    kind = rng.choice(kinds)
    place = chosen(rng, made, *kind)
    if place is not None:
        made[place] = raw(codes[rng.choice(kind)])


def another_spelling(rng, made):
    """The same value by another opcode."""
    for _ in range(rng.choice((1, 1, 3, 10))):
        place = chosen(rng, made, *INTEGERS, 'BINUNICODE', 'NEWTRUE', 'NEWFALSE', 'BINFLOAT',
                       *GETS, *PUTS)
        if place is None:
            return
        name, argument, _ = made[place]
        if name in INTEGERS:
            code = rng.choice(list(integers(argument)))
        elif name == 'BINUNICODE':
            code = rng.choice(list(texts(argument)))
        elif name in GETS:
            code = rng.choice((b'j' + struct.pack('<I', argument), f'g{argument}\n'.encode()))
        elif name in PUTS:
            code = rng.choice((b'r' + struct.pack('<I', argument), f'p{argument}\n'.encode()))
        elif name == 'BINFLOAT':
            code = f'F{argument!r}\n'.encode()
        else:
            code = b'I01\n' if name == 'NEWTRUE' else b'I00\n'
        made[place] = raw(code)


def the_protocol(rng, made):
    made[0] = raw(rng.choice([b'', b'\x80\x02\x80\x02'] + [
        b'\x80' + bytes([version]) for version in (0, 1, 3, 4, 5, 6, 255)]))


def a_loose_opcode(rng, made):
    made.insert(rng.randrange(1, len(made)), raw(rng.choice(LOOSE)))


def an_opcode_gone(rng, made):
    del made[rng.randrange(len(made))]


def an_opcode_twice(rng, made):
    place = rng.randrange(len(made))
    made.insert(place, made[place])


CHANGES = (a_number, a_number, a_number, a_text, a_text, a_name, a_name, an_atom, an_atom,
           a_reference, a_value_by_reference, a_memo_number, two_memo_numbers, a_value, two_values,
           neighbours_twice, neighbours_gone, a_value_inside, a_marks_place, an_opcode,
           another_spelling, the_protocol, a_loose_opcode, an_opcode_gone, an_opcode_twice)


def named(made):
    """With names for what was put in, where this is a pickle still."""
    try:
        return operations(b''.join(operation.code for operation in made))
    except Exception:  # pylint: disable=broad-except
        return made


def all_mutants(seed, count):
    rng = random.Random(f'pickle mutants {seed}')
    sound = list(sound_files())
    for number in range(count):
        base = rng.choice(sound)
        made = list(base.operations)
        changes = rng.choices(CHANGES, k=rng.choice((1, 1, 1, 2, 2, 3)))
        for change in changes:
            try:
                change(rng, made)
            except (ValueError, IndexError):
                pass  # too few values are left
            made = named(made)
        names = ', '.join(change.__name__ for change in changes)
        yield f'{number}, {base.name}: {names}', packed(made, base.records)
