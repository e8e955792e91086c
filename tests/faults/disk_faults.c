/* Disk faults for one folder, by LD_PRELOAD.  Counterpart: disk_faults.py, which compiles this and drives it.
 *
 *   KM_FAULT_PREFIX    absolute, resolved folder; only what lies in or below it is affected
 *   KM_FAULT_CONTROL   a file of one byte, mapped shared: writing the byte switches every process at once
 *
 *   byte  mode       effect
 *   n     none       nothing
 *   h     hang       every change waits until the mode changes; all signals but SIGKILL and SIGSTOP wait with it
 *   H     hang_read  the same, and reading waits as well (a dead network file system)
 *   e     enospc     nothing can be created and no file can grow; overwriting what is allocated still works
 *   i     eio        every change fails
 *   r     erofs      every change but fsync fails
 *   s     short      a write takes half of its bytes, at least one
 *
 * Calls that would fail anyway (unlink of a missing file, mkdir of an existing one) keep their own error.
 * Not seen: stdio (FILE *), stores into mapped memory, sendfile, copy_file_range, io_uring, static programs.
 * The replaced functions go to the kernel directly, so nothing here depends on symbol lookup, locks or memory. */
#define _GNU_SOURCE
#undef _FORTIFY_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
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

_Static_assert(sizeof(long) == 8, "offsets are passed to the kernel in one register");

enum operation { READ, OPEN, CREATE, RENAME, UNLINK, OVERWRITE, EXTEND, TRUNCATE, ALLOCATE, SYNC };

static const char *prefix;
static size_t prefix_length;
static const volatile char *control;
#define HANG_POLL_NS 2000000L

__attribute__((constructor)) static void connect_control(void) {
    const char *control_path = getenv("KM_FAULT_CONTROL");
    prefix = getenv("KM_FAULT_PREFIX");
    if (!prefix || prefix[0] != '/' || !control_path) return;
    /* Copied: a program may change its environment later. */
    prefix = strdup(prefix);
    prefix_length = strlen(prefix);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, control_path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return;
    void *page = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (page != MAP_FAILED) control = page;
}

static char current_mode(void) { return control ? __atomic_load_n(control, __ATOMIC_ACQUIRE) : 'n'; }

/* ---- what is below the prefix ---- */

static int is_below_prefix(const char *path) {
    if (strncmp(path, prefix, prefix_length) != 0) return 0;
    const char *rest = path + prefix_length;
    return *rest == '\0' || *rest == '/' || strcmp(rest, " (deleted)") == 0;
}

/* Write the path behind *fd* into *path* (PATH_MAX bytes); 0 if there is none. */
static int descriptor_path(int fd, char *path) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0 || path[0] != '/') return 0;
    path[length] = '\0';
    return 1;
}

static int is_affected_descriptor(int fd) {
    char path[PATH_MAX];
    return descriptor_path(fd, path) && is_below_prefix(path);
}

/* The parent is resolved and the last component is kept: the call itself may be about to make or remove it. */
static int is_affected_path(int folder_fd, const char *path) {
    char absolute[2 * PATH_MAX], parent[PATH_MAX], whole[2 * PATH_MAX];
    if (path[0] == '/') {
        snprintf(absolute, sizeof absolute, "%s", path);
    } else {
        if (folder_fd == AT_FDCWD ? !getcwd(parent, sizeof parent) : !descriptor_path(folder_fd, parent)) return 0;
        snprintf(absolute, sizeof absolute, "%s/%s", parent, path);
    }
    char *name = strrchr(absolute, '/');
    *name++ = '\0';
    if (!realpath(absolute[0] ? absolute : "/", parent)) return 0; /* no parent: the call fails by itself */
    snprintf(whole, sizeof whole, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, name);
    size_t length = strlen(whole);
    if (length > 1 && whole[length - 1] == '/') whole[length - 1] = '\0';
    return is_below_prefix(whole);
}

static int exists(int folder_fd, const char *path) {
    struct stat status;
    return fstatat(folder_fd, path, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- what a mode does to an operation ---- */

static int is_hanging(char mode, enum operation operation) {
    return mode == 'H' || (mode == 'h' && operation != READ);
}

/* Like a process in uninterruptible sleep: no handler runs on this thread meanwhile. */
static char wait_while_hung(enum operation operation) {
    char mode = current_mode();
    if (!is_hanging(mode, operation)) return mode;
    int saved_errno = errno;
    sigset_t all, previous;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous);
    struct timespec pause = {0, HANG_POLL_NS};
    while (is_hanging(mode = current_mode(), operation)) nanosleep(&pause, NULL);
    pthread_sigmask(SIG_SETMASK, &previous, NULL);
    errno = saved_errno;
    return mode;
}

static int fault_errno(char mode, enum operation operation) {
    if (operation == READ) return 0;
    switch (mode) {
    case 'i': return EIO;
    case 'r': return operation == SYNC ? 0 : EROFS;
    case 'e': return operation == CREATE || operation == EXTEND || operation == ALLOCATE ? ENOSPC : 0;
    default: return 0;
    }
}

/* Return 0 with errno set if the operation must fail now; it may have waited first. */
static int may_pass(enum operation operation) {
    int error = fault_errno(wait_while_hung(operation), operation);
    if (error) errno = error;
    return !error;
}

static int descriptor_may_pass(int fd, enum operation operation) {
    return current_mode() == 'n' || !is_affected_descriptor(fd) || may_pass(operation);
}

static int path_may_pass(int folder_fd, const char *path, enum operation operation) {
    return current_mode() == 'n' || !is_affected_path(folder_fd, path) || may_pass(operation);
}

/* ---- writing ---- */

/* A full disk still takes bytes where blocks are allocated.  *offset* < 0: at the descriptor's position. */
static enum operation write_operation(int fd, off_t offset, size_t size_bytes) {
    struct stat status;
    if (fstat(fd, &status) != 0) return EXTEND;
    if (offset < 0) {
        if (fcntl(fd, F_GETFL) & O_APPEND) return EXTEND;
        offset = (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
        if (offset < 0) return EXTEND;
    }
    off_t end = offset + (off_t)size_bytes;
    return end <= status.st_size && end <= status.st_blocks * 512 ? OVERWRITE : EXTEND;
}

/* Return how many of *size_bytes* may be written now, or −1 with errno set. */
static ssize_t writable_bytes(int fd, off_t offset, size_t size_bytes) {
    if (current_mode() == 'n' || size_bytes == 0 || !is_affected_descriptor(fd)) return (ssize_t)size_bytes;
    /* Nothing is known of the file before a hang is over: stat would wait, too. */
    char mode = wait_while_hung(EXTEND);
    int error = mode == 'n' ? 0 : fault_errno(mode, write_operation(fd, offset, size_bytes));
    if (error) {
        errno = error;
        return -1;
    }
    return (ssize_t)(mode == 's' && size_bytes > 1 ? size_bytes / 2 : size_bytes);
}

ssize_t write(int fd, const void *bytes, size_t size_bytes) {
    ssize_t allowed = writable_bytes(fd, -1, size_bytes);
    return allowed < 0 ? -1 : syscall(SYS_write, fd, bytes, (size_t)allowed);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size_bytes, off_t offset) {
    ssize_t allowed = writable_bytes(fd, offset, size_bytes);
    return allowed < 0 ? -1 : syscall(SYS_pwrite64, fd, bytes, (size_t)allowed, offset);
}
ssize_t pwrite(int fd, const void *bytes, size_t size_bytes, off_t offset) {
    return pwrite64(fd, bytes, size_bytes, offset);
}

/* Copy the first *allowed* bytes' worth of *from* into *to*; return how many entries that takes. */
static int cut_vector(const struct iovec *from, int count, size_t allowed, struct iovec *to) {
    int used = 0;
    while (used < count && allowed > 0) {
        to[used] = from[used];
        if (to[used].iov_len > allowed) to[used].iov_len = allowed;
        allowed -= to[used++].iov_len;
    }
    return used;
}

/* *offset* −1 = at the position, as in the kernel's pwritev2. */
static ssize_t write_vector(int fd, const struct iovec *vector, int count, off_t offset, int flags) {
    if (current_mode() == 'n' || count <= 0 || count > IOV_MAX)
        return syscall(SYS_pwritev2, fd, vector, (long)count, offset, 0L, flags);
    size_t size_bytes = 0;
    for (int index = 0; index < count; index++) size_bytes += vector[index].iov_len;
    ssize_t allowed = writable_bytes(fd, offset, size_bytes);
    if (allowed < 0) return -1;
    struct iovec cut[IOV_MAX];
    int used = cut_vector(vector, count, (size_t)allowed, cut);
    return syscall(SYS_pwritev2, fd, cut, (long)used, offset, 0L, flags);
}

ssize_t writev(int fd, const struct iovec *vector, int count) { return write_vector(fd, vector, count, -1, 0); }
ssize_t pwritev64v2(int fd, const struct iovec *vector, int count, off_t offset, int flags) {
    return write_vector(fd, vector, count, offset, flags);
}
ssize_t pwritev2(int fd, const struct iovec *vector, int count, off_t offset, int flags) {
    return write_vector(fd, vector, count, offset, flags);
}
ssize_t pwritev64(int fd, const struct iovec *vector, int count, off_t offset) {
    if (offset < 0) return errno = EINVAL, -1; /* pwritev2 would take −1 as "here" */
    return write_vector(fd, vector, count, offset, 0);
}
ssize_t pwritev(int fd, const struct iovec *vector, int count, off_t offset) {
    return pwritev64(fd, vector, count, offset);
}

/* ---- reading: waits in hang_read, never fails ---- */

ssize_t read(int fd, void *bytes, size_t size_bytes) {
    descriptor_may_pass(fd, READ);
    return syscall(SYS_read, fd, bytes, size_bytes);
}
ssize_t pread64(int fd, void *bytes, size_t size_bytes, off_t offset) {
    descriptor_may_pass(fd, READ);
    return syscall(SYS_pread64, fd, bytes, size_bytes, offset);
}
ssize_t pread(int fd, void *bytes, size_t size_bytes, off_t offset) { return pread64(fd, bytes, size_bytes, offset); }
ssize_t readv(int fd, const struct iovec *vector, int count) {
    descriptor_may_pass(fd, READ);
    return syscall(SYS_readv, fd, vector, (long)count);
}

/* ---- sizes and durability ---- */

int ftruncate64(int fd, off_t size_bytes) {
    return descriptor_may_pass(fd, TRUNCATE) ? (int)syscall(SYS_ftruncate, fd, size_bytes) : -1;
}
int ftruncate(int fd, off_t size_bytes) { return ftruncate64(fd, size_bytes); }

int truncate64(const char *path, off_t size_bytes) {
    return path_may_pass(AT_FDCWD, path, TRUNCATE) ? (int)syscall(SYS_truncate, path, size_bytes) : -1;
}
int truncate(const char *path, off_t size_bytes) { return truncate64(path, size_bytes); }

int fallocate64(int fd, int flags, off_t offset, off_t size_bytes) {
    return descriptor_may_pass(fd, ALLOCATE) ? (int)syscall(SYS_fallocate, fd, flags, offset, size_bytes) : -1;
}
int fallocate(int fd, int flags, off_t offset, off_t size_bytes) { return fallocate64(fd, flags, offset, size_bytes); }

/* These two return the error and leave errno alone. */
int posix_fallocate64(int fd, off_t offset, off_t size_bytes) {
    int saved_errno = errno;
    int error = fallocate64(fd, 0, offset, size_bytes) == 0 ? 0 : errno;
    errno = saved_errno;
    return error;
}
int posix_fallocate(int fd, off_t offset, off_t size_bytes) { return posix_fallocate64(fd, offset, size_bytes); }

int fsync(int fd) { return descriptor_may_pass(fd, SYNC) ? (int)syscall(SYS_fsync, fd) : -1; }
int fdatasync(int fd) { return descriptor_may_pass(fd, SYNC) ? (int)syscall(SYS_fdatasync, fd) : -1; }

/* ---- opening ---- */

static enum operation open_operation(int folder_fd, const char *path, int flags) {
    if ((flags & O_TMPFILE) == O_TMPFILE) return CREATE;
    if ((flags & O_CREAT) && !exists(folder_fd, path)) return CREATE;
    return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) ? OPEN : READ;
}

static int open_at(int folder_fd, const char *path, int flags, mode_t permissions) {
    int is_change = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
    if (current_mode() != 'n' && is_affected_path(folder_fd, path)) {
        wait_while_hung(is_change ? OPEN : READ);
        if (!may_pass(open_operation(folder_fd, path, flags))) return -1;
    }
    return (int)syscall(SYS_openat, folder_fd, path, flags, permissions);
}

/* The argument is there only when a file may be made. */
#define PERMISSIONS(flags, permissions)                            \
    do {                                                           \
        if (((flags) & O_CREAT) || ((flags) & O_TMPFILE) == O_TMPFILE) { \
            va_list arguments;                                     \
            va_start(arguments, flags);                            \
            (permissions) = va_arg(arguments, mode_t);             \
            va_end(arguments);                                     \
        }                                                          \
    } while (0)

int open(const char *path, int flags, ...) {
    mode_t permissions = 0;
    PERMISSIONS(flags, permissions);
    return open_at(AT_FDCWD, path, flags, permissions);
}
int open64(const char *path, int flags, ...) {
    mode_t permissions = 0;
    PERMISSIONS(flags, permissions);
    return open_at(AT_FDCWD, path, flags, permissions);
}
int openat(int folder_fd, const char *path, int flags, ...) {
    mode_t permissions = 0;
    PERMISSIONS(flags, permissions);
    return open_at(folder_fd, path, flags, permissions);
}
int openat64(int folder_fd, const char *path, int flags, ...) {
    mode_t permissions = 0;
    PERMISSIONS(flags, permissions);
    return open_at(folder_fd, path, flags, permissions);
}
int creat(const char *path, mode_t permissions) {
    return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, permissions);
}
int creat64(const char *path, mode_t permissions) { return creat(path, permissions); }

/* What programs built with _FORTIFY_SOURCE call when they pass no permissions. */
int __open_2(const char *path, int flags) { return open_at(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return open_at(AT_FDCWD, path, flags, 0); }
int __openat_2(int folder_fd, const char *path, int flags) { return open_at(folder_fd, path, flags, 0); }
int __openat64_2(int folder_fd, const char *path, int flags) { return open_at(folder_fd, path, flags, 0); }

/* ---- folders and names ---- */

int mkdirat(int folder_fd, const char *path, mode_t permissions) {
    if (!exists(folder_fd, path) && !path_may_pass(folder_fd, path, CREATE)) return -1;
    return (int)syscall(SYS_mkdirat, folder_fd, path, permissions);
}
int mkdir(const char *path, mode_t permissions) { return mkdirat(AT_FDCWD, path, permissions); }

int unlinkat(int folder_fd, const char *path, int flags) {
    if (exists(folder_fd, path) && !path_may_pass(folder_fd, path, UNLINK)) return -1;
    return (int)syscall(SYS_unlinkat, folder_fd, path, flags);
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
    if (exists(from_fd, from) && !(path_may_pass(from_fd, from, RENAME) && path_may_pass(to_fd, to, RENAME))) return -1;
    return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}
int renameat(int from_fd, const char *from, int to_fd, const char *to) {
    return renameat2(from_fd, from, to_fd, to, 0);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
