# The Lua 5.1 C API as LuaJIT 2.1 has it. lua_api.h sends every call through a table of pointers.
# May longjmp (so no lock and no Python object may be held): everything but lua_newstate, lua_close, lua_gettop,
# lua_settop downwards, lua_type, lua_to* on values of their own type, lua_pcall, lua_resume, lua_status.

cdef extern from "c/lua_api.h" nogil:
    ctypedef struct lua_State:
        pass
    ctypedef int (*lua_CFunction)(lua_State *L) noexcept nogil
    ctypedef void *(*lua_Alloc)(void *ud, void *ptr, size_t osize, size_t nsize) noexcept nogil

    ctypedef void (*lua_Hook)(lua_State *L, void *ar) noexcept nogil

    enum:
        LUA_REGISTRYINDEX
        LUA_GLOBALSINDEX

    const char *lua_api_bind(const char *path)
    int lua_upvalueindex(int i)
    void lua_pop(lua_State *L, int n)
    bint lua_isnil(lua_State *L, int i)
    const char *lua_tostring_z(lua_State *L, int i)

    lua_State *lua_newstate(lua_Alloc f, void *ud)
    lua_State *luaL_newstate()
    void lua_close(lua_State *L)
    lua_State *lua_newthread(lua_State *L)
    lua_CFunction lua_atpanic(lua_State *L, lua_CFunction f)
    int lua_gettop(lua_State *L)
    void lua_settop(lua_State *L, int i)
    void lua_pushvalue(lua_State *L, int i)
    void lua_remove(lua_State *L, int i)
    void lua_insert(lua_State *L, int i)
    void lua_replace(lua_State *L, int i)
    int lua_checkstack(lua_State *L, int n)
    void lua_xmove(lua_State *source, lua_State *target, int n)
    int lua_isnumber(lua_State *L, int i)
    int lua_isstring(lua_State *L, int i)
    int lua_type(lua_State *L, int i)
    const char *lua_typename(lua_State *L, int t)
    int lua_rawequal(lua_State *L, int a, int b)
    double lua_tonumber(lua_State *L, int i)
    ptrdiff_t lua_tointeger(lua_State *L, int i)
    int lua_toboolean(lua_State *L, int i)
    const char *lua_tolstring(lua_State *L, int i, size_t *n)
    size_t lua_objlen(lua_State *L, int i)
    void *lua_touserdata(lua_State *L, int i)
    lua_State *lua_tothread(lua_State *L, int i)
    const void *lua_topointer(lua_State *L, int i)
    void lua_pushnil(lua_State *L)
    void lua_pushnumber(lua_State *L, double n)
    void lua_pushinteger(lua_State *L, ptrdiff_t n)
    void lua_pushlstring(lua_State *L, const char *s, size_t n)
    void lua_pushstring(lua_State *L, const char *s)
    const char *lua_pushfstring(lua_State *L, const char *format, ...)
    void lua_pushcclosure(lua_State *L, lua_CFunction f, int n)
    void lua_pushboolean(lua_State *L, int b)
    void lua_pushlightuserdata(lua_State *L, void *p)
    int lua_pushthread(lua_State *L)
    void lua_gettable(lua_State *L, int i)
    void lua_getfield(lua_State *L, int i, const char *k)
    void lua_rawget(lua_State *L, int i)
    void lua_rawgeti(lua_State *L, int i, int n)
    void lua_createtable(lua_State *L, int narr, int nrec)
    void *lua_newuserdata(lua_State *L, size_t n)
    int lua_getmetatable(lua_State *L, int i)
    void lua_settable(lua_State *L, int i)
    void lua_setfield(lua_State *L, int i, const char *k)
    void lua_rawset(lua_State *L, int i)
    void lua_rawseti(lua_State *L, int i, int n)
    int lua_setmetatable(lua_State *L, int i)
    void lua_call(lua_State *L, int nargs, int nresults)
    int lua_pcall(lua_State *L, int nargs, int nresults, int errfunc)
    int lua_yield(lua_State *L, int nresults)
    int lua_resume(lua_State *L, int nargs)
    int lua_status(lua_State *L)
    int lua_gc(lua_State *L, int what, int data)
    int lua_error(lua_State *L)
    int lua_next(lua_State *L, int i)
    void lua_concat(lua_State *L, int n)
    int luaJIT_setmode(lua_State *L, int i, int mode)
    int CALL_PLAIN, CALL_CONTINUED, CALL_PROTECTED, CALL_UNKNOWN
    int call_kind(lua_State *L)
    void lua_getfenv(lua_State *L, int i)
    int lua_setfenv(lua_State *L, int i)
    int lua_sethook(lua_State *L, lua_Hook f, int mask, int count)
    lua_Hook lua_gethook(lua_State *L)
    int lua_gethookmask(lua_State *L)
    int lua_gethookcount(lua_State *L)
    int luaL_error(lua_State *L, const char *format, ...)
    int luaL_argerror(lua_State *L, int narg, const char *message)
    int luaL_ref(lua_State *L, int t)
    void luaL_unref(lua_State *L, int t, int ref)
    int luaL_loadbuffer(lua_State *L, const char *b, size_t n, const char *name)
    int luaL_loadfile(lua_State *L, const char *path)
    void luaL_openlibs(lua_State *L)
    void luaL_traceback(lua_State *L, lua_State *of, const char *message, int level)
    const char *luaL_checklstring(lua_State *L, int narg, size_t *n)
    double luaL_checknumber(lua_State *L, int narg)
    ptrdiff_t luaL_checkinteger(lua_State *L, int narg)
    ptrdiff_t luaL_optinteger(lua_State *L, int narg, ptrdiff_t d)
    void luaL_checktype(lua_State *L, int narg, int t)
    void luaL_checkstack(lua_State *L, int n, const char *message)
    int luaL_newmetatable(lua_State *L, const char *name)
    void *luaL_checkudata(lua_State *L, int narg, const char *name)

cdef enum LuaType:
    LUA_TNIL = 0
    LUA_TBOOLEAN = 1
    LUA_TLIGHTUSERDATA = 2
    LUA_TNUMBER = 3
    LUA_TSTRING = 4
    LUA_TTABLE = 5
    LUA_TFUNCTION = 6
    LUA_TUSERDATA = 7
    LUA_TTHREAD = 8

cdef enum LuaStatus:
    LUA_OK = 0
    LUA_YIELD = 1
    LUA_ERRRUN = 2
    LUA_ERRSYNTAX = 3
    LUA_ERRMEM = 4

cdef enum:
    LUA_MASKCOUNT = 8
    LUAJIT_MODE_ENGINE = 0
    LUAJIT_MODE_FLUSH = 0x200

cdef enum LuaGc:
    LUA_GCCOLLECT = 2
    LUA_GCCOUNT = 3
    LUA_GCSETPAUSE = 6

cdef enum:
    LUA_NOREF = -2
