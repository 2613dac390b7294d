/* Starting a program. vfork, because fork copies the page tables of a large server, and posix_spawn can neither change
 * the user nor close what a C module has left open without O_CLOEXEC. The child runs in the memory of the process, on
 * the stack of the thread that waits for it: between vfork and exec there are system calls only, no lock and no
 * allocation. All signals must be blocked in the calling thread. */
#ifndef HEART_SPAWN_H
#define HEART_SPAWN_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPAWN_SIGNALS 64
#define SPAWN_FIRST_FREE 3 /* descriptor behind stdin, stdout, stderr */
#define SPAWN_CLOSE_RANGE 436 /* close_range(2), Linux 5.9 */
#define SPAWN_PIDFD_OPEN 434 /* pidfd_open(2), Linux 5.3 */

/* The calls of 32-bit machines with 32-bit user ids. */
#ifdef SYS_setgroups32
#define SPAWN_SETGROUPS SYS_setgroups32
#define SPAWN_SETGID SYS_setgid32
#define SPAWN_SETUID SYS_setuid32
#else
#define SPAWN_SETGROUPS SYS_setgroups
#define SPAWN_SETGID SYS_setgid
#define SPAWN_SETUID SYS_setuid
#endif

enum { SPAWN_AT_PROGRAM, SPAWN_AT_FOLDER, SPAWN_AT_USER };

typedef struct {
    const char *path;
    char *const *argv;
    char *const *envp;
    const char *cwd; /* NULL: that of the server */
    int fds[3]; /* what becomes 0, 1 and 2 */
    int change_user;
    unsigned uid, gid;
    const unsigned *groups;
    size_t ngroups;
    volatile int error; /* result: errno of the step that failed */
    volatile int step; /* SPAWN_AT_*: which one it was */
} spawn_plan;

static void spawn_close_others(void) {
    struct rlimit limit;
    unsigned fd, end = 65536;
    if (syscall(SPAWN_CLOSE_RANGE, SPAWN_FIRST_FREE, ~0U, 0U) == 0) return;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < end) end = (unsigned)limit.rlim_cur;
    for (fd = SPAWN_FIRST_FREE; fd < end; fd++) close((int)fd);
}

static int spawn_descriptors(const int *fds) {
    int moved[3], i;
    for (i = 0; i < 3; i++) {
        moved[i] = fcntl(fds[i], F_DUPFD, SPAWN_FIRST_FREE);
        if (moved[i] < 0) return -1;
    }
    for (i = 0; i < 3; i++)
        if (dup2(moved[i], i) < 0) return -1;
    spawn_close_others();
    return 0;
}

static int spawn_user(const spawn_plan *s) {
    if (!s->change_user) return 0;
    if (syscall(SPAWN_SETGROUPS, s->ngroups, s->groups) < 0) return -1;
    if (syscall(SPAWN_SETGID, s->gid) < 0) return -1;
    return (int)syscall(SPAWN_SETUID, s->uid);
}

static void spawn_child(spawn_plan *s) {
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigset_t none;
    int i;
    for (i = 1; i <= SPAWN_SIGNALS; i++) sigaction(i, &standard, NULL);
    setpgid(0, 0);
    s->step = SPAWN_AT_PROGRAM;
    if (spawn_descriptors(s->fds) == 0) {
        s->step = SPAWN_AT_USER;
        if (spawn_user(s) == 0) {
            s->step = SPAWN_AT_FOLDER;
            if (s->cwd == NULL || chdir(s->cwd) == 0) {
                s->step = SPAWN_AT_PROGRAM;
                sigemptyset(&none);
                sigprocmask(SIG_SETMASK, &none, NULL);
                execve(s->path, s->argv, s->envp);
            }
        }
    }
    s->error = errno;
    _exit(127);
}

/* Returns the child's id; -1: errno, and `step` says what failed. */
static __attribute__((noinline)) int spawn_run(spawn_plan *s) {
    pid_t pid;
    s->error = 0;
    s->step = SPAWN_AT_PROGRAM;
    pid = vfork();
    if (pid == 0) spawn_child(s);
    if (pid > 0 && s->error) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
        errno = s->error;
        return -1;
    }
    return (int)pid;
}

/* How a process has ended, if it has. Returns 1 and sets `status` (exit status, or minus the signal), 0: it runs, or -1:
 * nothing is known of it. `keep`: leave it a zombie, so that its id and its group's are nobody else's. `wait`: until it
 * has ended. */
static int process_look(int pid, int keep, int wait, int *status) {
    siginfo_t info;
    int rc;
    info.si_pid = 0;
    do {
        rc = waitid(P_PID, (id_t)pid, &info, WEXITED | (keep ? WNOWAIT : 0) | (wait ? 0 : WNOHANG));
    } while (rc < 0 && errno == EINTR);
    if (rc < 0) return -1;
    if (info.si_pid == 0) return 0;
    *status = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
    return 1;
}

static int process_fd(int pid) {
    int fd = (int)syscall(SPAWN_PIDFD_OPEN, pid, 0U);
    if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

#endif
