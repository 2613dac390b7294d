# Files and programs of the system, for applications. Part of core.pxd, which has the rules.

# ---- Files of applications (fs.pxi, fs_list.pxi, fs_remove.pxi; lua_fs.pxi, lua_fs_file.pxi, lua_fs_watch.pxi) -------

# An open file. Its descriptor is closed when nobody holds it: so never under a thread that reads it.
ctypedef struct FsFile:
    int fd
    uint32_t holders        # its userdata, and jobs on their way
    uint8_t busy            # a job has it: another one is refused
    uint8_t closed          # by the application
    Buf name                # as opened, with a NUL behind it: for messages

# What stat(2) says.
ctypedef struct FsInfo:
    uint32_t mode           # with the bits of the kind
    uint32_t uid
    uint32_t gid
    int64_t size
    uint64_t device
    uint64_t inode
    uint64_t links
    double atime            # Unix times
    double mtime
    double ctime

cdef enum FsFlag:
    FS_APPEND = 1           # write: behind what is there
    FS_ATOMIC = 2           # write: all or nothing, also when the machine stops
    FS_MODE = 4             # write, mkdir: FsJob.mode was given
    FS_PARENTS = 8          # mkdir: the folders above, too; no failure if it is there
    FS_TREE = 16            # remove: with all that is in it
    FS_NOFOLLOW = 32        # stat: of the link itself

# One call of a file function on its way through the pool. `run` takes what it needs from here and leaves its results.
ctypedef struct FsJob:
    Job job
    FsFile *file            # held; NULL: a path says what is meant
    const Archive *archive
    ArchiveFile *inside     # the file of the archive that the first path means; NULL: it is on the disk
    Folder folder           # list: the folder of the archive that it means; `archive` NULL: it is on the disk
    Buf text                # the paths, each with a NUL behind it
    size_t second           # where the second one begins
    Buf data                # to be written; what was read
    uint64_t limit          # bytes that are read at most
    int64_t at              # lseek(2): offset, result
    int whence
    int open_flags          # of open(2)
    uint32_t mode           # permission bits
    uint32_t flags          # FsFlag
    int fd                  # result: an open file that the job owns; -1: none
    char **names            # result of list: into `data`, each a byte for its kind and a name with a NUL
    uint32_t nnames
    FsInfo info             # result of stat
    uint8_t about_second    # the error is about the second path

# An inotify descriptor; a coroutine waits for its events.
ctypedef struct FsWatch:
    Op op
    Watch watch
    FsFile *file            # its descriptor; NULL: stopped
    State *state
    uint8_t asleep          # its coroutine is counted in State.watching
    uint8_t stopped
    uint8_t dead            # Lua has collected it: free it when its wait has ended


# ---- Programs that applications start (launch.pxi, process.pxi, run.pxi; lua_process.pxi) ----------------------

# A program on its way through the pool: what it is to be, then what it is. Strings are places in `text`.
ctypedef struct Launch:
    Job job
    State *state            # whose program it will be; NULL: its coroutine is gone
    Buf text                # NUL-terminated strings: the program, its arguments, environment, folder, user
    uint32_t nargs
    uint32_t nenv           # NAME=value, or NAME to leave it out
    uint8_t clean           # nothing of the server's environment
    uint8_t has_cwd
    uint8_t has_user
    uint8_t kinds[3]        # LaunchStream of stdin, stdout, stderr
    int ends[3]             # result: this side's ends of the pipes; -1: there is none
    int pid                 # result; 0: not started
    int pidfd               # result; -1: the kernel has none
    uint8_t step            # which step failed, see c/spawn.h

cdef enum LaunchStream:     # numbers of heart/v1/process.lua
    STREAM_NULL
    STREAM_PIPE
    STREAM_INHERIT          # that of the server
    STREAM_OUTPUT           # stderr only: where stdout goes

ctypedef struct ProcessWait

# A program that was started. It is freed when it was reaped and neither Lua nor somebody who waits knows it.
ctypedef struct Process:
    Watch exit              # its pidfd; fd -1: a thread waits instead (process_thread), or it has ended
    Post post               # of that thread
    Worker *worker
    State *state            # it is killed when that closes; NULL: that was done
    Process *next           # Worker.processes
    Process *prev
    ProcessWait *waits
    uint32_t holders        # userdata, waits, the thread
    uint32_t keepers        # of them: do not reap it yet, so that its group can still be killed
    int pid
    int status              # once it has ended: exit status, or minus the signal
    uint8_t ended
    uint8_t reaped

# Somebody who waits for the end of a program. `on_exit` is called once, from the loop; it has left the list by then.
ctypedef struct ProcessWait:
    Op op
    Process *process        # held
    ProcessWait *next
    void (*on_exit)(Worker *w, ProcessWait *x) noexcept nogil

ctypedef struct Run

# One pipe of a Run.
ctypedef struct RunStream:
    Watch watch             # fd -1: closed
    Run *run
    Buf bytes               # to be written, or what was read
    size_t at               # written of it

cdef enum RunFailure:
    RUN_TIMEOUT = 1
    RUN_TOO_LARGE

# A program that is fed and read until it has ended and its output is closed.
ctypedef struct Run:
    ProcessWait wait
    RunStream streams[3]
    Timer timer
    uint64_t timeout        # ms; 0: none
    size_t limit            # bytes of stdout, and of stderr
    uint8_t failure         # RunFailure; 0: none
    uint8_t begun
    uint8_t over            # nothing is awaited any more
