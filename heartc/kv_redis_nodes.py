"""Sends batches of commands to one Redis or Valkey server, or to the nodes of a cluster.

The connections are those of the official client; routing is here, because the client's cluster class refuses scripts
in pipelines and repeats commands as it sees fit. A batch goes to all its nodes before the first answer is read. What
was not answered, or was answered with "not here" or "not now", is sent again, for at most PATIENCE seconds; so every
command must be one that may be done twice (reads, and scripts that remember what they did).

A node that did not answer is down: for RETRY seconds commands for it fail at once, then one attempt is made. So a node
that is lost holds up the others once, for PATIENCE + ANSWER seconds at most.
"""

import importlib.util
import sys
import time

from .kv_backend import StoreError

CONNECT = 1.0  # seconds for a connection
ANSWER = 5.0  # seconds without a byte of an answer
PATIENCE = 5.0  # seconds in which a command is tried again
RETRY = 0.5  # seconds between attempts at a node that is down
FIRST_PAUSE, LAST_PAUSE = 0.01, 0.25  # seconds between attempts, doubled each time
COMMANDS = 512  # that are sent before their answers are read
BYTES = 4 << 20
# The client's names for answers that may be another in a moment.
NOT_NOW = {"BusyLoadingError", "MasterDownError", "ClusterDownError", "TryAgainError", "ReadOnlyError"}


class Request:
    """One command for a bucket. In the end it has a `reply` (maybe a refusal, an exception) or an `error`, a text; then
    `unknown` says whether a server may have done it."""

    __slots__ = ("asked", "bucket", "error", "reply", "sent", "unknown", "words")

    def __init__(self, bucket, words):
        self.bucket = bucket
        self.words = words
        self.reply = self.error = self.asked = None
        self.sent = self.unknown = False


class Node:
    """One server and the connection to it."""

    def __init__(self, address, options, client):
        self.address = address
        self.client = client
        self.connection = client.connection_class(host=address[0], port=address[1], **options)
        self.down_until = 0.0
        self.down = None

    def __str__(self):
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def send(self, requests):
        """Send commands without waiting for their answers. Raises OSError or a client's error."""
        words = []
        for request in requests:
            if request.asked:
                words.append(("ASKING",))
            words.append(request.words)
        packed = self.connection.pack_commands(words)
        self.open()
        for request in requests:
            request.sent = True
        self.connection.send_packed_command(packed, check_health=False)

    def open(self):
        """Connect, anew if the server closed the connection while nothing was asked of it."""
        self.connection.connect()
        try:
            usable = not self.connection.can_read()
        except self.client.failures:
            usable = False
        if not usable:
            self.connection.disconnect()
            self.connection.connect()

    def receive(self, requests):
        """Read the answers to `requests`."""
        for request in requests:
            if request.asked:
                self.answer()
                request.asked = None
            request.reply = self.answer()
            request.error = None

    def answer(self):
        """One answer; a refusal is returned, not raised."""
        try:
            return self.connection.read_response()
        except self.client.ResponseError as error:
            return error

    def ask(self, *words):
        """One command and its answer, outside batches."""
        request = Request(None, words)
        self.send([request])
        self.receive([request])
        if isinstance(request.reply, Exception):
            raise request.reply
        return request.reply

    def lost(self, error):
        """The connection is of no use any more."""
        self.connection.disconnect()
        self.down = describe(error)

    def close(self):
        """Close the connection."""
        self.connection.disconnect()


class Client:
    """What is used of the redis package: its connections, which are imported when a store on Redis is opened."""

    def __init__(self, tls):
        connection, exceptions = import_connections()
        self.ResponseError = exceptions.ResponseError
        self.AuthenticationError = exceptions.AuthenticationError
        self.failures = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
        self.connection_class = connection.SSLConnection if tls else connection.Connection

        class Parser(connection.DefaultParser):
            """Knows the answers of a cluster, too."""

            EXCEPTION_CLASSES = connection.DefaultParser.EXCEPTION_CLASSES | {
                "ASK": exceptions.AskError,
                "CLUSTERDOWN": exceptions.ClusterDownError,
                "MASTERDOWN": exceptions.MasterDownError,
                "MOVED": exceptions.MovedError,
                "TRYAGAIN": exceptions.TryAgainError,
            }

        self.parser = Parser


def import_connections():
    """redis.connection and redis.exceptions without their package, which would import asyncio and every command of
    every module: 12 MB instead of 1."""
    if "redis" in sys.modules:
        from redis import connection, exceptions

        return connection, exceptions
    sys.modules["redis"] = importlib.util.module_from_spec(importlib.util.find_spec("redis"))
    try:
        from redis import connection, exceptions
    finally:
        del sys.modules["redis"]  # whoever imports it gets the whole
    return connection, exceptions


class Nodes:
    """The servers of a store. `target` says which (see kv_redis_url), `tags` are the hash tags of its buckets."""

    def __init__(self, target, slots):
        self.target = target
        self.client = Client(target.tls)
        self.options = {
            "db": target.db,
            "username": target.user,
            "password": target.password,
            "socket_connect_timeout": CONNECT,
            "socket_timeout": ANSWER,
            "socket_keepalive": True,
            "parser_class": self.client.parser,
        }
        if target.tls:
            self.options["ssl_check_hostname"] = True
        self.slots = slots
        self.nodes = {}
        self.owners = [target.addresses[0]] * len(slots)
        self.stale = target.cluster
        self.refreshed = 0.0

    def node(self, address):
        """The node at an address."""
        if address not in self.nodes:
            self.nodes[address] = Node(address, self.options, self.client)
        return self.nodes[address]

    def masters(self):
        """The nodes that hold buckets, each with the least bucket that it holds."""
        found = {}
        for bucket, address in enumerate(self.owners):
            found.setdefault(address, bucket)
        return [(self.node(address), bucket) for address, bucket in found.items()]

    def close(self):
        """Close all connections."""
        for node in self.nodes.values():
            node.close()

    # ---- Batches ---------------------------------------------------------------------------------------------

    def run(self, requests):
        """Carry out requests, and return them."""
        for part in portions(requests):
            self.run_part(part)
        return requests

    def run_part(self, waiting):
        deadline, pause = time.monotonic() + PATIENCE, FIRST_PAUSE
        while True:
            if self.stale:
                self.refresh()
            waiting = self.attempt(waiting)
            if not waiting:
                return
            if time.monotonic() + pause > deadline:
                self.give_up(waiting)
                return
            time.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)

    def attempt(self, requests):
        """Send each request to its node once; returns those to be sent again."""
        again, sent = [], []
        for node, group in self.by_node(requests):
            if node.down_until > time.monotonic():
                fail(group, node)
                self.stale = self.target.cluster
                continue
            try:
                node.send(group)
                sent.append((node, group))
            except self.client.failures as error:
                again += self.no_answer(node, group, error)
            except self.client.ResponseError as error:
                again += self.sort(group, error)
        for node, group in sent:
            try:
                node.receive(group)
                node.down = None
                node.down_until = 0.0
            except self.client.failures as error:
                again += self.no_answer(node, group, error)
            again += self.sort(group)
        return again

    def by_node(self, requests):
        """(node, requests) pairs, requests in order."""
        groups = {}
        for request in requests:
            groups.setdefault(request.asked or self.owners[request.bucket], []).append(request)
        return [(self.node(address), group) for address, group in groups.items()]

    def no_answer(self, node, group, error):
        """A connection broke: what was not answered is sent again, unless the node was down before."""
        at_once = node.down_until > 0 or isinstance(error, self.client.AuthenticationError)
        node.lost(error)
        self.stale = self.target.cluster
        left = [request for request in group if request.reply is None]
        for request in left:
            request.asked = None
            request.unknown |= request.sent
        if at_once:
            node.down_until = time.monotonic() + RETRY
            fail(left, node)
            return []
        return left

    def give_up(self, requests):
        """The time is over."""
        for node, group in self.by_node(requests):
            if node.down:
                node.down_until = time.monotonic() + RETRY
                fail(group, node)
            else:
                for request in group:
                    request.error = f"{node}: {request.error}"

    # ---- Where things are ------------------------------------------------------------------------------------

    def sort(self, group, refusal=None):
        """Look at the refusals among the answers; returns the requests that are to be sent again."""
        again = []
        for request in group:
            reply = refusal or request.reply
            if not isinstance(reply, Exception):
                continue
            word = type(reply).__name__
            if self.target.cluster and word in ("MovedError", "AskError"):
                self.follow(request, reply)
            elif not (word in NOT_NOW or str(reply).startswith("BUSY")):
                request.reply = reply
                continue
            request.reply, request.error, request.sent = None, str(reply), False
            again.append(request)
        self.stale |= bool(again) and self.target.cluster
        return again

    def follow(self, request, error):
        """A bucket has moved, or is on its way."""
        address = (error.host, error.port)
        if not error.host:
            return  # the node does not know its own address; the table of slots tells it
        if type(error).__name__ == "AskError":
            request.asked = address
        else:
            self.owners[request.bucket] = address

    def refresh(self):
        """Ask any node who holds which slots. What no node knows stays as it was."""
        if time.monotonic() < self.refreshed + FIRST_PAUSE:
            return
        self.refreshed = time.monotonic()
        known = [*self.nodes, *(a for a in self.target.addresses if a not in self.nodes)]
        for address in sorted(known, key=lambda a: self.node(a).down is not None):
            node = self.node(address)
            try:
                self.learn(node.ask("CLUSTER", "SLOTS"), address)
                self.stale = False
                return
            except self.client.failures as error:
                node.lost(error)
            except self.client.ResponseError as error:
                raise StoreError(f"{self.target}: {node}: {error}{hint(error)}") from None

    def learn(self, table, asked):
        """Take over a table of slots: (first, last, master, replicas...)."""
        for first, last, master, *_ in table:
            host = master[0].decode() if master[0] else ""
            address = (host or asked[0], master[1])
            for bucket, slot in enumerate(self.slots):
                if first <= slot <= last:
                    self.owners[bucket] = address


def portions(requests):
    """Cut a list of requests so that no part is too large to be sent at once."""
    part, size = [], 0
    for request in requests:
        part.append(request)
        size += sum(len(word) for word in request.words if isinstance(word, bytes))
        if len(part) == COMMANDS or size > BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def fail(requests, node):
    """Requests for a node that is down."""
    for request in requests:
        request.error = f"{node}: {node.down}"


def describe(error):
    """A short reason for a broken connection."""
    if type(error).__name__ == "TimeoutError":
        return "no answer in time"
    cause = error.__context__ if isinstance(error.__context__, OSError) else error
    return (getattr(cause, "strerror", None) or str(cause) or type(error).__name__) + hint(error)


def hint(error):
    """What helps against a refusal."""
    text = str(error)
    low = text.lower()
    if "cluster support disabled" in low:
        return "; this is a single server: --kv redis://host:port"
    if "auth" in low or "wrongpass" in low or "invalid username" in low:
        return "; give the password in the URL: --kv redis://user:password@host:port"
    return ""
