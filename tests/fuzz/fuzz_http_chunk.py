"""http_chunk: one answer however the input is split, and the same as a second implementation's."""

from codecs_native import dechunk
from http_reference import read_chunks

MAX_LEN = 512


def pieces(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


def fuzz_one(data):
    whole = event, body, used = dechunk([data])
    for size in (1, 3, 8):
        assert dechunk(pieces(data, size)) == whole
    expected = read_chunks(data)
    if event == "done":
        assert expected == (body, used)
    else:
        assert expected is None, whole
