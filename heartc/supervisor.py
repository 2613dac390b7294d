"""Runs a server: starts the workers, says where it listens, reloads on SIGHUP or a changed file, drains on SIGTERM.

The main thread sleeps in poll() on three descriptors: signals, the workers' answers, changed files. It asks workers by
Engine.command and reads their answers by Engine.phase; no step waits for a worker without a time limit.
"""

import _thread
import os
import select
import signal
import sys
import time

from . import __version__, lualib, notify, sockets, tls
from .errors import HeartError

RELOAD_ANSWER = 5.0  # seconds for a worker to load the new code
CLOSE_PATIENCE = 10.0  # seconds for the disk store to flush and close
LOG_FLUSH = 1000  # ms for the last log lines
LOAD_PATIENCE = None  # scripts may take as long as they like to load at start-up


def serve(settings):
    """Run the server until it is told to stop. Returns the exit status."""
    from . import _core

    notifier, keep_alive = notify.from_environment()
    try:
        stdlib = lualib.stdlib_path()
        _core.bind_lua(lualib.luajit_path(), __version__)
        settings.stdlib = stdlib
        if settings.site:
            settings.script = os.path.join(stdlib, "heart", "site.lua")
        settings.package_path = lualib.package_path(settings.script, stdlib)
        settings.package_cpath = lualib.package_cpath(settings.script)
        settings.libraries = lualib.libraries()
        wanted, listeners = sockets.open_all(settings)
    except HeartError as error:
        print(f"heart: {error}", file=sys.stderr)
        notifier.status(str(error))
        return error.status
    engine = _core.Engine(settings, listeners, sys.__stdout__.fileno())
    status = Supervisor(engine, settings, wanted, notifier, keep_alive).run()
    sockets.remove_unix(wanted)
    engine.stop_logs(LOG_FLUSH)
    sys.stderr.flush()
    # Threads may still be on their way out, or stuck in a handler: nothing waits for them.
    os._exit(status)


class Supervisor:
    """The life of one server process."""

    def __init__(self, engine, settings, wanted, notifier, keep_alive):
        self.engine = engine
        self.settings = settings
        self.wanted = wanted
        self.notifier = notifier
        self.keep_alive = keep_alive
        self.watchdog = None
        self.workers = range(engine.workers())
        self.signals = []
        self.poll = select.poll()
        self.poll.register(engine.notify_fd(), select.POLLIN)
        self.watcher = None
        self.store = None
        self.store_wanted = False
        self.admin = None

    def run(self):
        """Start, serve, stop. Returns the exit status."""
        self.catch_signals()
        for i in self.workers:
            _thread.start_new_thread(self.engine.run, (i,))
        if not self.start():
            if self.stopping():
                return self.stop()
            self.close_store()
            return 1
        if self.settings.watch:
            self.watch()
        for address in self.wanted:
            print(f"listening on {address.url()}", file=sys.stderr, flush=True)
        self.notifier.ready(self.describe())
        if self.keep_alive is not None:
            self.watchdog = notify.Watchdog(self.notifier, self.engine, self.keep_alive)
        while not self.stopping():
            if self.take(signal.SIGHUP) or (self.watcher is not None and self.watcher.changed()):
                self.notifier.reloading()
                self.notifier.ready(self.reload() or self.describe())
            else:
                self.wait(None)
        return self.stop()

    def describe(self):
        """The state of a server that serves, in one line."""
        return f"serving {', '.join(address.url() for address in self.wanted)}, workers: {len(self.workers)}"

    # ---- Waiting -------------------------------------------------------------------------------------------

    def catch_signals(self):
        """Turn signals into entries of self.signals, and wake poll() for them."""
        readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
        self.poll.register(readable, select.POLLIN)
        self.wakeup = readable
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _frame: self.signals.append(number))
            # Any thread may get the signal: blocked in workers, it would be blocked in the programs they start, too.
            signal.siginterrupt(number, False)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would hide how the programs of an application end

    def wait(self, seconds):
        """Sleep until something happens, at most `seconds` (None: for ever)."""
        if self.watchdog is not None:
            seconds = self.watchdog.limit(seconds)
        for fd, _ in self.poll.poll(None if seconds is None else max(0, seconds * 1000)):
            if self.watcher is None or fd != self.watcher.fileno():
                self.empty(fd)
        if self.watchdog is not None:
            self.watchdog.look()
        self.look_for_store()
        tls.look(self.engine)

    @staticmethod
    def empty(fd):
        """Read what an eventfd or the wake-up pipe has."""
        try:
            os.read(fd, 512)
        except BlockingIOError:
            pass

    def wait_for(self, done, seconds):
        """Wait until `done(phase)` holds for all workers, a stop signal comes or the time is over. Returns the
        workers for which it does not hold. An application that asks for the disk store gets it meanwhile."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            missing = [i for i in self.workers if not done(self.engine.phase(i))]
            left = None if deadline is None else deadline - time.monotonic()
            if not missing or self.stopping() or (left is not None and left <= 0):
                return missing
            self.wait(left)

    def take(self, number):
        """Whether this signal has come; it is forgotten then."""
        found = number in self.signals
        self.signals = [s for s in self.signals if s != number]
        return found

    def stopping(self):
        """Whether a signal that ends the server has come."""
        return signal.SIGTERM in self.signals or signal.SIGINT in self.signals

    def command(self, name):
        """Ask all workers for something."""
        for i in self.workers:
            self.engine.expect(i)
            self.engine.command(name, i)

    # ---- Starting ------------------------------------------------------------------------------------------

    def start(self):
        """Load the script in all workers, then let them serve. False: it failed and the reason was printed, or the
        server is to stop already."""
        if self.wait_for(lambda phase: phase in ("loaded", "failed"), LOAD_PATIENCE):
            return False  # a signal came first
        if not self.all_in("loaded"):
            self.say_not_started()
            return False
        failure = self.store_failure()
        if failure is not None:
            print(f"heart: {failure}", file=sys.stderr)
            self.notifier.status(failure)
            return False
        self.command("serve")
        self.wait_for(lambda phase: phase in ("serving", "failed"), RELOAD_ANSWER)
        if not self.stopping() and not self.all_in("serving"):
            self.say_not_started()
            return False
        return True

    def say_not_started(self):
        """Print why a worker could not start."""
        message = self.first_message("failed")
        if message.startswith("--"):
            message = message.split("\n", 1)[0]  # what an option asks for can not be had: no code is to blame
        print(f"heart: {message}", file=sys.stderr)
        self.notifier.status(message)

    def all_in(self, phase):
        """Whether all workers answered this."""
        return all(self.engine.phase(i) == phase for i in self.workers)

    def first_message(self, phase):
        """What the first worker that answered `phase` had to say."""
        return next((self.engine.message(i) for i in self.workers if self.engine.phase(i) == phase), "no answer")

    # ---- The disk store ------------------------------------------------------------------------------------

    def look_for_store(self):
        """If an application has asked for the disk store, start the db thread, or let it try again."""
        if not self.engine.kv_wanted():
            return
        self.store_wanted = True
        if self.store is None:
            from .kv_service import Service

            self.store = Service(self.engine, self.open_backend, self.settings.kv_sync)
            self.store.start()
        else:
            self.store.reopen()

    def open_backend(self):
        """The store that the options name. Runs on the db thread."""
        if self.settings.kv:
            from .kv_redis import RedisStore

            return RedisStore(self.settings.kv)
        from .kv_store import Store

        store = Store(self.settings.db, always=self.settings.kv_sync == "always")
        self.open_admin()
        return store

    def open_admin(self):
        """Let `heart kv` work on the open database. A server without it serves all the same."""
        from .kv_admin import Server

        if self.admin is None:
            admin = Server(self.settings.db, self.store, self.engine.kv_hear)
            try:
                admin.start()
                self.admin = admin
            except HeartError as error:
                self.engine.log("warn", f"heart kv can not work on the open database: {error}")

    def store_failure(self):
        """Why the store that the code just loaded wants is not there, or None. Waits until that is known."""
        self.look_for_store()
        if not self.store_wanted:
            return None
        while not self.store.opened.is_set() and not self.stopping():
            self.wait(None)
        return self.store.failure if self.store.backend is None else None

    # ---- Reloading -----------------------------------------------------------------------------------------

    def reload(self):
        """All workers load the new code beside the old; only if all can, all switch. Returns what prevented it."""
        late = self.wait_for(lambda phase: phase == "serving", RELOAD_ANSWER)  # an earlier reload may have hung
        if late:
            return self.say_failed(self.names(late))
        self.store_wanted = False
        self.command("prepare")
        late = self.wait_for(lambda phase: phase in ("prepared", "refused"), RELOAD_ANSWER)
        if self.stopping():
            return None
        failure = self.store_failure() if not late and self.all_in("prepared") else None
        if failure is None and not late and self.all_in("prepared"):
            self.command("commit")
            self.wait_for(lambda phase: phase == "serving", RELOAD_ANSWER)
            self.engine.log("info", "reloaded: new requests go to the new code")
            self.watch_files()
            return None
        reason = failure or (self.names(late) if late else self.first_message("refused"))
        self.command("drop")
        self.wait_for(lambda phase: phase == "serving", RELOAD_ANSWER if not late else 0)
        return self.say_failed(reason)

    @staticmethod
    def names(late):
        """Which workers did not answer in time."""
        return f"{', '.join(f'worker {i}' for i in late)} did not answer within {RELOAD_ANSWER:g} s"

    def say_failed(self, reason):
        """Log that the reload changed nothing, unless the server ends anyway; returns the message."""
        message = f"reload failed, the old code goes on: {reason}"
        if not self.stopping():
            self.engine.log("error", message)
        return message

    def watch(self):
        """Reload when a file of the application changes."""
        from .watch import Watcher

        self.watcher = Watcher()
        self.poll.register(self.watcher.fileno(), select.POLLIN)
        self.watch_files()

    def watch_files(self):
        """Follow what the new code was loaded from."""
        if self.watcher is not None:
            self.watcher.follow([self.settings.script, *self.engine.files()])

    # ---- Stopping ------------------------------------------------------------------------------------------

    def close_store(self):
        """Flush and close the database. What was acknowledged as durable is on the disk whether this ends or not."""
        if self.admin is not None:
            self.admin.stop()
        if self.store is not None and not self.store.stop(CLOSE_PATIENCE):
            print(f"heart: the disk store did not close within {CLOSE_PATIENCE:g} s", file=sys.stderr)

    def stop(self):
        """Drain. Status 0 if all workers ended in time, 1 if some had to be left."""
        self.signals.clear()
        self.notifier.stopping("requests in flight are finished")
        self.engine.log("info", "stopping: requests in flight are finished")
        for i in self.workers:
            self.engine.command("drain", i)
        late = self.wait_for(lambda phase: phase == "ended", self.settings.drain_timeout)
        self.close_store()
        if not late:
            return 0
        if not self.stopping():
            for i in late:
                print(
                    f"heart: worker {i} did not finish within --drain-timeout {self.settings.drain_timeout:g} s "
                    f"({self.engine.busy(i)} open connections)",
                    file=sys.stderr,
                )
        return 1
