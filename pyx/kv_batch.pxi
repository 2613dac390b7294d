# Requests of a queued store as Python objects for the db thread, and its answers back into them: the only file between
# the two. What the tuples mean is written down in heartc/kv_backend.py. Runs on the db thread, which holds the GIL but
# while it waits and while it answers.

cdef str INCOMPLETE = "the store did not answer every request"


cdef inline bytes span_bytes(Span s):
    return s.p[:s.n] if s.n else b""


cdef inline bytes text_bytes(KvTxn *t, KvText text):
    return span_bytes(txn_text(t, text))


cdef inline Span bytes_span(bytes b) noexcept:
    return Span(<const char *>b, len(b))


# ---- Requests --------------------------------------------------------------------------------------------

cdef tuple queue_take_gil(KvQueue *q, int ms):
    """Wait at most `ms` for requests. Returns those of one group: (asks, commits)."""
    cdef int rc
    cdef uint32_t i
    with nogil:
        queue_wait(q, ms)
        queue_take(q)
        rc = queue_group(q)
    if rc != OK and q.nasks + q.ncommits == 0:
        raise MemoryError("no memory for the requests to the store")
    return [ask_gil(q.asks[i]) for i in range(q.nasks)], [commit_gil(q.commits[i]) for i in range(q.ncommits)]


cdef tuple ask_gil(KvTxn *t):
    """(request, what it asks for)"""
    cdef KvScan *s = &t.scan
    cdef uint32_t i
    if t.request == KV_READ:
        return KV_READ, [text_bytes(t, t.reads[i].key.text) for i in range(t.asked, t.nreads)]
    if t.request == KV_SCAN:
        return KV_SCAN, (text_bytes(t, s.start), text_bytes(t, s.stop), s.limit, bool(s.reverse), bool(s.keys_only))
    if t.request == KV_COUNT:
        return KV_COUNT, (text_bytes(t, s.start), text_bytes(t, s.stop))
    return t.request, ()


cdef tuple commit_gil(KvTxn *t):
    """(reads, ranges, writes, sync)"""
    cdef uint32_t i
    cdef KvRange *r
    reads = [(text_bytes(t, t.reads[i].key.text), t.reads[i].version) for i in range(t.nreads)]
    ranges = []
    for i in range(t.nranges):
        r = &t.ranges[i]
        ranges.append((text_bytes(t, r.start), text_bytes(t, r.stop), r.limit, bool(r.reverse), r.digest, r.version))
    return reads, ranges, [write_gil(t, &t.writes[i]) for i in range(t.nwrites)], bool(t.sync)


cdef tuple write_gil(KvTxn *t, KvWrite *x):
    """(action, key, value, expires, arg)"""
    arg = None
    if x.action == KV_CAS:
        arg = x.arg
    elif x.action == KV_INCR:
        arg = (x.by, x.init)
    return x.action, text_bytes(t, x.key.text), text_bytes(t, x.value) if x.has_value else None, x.expires, arg


# ---- Answers ---------------------------------------------------------------------------------------------

cdef int queue_answer_asks_gil(KvStore *s, list answers) except -1:
    """One answer for each ask: what the backend gave, or a text that says why it failed."""
    cdef KvQueue *q = store_queue(s)
    cdef uint32_t i
    cdef bint complete = len(answers) == q.nasks
    for i in range(q.nasks):
        try:
            ask_answer_gil(s, q.asks[i], answers[i] if complete else INCOMPLETE)
        except Exception as error:
            items_clear(q.asks[i])
            txn_fail_gil(q.asks[i], f"{type(error).__name__}: {error}")
    with nogil:
        for i in range(q.nasks):
            queue_answer(q.asks[i])
    q.nasks = 0
    return 0


cdef int ask_answer_gil(KvStore *s, KvTxn *t, object answer) except -1:
    t.result = OK
    if isinstance(answer, str):
        txn_fail_gil(t, answer)
    elif t.request == KV_READ:
        read_answer_gil(s, t, answer)
    elif t.request == KV_SCAN:
        scan_answer_gil(s, t, answer[0])
        t.scan.more = answer[1]
    elif t.request == KV_COUNT:
        t.scan.count = answer
    return 0


cdef int txn_fail_gil(KvTxn *t, str why) except -1:
    cdef bytes text = why.encode("utf-8", "surrogateescape")
    t.result = KV_FAILED
    t.error.n = 0
    buf_append(&t.error, text, len(text))
    return 0


cdef int read_answer_gil(KvStore *s, KvTxn *t, list found) except -1:
    """The items of a KV_READ, which the cache learns too."""
    cdef uint64_t version, expires
    cdef uint32_t i
    cdef KvBlob *value
    cdef KvRead *r
    for i, record in enumerate(found):
        value = NULL
        version = expires = 0
        if record is not None:
            version, expires, data = record
            value = blob_gil(data)
        r = &t.reads[t.asked + i]
        cache_put(&store_queue(s).cache, txn_text(t, r.key.text), value, version, expires)
        if read_item(t, r, version, expires, value) != OK:
            blob_release(value)
            raise MemoryError("no memory for an answer of the store")
    return 0


cdef int scan_answer_gil(KvStore *s, KvTxn *t, list items) except -1:
    cdef uint64_t version, expires
    for key, version, expires, data in items:
        item_gil(t, bytes_span(key), version, expires, NULL if t.scan.keys_only else blob_gil(data))
    t.scan.version = s.version
    return 0


cdef KvBlob *blob_gil(bytes data) except NULL:
    cdef KvBlob *b = blob_new(data, len(data))
    if b == NULL:
        raise MemoryError("no memory for a value of the store")
    return b


cdef int item_gil(KvTxn *t, Span key, uint64_t version, uint64_t expires, KvBlob *value) except -1:
    if txn_item(t, key, version, expires, value) == NULL:
        blob_release(value)
        raise MemoryError("no memory for an answer of the store")
    return 0


# ---- Commits ---------------------------------------------------------------------------------------------

cdef int queue_answer_commits_gil(KvStore *s, list results) except -1:
    """One result for each commit, in their order. What they changed is published before any is answered."""
    cdef KvQueue *q = store_queue(s)
    cdef uint32_t i
    cdef bint complete = len(results) == q.ncommits
    for i in range(q.ncommits):
        try:
            commit_answer_gil(s, q.commits[i], results[i] if complete else (KV_FAILED, 0, INCOMPLETE))
        except Exception as error:
            cache_clear(&q.cache)
            txn_fail_gil(q.commits[i], f"{type(error).__name__}: {error}")
    with nogil:
        for i in range(q.ncommits):
            queue_answer(q.commits[i])
    q.ncommits = 0
    return 0


cdef int commit_answer_gil(KvStore *s, KvTxn *t, tuple result) except -1:
    cdef int status
    cdef uint64_t version
    cdef uint32_t i
    status, version, outcomes = result
    t.result = status
    if status == KV_FAILED:
        return txn_fail_gil(t, outcomes)
    if status != OK:
        t.failed = outcomes or 0
        if t.failed < t.nwrites:
            t.writes[t.failed].count = version
        return 0
    t.version = version
    for i in range(t.nwrites):
        write_answer_gil(s, t, &t.writes[i], outcomes[i] if outcomes is not None else None)
    if version > s.version:
        word64_release(&s.version, version)
    return 0


cdef int write_answer_gil(KvStore *s, KvTxn *t, KvWrite *x, object outcome) except -1:
    """Keep what the write gave, and publish what its key holds now."""
    cdef Span key = txn_text(t, x.key.text)
    cdef bytes data
    if x.action == KV_DELETE_PREFIX:
        x.count = len(outcome)
        t.scan.more = x.count >= KV_PREFIX_STEP
        for data in outcome:
            publish_gone(s, bytes_span(data), t.version, True)
    elif x.action == KV_DELETE or not x.has_value and x.action == KV_CAS:
        x.found = bool(outcome) if x.action == KV_DELETE else x.arg != 0
        publish_gone(s, key, t.version, x.found)
    elif x.action == KV_INCR:
        x.number, data, x.expires = outcome
        publish(s, key, bytes_span(data), t.version, x.expires)
    elif x.action == KV_EXPIRE:
        x.found = outcome is not None
        if x.found:
            data = outcome
            publish(s, key, bytes_span(data), t.version, x.expires)
    else:
        publish(s, key, txn_text(t, x.value), t.version, x.expires)
    return 0


cdef void publish(KvStore *s, Span key, Span value, uint64_t version, uint64_t expires) noexcept:
    """The cache and the watchers learn what a key holds since this version."""
    cdef KvBlob *blob = blob_new(value.p, value.n)
    if blob == NULL:
        cache_forget(&store_queue(s).cache, key)
        watch_lose(s)
        return
    cache_put(&store_queue(s).cache, key, blob, version, expires)
    publish_event(s, key, blob, version)
    blob_release(blob)


cdef void publish_gone(KvStore *s, Span key, uint64_t version, bint was_there) noexcept:
    """The same of a key that is missing now."""
    cache_put(&store_queue(s).cache, key, NULL, 0, 0)
    if was_there:
        publish_event(s, key, NULL, version)


cdef void publish_event(KvStore *s, Span key, KvBlob *value, uint64_t version) noexcept:
    if word_acquire(&s.watched) and not store_queue(s).shared:
        tell_watchers(s, key, value, version)


cdef void tell_watchers(KvStore *s, Span key, KvBlob *value, uint64_t version) noexcept nogil:
    spin_lock(&s.watch_guard)
    watch_publish(s, key, value, version)
    spin_unlock(&s.watch_guard)


cdef int queue_hear_gil(KvStore *s, list events) except -1:
    """The cache and the watchers learn what was committed, see Engine.kv_hear."""
    cdef bytes key, value
    cdef KvBlob *blob
    cdef uint64_t version
    for event in events:
        if event is None:
            watch_lose(s)
            continue
        key, version, value = event
        cache_forget(&store_queue(s).cache, bytes_span(key))
        blob = NULL
        if value is not None:
            blob = blob_new(bytes_span(value).p, bytes_span(value).n)
            if blob == NULL:
                watch_lose(s)
                continue
        tell_watchers(s, bytes_span(key), blob, version)
        if blob != NULL:
            blob_release(blob)
    return 0


cdef int queue_expired_gil(KvStore *s, list keys, uint64_t version) except -1:
    """These keys have expired and were removed by a commit of this version."""
    cdef bytes key
    for key in keys:
        publish_gone(s, bytes_span(key), version, True)
    if version > s.version:
        word64_release(&s.version, version)
    return 0
