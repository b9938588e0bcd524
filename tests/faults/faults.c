/* Faults that a process cannot tell from the world's, for LD_PRELOAD. It looks for two files in the folder that it is
 * started in, and without them does nothing:
 *
 * faults.plan    `HOW N WHICH`: the n-th change of a file under that folder fails, and all later ones: `kill` (the
 *                process, by SIGKILL), `enospc`, `eio`. A change is a write, a sync, a new length, a rename, or an
 *                opening for writing (of those only the ones that may create a file need space). WHICH is `all`, or
 *                `rare`: writes and syncs are not counted, and succeed
 * faults.clock   eight bytes, little-endian: seconds that are added to the time of day, read anew at every look at it
 *
 * And it writes two, so that a fault is counted only where there was one:
 *
 * faults.struck  the name of the call that failed first
 * faults.mapped  faults.clock was there, and is looked at
 */
#define _GNU_SOURCE
/* The checked variants of `open` are inline, and could not be defined here. */
#undef _FORTIFY_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static atomic_long calls;
static atomic_flag striking = ATOMIC_FLAG_INIT;
static atomic_int noted;
static char folder[4096];
static long at;
static int rare;
static int how; /* 0: nothing, -1: kill, else errno */
static volatile int64_t *offset_seconds;

/* Through the kernel itself: nothing here may fail as planned. */
static void note(const char *file, const char *text) {
    char path[4200];
    long fd;
    snprintf(path, sizeof path, "%s/%s", folder, file);
    fd = syscall(SYS_openat, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return;
    syscall(SYS_write, fd, text, strlen(text));
    syscall(SYS_close, fd);
}

__attribute__((constructor)) static void look_for_files(void) {
    char kind[16] = "", which[16] = "";
    FILE *plan = fopen("faults.plan", "re");
    int clock = open("faults.clock", O_RDONLY | O_CLOEXEC);
    if (!getcwd(folder, sizeof folder)) return;
    if (plan && fscanf(plan, "%15s %ld %15s", kind, &at, which) == 3)
        how = !strcmp(kind, "kill") ? -1 : !strcmp(kind, "enospc") ? ENOSPC : !strcmp(kind, "eio") ? EIO : 0;
    rare = !strcmp(which, "rare");
    if (plan) fclose(plan);
    if (clock >= 0) {
        void *page = mmap(NULL, 8, PROT_READ, MAP_SHARED, clock, 0);
        if (page != MAP_FAILED) offset_seconds = page;
        if (offset_seconds) note("faults.mapped", "");
        close(clock);
    }
}

static int is_here(const char *path) {
    size_t length = strlen(folder);
    return !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

static int is_descriptor_here(int fd) {
    char link[32], path[4096];
    ssize_t length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return is_here(path);
}

static int is_path_here(int from, const char *path) {
    if (path[0] == '/') return is_here(path);
    return from == AT_FDCWD || is_descriptor_here(from);
}

/* True when this call is the one that fails; once it was an error, all later ones fail the same way. */
static int strikes(const char *call) {
    if (rare && (strstr(call, "write") || strstr(call, "sync"))) return 0;
    if (atomic_fetch_add(&calls, 1) + 1 < at) return 0;
    if (!atomic_flag_test_and_set(&striking)) {
        note("faults.struck", call);
        atomic_store(&noted, 1);
    }
    /* No thread ends the process before that is written. */
    while (!atomic_load(&noted)) usleep(100);
    if (how < 0) kill(getpid(), SIGKILL);
    errno = how;
    return 1;
}

static int strikes_file(const char *call, int fd) {
    int before = errno;
    int struck = how && is_descriptor_here(fd) && strikes(call);
    if (!struck) errno = before;
    return struck;
}

static int strikes_path(const char *call, int from, const char *path) {
    int before = errno;
    int struck = how && is_path_here(from, path) && strikes(call);
    if (!struck) errno = before;
    return struck;
}

static int strikes_open(int from, const char *path, int flags) {
    if ((flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT)) return 0;
    if (how == ENOSPC && !(flags & O_CREAT)) return 0;
    return strikes_path("open", from, path);
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* A call on a descriptor that answers -1 and sets errno. */
#define ON_FILE(type, name, parameters, ...) \
    type name parameters { \
        REAL(name); \
        return strikes_file(#name, fd) ? -1 : real(__VA_ARGS__); \
    }

ON_FILE(ssize_t, write, (int fd, const void *bytes, size_t count), fd, bytes, count)
ON_FILE(ssize_t, writev, (int fd, const struct iovec *parts, int count), fd, parts, count)
ON_FILE(ssize_t, pwrite, (int fd, const void *bytes, size_t count, off_t offset), fd, bytes, count, offset)
ON_FILE(ssize_t, pwrite64, (int fd, const void *bytes, size_t count, off64_t offset), fd, bytes, count, offset)
ON_FILE(ssize_t, pwritev, (int fd, const struct iovec *parts, int count, off_t offset), fd, parts, count, offset)
ON_FILE(ssize_t, pwritev64, (int fd, const struct iovec *parts, int count, off64_t offset), fd, parts, count, offset)
ON_FILE(ssize_t, pwritev2, (int fd, const struct iovec *parts, int count, off_t offset, int flags), fd, parts, count,
        offset, flags)
ON_FILE(ssize_t, pwritev64v2, (int fd, const struct iovec *parts, int count, off64_t offset, int flags), fd, parts,
        count, offset, flags)
ON_FILE(int, fsync, (int fd), fd)
ON_FILE(int, fdatasync, (int fd), fd)
ON_FILE(int, ftruncate, (int fd, off_t length), fd, length)
ON_FILE(int, ftruncate64, (int fd, off64_t length), fd, length)
ON_FILE(int, fallocate, (int fd, int mode, off_t offset, off_t length), fd, mode, offset, length)
ON_FILE(int, fallocate64, (int fd, int mode, off64_t offset, off64_t length), fd, mode, offset, length)

/* These two answer with the error itself. */
int posix_fallocate(int fd, off_t offset, off_t length) {
    REAL(posix_fallocate);
    return strikes_file("posix_fallocate", fd) ? how : real(fd, offset, length);
}

int posix_fallocate64(int fd, off64_t offset, off64_t length) {
    REAL(posix_fallocate64);
    return strikes_file("posix_fallocate64", fd) ? how : real(fd, offset, length);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    return strikes_path("rename", AT_FDCWD, to) ? -1 : real(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    REAL(renameat);
    return strikes_path("renameat", to_folder, to) ? -1 : real(from_folder, from, to_folder, to);
}

/* The mode is there only where a file may be created. */
#define OPEN(name, from, parameters, ...) \
    int name parameters { \
        mode_t mode = 0; \
        REAL(name); \
        if (flags & (O_CREAT | __O_TMPFILE)) { \
            va_list more; \
            va_start(more, flags); \
            mode = va_arg(more, mode_t); \
            va_end(more); \
        } \
        return strikes_open(from, path, flags) ? -1 : real(__VA_ARGS__, mode); \
    }

OPEN(open, AT_FDCWD, (const char *path, int flags, ...), path, flags)
OPEN(open64, AT_FDCWD, (const char *path, int flags, ...), path, flags)
OPEN(openat, from, (int from, const char *path, int flags, ...), from, path, flags)
OPEN(openat64, from, (int from, const char *path, int flags, ...), from, path, flags)

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int outcome = real(clock, now);
    if (!outcome && clock == CLOCK_REALTIME && offset_seconds) now->tv_sec += *offset_seconds;
    return outcome;
}
