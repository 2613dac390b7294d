# Lua: states, coroutines, tasks, and what they wait for. Part of core.pxd, which has the rules.

# ---- JSON (lua_json.pxi) ----------------------------------------------------------------------------------

# One worker's memory for encoding. A finalizer that encodes while a result is being pushed takes the other buffer;
# finalizers do not nest. An error that unwinds past the end of the call leaves `turn` flipped, which is as good.
ctypedef struct JsonScratch:
    Buf[2] buf
    int turn


# ---- Lua (lua_state, lua_run, lua_ctx) --------------------------------------------------------------------

# What a ctx userdata holds. NULL after its request: every use is an error then.
ctypedef struct Ctx:
    Req *req
    uint8_t shared          # yielded, or given user fields: retired when its request ends

cdef enum CoroWait:
    WAIT_TIMER
    WAIT_READ               # a part of the request body
    WAIT_WRITE              # the client to take output
    WAIT_TURN               # a bare coroutine.yield(): the next turn of the loop
    WAIT_POST               # Coro.op
    WAIT_NOTHING            # it will not go on: it was cancelled and has caught the error too often
    WAIT_END                # nothing: the handler has ended its request and is not resumed

cdef enum CoroRole:
    ROLE_HANDLER
    ROLE_TASK               # no request: a start event, which may run for ever
    ROLE_STOP               # a stop event: its state waits for it
    ROLE_LOAD               # runs the script of a new state
    ROLE_WS                 # works for Coro.ws
    ROLE_WATCH              # a task that sleeps until something is told to it: see State.watching

# Which of the worker's queues a coroutine is in.
cdef enum CoroPlace:
    PLACE_NONE
    PLACE_SOON
    PLACE_TURN

# Coroutines that are to go on, the oldest first.
ctypedef struct CoroQueue:
    Coro *first
    Coro **end              # where the next one is linked

# A pooled coroutine. Stack index 1 is its ctx; a finished handler leaves it ready for the next one. While it runs a
# Task, that is at index 2 and at 3 the ctx of the request that spawned it (`ctx` is that one then), or nil.
ctypedef struct Coro:
    Timer timer
    lua_State *L
    State *state
    Req *req
    Ctx *ctx
    Coro *next              # State.idle or State.suspended
    Coro *prev
    Coro *turn              # the next one of its CoroQueue
    Coro **turn_at          # what points here
    uint64_t wake_at        # WAIT_TIMER, WAIT_POST: ms; the latter 0: no deadline
    Op *op                  # WAIT_POST
    Task *task              # that it runs; NULL: a handler or an event
    lua_State *waiting      # the Lua coroutine that waits: L, or one that the application has made
    Ws *ws                  # ROLE_WS
    TaskSemaphore *held     # mutexes that it has locked
    KvTxn *txns             # open transactions, the innermost first; they are rolled back with it
    uint32_t waits          # how often it has yielded
    int ref                 # anchors L in the registry
    uint8_t wait            # CoroWait
    uint8_t role            # CoroRole
    uint8_t queued          # CoroPlace
    uint8_t listed          # in State.suspended
    uint8_t gone            # the client left while it waited: it gets nil, "closed"
    uint8_t cancelled       # every wait raises "cancelled". Counts how often that was swallowed
    uint8_t caused          # State.task_of[-ref] is {error, traceback} of a task that it has joined
    uint8_t throws          # it goes on with an error in place of what it waited for

cdef enum TaskStatus:
    TASK_RUNNING
    TASK_DONE
    TASK_FAILED
    TASK_CANCELLED

# What a task userdata holds. Its environment is the list of results once it is done; {error, traceback} if it failed.
ctypedef struct Task:
    Coro *coro              # NULL: it has ended
    TaskLink *joiners
    int results             # of its function
    uint8_t status          # TaskStatus

# That somebody waits for a task.
ctypedef struct TaskLink:
    TaskWait *wait
    Task *task
    TaskLink *next          # in Task.joiners
    TaskLink **at           # what points here; NULL: it is in no list
    uint32_t position       # in the list that was given

# A coroutine that waits until some tasks have ended. All its links follow the struct.
ctypedef struct TaskWait:
    Op op
    uint32_t n              # links
    uint32_t left           # tasks that must end
    uint32_t ended          # position of the task that ended the wait; 0: all had to end and did
    uint8_t strict          # one that fails is enough, too
    TaskLink links[1]

# ---- What tasks wait for (lua_sync.pxi, lua_message.pxi)

ctypedef struct TaskSemaphore:
    uint32_t permits        # that are free
    uint32_t waiting
    uint32_t refs           # the userdata, and each who waits
    uint8_t owned           # a mutex
    SemaphoreWait *first
    SemaphoreWait **end
    Coro *owner             # of a mutex
    TaskSemaphore *held_next    # Coro.held
    TaskSemaphore **held_at

ctypedef struct SemaphoreWait:
    Op op
    TaskSemaphore *semaphore
    SemaphoreWait *next
    SemaphoreWait **at      # what points here; NULL: it is in no list
    uint8_t granted         # the permit is there

# A coroutine that waits for a moment, for the beginning of service or for messages.
ctypedef struct RestWait:
    Op op
    State *state
    RestWait *next          # State.starters or State.enders
    RestWait **at
    RestWait **queue        # of the state that it enters; NULL: it waits for its deadline alone
    uint8_t asleep          # counted in State.watching

# A message of a worker to another one; the topic's bytes follow the struct.
ctypedef struct Message:
    Post post
    Message *next           # Mail
    KvBlob *value
    int sender
    uint32_t generation     # of the state that has sent it; 0 unless `every`
    uint32_t topic_n
    uint8_t every           # for all states of the worker that listen, not only for the one in service

# What a worker was sent and has not looked at. The counters are those of the worker alone.
ctypedef struct Mail:
    Message *first
    Message *last
    size_t n                # shared: messages, also those on their way
    size_t bytes            # shared: of their values

# One directory served by app.static.
ctypedef struct Mount:
    Span prefix             # without trailing slash, lower case
    Folder folder
    int handler             # a Lua function, when middleware wraps it, else LUA_NOREF
    int64_t max_age         # seconds that clients may keep a file without asking; -1: nothing is said
    uint8_t precompressed   # files beside the originals are looked for
    uint8_t redirect        # a folder without its slash is redirected, not served

# One generation of Lua code on one worker. Requests and tasks hold it; a retired state without holders closes.
ctypedef struct State:
    lua_State *L
    Worker *worker
    State *next             # Worker.retired
    Router router
    Mount *mounts
    uint32_t nmounts
    uint32_t nidle
    Coro *idle              # coroutines ready for a handler
    Coro *suspended
    uint32_t holders        # requests, tasks and events that have not ended
    uint32_t tasks          # of them: coroutines with ROLE_TASK or ROLE_WATCH. They end with their state
    uint32_t watching       # of them: asleep with ROLE_WATCH. A retired state does not wait for these
    uint8_t is_script       # see lua_script.pxi; every request looks at it and the next: they are in its cache line
    uint8_t enforced        # Lua runs: the memory limit holds. The engine's own calls must not fail halfway
    Req *requests           # suspended ones
    Sock *socks             # all that are open
    uint32_t nsocks
    int pools               # reference: key -> SockPool *
    uint32_t npools
    uint32_t npooled        # idle sockets in all pools
    Ws *sockets             # open WebSockets, which hold it
    Timer grace
    uint32_t generation
    uint8_t retired
    uint8_t failed          # its script did not load
    int fallback            # reference: what answers when no route does; LUA_NOREF: the built-in answer
    int onerror
    int after               # gets what handlers with REQ_AFTER have returned, see lua_request.pxi
    int on_start
    int on_stop
    int errorpage
    int describe            # error value -> message
    int prelude             # gets the script as a function and runs it; LUA_NOREF: it runs alone
    int ctx_functions       # name -> what makes it, see lua_ctx.pxi
    int ctx_methods         # the metatable of all tables of ctx methods
    int ctx_assign
    int task_meta           # the metatable of tasks
    int task_of             # Coro.ref -> the task that it runs
    RestWait *starters      # who waits until this state serves requests
    RestWait *enders        # ... until the worker ends
    RestWait *listener      # who waits for messages of other workers
    Mail mail               # retired: its copies of messages for every state
    uint8_t serving
    uint8_t listens         # it takes messages
    Buf files               # that were loaded, NUL-separated
    Buf places              # with Server.checking: where each route was registered, NUL-separated
    int pause               # of the collector, as the engine has set it; 0: the application has set its own
    size_t memory           # bytes, counted only with a limit
    size_t memory_max       # 0: no limit
    # script states (lua_script.pxi)
    uint8_t busy            # it serves a request
    uint8_t once            # ... which is its last one
    uint8_t stale           # it is to be replaced
    int serve               # reference: what answers its requests
    Buf name                # of the script
    ScriptBox *box          # through which its front reaches it; NULL: not yet, or no more
    ScriptLoad *loading     # who waits until it is loaded
    State *front            # that has made it; NULL: it is retired
    State *script_next      # State.scripts of its front
    State *script_prev
    State *scripts          # a front's: all that it has made
    ScriptWait *script_wait     # a front's: who waits until one of them is free
    int known               # a front's, references: SCRIPT_FILENAME -> box of a state that has loaded the script
    int known_until         # ... -> seconds of core.now()
    uint64_t uses           # a front's: requests it has passed on; a script's: that number at its last one
    VarsTemplate *template  # NULL: not yet

cdef enum:
    TEMPLATE_PAIRS = 64         # at most

# What most requests of a state have of FastCGI variables (lua_vars.pxi).
ctypedef struct VarsTemplate:
    Buf pairs               # names and values as web servers send them
    uint32_t[TEMPLATE_PAIRS] ends   # of each pair
    uint32_t n              # pairs; 0: there is none
    uint32_t left           # requests until it is made anew
    int maker               # reference: a Lua function that returns a table of them
    Buf text                # the source of `maker`, while that is made

# What the userdata of a script state holds.
ctypedef struct ScriptBox:
    State *state            # NULL: it is retired

# Somebody waits until a script state of this front is free.
ctypedef struct ScriptWait:
    Op op
    State *front

# A script state that is being made.
ctypedef struct ScriptLoad:
    Op op
    State *front
    State *state            # NULL: it could not even be made
    Buf text                # name, file and argument, each with a NUL behind it
    size_t file_at
    size_t argument_at
    Buf message             # why it failed
