"""ws_frame and ws_offer: what is accepted can be written back, and no prefix is read differently."""

import ws_native as ws

MAX_LEN = 256


def is_text(data):
    try:
        data.decode()
        return True
    except UnicodeDecodeError:
        return False


def fuzz_one(data):
    frame = ws.parse(data)
    if isinstance(frame, ws.Frame):
        assert frame.size <= len(data)
        if frame.fin:
            assert ws.put(frame.opcode, frame.length, frame.mask, frame.compressed) == data[: frame.size]
        assert ws.parse(data[: frame.size]) == frame
        assert ws.parse(data[: frame.size - 1]) is None
    assert (ws.utf8([data]) is True) == is_text(data)
    half = len(data) // 2
    assert ws.utf8([data[:half], data[half:]]) == ws.utf8([data])
    ws.close_payload(data)
    ws.accept(data)
    chosen = ws.choose(data, True)
    if chosen:
        params, answer = chosen
        assert 9 <= params.server_bits <= 15
        assert ws.choose(answer, True)[1] == answer
        assert ws.accepted(answer, False)
    kept = ws.accepted(data, False)
    assert kept is None or 8 <= min(kept.client_bits, kept.server_bits)
