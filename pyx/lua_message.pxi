# Messages between workers (core.messages): a value, encoded as the K/V does, and a topic. Each goes by a Post to the
# inbox of its worker, which puts it behind those that have come before; there one coroutine of the state in service
# takes them one by one. So messages of one sender come in order, and a reload neither loses nor repeats one.
# A worker that does not listen drops what comes. One that has MESSAGES_MAX waiting takes no more: the sender is told.

cdef enum:
    MESSAGES_MAX = 1024
    MESSAGES_BYTES = 16777216
    TOPIC_MAX = 255


cdef Message *message_new(Worker *to, Worker *sender, Span topic, KvBlob *value) noexcept nogil:
    cdef Message *m = <Message *>malloc(sizeof(Message) + topic.n)
    if m == NULL:
        return NULL
    m.post.on_post = message_on_post
    m.sender = sender.id
    m.topic_n = <uint32_t>topic.n
    m.value = blob_hold(value)
    memcpy(<char *>(m + 1), topic.p, topic.n)
    return m


cdef void message_free(Worker *to, Message *m) noexcept nogil:
    size_add(&to.mail.n, -1)
    size_add(&to.mail.bytes, -<ptrdiff_t>m.value.n)
    blob_release(m.value)
    free(m)


cdef bint mail_has_room(Worker *to, KvBlob *value) noexcept nogil:
    """Take room for one message. From any worker."""
    if size_add(&to.mail.n, 1) <= MESSAGES_MAX and size_add(&to.mail.bytes, value.n) <= MESSAGES_BYTES + value.n:
        return True
    size_add(&to.mail.n, -1)
    return False


cdef void message_on_post(Worker *w, Post *p) noexcept nogil:
    cdef Message *m = <Message *>p
    if w.state == NULL or not w.state.listens:
        message_free(w, m)
        return
    m.next = NULL
    m.post.next = NULL
    if w.mail.last != NULL:
        w.mail.last.next = m
    else:
        w.mail.first = m
    w.mail.last = m
    mail_tell(w, w.state)


cdef void mail_tell(Worker *w, State *s) noexcept nogil:
    """The listener of the state goes on, if it waits and there is something."""
    cdef RestWait *x = s.listener
    if x != NULL and w.mail.first != NULL and s == w.state:
        s.listener = NULL
        rest_end(x)
        op_ready(w, &x.op)


cdef void mail_serve(Worker *w, State *s) noexcept nogil:
    """This state takes the messages from now on."""
    if s.listens:
        mail_tell(w, s)
    else:
        mail_forget(w)


cdef void mail_forget(Worker *w) noexcept nogil:
    """Nobody wants what has come."""
    cdef Message *m
    w.mail.last = NULL
    while w.mail.first != NULL:
        m = w.mail.first
        w.mail.first = m.next
        message_free(w, m)


# ---- For Lua ---------------------------------------------------------------------------------------------

cdef int l_message_send(lua_State *L) noexcept nogil:
    """send(id, topic, value) → true; nil and the reason. `id` counts from 0."""
    cdef Worker *w = worker_self()
    cdef ptrdiff_t id_ = luaL_checkinteger(L, 1)
    cdef Span topic = l_check_span(L, 2)
    cdef Worker *to
    cdef KvBox *box
    cdef Message *m
    if not 0 <= id_ < <ptrdiff_t>w.server.nworkers:
        return luaL_argerror(L, 1, b"there is no such worker")
    if topic.n > TOPIC_MAX:
        return luaL_argerror(L, 2, b"a topic has at most 255 bytes")
    l_check_value(L, 3)
    to = &w.server.workers[id_]
    w.scratch_text.n = 0
    if kv_encode(L, 3, &w.scratch_text) != OK:
        lua_pushnil(L)
        lua_insert(L, -2)
        return 2
    box = box_push(L)
    box.blob = blob_new(w.scratch_text.p, w.scratch_text.n)
    if box.blob == NULL:
        return luaL_error(L, b"not enough memory")
    if not mail_has_room(to, box.blob):
        lua_pushnil(L)
        lua_pushfstring(L, b"worker %d: too many messages wait", <int>id_)
        return 2
    m = message_new(to, w, topic, box.blob)
    if m == NULL:
        size_add(&to.mail.n, -1)
        size_add(&to.mail.bytes, -<ptrdiff_t>box.blob.n)
        return luaL_error(L, b"not enough memory")
    worker_post(to, &m.post)
    lua_pushboolean(L, 1)
    return 1


cdef int l_message_listen(lua_State *L) noexcept nogil:
    """listen(): messages are kept for this state from now on."""
    l_state(L).listens = 1
    return 0


cdef int listen_finish(Coro *co, Op *op) noexcept nogil:
    rest_end(<RestWait *>op)
    free(op)
    return 0


cdef void listen_begin(Worker *w, Op *op) noexcept nogil:
    cdef RestWait *x = <RestWait *>op
    rest_begin(w, op)
    x.state.listener = x
    mail_tell(w, x.state)


cdef bint listen_cancel(Worker *w, Op *op) noexcept nogil:
    (<RestWait *>op).state.listener = NULL
    rest_end(<RestWait *>op)
    return True


cdef int l_message_wait(lua_State *L) noexcept nogil:
    """wait(): until there may be a message for `take`. One coroutine of the state at most."""
    cdef State *s = l_state(L)
    cdef RestWait *x
    if s.listener != NULL:
        return luaL_error(L, b"somebody waits for messages already")
    x = l_rest_new(L)
    x.op.begin = listen_begin
    x.op.cancel = listen_cancel
    return l_wait_op(L, &x.op)


cdef int l_message_take(lua_State *L) noexcept nogil:
    """take() → topic, value, sender; nil: there is none for this state. A value that can not be read: topic, nil."""
    cdef Worker *w = worker_self()
    cdef Message *m = w.mail.first
    if m == NULL or w.state != l_state(L):
        return l_nil(L)
    lua_pushlstring(L, <char *>(m + 1), m.topic_n)
    if kv_decode(L, blob_span(m.value)) != OK:
        lua_pop(L, 1)
        lua_pushnil(L)
    lua_pushinteger(L, m.sender)
    w.mail.first = m.next
    if m.next == NULL:
        w.mail.last = NULL
    message_free(w, m)
    return 3


cdef void lua_message_open(lua_State *L, State *s) noexcept nogil:
    """Push the table core.messages."""
    lua_createtable(L, 0, 4)
    core_put(L, s, b"send", l_message_send)
    core_put(L, s, b"listen", l_message_listen)
    core_put(L, s, b"wait", l_message_wait)
    core_put(L, s, b"take", l_message_take)
