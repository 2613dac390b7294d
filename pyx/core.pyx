# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""The engine: sockets, HTTP and Lua, on worker threads that never take the GIL while they serve.

One extension made of included files, one noun each, in the order of their dependencies. core.pxd declares every
structure and the four seams; read it first. A request's way, all on one worker:

    loop      the poller hands a readable socket to its connection
    conn      reads into the worker's scratch buffer and gives the bytes to the protocol
    http1     parses heads (http_parse), decodes bodies (http_chunk), keeps pipelined requests in order
    req       routes (router), decides where the body goes, serves
    lua_run   resumes a pooled coroutine with the handler, lua_ctx is what the handler asks
    lua_reply turns what it returned into a response; http_reply writes the head into the worker's output buffer
    conn      sends everything that one read produced with one write

Python sees the class Engine, and is needed again only when the process starts, reloads or ends.
"""

cimport cython

include "core.pxd"
include "c/linux.pxd"
include "c/lua.pxd"
include "c/thread.pxd"
include "c/file.pxd"
include "c/net.pxd"
include "mem.pxi"
include "loop.pxi"
include "turn.pxi"
include "timer.pxi"
include "inbox.pxi"
include "io.pxi"
include "conn.pxi"
include "listen.pxi"
include "http_parse.pxi"
include "http_response.pxi"
include "http_chunk.pxi"
include "router.pxi"
include "url.pxi"
include "multipart.pxi"
include "archive.pxi"
include "static.pxi"
include "http_reply.pxi"
include "req.pxi"
include "http1.pxi"
include "address.pxi"
include "sock.pxi"
include "sock_http.pxi"
include "sock_pool.pxi"
include "number.pxi"
include "zip.pxi"
include "kv_value.pxi"
include "kv_txn.pxi"
include "kv_shard.pxi"
include "kv_watch.pxi"
include "kv_mem.pxi"
include "kv_commit.pxi"
include "kv_sweep.pxi"
include "kv_lock.pxi"
include "ulid.pxi"
include "kv_cache.pxi"
include "kv_queue.pxi"
include "tls_ask.pxi"
include "lua_json.pxi"
include "lua_archive.pxi"
include "lua_kv_value.pxi"
include "lua_state.pxi"
include "lua_run.pxi"
include "lua_ctx.pxi"
include "lua_task.pxi"
include "lua_reply.pxi"
include "lua_kv.pxi"
include "lua_kv_txn.pxi"
include "lua_kv_open.pxi"
include "lua_tls.pxi"
include "lua_socket.pxi"
include "lua_socket_open.pxi"
include "lua_socket_io.pxi"
include "lua_http.pxi"
include "lua_socket_tls.pxi"
include "lua_socket_pool.pxi"
include "lua_socket_option.pxi"
include "lua_zlib.pxi"
include "lua_request.pxi"
include "lua_core.pxi"
include "log_line.pxi"
include "log.pxi"
include "lua_log.pxi"
include "worker.pxi"
include "inotify.pxi"
include "kv_batch.pxi"
include "engine.pxi"
