# Starting programs, and what is known of them. Needs linux.pxd.

cdef extern from "c/spawn.h" nogil:
    enum: SPAWN_AT_PROGRAM, SPAWN_AT_FOLDER, SPAWN_AT_USER
    ctypedef struct spawn_plan:
        const char *path
        char **argv
        char **envp
        const char *cwd
        int fds[3]
        int change_user
        unsigned int uid
        unsigned int gid
        const unsigned int *groups
        size_t ngroups
        int step
    int spawn_run(spawn_plan *s)
    int process_look(int pid, int keep, int wait, int *status)
    int process_fd(int pid)

cdef extern from *:
    """
    #include <grp.h>
    #include <pwd.h>
    #include <signal.h>
    #include <unistd.h>
    #define process_environment() environ
    """
    char **process_environment() nogil
    int kill(int pid, int signal) nogil
    enum: SIGKILL, ESRCH, EPERM
    int pipe2(int *fds, int flags) nogil
    int access(const char *path, int mode) nogil
    enum: X_OK, F_DUPFD_CLOEXEC
    struct passwd:
        unsigned int pw_uid
        unsigned int pw_gid
        char *pw_name
    int getpwnam_r(const char *name, passwd *out, char *room, size_t n, passwd **found) nogil
    int getpwuid_r(unsigned int uid, passwd *out, char *room, size_t n, passwd **found) nogil
    int getgrouplist(const char *user, unsigned int group, unsigned int *groups, int *n) nogil
