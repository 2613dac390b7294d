# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: nonecheck=False
"""The router for Python tests. Every path is matched flush against an unmapped page."""

include "c/lua.pxd"
include "core.pxd"
include "mem.pxi"
include "router.pxi"
include "guard.pxi"

METHODS = {
    "OTHER": METHOD_OTHER, "GET": METHOD_GET, "HEAD": METHOD_HEAD, "POST": METHOD_POST, "PUT": METHOD_PUT,
    "DELETE": METHOD_DELETE, "CONNECT": METHOD_CONNECT, "OPTIONS": METHOD_OPTIONS, "TRACE": METHOD_TRACE,
    "PATCH": METHOD_PATCH, "*": METHOD_COUNT,
}
RESULTS = {OK: "ok", ERR_MEMORY: "memory", ERR_LIMIT: "limit", ERR_MISSING: "missing"}


cdef class Table:
    """A Router whose handlers are numbers."""

    cdef Router r

    def __dealloc__(self):
        router_free(&self.r)

    def add(self, str method, bytes path, int handler=0):
        """Register a route; returns the name of the result."""
        cdef Route *rt
        return RESULTS[router_add(&self.r, METHODS[method], guarded(path), handler, &rt)]

    def free(self):
        router_free(&self.r)

    def match(self, str method, bytes path):
        """(handler, list of (name, value)) or None."""
        cdef Span whole = guarded(path), name, value
        cdef Param params[PARAMS_MAX]
        cdef Route *rt
        cdef size_t at = 0
        if router_match(&self.r, METHODS[method], whole.p, whole.n, params, &rt) != OK:
            assert rt == NULL
            return None
        values = []
        while router_param_next(rt, params, whole.p, &at, &name, &value):
            values.append((name.p[:name.n], inside(whole, value) if value.n else b""))
        return rt.handler, values

    def param(self, bytes path, bytes name):
        """The value of one parameter of the GET route that matches, None if it has none of that name."""
        cdef Span whole = guarded(path), value
        cdef Param params[PARAMS_MAX]
        cdef Route *rt
        if router_match(&self.r, METHOD_GET, whole.p, whole.n, params, &rt) != OK:
            raise LookupError(path)
        if router_param(rt, params, whole.p, guarded_name(name), &value) != OK:
            return None
        return value.p[:value.n]

    def allowed(self, bytes path):
        """The set of methods that the path answers."""
        cdef Span whole = guarded(path)
        bits = router_allowed(&self.r, whole.p, whole.n)
        return {name for name, number in METHODS.items() if name != "*" and bits >> number & 1}

    def registered(self):
        """The paths of all routes as they were registered."""
        return [self.r.routes[i].path.p[:self.r.routes[i].path.n] for i in range(self.r.n)]
