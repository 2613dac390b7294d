# Threads outside Python: starting one, waiting for a word of memory, and the words that two threads share.

cdef extern from *:
    """
    #include <errno.h>
    #include <linux/futex.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stdlib.h>
    #include <sys/prctl.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>

    #define word_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define word_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define word64_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define word64_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define word_swap(p, v) __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
    #define full_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)

    /* Sleep while *p is `value`, at most `ms` (-1: for ever). Returns early without a reason now and then.
     * The kernel's struct for this call number is two longs on every machine, whatever libc's timespec is. */
    static inline void futex_wait(uint32_t *p, uint32_t value, int ms) {
        long limit[2] = {ms / 1000, ms % 1000 * 1000000L};
        syscall(SYS_futex, p, FUTEX_WAIT_PRIVATE, value, ms < 0 ? NULL : limit, NULL, 0);
    }

    static inline void futex_wake(uint32_t *p) {
        syscall(SYS_futex, p, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }

    /* Start `run(arg)` on a detached thread that no signal is delivered to, with a stack of `stack` bytes (0: libc's
     * default). Returns 0 or an errno. */
    static inline int thread_start_small(void *(*run)(void *), void *arg, size_t stack) {
        pthread_t thread;
        pthread_attr_t attributes;
        sigset_t all, before;
        int error;
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        if (stack) pthread_attr_setstacksize(&attributes, stack);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        error = pthread_create(&thread, &attributes, run, arg);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
        return error;
    }

    static inline int thread_start(void *(*run)(void *), void *arg) { return thread_start_small(run, arg, 0); }

    /* A gate: a lock, and a place to wait for what it guards. */
    typedef struct {
        pthread_mutex_t mutex;
        pthread_cond_t news;
    } heart_gate;

    static inline void *gate_new(void) {
        heart_gate *gate = (heart_gate *)malloc(sizeof *gate);
        pthread_condattr_t attributes;
        if (gate == NULL) return NULL;
        pthread_mutex_init(&gate->mutex, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&gate->news, &attributes);
        pthread_condattr_destroy(&attributes);
        return gate;
    }

    static inline void gate_take(void *gate) { pthread_mutex_lock(&((heart_gate *)gate)->mutex); }
    static inline void gate_give(void *gate) { pthread_mutex_unlock(&((heart_gate *)gate)->mutex); }
    static inline void gate_wake(void *gate) { pthread_cond_signal(&((heart_gate *)gate)->news); }

    /* Give it, sleep until somebody wakes, at most `seconds`, and take it again. Returns whether the time is
     * over; may return early without a reason. */
    static inline int gate_wait(void *gate, int seconds) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += seconds;
        return pthread_cond_timedwait(&((heart_gate *)gate)->news, &((heart_gate *)gate)->mutex, &until) == ETIMEDOUT;
    }

    #define thread_set_name(name) prctl(PR_SET_NAME, (name), 0, 0, 0)
    """
    uint32_t word_acquire(uint32_t *p) nogil
    void word_release(uint32_t *p, uint32_t v) nogil
    uint32_t word_swap(uint32_t *p, uint32_t v) nogil
    uint64_t word64_acquire(uint64_t *p) nogil
    void word64_release(uint64_t *p, uint64_t v) nogil
    void full_fence() nogil
    void futex_wait(uint32_t *p, uint32_t value, int ms) nogil
    void futex_wake(uint32_t *p) nogil
    int thread_start(void *(*run)(void *) noexcept nogil, void *arg) nogil
    int thread_start_small(void *(*run)(void *) noexcept nogil, void *arg, size_t stack) nogil

    void *gate_new() nogil
    void gate_take(void *gate) nogil
    void gate_give(void *gate) nogil
    void gate_wake(void *gate) nogil
    bint gate_wait(void *gate, int seconds) nogil
    void thread_set_name(const char *name) nogil
