"""static: paths, media types and dates as a second reading in Python has them."""

import calendar
import re
import time
import urllib.parse

from static_native import clean_path, date_seconds, date_text, mime_table, mime_type

MAX_LEN = 256
TYPES = {extension.encode(): mime for extension, mime in mime_table()}
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
DAY = "|".join(day[:3] for day in DAYS)
MONTH = "|".join(MONTHS)
TIME = r"(?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)"
DATES = [
    re.compile(form.encode())
    for form in (
        rf"(?:{DAY}), (?P<d>\d\d) (?P<b>{MONTH}) (?P<Y>\d{{4}}) {TIME} GMT",
        rf"(?:{'|'.join(DAYS)}), (?P<d>\d\d)-(?P<b>{MONTH})-(?P<y>\d\d) {TIME} GMT",
        rf"(?:{DAY}) (?P<b>{MONTH}) (?P<d> \d|\d\d) {TIME} (?P<Y>\d{{4}})",
    )
]


def read_path(data):
    path = urllib.parse.unquote_to_bytes(data)
    segments = [segment for segment in path.split(b"/") if segment]
    if b"\0" in path or any(segment.startswith(b".") for segment in segments):
        return None
    return b"/".join(segments) + (b"/" if segments and path.endswith(b"/") else b"") or b"."


def read_year(parts):
    if "Y" in parts:
        return int(parts["Y"])
    now = time.gmtime().tm_year
    year = now - now % 100 + int(parts["y"])
    return year - 100 if year > now + 50 else year


def read_date(data):
    found = next((match for form in DATES if (match := form.fullmatch(data))), None)
    if found is None:
        return None
    parts = found.groupdict()
    year, month, day = read_year(parts), MONTHS.index(parts["b"].decode()) + 1, int(parts["d"])
    hour, minute, second = int(parts["H"]), int(parts["M"]), int(parts["S"])
    if year < 1 or hour > 23 or minute > 59 or second > 60 or not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return calendar.timegm((year, month, day, hour, minute, second))


def fuzz_one(data):
    assert clean_path(data) == read_path(data)
    name = data.rpartition(b"/")[2]
    extension = name.rpartition(b".")[2].lower() if b"." in name else b""
    assert mime_type(data) == TYPES.get(extension, "application/octet-stream")
    seconds = date_seconds(data)
    assert seconds == read_date(data)
    if seconds is not None and seconds < 253402300800:
        assert date_seconds(date_text(seconds).encode()) == seconds
