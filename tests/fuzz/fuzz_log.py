"""log_line: whatever a message and its fields hold, a line is one valid, harmless line."""

import json
import re

from log_native import message_line

MAX_LEN = 2048
RAW = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def fuzz_one(data):
    key, _, text = data.partition(b"\xff")
    line = message_line("json", text, [(key, b"1")])
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert not RAW.search(line.decode())
    value = json.loads(line)
    expected = text.rstrip(b"\r\n").decode(errors="replace")
    assert value["message"] == expected or "\ufffd" in expected
    assert len(value) == 4
    for style in ("plain", "color"):
        line = message_line(style, text, [(key, b"1")]).decode()
        if style == "color":
            line = re.sub(r"\x1b\[\d+m", "", line)
        assert not RAW.search(line)
        first, *rest = line.removesuffix("\n").split("\n")
        assert re.match(r"\d\d:\d\d:\d\d\.\d{3} INFO  ", first)
        assert all(part.startswith("    ") for part in rest)
