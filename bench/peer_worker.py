"""Runs what Penstock is compared with: torch, safetensors, zipnn.

One process for a whole benchmark. Requests are lines of JSON on standard input,
answers lines of JSON on standard output, {"error": text} where something failed.
Imports and the making of tensors are outside every timer; what is timed here is
one call of a peer's own function, with fsync of file and directory where it
saves, and a look at every byte where it loads by mapping.
"""

import ctypes
import gc
import importlib
import json
import os
import resource
import struct
import sys
import time


class WrongBytes(Exception):
    pass


def make_durable(path):
    for name in (path, os.path.dirname(path) or '.'):
        descriptor = os.open(name, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def status_bytes(key):
    with open('/proc/self/status', encoding='ascii') as status:
        for line in status:
            if line.startswith(key + ':'):
                return int(line.split()[1]) << 10
    return 0


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Meter:
    """Wall and processor time and peak memory, from making to stop().

    What malloc keeps goes back first: memory that is then asked for is new.
    """

    def __init__(self):
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        try:
            with open('/proc/self/clear_refs', 'w', encoding='ascii') as refs:
                refs.write('5')
        except OSError:
            pass  # then only what exceeds the peak of before shows
        self.resident = status_bytes('VmHWM')
        self.cpu = cpu_seconds()
        self.laps = []
        self.start = time.perf_counter()

    def lap(self):
        self.laps.append(time.perf_counter() - self.start)

    def stop(self):
        self.lap()
        return {'seconds': self.laps, 'cpu_seconds': cpu_seconds() - self.cpu,
                'peak_bytes': max(0, status_bytes('VmHWM') - self.resident)}


class Peers:

    def __init__(self):
        self.tensors = {}
        self.modules = {}
        self.copies = {}

    def module(self, name):
        if name not in self.modules:
            self.modules[name] = importlib.import_module(name)
        return self.modules[name]

    # Untimed.

    def start(self, request):
        """The tensors, from a .pt that Penstock wrote; all imports."""
        torch = self.module('torch')
        self.module('numpy')
        for peer in request['peers']:
            self.module(peer)
        if 'safetensors' in request['peers']:
            self.module('safetensors.torch')
        torch.set_num_threads(request['threads'])
        self.tensors = torch.load(request['source'], weights_only=True)
        metadata = importlib.import_module('importlib.metadata')
        versions = {'python': '.'.join(map(str, sys.version_info[:3]))}
        for peer in dict.fromkeys(['torch', *request['peers']]):
            versions[peer] = metadata.version(peer)
        return {'versions': versions}

    def make_safetensors(self, request):
        if os.path.exists(request['path']):
            return {}
        self.module('safetensors.torch').save_file(self.tensors, request['path'])
        make_durable(request['path'])
        return {}

    def check(self, loaded):
        if list(loaded) != list(self.tensors) and set(loaded) != set(self.tensors):
            raise WrongBytes('wrong result: other names')
        for name, tensor in self.tensors.items():
            self.check_one(name, tensor, loaded[name])

    def check_one(self, name, expected, found):
        torch = self.module('torch')
        # As bytes: NaNs too must be the same.
        if expected.dtype != found.dtype or not torch.equal(
                expected.view(torch.uint8), found.view(torch.uint8)):
            raise WrongBytes(f'wrong result: tensor "{name}" is not what was saved')

    def touch(self, loaded):
        """Reads every byte of tensors that may be pages of a file."""
        torch = self.module('torch')
        numpy = self.module('numpy')
        total = 0
        for tensor in loaded.values():
            raw = tensor.reshape(-1).view(torch.uint8).numpy()
            whole = raw.size // 8 * 8
            total ^= int(raw[:whole].view(numpy.uint64).sum(dtype=numpy.uint64))
            total ^= int(raw[whole:].sum(dtype=numpy.uint64))
        return total

    # Saving: until the call returned, and until the bytes are on the disk.

    def save_torch(self, request):
        torch = self.module('torch')
        meter = Meter()
        torch.save(self.tensors, request['path'])
        meter.lap()
        make_durable(request['path'])
        return meter.stop()

    def save_safetensors(self, request):
        save_file = self.module('safetensors.torch').save_file
        meter = Meter()
        save_file(self.tensors, request['path'])
        meter.lap()
        make_durable(request['path'])
        return meter.stop()

    def codec(self):
        return self.module('zipnn').ZipNN(input_format='byte',
                                          bytearray_dtype='bfloat16', threads=2)

    def save_zipnn(self, request):
        torch = self.module('torch')
        codec = self.codec()
        # It reorders the buffer that it is given in place.
        copies = {name: bytearray(memoryview(
            tensor.reshape(-1).view(torch.uint8).numpy()))
                  for name, tensor in self.tensors.items()}
        meter = Meter()
        with open(request['path'], 'xb') as file:
            for name in list(copies):
                data = codec.compress(copies.pop(name))
                file.write(struct.pack('<Q', len(data)))
                file.write(data)
        meter.lap()
        make_durable(request['path'])
        return meter.stop()

    def check_zipnn(self, request):
        torch = self.module('torch')
        codec = self.codec()
        with open(request['path'], 'rb') as file:
            for name, tensor in self.tensors.items():
                size, = struct.unpack('<Q', file.read(8))
                back = codec.decompress(file.read(size))
                expected = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
                if bytes(back) != expected:
                    raise WrongBytes(
                        f'wrong result: zipnn\'s tensor "{name}" is not what was saved')
        return {}

    # Loading.

    def timed_load(self, load, touched):
        meter = Meter()
        loaded = load()
        if touched:
            self.touch(loaded)
        answer = meter.stop()
        self.check(loaded)
        return answer

    def load_torch(self, request):
        torch = self.module('torch')
        return self.timed_load(
            lambda: torch.load(request['path'], weights_only=True), False)

    def load_torch_mapped(self, request):
        torch = self.module('torch')
        return self.timed_load(
            lambda: torch.load(request['path'], weights_only=True, mmap=True), True)

    def load_safetensors(self, request):
        load_file = self.module('safetensors.torch').load_file
        return self.timed_load(lambda: load_file(request['path']), True)


    # A part: rows of one tensor, in memory of their own, from a cold file.

    def timed_part(self, request, load):
        name = request['name']
        rows = slice(request['begin'], request['end'])
        meter = Meter()
        part = load(name, rows).clone()
        answer = meter.stop()
        self.check_one(name, self.tensors[name][rows], part)
        return answer

    def part_torch(self, request):
        torch = self.module('torch')
        return self.timed_part(request, lambda name, rows: torch.load(
            request['path'], weights_only=True, mmap=True)[name][rows])

    def part_safetensors(self, request):
        safe_open = self.module('safetensors').safe_open

        def load(name, rows):
            with safe_open(request['path'], framework='pt') as file:
                return file.get_slice(name)[rows]
        return self.timed_part(request, load)


def answer_to(peers, line):
    try:
        request = json.loads(line)
        answer = getattr(peers, request['do'])(request)
        gc.collect()  # a mapping that lives keeps its file in the page cache
        return answer
    except WrongBytes as error:
        return {'error': str(error), 'kind': 'wrong bytes'}
    except ImportError as error:
        return {'error': f'{sys.executable}: {error}', 'kind': 'missing'}
    except Exception as error:  # whatever a peer raises is an answer
        return {'error': f'{type(error).__name__}: {error}'}


def main():
    # What a package prints must not come between the answers.
    answers = os.fdopen(os.dup(1), 'w', encoding='utf-8')
    os.dup2(2, 1)
    peers = Peers()
    for line in sys.stdin:
        answers.write(json.dumps(answer_to(peers, line)) + '\n')
        answers.flush()


if __name__ == '__main__':
    main()
