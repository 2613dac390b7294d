"""The db thread: takes what the workers ask of a store, has a backend do it, answers. See kv_backend for the words.

Workers never wait for it: a request lies in a native queue, its coroutine sleeps, and the answer comes into the
worker's inbox (pyx/kv_queue.pxi). Everything that waits is taken at once; all commits of a group share one write and
one flush. The thread opens the backend itself, so that nobody else waits for that either, and answers with the reason
if it could not.
"""

import _thread
import collections
import threading
import time

from .kv_backend import FAILED, StoreError

READ, SCAN, COUNT = 0, 1, 2  # KvRequest
FLUSH_INTERVAL = 0.1  # seconds after which a write that nobody waited for is flushed
# On a disk that flushes in a fraction of a millisecond, groups would be small and the thread would do little but flush:
# while many write, it lets them gather. A single writer is never held up.
GATHER_FROM = 8  # commits of the group before
SWEEP_INTERVAL = 1.0  # seconds between looks for expired keys
SWEEP_PAUSE = 0.02  # the same while there are more of them than one step removes
SWEEP_STEP = 200  # keys
CLOSED = "the store is closed"


class Service:
    """The life of one store.

    engine: its kv_* methods are the queue
    open_backend: makes the Backend; raises StoreError
    sync: "always", "interval" or "never"
    """

    def __init__(self, engine, open_backend, sync):
        self.engine = engine
        self.open_backend = open_backend
        self.always = sync == "always"
        self.flushes = sync != "never"
        self.backend = None
        self.failure = CLOSED
        self.jobs = collections.deque()
        self.opened = threading.Event()
        self.ended = threading.Event()
        self.stopping = False
        self.failing = False
        self.sweep_at = time.monotonic()
        self.grouped = 0  # commits of the last group
        self.flush_at = None  # when what was written must be flushed; None: nothing was
        self.watch = None  # of a store that others write to, too
        self.deaf = False  # events may have been missed, and nobody was told yet

    def start(self):
        """Start the thread. `opened` is set when the backend is open or could not be opened."""
        _thread.start_new_thread(self.run, ())

    def stop(self, seconds):
        """Answer what waits, flush and close. False: that took too long."""
        self.stopping = True
        self.engine.kv_wake()
        return self.ended.wait(seconds)

    def reopen(self):
        """Try again what failed."""
        if self.backend is None and self.opened.is_set():
            self.opened.clear()
            self.post(self.open)

    def post(self, job):
        """Have `job()` run on the db thread, between two groups. From any thread."""
        self.jobs.append(job)
        self.engine.kv_wake()

    def call(self, job, *args):
        """Run `job(backend, *args)` on the db thread and return its result, or raise what it raised."""
        answer = Answer()
        self.post(lambda: answer.run(lambda: job(self.open_one(), *args)))
        return answer.wait(self.ended)

    def open_one(self):
        """The backend, if it is open."""
        if self.backend is None:
            raise StoreError(self.failure)
        return self.backend

    # ---- The thread ----------------------------------------------------------------------------------------------

    def run(self):
        """The thread's whole life."""
        try:
            self.open()
            while not self.stopping:
                self.safe_turn()
            self.turn(0)
        finally:
            self.close()
            self.ended.set()

    def open(self):
        """Open the backend, or keep the reason why not."""
        try:
            self.backend = self.open_backend()
            self.failure = CLOSED
            for level, note in self.backend.notes:
                self.engine.log(level, note)
        except StoreError as error:
            self.failure = str(error)
        except Exception as error:
            self.failure = f"the store can not be opened: {error!r}"
        self.opened.set()
        self.engine.notify()

    def close(self):
        backend, self.backend = self.backend, None
        try:
            if self.watch is not None:
                self.watch.stop()
            if backend is not None:
                backend.close()
        except Exception as error:
            self.engine.log("error", f"closing the store: {error}")

    def safe_turn(self):
        """A turn whose failure does not end the thread: somebody always waits for it."""
        try:
            self.turn(self.pause())
        except Exception as error:
            self.say_failing(error)
            time.sleep(FLUSH_INTERVAL)

    def turn(self, pause):
        """Wait, then do one group of requests, the jobs and the care."""
        if self.always and self.grouped >= GATHER_FROM:
            self.engine.kv_gather(self.grouped)
        asks, commits = self.engine.kv_take(int(pause * 1000 + 0.999))
        self.grouped = len(commits)
        if self.backend is not None and self.backend.shared:
            self.listen()
        if asks:
            self.engine.kv_answer([self.answer(*ask) for ask in asks])
        if commits:
            self.engine.kv_answer_commits(self.commit(commits))
        while self.jobs:
            self.jobs.popleft()()
        if self.backend is not None:
            self.tend()

    def answer(self, request, what):
        """What one request gets: the backend's answer, or a text that says why there is none."""
        try:
            backend = self.open_one()
            if request == READ:
                return backend.read(what)
            if request == SCAN:
                return backend.scan(*what)
            if request == COUNT:
                return backend.count(*what)
            return f"the store does not know request {request}"
        except Exception as error:
            return reason(error)

    def commit(self, commits):
        """The results of a group of commits."""
        try:
            results = self.open_one().commit(commits)
        except Exception as error:
            results = [(FAILED, 0, reason(error))] * len(commits)
        if any(result[0] == FAILED for result in results):
            # What was written may have been kept in part: the cache must not know better than the store.
            self.engine.kv_clear()
        elif self.flushes and self.flush_at is None:
            if not self.always or not all(commit[3] for commit in commits):
                self.flush_at = time.monotonic() + FLUSH_INTERVAL
        return results

    # ---- Care ----------------------------------------------------------------------------------------------------

    def pause(self):
        """Seconds until the thread has something to do by itself."""
        if self.backend is None or self.jobs:
            return 0 if self.jobs else 3600
        due = self.sweep_at if self.flush_at is None else min(self.sweep_at, self.flush_at)
        return max(0, due - time.monotonic())

    def tend(self):
        """Flush and sweep when it is time."""
        now = time.monotonic()
        try:
            if self.flush_at is not None and now >= self.flush_at:
                self.flush_at = now + SWEEP_INTERVAL  # when it fails
                self.backend.flush()
                self.flush_at = None
            if now >= self.sweep_at:
                self.sweep_at = now + SWEEP_INTERVAL
                gone = self.backend.sweep(SWEEP_STEP)
                if gone:
                    self.engine.kv_expired(gone, self.backend.version)
                    self.sweep_at = now + SWEEP_PAUSE
                self.failing = False
        except Exception as error:
            self.say_failing(error)

    def listen(self):
        """Begin or end to listen, as the applications want."""
        try:
            self.tend_watch()
        except Exception as error:
            self.say_failing(error)

    def tend_watch(self):
        """Listen to the commits of all while an application watches. What an application asks after it began to watch
        is answered after this, so it misses nothing; if this fails, it is told later that it may have."""
        watched = self.engine.kv_watched()
        if watched and self.watch is None:
            try:
                self.watch = self.backend.watch(self.engine.kv_hear)
            except Exception:
                self.deaf = True
                raise
            if self.deaf:
                self.deaf = False
                self.engine.kv_hear([None])
        elif not watched and self.watch is not None:
            watch, self.watch = self.watch, None
            watch.stop()

    def say_failing(self, error):
        """Log a failure of what nobody has asked for, once until it works again. Workers log those of requests."""
        if not self.failing:
            self.failing = True
            self.engine.log("error", f"heart.v1.kv.disk: {reason(error)}")


def reason(error):
    """What to say about a failure."""
    return str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"


class Answer:
    """What a job on the db thread gave, for the thread that asked."""

    def __init__(self):
        self.done = threading.Event()
        self.value = self.error = None

    def run(self, job):
        try:
            self.value = job()
        except BaseException as error:
            self.error = error
        self.done.set()

    def wait(self, ended):
        """The job's result. `ended`: the thread is gone, nothing will come."""
        while not self.done.wait(0.5):
            if ended.is_set() and not self.done.is_set():
                raise StoreError(CLOSED)
        if self.error is not None:
            raise self.error
        return self.value
