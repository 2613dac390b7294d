"""Instructions per request in user space, counted by valgrind: exact, but blind to the kernel's share."""

import re

import load
import servers
from process import tool

FEW, MANY = 4_000, 14_000
CONNECTIONS = 8
START_SECONDS = 120.0
COLLECTED = re.compile(r"Collected : (\d+)")


def measure(name):
    """Instructions that the server `name` spends on one request of /hello: the slope between two runs."""
    return (total(name, MANY) - total(name, FEW)) / (MANY - FEW)


def total(name, requests):
    """Instructions from start to end of a server that answers `requests` requests."""
    prefix = [tool("valgrind"), "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    with servers.start(name, 1, prefix=prefix, patience=START_SECONDS) as server:
        load.h2load(server.url + "/hello", requests=requests, connections=CONNECTIONS)
    return sum(map(int, COLLECTED.findall(server.messages())))
