# Boxes: a userdata that holds what must not be lost when Lua runs out of memory in the middle of pushing results.

cdef char KV_BOX                # registry: the metatable of boxes

ctypedef struct KvBox:
    KvBlob *blob
    KvTxn *txn


cdef int l_box_collect(lua_State *L) noexcept nogil:
    box_empty(<KvBox *>lua_touserdata(L, 1))
    return 0


cdef void box_empty(KvBox *box) noexcept nogil:
    cdef KvTxn *t = box.txn
    blob_release(box.blob)
    box.blob = NULL
    box.txn = NULL
    if t != NULL:
        txn_free(t)


cdef KvBox *box_push(lua_State *L) noexcept nogil:
    """An empty box on the stack: what is put into it is freed with it, or by box_empty."""
    cdef KvBox *box = <KvBox *>lua_newuserdata(L, sizeof(KvBox))
    box.blob = NULL
    box.txn = NULL
    lua_pushlightuserdata(L, &KV_BOX)
    lua_rawget(L, LUA_REGISTRYINDEX)
    lua_setmetatable(L, -2)
    return box
