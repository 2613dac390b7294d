"""Runs real Redis (or Valkey) servers for the tests, each in a folder and on ports of its own.

RedisServer   one server
RedisCluster  three masters with a replica each, or three masters alone
Proxy         loses answers of a server
"""

import contextlib
import signal
import socket
import threading

import redis
from heart_server import PATIENCE, free_port, need, wait_until
from private_server import PrivateServer

BUS = 10000  # a node of a cluster listens there too, above its port
NODE_TIMEOUT = 1000  # ms until the others of a cluster believe that a node is lost


class RedisServer(PrivateServer):
    """One server without files. `settings` are lines of its configuration."""

    name = "redis"
    end = signal.SIGKILL

    def __init__(self, program="redis-server", port=None, **settings):
        self.program = need(program, "redis-server" if program == "redis-server" else "valkey")
        super().__init__(port=port or free_port(BUS))
        self.settings = {"save": "", "appendonly": "no", "bind": "127.0.0.1"} | settings

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def start(self):
        """Start the server, or start it anew, and wait until it answers."""
        words = [self.program, "--port", self.port, "--dir", self.folder]
        for name, value in self.settings.items():
            words += [f"--{name.replace('_', '-')}", value]
        self.run(*words)
        return self

    def answers(self):
        try:
            return self.client().ping()
        except redis.AuthenticationError:
            return True
        except (redis.ConnectionError, OSError):
            return False

    def client(self, **more):
        """A client of the official kind, for looking behind Heart's back."""
        return redis.Redis(port=self.port, socket_timeout=PATIENCE, **more)

    def kill(self):
        """As a power cut would."""
        self.process.kill()
        self.process.wait()

    def pause(self):
        """The server does not answer any more, but its connections stay."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)


def is_following(replica):
    """Whether a replica's connection to its master is up. It is a master itself at first."""
    return replica.client().info("replication").get("master_link_status") == "up"


class RedisCluster:
    """Three masters, each with `replicas` replicas, as a context manager."""

    def __init__(self, program="redis-server", replicas=1, **settings):
        common = {"cluster_enabled": "yes", "cluster_node_timeout": NODE_TIMEOUT, "cluster_replica_validity_factor": 0}
        self.replicas = replicas
        self.servers = [RedisServer(program, **common | settings) for _ in range(3 * (1 + replicas))]

    @property
    def url(self):
        return "redis-cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers[:3])

    def __enter__(self):
        try:
            for server in self.servers:
                server.start()
            self.join()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def join(self):
        """Make one cluster of the servers."""
        masters, replicas = self.servers[:3], self.servers[3:]
        for n, server in enumerate(masters):
            first, last = n * 16384 // 3, (n + 1) * 16384 // 3 - 1
            server.client().execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            server.client().execute_command("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        for server in self.servers[1:]:
            server.client().execute_command("CLUSTER", "MEET", "127.0.0.1", masters[0].port)
        for server in self.servers:
            wait_until(lambda s=server: self.knows(s) == len(self.servers), "the nodes know each other")
        for n, server in enumerate(replicas):
            server.client().execute_command("CLUSTER", "REPLICATE", node_id(masters[n % 3]))
        for server in self.servers:
            wait_until(lambda s=server: cluster_info(s)["cluster_state"] == "ok", "the cluster is ready")
        for server in replicas:
            wait_until(lambda s=server: is_following(s), "replicas follow")

    def knows(self, server):
        return int(cluster_info(server)["cluster_known_nodes"])

    def server_of(self, slot):
        """The server that is the master of a slot, as a living node says."""
        for server in self.servers:
            if server.process.poll() is None:
                for first, last, master, *_ in server.client().execute_command("CLUSTER", "SLOTS"):
                    if first <= slot <= last:
                        return next(s for s in self.servers if s.port == master[1])
        raise AssertionError(f"nobody has slot {slot}")

    def move(self, slot, source, target):
        """Move a slot with all its keys to another master."""
        to, back = target.client(), source.client()
        to.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", node_id(source))
        back.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", node_id(target))
        while keys := back.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            yield keys
            back.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for server in (target, source):
            server.client().execute_command("CLUSTER", "SETSLOT", slot, "NODE", node_id(target))

    def close(self):
        for server in self.servers:
            server.close()


def node_id(server):
    """The name of a node in its cluster."""
    return server.client().execute_command("CLUSTER", "MYID").decode()


def cluster_info(server):
    """What a node says about its cluster."""
    info = server.client().execute_command("CLUSTER", "INFO")
    if isinstance(info, bytes):
        info = dict(line.split(":", 1) for line in info.decode().split())
    return info


class Proxy:
    """Stands between a store and a server, as a context manager; `swallow` answers, and they never arrive."""

    def __init__(self, port):
        self.target = ("127.0.0.1", port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.swallow = 0  # connections whose next answer is lost together with the connection
        self.swallowed = 0

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            threading.Thread(target=self.forward, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self.forward, args=(server, client, True), daemon=True).start()

    def forward(self, source, target, answers):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if answers and self.swallow:
                    self.swallow -= 1
                    self.swallowed += 1
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
