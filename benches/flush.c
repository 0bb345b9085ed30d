/* A flush that takes a known time: preloaded into PostgreSQL, it adds FLUSH_DELAY_US microseconds to every fsync and
 * fdatasync. Disks of shared machines differ by a factor of thirty within a minute; this does not. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

static long delay_us(void) {
    static long delay = -1;
    if (delay < 0) {
        const char *text = getenv("FLUSH_DELAY_US");
        delay = text ? atol(text) : 0;
        /* The default slack of 50 us would make 1 ms 1.05 ms. */
        prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    }
    return delay;
}

static void wait_for_disk(void) {
    long us = delay_us();
    struct timespec left = {us / 1000000, (us % 1000000) * 1000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
    }
}

typedef int (*flush_function)(int);

static int flush_with(const char *name, int fd) {
    flush_function real = (flush_function)dlsym(RTLD_NEXT, name);
    int result = real(fd);
    int saved = errno;
    wait_for_disk();
    errno = saved;
    return result;
}

int fsync(int fd) { return flush_with("fsync", fd); }

int fdatasync(int fd) { return flush_with("fdatasync", fd); }
