# Threads outside Python: starting one, waiting for a word of memory, and the words that two threads share.

cdef extern from *:
    """
    #include <linux/futex.h>
    #include <pthread.h>
    #include <signal.h>
    #include <sys/prctl.h>
    #include <sys/syscall.h>
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

    /* Start `run(arg)` on a detached thread that no signal is delivered to. Returns 0 or an errno. */
    static inline int thread_start(void *(*run)(void *), void *arg) {
        pthread_t thread;
        sigset_t all, before;
        int error;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        error = pthread_create(&thread, NULL, run, arg);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (error == 0) pthread_detach(thread);
        return error;
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
    void thread_set_name(const char *name) nogil
