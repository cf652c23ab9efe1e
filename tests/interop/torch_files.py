"""Writes torch.save files as other versions, other tools and other machines do."""

import io
import os
import pickle
import zipfile

import torch


def with_config(name, value):
    """torch.save under torch.utils.serialization.config.save.`name`."""
    def save(checkpoint, path):
        config = torch.utils.serialization.config.save
        before = getattr(config, name)
        setattr(config, name, value)
        try:
            torch.save(checkpoint, path)
        finally:
            setattr(config, name, before)
    return save


def save_skipping_data(checkpoint, path):
    with torch.serialization.skip_data():
        torch.save(checkpoint, path)


def save_through_stream(checkpoint, path):
    """The archive is then called `archive`, not after the file."""
    with open(path, 'wb') as file:
        torch.save(checkpoint, file)


def records_of(path):
    """Names without the prefix -> bytes, in the order of the file."""
    with zipfile.ZipFile(path) as file:
        return {name.partition('/')[2]: file.read(name) for name in file.namelist()}


def write_records(path, records, prefix='archive', deflate=False, directories=False):
    """As other zip programs do; of what is no storage, `deflate` compresses all."""
    with zipfile.ZipFile(path, 'w') as file:
        if directories:
            file.writestr(f'{prefix}/', b'')
            file.writestr(f'{prefix}/data/', b'')
        for name, data in records.items():
            packed = deflate and not name.startswith('data/')
            file.writestr(f'{prefix}/{name}', data,
                          zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED)


def repacked(deflate, directories=False):
    """As unzip and zip leave it."""
    def save(checkpoint, path):
        torch.save(checkpoint, path)
        write_records(path, records_of(path), 'other', deflate, directories)
    return save


class Pickler(pickle.Pickler):
    """torch.save's, with other keys and locations of storages."""

    def __init__(self, file, key_of=str, location_of=lambda number: 'cpu', as_v3=False):
        super().__init__(file, 2)
        self.key_of, self.location_of, self.as_v3 = key_of, location_of, as_v3
        self.keys = {}  # StorageImpl -> key
        self.storages = []

    def persistent_id(self, obj):
        if not isinstance(obj, (torch.storage.TypedStorage, torch.UntypedStorage)):
            return None
        typed = isinstance(obj, torch.storage.TypedStorage)
        untyped = obj._untyped_storage if typed else obj
        number = self.keys.setdefault(untyped._cdata, len(self.keys))
        if number == len(self.storages):
            self.storages.append(untyped)
        kind = getattr(torch, obj._pickle_storage_type()) if typed else torch.UntypedStorage
        size = obj._size() if typed else obj.nbytes()
        return ('storage', kind, self.key_of(number), self.location_of(number), size)

    def reducer_override(self, obj):
        if not (self.as_v3 and type(obj) is torch.Tensor):
            return NotImplemented
        return torch._utils._rebuild_tensor_v3, (
            obj.untyped_storage(), obj.storage_offset(), tuple(obj.shape), obj.stride(),
            obj.requires_grad, {}, obj.dtype)


def pickled(checkpoint, **options):
    """The pickle, and records of the storages by key."""
    file = io.BytesIO()
    pickler = Pickler(file, **options)
    pickler.dump(checkpoint)
    storages = {pickler.key_of(number): bytes_of(storage)
                for number, storage in enumerate(pickler.storages)}
    return file.getvalue(), storages


def bytes_of(storage):
    return bytes(torch.empty(0, dtype=torch.uint8).set_(storage).tolist())


def save_as_v3(checkpoint, path):
    """Every tensor over an untyped storage, so that two dtypes can share one."""
    pickle_bytes, storages = pickled(checkpoint, as_v3=True)
    records = {'data.pkl': pickle_bytes, 'byteorder': b'little'}
    records.update((f'data/{key}', data) for key, data in storages.items())
    write_records(path, records | {'version': b'3\n'})


def layout(version):
    """The records of torch 1.6, 1.10 and 2.1, in their order."""
    def save(checkpoint, path):
        key_of = str if version != '1.6' else lambda number: str(94_000_000_000 + number * 64)
        pickle_bytes, storages = pickled(checkpoint, key_of=key_of)
        records = {'data.pkl': pickle_bytes}
        if version == '2.1':
            records['byteorder'] = b'little'
        for key in sorted(storages):
            records[f'data/{key}'] = storages[key]
        records['version'] = b'3\n'
        if version == '2.1':
            records['.data/serialization_id'] = b'0' * 40
        prefix = 'archive' if version == '1.6' else os.path.splitext(os.path.basename(path))[0]
        write_aligned(path, records, prefix)
    return save


def write_aligned(path, records, prefix):
    """Records at 64 bytes, as torch has them; no data descriptors."""
    with zipfile.ZipFile(path, 'w') as file:
        for name, data in records.items():
            info = zipfile.ZipInfo(f'{prefix}/{name}')
            pad = -(file.fp.tell() + 30 + len(info.filename.encode()) + 4) % 64
            info.extra = b'FB' + pad.to_bytes(2, 'little') + b'Z' * pad
            file.writestr(info, data)


def at_locations(*locations):
    """Storages as on other devices."""
    def save(checkpoint, path):
        pickle_bytes, storages = pickled(
            checkpoint, location_of=lambda number: locations[number % len(locations)])
        records = {'data.pkl': pickle_bytes, 'byteorder': b'little'}
        records.update((f'data/{key}', data) for key, data in storages.items())
        write_aligned(path, records | {'version': b'3\n'}, 'archive')
    return save


def element_bytes(checkpoint):
    """By storage: width of what has to be swapped."""
    widths, work, seen = {}, [checkpoint], set()
    while work:
        value = work.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            work += value.values()
        elif isinstance(value, (list, tuple)):
            work += value
        elif isinstance(value, torch.Tensor):
            width = value.dtype.itemsize // (2 if value.dtype.is_complex else 1)
            widths[value.untyped_storage()._cdata] = width
    return widths


def big_endian():
    """As a big-endian machine writes it, and its twin of this machine beside it."""
    def save(checkpoint, path):
        torch.save(checkpoint, path + '.twin')
        widths = element_bytes(checkpoint)
        records = dict(records_of(path + '.twin'), byteorder=b'big')
        pickler = Pickler(io.BytesIO())
        pickler.dump(checkpoint)  # numbers the storages as torch.save did
        for number, storage in enumerate(pickler.storages):
            name, width = f'data/{number}', widths[storage._cdata]
            data = records[name]
            records[name] = b''.join(data[i:i + width][::-1]
                                     for i in range(0, len(data), width))
        write_records(path, records)
    return save


def little_endian_twin(path, **options):
    return torch.load(path + '.twin', **options)
