"""Reads what --channels names: redis://host:port/db?prefix=shop:."""

import os
from urllib.parse import parse_qsl

from .kv_redis_url import read_url

PREFIX = "heart:channel:"
PREFIX_MAX = 200  # bytes


def read_channels(text):
    """What the bridge of the channels (lua_stdlib/heart/channel_link.lua) is given, all of it texts. Raises ValueError
    if `text` is no such URL. `origin` tells this process apart from all others."""
    where, mark, query = text.partition("?")
    target = read_url(where)
    parameters = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True)) if mark else {}
    prefix = parameters.pop("prefix", PREFIX)
    user, password = target.user or "", target.password or ""
    if target.cluster or parameters or not 0 < len(prefix.encode()) <= PREFIX_MAX or "\0" in prefix + user + password:
        raise ValueError
    host, port = target.addresses[0]
    return {
        "url": str(target),
        "host": host,
        "port": str(port),
        "tls": "yes" if target.tls else "",
        "user": user,
        "password": password,
        "db": str(target.db),
        "prefix": prefix,
        "origin": os.urandom(8).hex(),
    }
