# Messages between workers (core.messages): a value, encoded as the K/V does, and a topic. Each goes by a Post to the
# inbox of its worker, which puts it behind those that have come before; there one coroutine of the state in service
# takes them one by one. So messages of one sender come in order, and a reload neither loses nor repeats one.
# What is spread is for every state that has sockets or streams open: retired ones, which listen, get copies.
# A worker that does not listen drops what comes. One that has MESSAGES_MAX waiting takes no more: the sender is told.

cdef enum:
    MESSAGES_MAX = 1024
    MESSAGES_BYTES = 16777216
    TOPIC_MAX = 255


cdef Message *message_new(Worker *to, State *sender, Span topic, KvBlob *value, bint every) noexcept nogil:
    cdef Message *m = <Message *>malloc(sizeof(Message) + topic.n)
    if m == NULL:
        return NULL
    m.post.on_post = message_on_post
    m.sender = sender.worker.id
    m.generation = sender.generation if every else 0
    m.every = every
    m.topic_n = <uint32_t>topic.n
    m.value = blob_hold(value)
    memcpy(<char *>(m + 1), topic.p, topic.n)
    return m


cdef void message_free(Worker *to, Message *m) noexcept nogil:
    size_add(&to.mail.n, -1)
    size_add(&to.mail.bytes, -<ptrdiff_t>m.value.n)
    blob_release(m.value)
    free(m)


cdef int message_send(Worker *to, State *sender, Span topic, KvBlob *value, bint every) noexcept nogil:
    """OK, ERR_LIMIT: too many wait there, or ERR_MEMORY. From any worker."""
    cdef Message *m
    if size_add(&to.mail.n, 1) > MESSAGES_MAX or size_add(&to.mail.bytes, value.n) > MESSAGES_BYTES + value.n:
        size_add(&to.mail.n, -1)
        return ERR_LIMIT
    m = message_new(to, sender, topic, value, every)
    if m == NULL:
        size_add(&to.mail.n, -1)
        size_add(&to.mail.bytes, -<ptrdiff_t>value.n)
        return ERR_MEMORY
    worker_post(to, &m.post)
    return OK


cdef inline bint message_is_own(Message *m, State *s) noexcept nogil:
    """Whether this state has spread it."""
    return m.generation == s.generation and m.sender == <int>s.worker.id


cdef void message_on_post(Worker *w, Post *p) noexcept nogil:
    cdef Message *m = <Message *>p
    cdef State *s = w.retired
    while m.every and s != NULL:
        mail_copy(w, s, m)
        s = s.next
    if w.state == NULL or not w.state.listens or message_is_own(m, w.state):
        message_free(w, m)
        return
    mail_put(&w.mail, m)
    mail_tell(w, w.state)


cdef void mail_put(Mail *mail, Message *m) noexcept nogil:
    m.next = NULL
    if mail.last != NULL:
        mail.last.next = m
    else:
        mail.first = m
    mail.last = m


cdef void mail_copy(Worker *w, State *s, Message *m) noexcept nogil:
    """A retired state gets a message, too. Its sockets are few and closed soon: the limit is not looked at."""
    cdef Message *copy
    if not s.listens or message_is_own(m, s):
        return
    copy = <Message *>malloc(sizeof(Message) + m.topic_n)
    if copy == NULL:
        return
    memcpy(copy, m, sizeof(Message) + m.topic_n)
    blob_hold(m.value)
    size_add(&w.mail.n, 1)
    size_add(&w.mail.bytes, m.value.n)
    mail_put(&s.mail, copy)
    mail_tell(w, s)


cdef inline Mail *mail_of(Worker *w, State *s) noexcept nogil:
    return &w.mail if s == w.state else &s.mail


cdef void mail_tell(Worker *w, State *s) noexcept nogil:
    """The listener of the state goes on, if it waits and there is something."""
    cdef RestWait *x = s.listener
    if x != NULL and mail_of(w, s).first != NULL:
        s.listener = NULL
        rest_end(x)
        op_ready(w, &x.op)


cdef void mail_serve(Worker *w, State *s) noexcept nogil:
    """This state takes the messages from now on; the one that it replaces, which is w.retired, what is for all."""
    cdef Message *m = w.mail.first
    while m != NULL and w.retired != NULL:
        if m.every:
            mail_copy(w, w.retired, m)
        m = m.next
    if s.listens:
        mail_tell(w, s)
    else:
        mail_forget(w, &w.mail)


cdef void mail_forget(Worker *w, Mail *mail) noexcept nogil:
    """Nobody wants what has come."""
    cdef Message *m
    mail.last = NULL
    while mail.first != NULL:
        m = mail.first
        mail.first = m.next
        message_free(w, m)


# ---- For Lua ---------------------------------------------------------------------------------------------

cdef Span l_check_topic(lua_State *L, int narg) noexcept nogil:
    cdef Span topic = l_check_span(L, narg)
    if topic.n > TOPIC_MAX:
        luaL_argerror(L, narg, b"a topic has at most 255 bytes")
    return topic


cdef KvBlob *l_encode_message(lua_State *L, int narg) noexcept nogil:
    """The encoded value, held by what is pushed. NULL: it can not be sent; nil and the reason are pushed."""
    cdef Worker *w = worker_self()
    cdef KvBox *box
    l_check_value(L, narg)
    w.scratch_text.n = 0
    if kv_encode(L, narg, &w.scratch_text) != OK:
        lua_pushnil(L)
        lua_insert(L, -2)
        return NULL
    box = box_push(L)
    box.blob = blob_new(w.scratch_text.p, w.scratch_text.n)
    if box.blob == NULL:
        luaL_error(L, b"not enough memory")
    return box.blob


cdef void l_push_crowded(lua_State *L, Worker *to) noexcept nogil:
    lua_pushfstring(L, b"worker %d: too many messages wait", <int>to.id)


cdef int l_message_send(lua_State *L) noexcept nogil:
    """send(id, topic, value) → true; nil and the reason. `id` counts from 0."""
    cdef State *s = l_state(L)
    cdef ptrdiff_t id_ = luaL_checkinteger(L, 1)
    cdef Span topic = l_check_topic(L, 2)
    cdef Worker *to
    cdef KvBlob *value
    cdef int rc
    if not 0 <= id_ < <ptrdiff_t>s.worker.server.nworkers:
        return luaL_argerror(L, 1, b"there is no such worker")
    to = &s.worker.server.workers[id_]
    value = l_encode_message(L, 3)
    if value == NULL:
        return 2
    rc = message_send(to, s, topic, value, False)
    if rc == ERR_MEMORY:
        return luaL_error(L, b"not enough memory")
    if rc != OK:
        lua_pushnil(L)
        l_push_crowded(L, to)
        return 2
    lua_pushboolean(L, 1)
    return 1


cdef int l_message_spread(lua_State *L) noexcept nogil:
    """spread(topic, value) → true: to all states but this one that listen, on all workers. nil and the reason: it can
    not be sent, and nobody gets it. false and the reason: a worker takes no more."""
    cdef State *s = l_state(L)
    cdef Server *g = s.worker.server
    cdef bint alone = s.worker.retired == NULL and s.worker.state == s
    cdef Span topic = l_check_topic(L, 1)
    cdef Worker *crowded = NULL
    cdef KvBlob *value
    cdef uint32_t i
    if alone and g.nworkers == 1:
        lua_pushboolean(L, 1)
        return 1
    value = l_encode_message(L, 2)
    if value == NULL:
        return 2
    for i in range(g.nworkers):
        if (&g.workers[i] != s.worker or not alone) and message_send(&g.workers[i], s, topic, value, True) != OK:
            crowded = &g.workers[i]
    lua_pushboolean(L, crowded == NULL)
    if crowded == NULL:
        return 1
    l_push_crowded(L, crowded)
    return 2


cdef int l_message_pack(lua_State *L) noexcept nogil:
    """pack(value) → the bytes that travel; nil and the reason."""
    cdef KvBlob *value = l_encode_message(L, 1)
    if value == NULL:
        return 2
    return l_push_span(L, blob_span(value))


cdef int l_message_unpack(lua_State *L) noexcept nogil:
    """unpack(bytes) → the value; nil and the reason."""
    cdef Span bytes_ = l_check_span(L, 1)
    if kv_decode(L, bytes_) == OK:
        return 1
    lua_pushnil(L)
    lua_insert(L, -2)
    return 2


cdef int l_message_waiting(lua_State *L) noexcept nogil:
    """waiting() → how many messages the worker has waiting that has most."""
    cdef Server *g = l_state(L).worker.server
    cdef size_t most = 0
    cdef size_t n
    cdef uint32_t i
    for i in range(g.nworkers):
        n = size_add(&g.workers[i].mail.n, 0)
        if n > most:
            most = n
    lua_pushinteger(L, most)
    return 1


cdef int l_message_serving(lua_State *L) noexcept nogil:
    """serving() → whether this state is the one in service."""
    lua_pushboolean(L, l_state(L).worker.state == l_state(L))
    return 1


cdef int l_message_listen(lua_State *L) noexcept nogil:
    """listen(): messages are kept for this state from now on."""
    l_state(L).listens = 1
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
    cdef Mail *mail = mail_of(w, l_state(L))
    cdef Message *m = mail.first
    if m == NULL:
        return l_nil(L)
    lua_pushlstring(L, <char *>(m + 1), m.topic_n)
    if kv_decode(L, blob_span(m.value)) != OK:
        lua_pop(L, 1)
        lua_pushnil(L)
    lua_pushinteger(L, m.sender)
    mail.first = m.next
    if m.next == NULL:
        mail.last = NULL
    message_free(w, m)
    return 3


cdef int l_message_main(lua_State *L) noexcept nogil:
    """main() → whether this state is made of the application, not of a script beside it (lua_script.pxi)."""
    lua_pushboolean(L, not l_state(L).is_script)
    return 1


cdef void lua_message_open(lua_State *L, State *s) noexcept nogil:
    """Push the table core.messages."""
    lua_createtable(L, 0, 8)
    core_put(L, s, b"send", l_message_send)
    core_put(L, s, b"spread", l_message_spread)
    core_put(L, s, b"pack", l_message_pack)
    core_put(L, s, b"unpack", l_message_unpack)
    core_put(L, s, b"main", l_message_main)
    core_put(L, s, b"serving", l_message_serving)
    core_put(L, s, b"waiting", l_message_waiting)
    core_put(L, s, b"listen", l_message_listen)
    core_put(L, s, b"wait", l_message_wait)
    core_put(L, s, b"take", l_message_take)
