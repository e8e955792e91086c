/* The single-file km: unpacks the folder build that it carries, once, and becomes it.

   The folder is the released archive (tar.gz), inside this program.  It goes into the user's cache under the archive's
   hash, under a lock and by one rename, so that it is there whole or not at all; then execv: same pid, no second
   process, so whatever a client does to this pid it does to km.  argv[0] becomes this file's path, by which km starts
   itself again.  build/single_file.py compiles it with -DARCHIVE, -DARCHIVE_HASH, -DFOLDER_BYTES; no Windows: no exec. */

#define _GNU_SOURCE
#define _DARWIN_C_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#ifdef __APPLE__
#include <mach-o/dyld.h>
#define SECTION ".const_data\n"
#define SYMBOL(name) "_" name
#define CACHE "Library/Caches/Kilometers"
#else
#define SECTION ".section .rodata\n"
#define SYMBOL(name) name
#define CACHE ".cache/kilometers"
#endif

/* In a section rather than appended: strip and codesign know what it is, and only what is read is loaded. */
__asm__(SECTION SYMBOL("archive") ":\n.incbin \"" ARCHIVE "\"\n" SYMBOL("archive_end") ":\n.byte 0\n.text\n");
extern const unsigned char archive[], archive_end[];

enum { BLOCK = 512, MODE_AT = 100, SIZE_AT = 124, KIND_AT = 156, CANNOT_BEGIN = 125 };
static char *problem = "no folder for it";
static long long bytes_found;
static z_stream stream;

static int failed(const char *what, const char *path) {
    return asprintf(&problem, "%s %s: %s", what, path, errno ? strerror(errno) : "this file is damaged") < 0 ? -1 : -1;
}

static char *join(const char *folder, const char *name) {
    char *path;
    return asprintf(&path, "%s/%s", folder, name) < 0 ? abort(), NULL : path;
}

static int add_size(const char *path, const struct stat *facts, int kind) {
    return (void)path, bytes_found += kind == FTW_F ? facts->st_size : 0, 0;
}

static int remove_one(const char *path, const struct stat *facts, int kind, struct FTW *position) {
    return (void)facts, (void)kind, (void)position, remove(path);
}

static void remove_tree(const char *folder) { nftw(folder, remove_one, 16, FTW_PHYS | FTW_DEPTH); }

/* What cleans caches may take single files: a folder with less in it than was packed is made again. */
static int is_whole(const char *folder) {
    return bytes_found = 0, ftw(folder, add_size, 16) == 0 && bytes_found == FOLDER_BYTES;
}

static int make_parents(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash; *slash = '/', slash = strchr(slash + 1, '/'))
        if (*slash = 0, mkdir(path, 0700) && errno != EEXIST) return failed("cannot make", path);
    return 0;
}

static int read_archive(void *room, size_t size) {
    stream.next_out = room, stream.avail_out = (uInt)size;
    for (int result = Z_OK; stream.avail_out && result == Z_OK;) result = inflate(&stream, Z_NO_FLUSH);
    return stream.avail_out ? errno = 0, failed("cannot unpack", "km") : 0;
}

static int unpack_file(const char *path, size_t size, int is_program) {
    static unsigned char room[64 * BLOCK];
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return failed("cannot write", path);
    for (size_t left = size, part; left; left -= part) {
        part = left < sizeof room ? left : sizeof room;
        if (read_archive(room, part)) return -1;
        if (errno = ENOSPC, write(fd, room, part) != (ssize_t)part) return failed("cannot write", path);
    }
    /* Synced, or after a power loss the renamed folder could hold empty files. */
    if (fchmod(fd, is_program ? 0700 : 0600) || fsync(fd) || close(fd)) return failed("cannot write", path);
    return read_archive(room, (BLOCK - size % BLOCK) % BLOCK);
}

/* The archive is build/archive.py's: ustar, short names, one folder with all the rest, which *folder* stands for. */
static int unpack(const char *folder) {
    static char header[BLOCK];
    stream.next_in = (unsigned char *)archive, stream.avail_in = (uInt)(archive_end - archive);
    if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) return errno = ENOMEM, failed("cannot unpack", folder);
    while (read_archive(header, BLOCK) == 0 && strchr(header, '/')) {
        char *path = join(folder, strchr(header, '/') + 1);
        const size_t size = strtoul(header + SIZE_AT, NULL, 8);
        if (make_parents(path)) return -1;
        if (header[KIND_AT] == '0' && unpack_file(path, size, strtol(header + MODE_AT, NULL, 8) & 0100)) return -1;
    }
    int result = Z_OK; /* what is left is padding, and then the checksum of everything */
    while (result == Z_OK) stream.next_out = (Bytef *)header, stream.avail_out = BLOCK, result = inflate(&stream, 0);
    return result == Z_STREAM_END && is_whole(folder) ? 0 : (errno = 0, failed("cannot unpack", folder));
}

static int install(const char *cache, const char *folder) {
    const char *part = join(cache, "part"), *lock_path = join(cache, "lock");
    const int lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600); /* released by exec or exit */
    if (lock < 0 || flock(lock, LOCK_EX)) return failed("cannot lock", lock_path);
    if (is_whole(folder)) return 0; /* another was first */
    remove_tree(part), remove_tree(folder);
    if (unpack(part) || (rename(part, folder) && failed("cannot rename", part))) return remove_tree(part), -1;
    return 0;
}

/* Become the km in this cache; return only where that cannot be. */
static void run_from(char *cache, char **argv) {
    struct stat facts;
    if (make_parents(join(cache, ""))) return;
    if (lstat(cache, &facts) || !S_ISDIR(facts.st_mode) || facts.st_uid != geteuid() || facts.st_mode & 022)
        return (void)(errno = EPERM, failed("cannot use", cache));
    const char *folder = join(cache, ARCHIVE_HASH), *program = join(folder, "km");
    if (!is_whole(folder) && install(cache, folder)) return;
    utimensat(AT_FDCWD, folder, NULL, 0); /* when it was last used: km removes those that are not any more (program.py) */
    execv(program, argv);
    failed("cannot start", program);
}

static void run_from_home(const char *home, char **argv) {
    struct stat facts; /* a home of somebody else (sudo) is not for what is ours */
    if (home && home[0] == '/' && stat(home, &facts) == 0 && facts.st_uid == geteuid())
        run_from(join(home, CACHE), argv);
}

int main(int argc, char **argv) {
    static char found[PATH_MAX] = "/proc/self/exe", own_path[PATH_MAX];
    char *temporary;
#ifdef __APPLE__
    _NSGetExecutablePath(found, &(uint32_t){sizeof found});
#endif
    if (argc && realpath(found, own_path)) argv[0] = own_path;
    run_from_home(getenv("HOME"), argv);
    const struct passwd *user = getpwuid(geteuid()); /* only now: it may ask a server */
    run_from_home(user ? user->pw_dir : NULL, argv);
    if (asprintf(&temporary, "/var/tmp/kilometers-%u", (unsigned)geteuid()) > 0) run_from(temporary, argv);
    dprintf(2, "km: cannot unpack itself: %s. Set HOME to a folder of yours, or install km's archive instead.\n", problem);
    return CANNOT_BEGIN;
}
