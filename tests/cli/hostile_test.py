"""Files that were made to hurt: each is refused in one line, or does no harm."""

import json
import os
import re
import resource
import shutil
import struct
import unittest
import zlib

import checkpoint_files as f
import penstock_cli

# Where code that a pickle names would leave its mark.
MARK = 'penstock-test-was-executed'
CPU_SECONDS = 5  # more than any file here needs, by far
# What any file may cost: a byte of a pickle can make a node of the tree that may
# grow.
PEAK_BYTES = 64 << 20
PEAK_PER_BYTE = 256


def persistent(*fields):
    return f.with_pickle(f.item(fields) + b'Q')


def rebuilt(*arguments):
    return f.with_pickle(f.call('torch._utils', '_rebuild_tensor_v2', *arguments))


def of(**fields):
    return f.with_pickle(f.tensor(**fields))


def stored_as(**fields):
    return f.with_pickle(f.tensor(f.storage(**fields)))


def laughing_names():
    """Ten names for each of the former ten, a hundred levels deep, of one tensor."""
    body = f.tensor() + b'q\x00'
    for level in range(100):
        body += b'0}(' + b''.join(f.text(c) + b'h' + bytes([level]) for c in 'abcdefghij')
        body += b'uq' + bytes([level + 1])
    return f.with_pickle(body)


BIG = 2**62
PICKLES = {  # name -> (file, what the message has to say)
    'extension code': (f.with_pickle(b'\x82\x01'), 'unknown_opcode.*extension'),
    'next buffer': (f.with_pickle(b'\x97'), 'pickle_type.*buffer'),
    'persistent id as text': (f.with_pickle(b'Pstorage\n'), 'persid_bad'),
    'persistent id is an int': (f.with_pickle(b'K\x01Q'), 'persid_bad'),
    'persistent id is empty': (f.with_pickle(b')Q'), 'persid_bad'),
    'persistent id of 4': (persistent('storage', f.class_of('torch', 'FloatStorage'), '0', 'cpu'),
                           'persid_bad'),
    'persistent id of 7': (persistent('storage', f.class_of('torch', 'FloatStorage'), '0', 'cpu',
                                      3, 4, 5), 'persid_bad'),
    'persistent id of a module': (stored_as(word='module'), 'persid_bad'),
    'unknown class of storage': (stored_as(kind='torch FakeStorage'), 'persid_bad.*class'),
    'os.system as storage': (stored_as(kind='os system'), 'persid_bad.*class'),
    'key ../../etc/passwd': (stored_as(key='../../etc/passwd'), 'persid_bad.*key'),
    'key /etc/passwd': (stored_as(key='/etc/passwd'), 'persid_bad.*key'),
    'key a\\b': (stored_as(key='a\\b'), 'persid_bad.*key'),
    'empty key': (stored_as(key=''), 'persid_bad.*key'),
    'key with NUL': (stored_as(key='0\0'), 'persid_bad.*key'),
    'key of 10 MB': (stored_as(key='k' * 10_000_000), 'persid_bad.*key'),
    'numel -1': (stored_as(numel=-1), 'storage_size.*-1'),
    'numel 2^62': (stored_as(numel=BIG, kind='torch LongStorage'), 'tensor_overflow'),
    'numel 2^63': (stored_as(numel=2**63), 'tensor_overflow'),
    'numel is text': (stored_as(numel='3'), 'persid_bad'),
    'numel is true': (stored_as(numel=True), 'persid_bad'),
    'numel is a float': (stored_as(numel=f.real(3)), 'persid_bad'),
    'one storage of two types': (f.with_pickle(f.item((
        f.storage(), f.storage('torch IntStorage')))), 'storage_dtype_conflict.*int32.*float32'),
    'longer record': (stored_as(numel=2), 'storage_size.* 12 .* 8'),
    'shorter record': (stored_as(numel=4), 'storage_size.* 12 .* 16'),
    'missing record': (stored_as(key='7'), 'storage_missing.*data/7'),
    'negative size': (of(size=(-1,)), 'tensor_args'),
    'negative stride': (of(stride=(-1,)), 'tensor_args'),
    'negative offset': (of(offset=-1), 'tensor_args'),
    'overflowing size': (of(size=(2**32, 2**32), stride=(1, 1)), 'tensor_overflow'),
    'overflowing stride': (of(size=(3, 3), stride=(BIG, BIG)), 'tensor_overflow'),
    'overflowing offset': (of(offset=2**63 - 1), 'tensor_overflow'),
    'past the end by size': (of(size=(4,)), 'tensor_bounds.* 16 .* 12'),
    'past the end by offset': (of(offset=1), 'tensor_bounds.* 16 .* 12'),
    'ranks differ': (of(size=(3,), stride=(1, 1)), 'tensor_args'),
    'rank 65': (of(size=(1,) * 65, stride=(1,) * 65), 'tensor_args.*65'),
    'size of text': (of(size=('3',)), 'tensor_args'),
    'size of true': (of(size=(True,)), 'tensor_args'),
    'size of a float': (of(size=(f.real(3),)), 'tensor_args'),
    'size of a tensor': (of(size=(f.tensor(),)), 'tensor_args'),
    'three arguments': (rebuilt(f.storage(), 0, (3,)), 'tensor_args.* 3'),
    'nine arguments': (rebuilt(*[f.storage(), 0, (3,), (1,), False, f.HOOKS] + [0] * 3), 'tensor_args.* 9'),
    'storage is text': (rebuilt('storage', 0, (3,), (1,), False, f.HOOKS), 'tensor_args'),
    'opcode 0xff': (f.with_pickle(b'\xff'), 'unknown_opcode.*0xff'),
    'opcode 0': (f.with_pickle(b'\x00'), 'unknown_opcode'),
    'text for a pickle': (f.checkpoint(b'garbage in, garbage out'), 'pickle_truncated'),
    'empty pickle': (f.checkpoint(b''), 'pickle_truncated'),
    'reduce on nothing': (f.with_pickle(b'R'), 'pickle_underflow'),
    'tuple3 of two': (f.with_pickle(b'NN\x87'), 'pickle_underflow'),
    'stop on nothing': (f.with_pickle(b''), 'pickle_underflow'),
    'appends without mark': (f.with_pickle(b']Ne'), 'pickle_no_mark'),
    'setitems of three': (f.with_pickle(b'}(NNNu'), 'pickle_type'),
    'append to a tuple': (f.with_pickle(b')Na'), 'pickle_type'),
    'setitem on a list': (f.with_pickle(b']NNs'), 'pickle_type'),
    'memo never put': (f.with_pickle(b'h\x05'), 'pickle_memo'),
    'memo 2^32-1 never put': (f.with_pickle(b'j\xff\xff\xff\xff'), 'pickle_memo'),
    'long4 of 2^31-1 bytes': (f.with_pickle(b'\x8b\xff\xff\xff\x7fabc'), 'pickle_truncated'),
    'long4 of -1 bytes': (f.with_pickle(b'\x8b\xff\xff\xff\xff'), 'pickle_number'),
    'long of 64 KiB and 1': (f.with_pickle(b'\x8b\x01\x00\x01\x00' + b'\x01' * 65537), 'pickle_limit'),
    '10 MB of digits': (f.with_pickle(b'I' + b'9' * 10_000_000 + b'\n'), 'pickle_limit'),
    'lone L': (f.with_pickle(b'L\n'), 'pickle_number'),
    'float 1e': (f.with_pickle(b'F1e\n'), 'pickle_number'),
    'text past the end': (f.with_pickle(b'X\xff\xff\xff\x7fabc'), 'pickle_truncated'),
    'text of 2^63': (f.with_pickle(b'\x8d' + b'\xff' * 8), 'pickle_truncated'),
    'binstring of -1': (f.with_pickle(b'T\xff\xff\xff\xff'), 'pickle_number'),
    'bytearray of 2^62': (f.with_pickle(b'\x96' + struct.pack('<Q', BIG)), 'pickle_truncated'),
    'invalid UTF-8': (f.with_pickle(b'X\x02\0\0\0\xc0\x80'), 'pickle_utf8'),
    'frame past the end': (f.checkpoint(f.pickle(b'\x95\xff\xff\0\0\0\0\0\0N', 4)), 'pickle_truncated'),
    'protocol 6': (f.checkpoint(f.pickle(b'N', 6)), 'pickle_protocol.* 6'),
    'protocol 255': (f.checkpoint(f.pickle(b'N', 255)), 'pickle_protocol.* 255'),
    'no stop': (f.checkpoint(b'\x80\x02N'), 'pickle_truncated'),
    'ten million marks': (f.with_pickle(b'(' * 10_000_000), 'pickle_limit'),
    'a list as key': (f.with_pickle(b'}]Ns'), 'pickle_type'),
    'a dict as key': (f.with_pickle(b'}}Ns'), 'pickle_type'),
    'hexadecimal as text': (f.with_pickle(b'I0x10\n'), 'pickle_number'),
    'names without end': (laughing_names(), 'sharing multiplies'),
}
PICKLES |= {f'pickle cut at {n}': (f.checkpoint(f.pickle(f.dictionary(w=f.tensor()))[:n]), 'pickle_truncated')
            for n in range(1, len(f.pickle(f.dictionary(w=f.tensor()))), 9)}

END = len(f.checkpoint())
BAD_NAMES = {'out of the folder': b'archive/../x', 'absolute': b'/archive/x',
             'on drive C': b'C:/x', 'with NUL': b'archive/x\0', 'with a backslash': b'archive\\x',
             'of 512 bytes': b'archive/' + b'x' * 504, 'not UTF-8': b'archive/\xff', 'empty': b''}


def entry(name, data=b'x', **fields):
    return f.Entry(name, data, **fields)


def lying(name, **fields):
    return f.archive(f.records(**{name: fields}))


def zip64_size(size):
    return {'central': {'stored': 0xffffffff, 'size': 0xffffffff,
                        'extra': struct.pack('<HHQQ', 1, 16, size, size)}}


def deflated(size, behind=b''):
    """Fields of a record that says it will be `size` bytes."""
    lies = {'size': size}
    return {'method': 8, 'behind': behind, 'local': lies, 'central': lies}


def bomb():
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(1 << 20)
    data = packer.compress(zeros) + packer.flush()
    size = 0xfffffff0
    made = f.records(f.pickle(f.tensor(f.storage(numel=size // 4), size=(size // 4,))))
    made[2] = entry(b'archive/data/0', data, flags=0x800)
    lies = {'method': 8, 'size': size, 'crc': 0}
    made[2].local, made[2].central = lies, lies
    return f.archive(made)


ZIPS = {
    'three bytes': (b'PK\3', 'no.* checkpoint|not a checkpoint'),
    'a signature': (b'PK\3\4', 'zip_truncated.*download'),
    'cut at 10 %': (f.checkpoint()[:END // 10], 'zip_truncated.*download'),
    'cut at 50 %': (f.checkpoint()[:END // 2], 'zip_truncated.*download'),
    'cut at 99 %': (f.checkpoint()[:END * 99 // 100], 'zip_truncated'),
    'last byte cut': (f.checkpoint()[:-1], 'zip_truncated'),
    'directory past the end': (f.archive(f.records(), offset=10**6), 'zip_bad_central'),
    'directory too small': (f.archive(f.records(), size=46), 'zip_bad_central'),
    'one entry too many': (f.archive(f.records(), here=5, total=5), 'zip_bad_central'),
    'junk in the directory': (lying('version', central={'magic': b'JUNK'}), 'zip_bad_central'),
    'locator past the end': (f.archive(f.records(), zip64=True, locator_lies={'offset': 10**9}), 'zip_bad_central'),
    'locator to itself': (f.archive(f.records(), zip64=True, locator_lies={'offset': END}), 'zip_bad_central'),
    'zip64 of 2^62 entries': (f.archive(f.records(), zip64=True, zip64_lies={
        'here': BIG, 'total': BIG}), 'zip_bad_central'),
    'zip64 directory of 2^63': (f.archive(f.records(), zip64=True, zip64_lies={'size': 2**63}), 'zip_bad_central'),
    'zip64 end without signature': (f.archive(f.records(), zip64=True, zip64_lies={
        'magic': b'JUNK'}), 'zip_bad_central'),
    'zip64 end of another length': (f.archive(f.records(), zip64=True, zip64_lies={
        'length': 45}), 'zip_bad_central'),
    'on disk 1': (f.archive(f.records(), disk=1), 'zip_multidisk'),
    'entries on other disks': (f.archive(f.records(), here=3), 'zip_multidisk'),
    'no local header': (lying('data_0', local={'magic': b'JUNK'}), 'zip_bad_local'),
    'another local name': (lying('data_0', local={'name': b'archive/data/1'}), 'zip_bad_local.*data/1'),
    'another local method': (lying('data_0', local={'method': 8}), 'zip_bad_local.*method'),
    'two entries on one header': (f.archive(f.records() + [entry(
        b'archive/data/1', f.FLOATS, central={'offset': 0})]), 'zip_overlap'),
    'record over the directory': (lying('version', central={
        'stored': 4000, 'size': 4000}, local={'stored': 4000, 'size': 4000}), 'zip_bad_central'),
    'a name twice': (f.archive(f.records() + [entry(b'archive/data/0', f.FLOATS)]),
                     'zip_duplicate'),
    'a name twice but for case': (f.archive(f.records() + [entry(b'archive/DATA.PKL', b'N.')]),
                                  'zip_duplicate.*DATA'),
    'encrypted': (f.archive(f.records(data_0={'flags': 0x801})), 'zip_encrypted'),
    'strongly encrypted': (f.archive(f.records(data_0={'flags': 0x841})), 'zip_encrypted'),
    'patched': (f.archive(f.records(data_0={'flags': 0x820})), 'zip_encrypted'),
    'masked': (f.archive(f.records(data_0={'flags': 0x2800})), 'zip_encrypted'),
    'encrypted by its local header alone': (lying('data_0', local={'flags': 0x801}), 'zip_encrypted'),
    'method 14': (f.archive(f.records(data_0={'method': 14})), 'zip_method.* 14'),
    'method 93': (f.archive(f.records(data_0={'method': 93})), 'zip_method.* 93'),
    'another local size': (lying('data_0', local={'size': 11}), 'zip_bad_local.*0xb .*0xc '),
    'a pickle that inflates to more': (f.archive(f.records(data_pkl=deflated(10))), 'zip_bad_local'),
    'a pickle that inflates to less': (f.archive(f.records(data_pkl=deflated(300))), 'zip_bad_local'),
    'a tensor that inflates to more': (f.archive(f.records(
        f.pickle(f.tensor(f.storage(numel=2), size=(2,))), data_0=deflated(8))), 'zip_bad_local'),
    'a tensor that inflates to less': (f.archive(f.records(
        f.pickle(f.tensor(f.storage(numel=4), size=(4,))), data_0=deflated(16))), 'zip_bad_local'),
    'garbage behind what is deflated': (f.archive(f.records(data_0=deflated(12, behind=b'x'))),
                                        'zip_bad_local'),
    'of a Mac': (f.archive(f.records() + [entry(b'__MACOSX/x')]), 'zip_prefix.*MACOSX'),
    'two folders': (f.archive(f.records() + [entry(b'other/x')]), 'zip_prefix.*other'),
    'no data/0': (f.archive(f.records(data_0=None)), 'storage_missing.*data/0'),
    'empty version': (f.archive(f.records(version={'data': b''})), 'version_missing'),
    'bytes before the first record': (b'#!/bin/sh\nexit\n' + f.checkpoint(), 'not a checkpoint'),
    'a program before the first record': (b'MZ\x90\0' + f.checkpoint(), 'not a checkpoint'),
    'method 12': (f.archive(f.records(data_0={'method': 12})), 'zip_method.* 12'),
    'stored and smaller': (lying('data_0', central={'size': 13}), 'zip_bad_central'),
    'a bomb': (bomb(), 'zip_bomb'),
    'deflated garbage': (f.archive(f.records(data_0={
        'central': {'method': 8, 'size': 12}, 'local': {'method': 8, 'size': 12}})), 'zip_bad_local'),
    'wrong CRC of data/0': (lying('data_0', central={'crc': 1}, local={'crc': 1}), 'zip_crc_mismatch.*data/0'),
    'another local CRC': (lying('data_0', central={'crc': 1}), 'zip_bad_local'),
    'wrong CRC of data.pkl': (lying('data_pkl', central={'crc': 1}, local={'crc': 1}), 'zip_crc_mismatch.*data.pkl'),
    'no slash in the first name': (f.archive([entry(b'name')] + f.records()), 'unsupported_format'),
    'no data.pkl': (f.archive(f.records()[1:]), 'unsupported_format.*data.pkl'),
    'no version': (f.archive(f.records(version=None)), 'version_missing'),
    'version 0': (f.archive(f.records(version={'data': b'0\n'})), 'version_unsupported'),
    'version 11': (f.archive(f.records(version={'data': b'11\n'})), 'version_unsupported.* 11'),
    'version 10^20': (f.archive(f.records(version={'data': b'1' + b'0' * 20})), 'version_unsupported'),
    'version abc': (f.archive(f.records(version={'data': b'abc'})), 'version_missing'),
    'byteorder middle': (f.archive(f.records(byteorder={'data': b'middle'})), 'byteorder_bad.*middle'),
    'empty byteorder': (f.archive(f.records(byteorder={'data': b''})), 'byteorder_bad'),
    'data/0 of 2^63': (lying('data_0', **zip64_size(2**63)), 'zip_bad_central'),
    'zip64 extra cut': (lying('data_0', central={
        'size': 0xffffffff, 'extra': struct.pack('<HHI', 1, 4, 12)}), 'zip_bad_central'),
    'extra past the end': (lying('data_0', central={'extra': struct.pack('<HH', 1, 999)}), 'zip_bad_central'),
    '70 000 bytes after the end': (f.checkpoint() + bytes(70_000), 'zip_truncated'),
    'a TorchScript archive without constants': (
        f.archive(f.records() + [entry(b'archive/constants.pkl')]), 'constants.pkl: pickle_'),
    'a torch.package without its storage': (
        f.archive(f.records() + [entry(b'archive/.data/extern_modules')]),
        r'data\.pkl.*storage_missing.*\.data/0\.storage'),
    'a .pt2 without weights': (
        f.archive(f.records() + [entry(b'archive/archive_format', b'pt2')]),
        'unsupported_format.*without weights'),
    'any other zip': (f.archive([entry(b'a.txt'), entry(b'b.txt')]), 'unsupported_format.*a.txt'),
}
ZIPS |= {f'a name {what}': (f.archive(f.records() + [entry(name)]), 'zip_bad_name')
         for what, name in BAD_NAMES.items()}

EXECUTE = {  # ways of naming os.system, all of which would leave the mark
    'text': f.checkpoint(b"cos\nsystem\n(S'touch %s'\ntR." % MARK.encode()),
    'protocol 2': f.with_pickle(f.call('os', 'system', f'touch {MARK}')),
    'posix': f.with_pickle(f.call('posix', 'system', f'touch {MARK}')),
    'protocol 4': f.checkpoint(f.pickle(
        b'\x8c\x02os\x8c\x06system\x93' + f.text(f'touch {MARK}') + b'\x85R', 4)),
    'INST': f.checkpoint(b"(S'touch %s'\nios\nsystem\n." % MARK.encode()),
    'OBJ': f.checkpoint(b"(cos\nsystem\nS'touch %s'\no." % MARK.encode()),
    'NEWOBJ': f.with_pickle(f.class_of('os', 'system') + f.item((f'touch {MARK}',)) + b'\x81'),
    'eval': f.with_pickle(f.call('__builtin__', 'eval',
                                 f'__import__("os").system("touch {MARK}")')),
    'beside a tensor': f.with_pickle(f.dictionary(w=f.tensor(), x=f.call(
        'os', 'system', f'touch {MARK}'))),
    'in a state': f.with_pickle(f.call('collections', 'OrderedDict') + f.call(
        'os', 'system', f'touch {MARK}') + b'b'),
    'dotted': f.checkpoint(f.pickle(
        f.text('torch') + f.text('serialization.os.system') + b'\x93' + f.item(
            (f'touch {MARK}',)) + b'R', 4)),
    'homoglyph': f.with_pickle(f.call('\u043es', 'system', f'touch {MARK}')),
    'with a space': f.with_pickle(f.call('os ', 'system', f'touch {MARK}')),
    'with a return': f.with_pickle(f.call('posix\r', 'system', f'touch {MARK}')),
    'partial': f.with_pickle(f.call('functools', 'partial', f.class_of('os', 'system'),
                                    f'touch {MARK}') + b')R'),
    'attrgetter': f.with_pickle(f.call('operator', 'attrgetter', 'system') +
                                f.item((f.class_of('__builtin__', '__import__') + f.item(
                                    ('os',)) + b'R',)) + b'R' + f.item((f'touch {MARK}',)) + b'R'),
    'torch.load': f.with_pickle(f.call('torch', 'load', '/etc/passwd') + b'0' + f.call(
        'os', 'system', f'touch {MARK}')),
    'torch.hub': f.with_pickle(f.call('torch.hub', 'load', 'x', 'y') + b'0' + f.call(
        'os', 'system', f'touch {MARK}')),
    'NEWOBJ_EX': f.with_pickle(f.class_of('os', 'system') + f.item((f'touch {MARK}',)) + b'}\x92'),
    '__setstate__': f.with_pickle(f.class_of('os', 'system') + b')\x81' + f.item(
        f'touch {MARK}') + b'b'),
    'in the memo': f.with_pickle(f.class_of('os', 'system') + b'q\x070N'),
    'popped': f.with_pickle(f.call('os', 'system', f'touch {MARK}') + b'0N'),
    'as a key': f.with_pickle(b'}' + f.call('os', 'system', f'touch {MARK}') + b'Ns'),
}


def laughs():
    """Ten lists of ten of the former, a hundred levels deep."""
    body = b']'
    for level in range(100):
        body += b'q' + bytes([level]) + b'0](' + b'h' + bytes([level])
        body += (b'h' + bytes([level])) * 9 + b'e'
    return f.with_pickle(body)


HARMLESS = {  # odd, but of one meaning: converts, and the tree is shown
    'long memo index': f.with_pickle(b'Nr\xff\xff\xff\xff'),
    'no protocol': f.checkpoint(f.dictionary(w=f.tensor()) + b'.'),
    'a million lists': f.with_pickle(b']' * 1_000_000 + b'a' * 999_999),
    'a million tuples': f.with_pickle(b')' + b'\x85' * 1_000_000),
    'laughs': laughs(),
    'a list in itself': f.with_pickle(b']q\x00h\x00a'),
    'a dict in itself': f.with_pickle(b'}q\x00Nh\x00s'),
    'nine hundred getattrs': f.with_pickle(
        f.class_of('__builtin__', 'getattr') * 900 + f.text('x') + f.text('y') + b'\x86R' +
        (f.text('z') + b'\x86R') * 899),
    'a tuple in its list': f.with_pickle(b']q\x00h\x00\x85q\x010h\x00h\x01a'),
    'a state that is its object': f.with_pickle(f.call('collections', 'OrderedDict') +
                                                b'q\x00}' + f.text('me') + b'h\x00sb'),
    'a module in itself': f.with_pickle(
        f.class_of('torch.nn.modules.module', 'Module') + b')\x81q\x00' + f.dictionary(
            _parameters=b'}', _buffers=b'}', _modules=f.dictionary(me=b'h\x00')) + b'b'),
    'sparse beyond its size': f.with_pickle(f.call(
        'torch._utils', '_rebuild_sparse_tensor',
        f.call('torch.serialization', '_get_layout', 'torch.sparse_coo'),
        (f.tensor(size=(1, 3), stride=(3, 1)), f.tensor(), f.call('torch', 'Size', (-2,))))),
    'quantized of no scheme': f.with_pickle(f.call(
        'torch._utils', '_rebuild_qtensor', f.storage(), 0, (3,), (1,),
        (f.class_of('torch', 'per_channel_affine'), f.tensor(), f.tensor(size=(2,)), 7), False,
        f.HOOKS)),
    'array of objects that are bytes': f.with_pickle(f.call(
        'numpy.core.multiarray', '_reconstruct', f.class_of('numpy', 'ndarray'), (0,), b'C\x01b') +
        f.item((1, (2**62, 3), f.call('numpy', 'dtype', 'O8', False, True) + f.item(
            (3, '|', b'N', b'N', b'N', 2**31, -1, 63)) + b'b', False, b'C\x03abc')) + b'b'),
    'a frame that ends within an argument': f.checkpoint(
        b'\x80\x04\x95' + struct.pack('<Q', 3) + b'X\x01\0\0\0a.'),
    'alignment -1': f.archive(f.records() + [entry(b'archive/.storage_alignment', b'-1')]),
    'storages out of order': f.archive([
        entry(b'archive/.format_version', b'1'), entry(b'archive/data/1', f.FLOATS),
        entry(b'archive/gap', b'x')] + f.records(f.pickle(f.item((
            f.tensor(), f.tensor(f.storage(key='1'))))))),
    'other local flags': lying('data_0', local={'flags': 0}),
    'expanded to 2^40': of(size=(2**40,), stride=(0,)),
    'a second pickle': f.checkpoint(f.pickle(f.tensor()) + EXECUTE['text'][64:80]),
    'another pickle record': f.archive(f.records() + [entry(
        b'archive/x.pkl', b"cos\nsystem\n(S'touch %s'\ntR." % MARK.encode())]),
    'stored CRC 0': lying('data_0', central={'crc': 0}, local={'crc': 0}),
    '100 bytes after the end': f.checkpoint() + bytes(100),
    'alignment abc': f.archive(f.records() + [entry(b'archive/.storage_alignment', b'abc')]),
    'a comment like an end': f.archive(f.records(), comment=b'PK\5\6' + bytes(16)),
    'a name of escape codes': f.with_pickle(b'}' + f.text('\x1b]0;pwned\x07') + f.tensor() + b's'),
    'sixty thousand records': f.archive(f.records() + [
        f.Entry(b'archive/x/%d' % i, b'') for i in range(60_000)]),
}


class HostileTest(unittest.TestCase):

    def setUp(self):
        self.folder = penstock_cli.scratch(512 << 20)
        self.addCleanup(shutil.rmtree, self.folder)

    def command(self, *arguments):
        sanitized = 'PENSTOCK_SANITIZED' in os.environ
        limit = None if sanitized else lambda: (
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1)))
        done, peak, _ = penstock_cli.run_measured(*arguments, cwd=self.folder,
                                                  preexec_fn=limit)
        if not sanitized:
            size = os.path.getsize(os.path.join(self.folder, 'x.pt'))
            self.assertLess(peak, PEAK_BYTES + PEAK_PER_BYTE * size, arguments)
        self.assertGreaterEqual(done.returncode, 0, ('killed by a signal', arguments))
        self.assertFalse(os.path.exists(os.path.join(self.folder, MARK)), 'EXECUTED')
        return done

    def refuses(self, data, words):
        f.write(os.path.join(self.folder, 'x.pt'), data)
        done = self.command('convert', 'x.pt', 'x.pstk')
        message = penstock_cli.text_of(done.stderr)
        self.assertEqual(done.returncode, 2, message)
        self.assertRegex(message, r'\Apenstock: (tensor "\w+": )?x\.pt: [^\n]+\n\Z')
        self.assertLess(len(message), 1000, message)
        self.assertRegex(message.partition('x.pt: ')[2], re.compile(words, re.I))
        self.assertEqual(os.listdir(self.folder), ['x.pt'])
        done = self.command('verify', 'x.pt')
        self.assertIn(done.returncode, (1, 2), done)
        self.assertNotEqual(penstock_cli.text_of(done.stdout + done.stderr), '')
        return message

    def accepts(self, data):
        f.write(os.path.join(self.folder, 'x.pt'), data)
        for arguments in (('convert', 'x.pt', 'x.pstk'), ('verify', 'x.pstk'),
                          ('info', 'x.pt'), ('info', '--json', 'x.pstk'), ('ls', 'x.pstk'),
                          ('convert', 'x.pstk', 'y.pt'), ('verify', 'y.pt')):
            done = self.command(*arguments)
            self.assertEqual(done.returncode, 0, penstock_cli.text_of(done.stderr))
            shown = done.stdout + done.stderr
            self.assertNotIn(b'\x1b', shown)

    def test_bad_pickles_are_refused_in_one_line(self):
        for name, (data, words) in PICKLES.items():
            with self.subTest(name):
                self.refuses(data, words)

    def test_bad_archives_are_refused_in_one_line(self):
        for name, (data, words) in ZIPS.items():
            with self.subTest(name):
                self.refuses(data, words)

    def test_nothing_that_a_pickle_names_is_executed(self):
        for name, data in EXECUTE.items():
            with self.subTest(name):
                self.accepts(data)
                told = penstock_cli.must_json('info', os.path.join(self.folder, 'x.pt'))
                self.assertRegex(' '.join(told['globals']), r'(os|\u043es|os |posix|posix\r) system|eval|os\.system|attrgetter')

    def test_what_is_odd_but_harmless_converts(self):
        for name, data in HARMLESS.items():
            with self.subTest(name):
                self.accepts(data)

    def test_what_shows_far_more_than_it_holds_takes_no_time(self):
        f.write(os.path.join(self.folder, 'x.pt'), f.with_pickle(f.dictionary(
            w=f.tensor(size=(3, 2**40), stride=(1, 0)))))
        f.write(os.path.join(self.folder, 'y.pt'), f.with_pickle(f.dictionary(
            w=f.tensor(size=(3, 2**40), stride=(0, 0)))))
        f.write(os.path.join(self.folder, 'z.pt'), f.with_pickle(f.dictionary(
            w=f.tensor(size=(2**40, 3), stride=(0, 1)))))
        done = self.command('cat', 'z.pt', 'w')
        self.assertEqual(done.returncode, 0, penstock_cli.text_of(done.stderr))
        for name, values in (('x.pt', '[[1.0 1.0 1.0 ... 1.0 1.0 1.0]'),
                             ('y.pt', '[[1.0 1.0 1.0 ... 1.0 1.0 1.0]')):
            done = self.command('cat', name, 'w')
            self.assertEqual(done.returncode, 0, penstock_cli.text_of(done.stderr))
            self.assertEqual(penstock_cli.text_of(done.stdout).splitlines()[1], values)
        for flag in ('--all', '--json'):
            done = self.command('cat', 'x.pt', 'w', flag)
            self.assertEqual(done.returncode, 2)
            self.assertRegex(penstock_cli.text_of(done.stderr),
                             r'\A[^\n]*x\.pt: tensor "w": shows 3298534883328 values[^\n]*\n\Z')
        done = self.command('diff', 'x.pt', 'x.pt')
        self.assertEqual(done.returncode, 0, penstock_cli.text_of(done.stderr))
        done = self.command('diff', 'x.pt', 'y.pt')
        self.assertEqual(done.returncode, 1, penstock_cli.text_of(done.stderr))
        done = self.command('extract', 'x.pt', 'w', '-o', 'arrays')
        self.assertEqual(done.returncode, 2)
        self.assertRegex(penstock_cli.text_of(done.stderr), r'\A[^\n]*3298534883328[^\n]*\n\Z')

    def test_cat_of_shapes_without_end_takes_no_time(self):
        for size, stride in (((2**40, 0), (0, 0)), ((0, 2**40), (0, 0)), ((7,) * 20, (0,) * 20),
                             ((2,) * 62, (0,) * 62), ((2**20,) * 3, (0, 0, 1))):
            with self.subTest(size):
                numel = size[-1] if stride[-1] else 1
                f.write(os.path.join(self.folder, 'x.pt'), f.with_pickle(
                    f.dictionary(w=f.tensor(f.storage(numel=numel), 0, size, stride)),
                    storages={'0': bytes(4 * numel)}))
                done = self.command('cat', 'x.pt', 'w')
                if len(size) > 3:
                    self.assertEqual(done.returncode, 2)
                    self.assertRegex(penstock_cli.text_of(done.stderr),
                                     r'x\.pt: tensor "w": the outer values alone are \d+')
                else:
                    self.assertEqual(done.returncode, 0, penstock_cli.text_of(done.stderr))

    # 15 levels of 16 references each: as many nodes as info shows at all.
    def test_info_holds_nothing_of_what_it_prints(self):
        body = f.text('x' * 190) + b'q\x00'
        for level in range(15):
            body += b']q' + bytes([level + 1]) + b'(' + b'h' + bytes([level]) + 15 * (
                b'h' + bytes([level])) + b'e'
        f.write(os.path.join(self.folder, 'x.pt'), f.with_pickle(body))
        for flag in ((), ('--json',)):
            done = self.command('info', 'x.pt', '--depth', '64', *flag)
            self.assertEqual(done.returncode, 0, penstock_cli.text_of(done.stderr))
            self.assertGreater(len(done.stdout), 15_000_000)
        self.assertEqual(json.loads(done.stdout)['tree']['entries'][0]['value']['size'], 16)

    # Wherever a download ends: never half a checkpoint.
    def test_every_truncation_of_a_pt_is_refused(self):
        whole = f.checkpoint()
        for length in range(0, len(whole), 13):
            with self.subTest(length):
                self.refuses(whole[:length], '')


if __name__ == '__main__':
    unittest.main()
