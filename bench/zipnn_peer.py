#!/usr/bin/env python3
"""Measures the zipnn package on the bfloat16 data of gate_m1, one thread.

    python3 -m venv peer && peer/bin/pip install zipnn==0.5.4
    bazel-bin/bench/gate_m1 write weights.bin
    peer/bin/python bench/zipnn_peer.py weights.bin [rounds]

Process CPU time, median and range of the rounds. zipnn reorders the buffer that
it is given in place, so each round compresses a copy, made outside the timer.
"""

import statistics
import sys
import time

from zipnn import ZipNN


def timed(work, argument):
    start = time.process_time()
    result = work(argument)
    return time.process_time() - start, result


def report(what, seconds, size):
    speeds = [size / s * 1e-9 for s in seconds]
    print("| %s | %.2f | %.2f - %.2f |" %
          (what, statistics.median(speeds), min(speeds), max(speeds)))


def main():
    with open(sys.argv[1], "rb") as file:
        raw = file.read()
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    codec = ZipNN(input_format="byte", bytearray_dtype="bfloat16", threads=1)
    encode, decode = [], []
    for _ in range(rounds):
        seconds, stored = timed(codec.compress, bytearray(raw))
        encode.append(seconds)
        seconds, back = timed(codec.decompress, stored)
        decode.append(seconds)
        if bytes(back) != raw:
            sys.exit("zipnn does not give the bytes back")
    print("zipnn, ratio %.4f, %d rounds\n" % (len(raw) / len(stored), rounds))
    print("| GB/s of raw bytes | median | range |\n|---|---|---|")
    report("encode", encode, len(raw))
    report("decode", decode, len(raw))


if __name__ == "__main__":
    main()
