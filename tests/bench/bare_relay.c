/* The least that a relay between two pipes can cost: two threads, read and write.
 *
 *   bare_relay COMMAND...
 *   bare_relay --journal FOLDER COMMAND...
 *
 * With a journal, every chunk is first appended to a file there, as km does: one pwrite of header and bytes under one
 * lock, a new file every MiB.  What km adds to that is Python; what that adds to the bare relay is the recording.
 */
#define _GNU_SOURCE
#include "frames.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>

#define BUFFER_BYTES (256 * 1024)
#define SEGMENT_BYTES (1024 * 1024)

struct direction {
    int from, to;
    char bytes[BUFFER_BYTES];
};

static struct direction to_server, to_client;

static struct {
    const char *folder;
    pthread_mutex_t lock;
    int fd, number;
    off_t size;
} journal = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

static void next_segment(void) {
    char path[4096];
    if (journal.fd >= 0) {
        snprintf(path, sizeof path, "%s/bare.%d", journal.folder, journal.number++);
        unlink(path);
        close(journal.fd);
    }
    snprintf(path, sizeof path, "%s/bare.%d", journal.folder, journal.number);
    journal.fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    journal.size = 0;
}

static void append(const char *bytes, size_t size_bytes) {
    pthread_mutex_lock(&journal.lock);
    if (journal.fd < 0 || journal.size > SEGMENT_BYTES) next_segment();
    if (pwrite(journal.fd, bytes, size_bytes, journal.size) != (ssize_t)size_bytes) abort();
    journal.size += (off_t)size_bytes;
    pthread_mutex_unlock(&journal.lock);
}

static void *pump(void *argument) {
    struct direction *direction = argument;
    for (;;) {
        ssize_t got = read(direction->from, direction->bytes, BUFFER_BYTES);
        if (got < 0 && errno == EINTR) continue;
        if (got > 0 && journal.folder) append(direction->bytes, (size_t)got);
        if (got <= 0 || !write_all(direction->to, direction->bytes, (size_t)got)) break;
    }
    close(direction->to);
    return NULL;
}

int main(int argc, char **argv) {
    int down[2], up[2];
    if (argc > 3 && strcmp(argv[1], "--journal") == 0) {
        journal.folder = argv[2];
        argc -= 2, argv += 2;
    }
    if (argc < 2 || pipe2(down, O_CLOEXEC) || pipe2(up, O_CLOEXEC)) return 2;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(down[0], 0);
        dup2(up[1], 1);
        execvp(argv[1], argv + 1);
        perror(argv[1]);
        _exit(127);
    }
    close(down[0]);
    close(up[1]);
    to_server.from = 0, to_server.to = down[1];
    to_client.from = up[0], to_client.to = 1;
    pthread_t upstream;
    if (pid < 0 || pthread_create(&upstream, NULL, pump, &to_server) != 0) return 1;
    pump(&to_client);
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
