/* Makes the n-th operation that changes files below a folder fail: open for writing, write, fsync, rename.

   Loaded into a Python process by LD_PRELOAD. `failing_io_arm(root, n, code)` counts from there on; n = 0 only counts.
   With the code POWER the power goes at the n-th operation: what was written and not synced is cut off, renames stay, and
   the process ends; `failing_io_power_loss()` lets it go at the end of a run.
   `failing_io_count()` returns how many operations there were, `failing_io_failed()` the kind of the one that failed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_FILES 4096
static char root[PATH_MAX];
static long wanted, count;
static int code, sticky;
static char failed;
static char watched[MOST_FILES];

#define POWER -1
typedef struct { dev_t device; ino_t number; int fd; off_t synced; } written_file;
static written_file written[MOST_FILES];
static int num_written;

static written_file *find(struct stat *state) {
    for (int i = 0; i < num_written; i++)
        if (written[i].device == state->st_dev && written[i].number == state->st_ino) return &written[i];
    return NULL;
}
/* A descriptor of our own stays open on each file that is written, so that it is found under any name. */
static void note_write(int fd) {
    struct stat state;
    if (code != POWER || fstat(fd, &state) || !S_ISREG(state.st_mode) || find(&state) || num_written == MOST_FILES) return;
    written[num_written++] = (written_file){state.st_dev, state.st_ino, dup(fd), state.st_size};
}
static void note_sync(int fd) {
    struct stat state;
    if (code != POWER || fstat(fd, &state)) return;
    written_file *file = find(&state);
    if (file) file->synced = state.st_size;
}
void failing_io_power_loss(void) {
    for (int i = 0; i < num_written; i++) {
        struct stat state;
        if (!fstat(written[i].fd, &state) && state.st_size > written[i].synced && ftruncate(written[i].fd, written[i].synced))
            _exit(78);
    }
}

void failing_io_arm(const char *folder, long n, int number, int stays) {
    strncpy(root, folder, PATH_MAX - 1);
    num_written = 0;
    wanted = n; count = 0; code = number; sticky = stays; failed = 0;
    memset(watched, 0, sizeof watched);
}
long failing_io_count(void) { return count; }
int failing_io_failed(void) { return failed; }

/* Counts an operation; returns whether it is to fail. A full disk stays full: `sticky` fails all later writes too. */
static int fails(char kind) {
    long place = __sync_add_and_fetch(&count, 1);
    if (wanted && (place == wanted || (sticky && place > wanted && kind == 'w'))) {
        if (!failed) failed = kind;
        if (code == POWER) {
            failing_io_power_loss();
            _exit(77);
        }
        errno = code;
        return 1;
    }
    return 0;
}
static int below(const char *path) {
    char whole[PATH_MAX];
    if (!root[0] || !path) return 0;
    if (path[0] != '/') {
        if (!getcwd(whole, sizeof whole)) return 0;
        strncat(whole, "/", sizeof whole - strlen(whole) - 1);
        strncat(whole, path, sizeof whole - strlen(whole) - 1);
        path = whole;
    }
    return strncmp(path, root, strlen(root)) == 0;
}
static int watch(int fd, int is_watched) {
    if (fd >= 0 && fd < MOST_FILES) watched[fd] = (char)is_watched;
    return fd;
}
static int is_watched(int fd) { return fd >= 0 && fd < MOST_FILES && watched[fd]; }
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRITES(flags) (((flags) & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) != 0)
#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & O_CREAT) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }

#define OPEN(name) \
int name(const char *path, int flags, ...) { \
    MODE(flags) \
    int own = below(path) && WRITES(flags); \
    if (own && fails('o')) return -1; \
    return watch(REAL(name)(path, flags, mode), own); \
}
OPEN(open)
OPEN(open64)
#define OPENAT(name) \
int name(int folder, const char *path, int flags, ...) { \
    MODE(flags) \
    int own = below(path) && WRITES(flags); \
    if (own && fails('o')) return -1; \
    return watch(REAL(name)(folder, path, flags, mode), own); \
}
OPENAT(openat)
OPENAT(openat64)
#define FOPEN(name) \
FILE *name(const char *path, const char *how) { \
    int own = below(path) && strpbrk(how, "wa+") != NULL; \
    if (own && fails('o')) return NULL; \
    FILE *found = REAL(name)(path, how); \
    if (found) watch(fileno(found), own); \
    return found; \
}
FOPEN(fopen)
FOPEN(fopen64)
ssize_t write(int fd, const void *data, size_t size) {
    if (is_watched(fd) && fails('w')) return -1;
    if (is_watched(fd)) note_write(fd);
    return REAL(write)(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t place) {
    if (is_watched(fd) && fails('w')) return -1;
    if (is_watched(fd)) note_write(fd);
    return REAL(pwrite)(fd, data, size, place);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t place) {
    if (is_watched(fd) && fails('w')) return -1;
    if (is_watched(fd)) note_write(fd);
    return REAL(pwrite64)(fd, data, size, place);
}
ssize_t writev(int fd, const struct iovec *parts, int number) {
    if (is_watched(fd) && fails('w')) return -1;
    if (is_watched(fd)) note_write(fd);
    return REAL(writev)(fd, parts, number);
}
int fsync(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size > 0) {
        path[size] = 0;
        if (below(path) && fails('s')) return -1;
    }
    int answer = REAL(fsync)(fd);
    if (!answer) note_sync(fd);
    return answer;
}
void sync(void) {
    if (!root[0]) { REAL(sync)(); return; }
    count++;
    for (int i = 0; i < num_written; i++) {
        struct stat state;
        if (code == POWER && !fstat(written[i].fd, &state)) written[i].synced = state.st_size;
    }
    REAL(sync)();
}
int rename(const char *from, const char *to) {
    if ((below(from) || below(to)) && fails('r')) return -1;
    return REAL(rename)(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    if ((below(from) || below(to)) && fails('r')) return -1;
    return REAL(renameat)(a, from, b, to);
}
