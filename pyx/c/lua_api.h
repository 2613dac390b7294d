/* The C API of the LuaJIT 2.1 that lupa's wheel carries, as one table of pointers filled by dlsym, so that nothing
 * links liblua and the same extension works from a source tree, a wheel and the frozen binary.
 * The names are LuaJIT's own (Lua 5.1 API); a macro sends each through the table. */
#ifndef HEART_LUA_API_H
#define HEART_LUA_API_H

#include <dlfcn.h>
#include <stddef.h>

typedef struct lua_State lua_State;
typedef int (*lua_CFunction)(lua_State *L);
typedef void (*lua_Hook)(lua_State *L, void *ar);
typedef void *(*lua_Alloc)(void *ud, void *ptr, size_t osize, size_t nsize);

#define LUA_REGISTRYINDEX (-10000)
#define LUA_GLOBALSINDEX (-10002)
#define lua_upvalueindex(i) (LUA_GLOBALSINDEX - (i))

#define HEART_LUA_API(X) \
    X(lua_State *, lua_newstate, (lua_Alloc f, void *ud)) \
    X(lua_State *, luaL_newstate, (void)) \
    X(void, lua_close, (lua_State *L)) \
    X(lua_State *, lua_newthread, (lua_State *L)) \
    X(lua_CFunction, lua_atpanic, (lua_State *L, lua_CFunction f)) \
    X(int, lua_gettop, (lua_State *L)) \
    X(void, lua_settop, (lua_State *L, int i)) \
    X(void, lua_pushvalue, (lua_State *L, int i)) \
    X(void, lua_remove, (lua_State *L, int i)) \
    X(void, lua_insert, (lua_State *L, int i)) \
    X(void, lua_replace, (lua_State *L, int i)) \
    X(int, lua_checkstack, (lua_State *L, int n)) \
    X(void, lua_xmove, (lua_State *source, lua_State *target, int n)) \
    X(int, lua_isnumber, (lua_State *L, int i)) \
    X(int, lua_isstring, (lua_State *L, int i)) \
    X(int, lua_type, (lua_State *L, int i)) \
    X(const char *, lua_typename, (lua_State *L, int t)) \
    X(int, lua_rawequal, (lua_State *L, int a, int b)) \
    X(double, lua_tonumber, (lua_State *L, int i)) \
    X(ptrdiff_t, lua_tointeger, (lua_State *L, int i)) \
    X(int, lua_toboolean, (lua_State *L, int i)) \
    X(const char *, lua_tolstring, (lua_State *L, int i, size_t *n)) \
    X(size_t, lua_objlen, (lua_State *L, int i)) \
    X(void *, lua_touserdata, (lua_State *L, int i)) \
    X(lua_State *, lua_tothread, (lua_State *L, int i)) \
    X(const void *, lua_topointer, (lua_State *L, int i)) \
    X(void, lua_pushnil, (lua_State *L)) \
    X(void, lua_pushnumber, (lua_State *L, double n)) \
    X(void, lua_pushinteger, (lua_State *L, ptrdiff_t n)) \
    X(void, lua_pushlstring, (lua_State *L, const char *s, size_t n)) \
    X(void, lua_pushstring, (lua_State *L, const char *s)) \
    X(const char *, lua_pushfstring, (lua_State *L, const char *format, ...)) \
    X(void, lua_pushcclosure, (lua_State *L, lua_CFunction f, int n)) \
    X(void, lua_pushboolean, (lua_State *L, int b)) \
    X(void, lua_pushlightuserdata, (lua_State *L, void *p)) \
    X(int, lua_pushthread, (lua_State *L)) \
    X(void, lua_gettable, (lua_State *L, int i)) \
    X(void, lua_getfield, (lua_State *L, int i, const char *k)) \
    X(void, lua_rawget, (lua_State *L, int i)) \
    X(void, lua_rawgeti, (lua_State *L, int i, int n)) \
    X(void, lua_createtable, (lua_State *L, int narr, int nrec)) \
    X(void *, lua_newuserdata, (lua_State *L, size_t n)) \
    X(int, lua_getmetatable, (lua_State *L, int i)) \
    X(void, lua_settable, (lua_State *L, int i)) \
    X(void, lua_setfield, (lua_State *L, int i, const char *k)) \
    X(void, lua_rawset, (lua_State *L, int i)) \
    X(void, lua_rawseti, (lua_State *L, int i, int n)) \
    X(int, lua_setmetatable, (lua_State *L, int i)) \
    X(void, lua_call, (lua_State *L, int nargs, int nresults)) \
    X(int, lua_pcall, (lua_State *L, int nargs, int nresults, int errfunc)) \
    X(int, lua_yield, (lua_State *L, int nresults)) \
    X(int, lua_resume, (lua_State *L, int nargs)) \
    X(int, lua_status, (lua_State *L)) \
    X(int, lua_gc, (lua_State *L, int what, int data)) \
    X(int, lua_error, (lua_State *L)) \
    X(int, lua_next, (lua_State *L, int i)) \
    X(void, lua_concat, (lua_State *L, int n)) \
    X(int, luaJIT_setmode, (lua_State *L, int i, int mode)) \
    X(void, lua_getfenv, (lua_State *L, int i)) \
    X(int, lua_setfenv, (lua_State *L, int i)) \
    X(int, lua_sethook, (lua_State *L, lua_Hook f, int mask, int count)) \
    X(lua_Hook, lua_gethook, (lua_State *L)) \
    X(int, lua_gethookmask, (lua_State *L)) \
    X(int, lua_gethookcount, (lua_State *L)) \
    X(int, luaL_error, (lua_State *L, const char *format, ...)) \
    X(int, luaL_argerror, (lua_State *L, int narg, const char *message)) \
    X(int, luaL_ref, (lua_State *L, int t)) \
    X(void, luaL_unref, (lua_State *L, int t, int ref)) \
    X(int, luaL_loadbuffer, (lua_State *L, const char *b, size_t n, const char *name)) \
    X(int, luaL_loadfile, (lua_State *L, const char *path)) \
    X(void, luaL_openlibs, (lua_State *L)) \
    X(void, luaL_traceback, (lua_State *L, lua_State *of, const char *message, int level)) \
    X(const char *, luaL_checklstring, (lua_State *L, int narg, size_t *n)) \
    X(double, luaL_checknumber, (lua_State *L, int narg)) \
    X(ptrdiff_t, luaL_checkinteger, (lua_State *L, int narg)) \
    X(ptrdiff_t, luaL_optinteger, (lua_State *L, int narg, ptrdiff_t d)) \
    X(void, luaL_checktype, (lua_State *L, int narg, int t)) \
    X(void, luaL_checkstack, (lua_State *L, int n, const char *message)) \
    X(int, luaL_newmetatable, (lua_State *L, const char *name)) \
    X(void *, luaL_checkudata, (lua_State *L, int narg, const char *name))

static struct {
#define X(result, name, args) result(*name) args;
    HEART_LUA_API(X)
#undef X
} lua_api;

/* Fill the table from the shared object at `path`, which also becomes global, so that C modules for Lua 5.1 find
 * the API. Returns NULL, or what was missing: the path itself, or the name of a symbol. */
static const char *lua_api_bind(const char *path) {
    void *object = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (object == NULL) return path;
#define X(result, name, args) \
    *(void **)&lua_api.name = dlsym(object, #name); \
    if (lua_api.name == NULL) return #name;
    HEART_LUA_API(X)
#undef X
    return NULL;
}

/* How the C function in which a coroutine is suspended was called; LuaJIT has no function that tells. In its 64-bit
 * layout (GC64) `base` and `top` lie behind the header of a lua_State, and the word below `base` holds the type of the
 * frame in its lowest three bits: 2 for a continuation (of compiled code, or of a metamethod), 6 and 7 for pcall and
 * xpcall. Where the layout is another, which the number of values on the stack gives away, it is not known. */
enum CallKind { CALL_PLAIN, CALL_CONTINUED, CALL_PROTECTED, CALL_UNKNOWN };

static int call_kind(lua_State *L) {
    const char *const *state = (const char *const *)L;
    const char *base = state[4], *top = state[5];
    int type;
    if (sizeof(void *) != 8 || top - base != 8 * (ptrdiff_t)lua_api.lua_gettop(L)) return CALL_UNKNOWN;
    type = ((const unsigned char *)base)[-8] & 7;
    return type == 2 ? CALL_CONTINUED : type >= 6 ? CALL_PROTECTED : CALL_PLAIN;
}

#define lua_newstate lua_api.lua_newstate
#define luaL_newstate lua_api.luaL_newstate
#define lua_close lua_api.lua_close
#define lua_newthread lua_api.lua_newthread
#define lua_atpanic lua_api.lua_atpanic
#define lua_gettop lua_api.lua_gettop
#define lua_settop lua_api.lua_settop
#define lua_pushvalue lua_api.lua_pushvalue
#define lua_remove lua_api.lua_remove
#define lua_insert lua_api.lua_insert
#define lua_replace lua_api.lua_replace
#define lua_checkstack lua_api.lua_checkstack
#define lua_xmove lua_api.lua_xmove
#define lua_isnumber lua_api.lua_isnumber
#define lua_isstring lua_api.lua_isstring
#define lua_type lua_api.lua_type
#define lua_typename lua_api.lua_typename
#define lua_rawequal lua_api.lua_rawequal
#define lua_tonumber lua_api.lua_tonumber
#define lua_tointeger lua_api.lua_tointeger
#define lua_toboolean lua_api.lua_toboolean
#define lua_tolstring lua_api.lua_tolstring
#define lua_objlen lua_api.lua_objlen
#define lua_touserdata lua_api.lua_touserdata
#define lua_tothread lua_api.lua_tothread
#define lua_topointer lua_api.lua_topointer
#define lua_pushnil lua_api.lua_pushnil
#define lua_pushnumber lua_api.lua_pushnumber
#define lua_pushinteger lua_api.lua_pushinteger
#define lua_pushlstring lua_api.lua_pushlstring
#define lua_pushstring lua_api.lua_pushstring
#define lua_pushfstring lua_api.lua_pushfstring
#define lua_pushcclosure lua_api.lua_pushcclosure
#define lua_pushboolean lua_api.lua_pushboolean
#define lua_pushlightuserdata lua_api.lua_pushlightuserdata
#define lua_pushthread lua_api.lua_pushthread
#define lua_gettable lua_api.lua_gettable
#define lua_getfield lua_api.lua_getfield
#define lua_rawget lua_api.lua_rawget
#define lua_rawgeti lua_api.lua_rawgeti
#define lua_createtable lua_api.lua_createtable
#define lua_newuserdata lua_api.lua_newuserdata
#define lua_getmetatable lua_api.lua_getmetatable
#define lua_settable lua_api.lua_settable
#define lua_setfield lua_api.lua_setfield
#define lua_rawset lua_api.lua_rawset
#define lua_rawseti lua_api.lua_rawseti
#define lua_setmetatable lua_api.lua_setmetatable
#define lua_call lua_api.lua_call
#define lua_pcall lua_api.lua_pcall
#define lua_yield lua_api.lua_yield
#define lua_resume lua_api.lua_resume
#define lua_status lua_api.lua_status
#define lua_gc lua_api.lua_gc
#define lua_error lua_api.lua_error
#define lua_next lua_api.lua_next
#define lua_concat lua_api.lua_concat
#define luaJIT_setmode lua_api.luaJIT_setmode
#define lua_getfenv lua_api.lua_getfenv
#define lua_setfenv lua_api.lua_setfenv
#define lua_sethook lua_api.lua_sethook
#define lua_gethook lua_api.lua_gethook
#define lua_gethookmask lua_api.lua_gethookmask
#define lua_gethookcount lua_api.lua_gethookcount
#define luaL_error lua_api.luaL_error
#define luaL_argerror lua_api.luaL_argerror
#define luaL_ref lua_api.luaL_ref
#define luaL_unref lua_api.luaL_unref
#define luaL_loadbuffer lua_api.luaL_loadbuffer
#define luaL_loadfile lua_api.luaL_loadfile
#define luaL_openlibs lua_api.luaL_openlibs
#define luaL_traceback lua_api.luaL_traceback
#define luaL_checklstring lua_api.luaL_checklstring
#define luaL_checknumber lua_api.luaL_checknumber
#define luaL_checkinteger lua_api.luaL_checkinteger
#define luaL_optinteger lua_api.luaL_optinteger
#define luaL_checktype lua_api.luaL_checktype
#define luaL_checkstack lua_api.luaL_checkstack
#define luaL_newmetatable lua_api.luaL_newmetatable
#define luaL_checkudata lua_api.luaL_checkudata

#define lua_pop(L, n) lua_settop(L, -(n) - 1)
#define lua_isnil(L, i) (lua_type(L, i) == 0)
#define lua_tostring_z(L, i) lua_tolstring(L, i, NULL)

#endif
