# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: nonecheck=False
"""One LuaJIT state with the JSON functions as the global `json`, for tests, fuzzing and benchmarks."""

include "core.pxd"
include "c/lua.pxd"
include "mem.pxi"
include "number.pxi"
include "lua_json.pxi"
include "guard.pxi"

from cpython.bytes cimport PyBytes_FromStringAndSize

import lupa.luajit21

number_init_gil()
cdef const char *missing = lua_api_bind(lupa.luajit21.__file__.encode())
if missing != NULL:
    raise ImportError(f"LuaJIT: {missing.decode()} is missing")

cdef extern from "stdlib.h" nogil:
    void *c_realloc "realloc"(void *p, size_t n)
    void c_free "free"(void *p)


# What a limited state may allocate: `left` bytes more, counted only while `counted`.
ctypedef struct Allowance:
    size_t left
    bint counted


cdef void *allowance_realloc(void *ud, void *p, size_t old, size_t new) noexcept nogil:
    cdef Allowance *a = <Allowance *>ud
    if new == 0:
        c_free(p)
        return NULL
    if a.counted and new > old:
        if new - old > a.left:
            return NULL
        a.left -= new - old
    return c_realloc(p, new)


class LuaError(Exception):
    """A Lua error, with its message as bytes."""


cdef class Lua:
    """A Lua state. Its methods raise LuaError when Lua does. `limited`: run's `memory` has an effect."""
    cdef lua_State *L
    cdef JsonScratch scratch
    cdef Allowance allowance

    def __cinit__(self, bint limited=False):
        memset(&self.scratch, 0, sizeof(JsonScratch))
        self.L = lua_newstate(allowance_realloc, &self.allowance) if limited else luaL_newstate()
        if self.L == NULL:
            raise MemoryError
        luaL_openlibs(self.L)
        lua_getfield(self.L, LUA_GLOBALSINDEX, b"package")
        lua_getfield(self.L, -1, b"loaded")
        lua_createtable(self.L, 0, 1)
        l_cjson_open(self.L, &self.scratch)
        lua_settop(self.L, -2)
        l_json_open(self.L, &self.scratch)
        lua_pushvalue(self.L, -1)
        lua_setfield(self.L, LUA_GLOBALSINDEX, b"json")
        lua_setfield(self.L, -2, b"json")
        lua_setfield(self.L, -2, b"heart.core")
        lua_settop(self.L, 0)

    def __dealloc__(self):
        if self.L != NULL:
            lua_close(self.L)
        json_scratch_free(&self.scratch)

    cdef result(self, int code):
        """Take the values on the stack as a Python value, the first one only."""
        cdef size_t n = 0
        cdef const char *p
        value = None
        try:
            if code != LUA_OK:
                p = lua_tolstring(self.L, -1, &n)
                raise LuaError(PyBytes_FromStringAndSize(p, n))
            kind = lua_type(self.L, 1)
            if kind == LUA_TBOOLEAN:
                value = bool(lua_toboolean(self.L, 1))
            elif kind == LUA_TNUMBER:
                value = lua_tonumber(self.L, 1)
            elif kind == LUA_TSTRING:
                p = lua_tolstring(self.L, 1, &n)
                value = PyBytes_FromStringAndSize(p, n)
            elif kind > LUA_TNIL:
                value = lua_typename(self.L, kind).decode()
            return value
        finally:
            lua_settop(self.L, 0)

    def run(self, bytes code, *arguments, size_t memory=0):
        """Run a chunk, with byte strings or floats as its `...`; returns its first result: None, a bool, a float,
        bytes, or the name of another type. `memory`: bytes it may add, 0 for no limit."""
        cdef int status = luaL_loadbuffer(self.L, code, len(code), b"=test")
        if status == LUA_OK:
            for argument in arguments:
                if isinstance(argument, bytes):
                    lua_pushlstring(self.L, argument, len(argument))
                else:
                    lua_pushnumber(self.L, argument)
            self.allowance.left = memory
            self.allowance.counted = memory > 0
            status = lua_pcall(self.L, <int>len(arguments), -1, 0)
            self.allowance.counted = False
        return self.result(status)

    def recode(self, bytes text):
        """Decode a text that ends at an unmapped page, null included, and encode the value again."""
        cdef Span input = guarded(text)
        cdef JsonOptions options
        cdef int code
        json_defaults(&options)
        code = json_decode(self.L, input.p, input.n, JSON_NULL)
        if code == OK:
            code = json_encode_string(self.L, 1, &options, &self.scratch)
            lua_remove(self.L, 1)
        return self.result(LUA_OK if code == OK else LUA_ERRRUN)

    def recode_loose(self, bytes text):
        """The same as cjson does it, with everything accepted that it may accept; the NUL behind the text is the last
        byte before the unmapped page."""
        cdef Span input = guarded(text + b"\0")
        cdef JsonOptions options
        cdef CjsonConfig config
        cdef Buf *out = &self.scratch.buf[0]
        cdef int code
        json_defaults(&options)
        options.flags = JSON_NULL | JSON_LOOSE | JSON_LOOSE_NUMBERS | JSON_MARK_ARRAYS
        code = json_decode_with(self.L, input.p, input.n - 1, &options)
        if code == OK:
            memset(&config, 0, sizeof(config))
            config.encode_depth = JSON_DEPTH
            config.precision = 14
            config.whole = 1e14
            config.encode_invalid = INVALID_WRITTEN
            config.escape_slash = True
            out.n = 0
            code = cjson_write(self.L, out, &config)
            if code == OK:
                lua_settop(self.L, 0)
                lua_pushlstring(self.L, out.p, out.n)
        return self.result(LUA_OK if code == OK else LUA_ERRRUN)


def number_text(double v):
    """The text of a finite double."""
    cdef char[NUMBER_SIZE] text
    return PyBytes_FromStringAndSize(text, number_write(text, v))


def number_value(bytes text):
    """The double that a JSON number, which ends at an unmapped page, stands for; None if the text is not one."""
    cdef Span input = guarded(text)
    cdef const uint8_t *p = <const uint8_t *>input.p
    cdef const uint8_t *end = p + input.n
    cdef double v = 0
    return v if number_read(&p, end, &v) == OK and p == end else None
