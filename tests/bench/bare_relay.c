/* The least that a relay between two pipes can cost: two threads, read and write, nothing recorded.
 *
 *   bare_relay COMMAND...
 */
#define _GNU_SOURCE
#include "frames.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>

#define BUFFER_BYTES (256 * 1024)

struct direction {
    int from, to;
    char bytes[BUFFER_BYTES];
};

static struct direction to_server, to_client;

static void *pump(void *argument) {
    struct direction *direction = argument;
    for (;;) {
        ssize_t got = read(direction->from, direction->bytes, BUFFER_BYTES);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0 || !write_all(direction->to, direction->bytes, (size_t)got)) break;
    }
    close(direction->to);
    return NULL;
}

int main(int argc, char **argv) {
    int down[2], up[2];
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
