/* The client of the benchmarks: starts a server command, shakes hands, and sends frames as it is told.
 *
 *   load_client FRAME_BYTES COMMAND...       prints the command's pid, then obeys the lines of its stdin:
 *     pingpong COUNT GAP_US                  one frame at a time, GAP_US apart; prints COUNT × u64 nanoseconds
 *     burst COUNT                            COUNT frames without waiting for answers; prints one u64
 *
 * Every answer is one line, and as many lines come back as frames were sent.  At the end of its stdin it closes
 * the server's, reads what is left and waits.  Started by sessions.py. */
#define _GNU_SOURCE
#include "frames.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>

#define READ_BYTES (256 * 1024)
/* Nobody waits longer for a deadlock to be noticed. */
#define COMMAND_LIMIT_S 60

static const char HEAD[] = "{\"jsonrpc\":\"2.0\",\"id\":";
static const char MIDDLE[] = ",\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{\"text\":\"";
static const char TAIL[] = "\"}}}\n";
static const char INITIALIZE[] =
    "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-06-18\","
    "\"capabilities\":{},\"clientInfo\":{\"name\":\"load\",\"version\":\"1.0.0\"}}}\n";
static const char INITIALIZED[] = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n";

/* Ten digits from the first to the last, so that a frame's size never changes. */
#define ID_DIGITS 10
static uint64_t next_id = 1000000000;

static int to_server, from_server;
static char *frame;
static size_t frame_bytes;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void make_frame(void) {
    size_t fixed_bytes = sizeof HEAD - 1 + ID_DIGITS + sizeof MIDDLE - 1 + sizeof TAIL - 1;
    if (frame_bytes < fixed_bytes) frame_bytes = fixed_bytes;
    frame = malloc(frame_bytes);
    if (!frame) abort();
    char *end = mempcpy(frame, HEAD, sizeof HEAD - 1) + ID_DIGITS;
    end = mempcpy(end, MIDDLE, sizeof MIDDLE - 1);
    fill(end, frame_bytes - fixed_bytes);
    memcpy(frame + frame_bytes - (sizeof TAIL - 1), TAIL, sizeof TAIL - 1);
}

static void send_frame(void) {
    char digits[ID_DIGITS + 1];
    snprintf(digits, sizeof digits, "%010llu", (unsigned long long)next_id++ % 10000000000u);
    memcpy(frame + sizeof HEAD - 1, digits, ID_DIGITS);
    if (!write_all(to_server, frame, frame_bytes)) fail("the server closed its stdin");
}

static void await_lines(long lines) {
    static char bytes[READ_BYTES];
    while (lines > 0) {
        ssize_t got = read(from_server, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) fail("the server closed its stdout");
        const char *end = bytes + got;
        for (const char *at = bytes; (at = memchr(at, '\n', (size_t)(end - at))); at++) lines--;
    }
}

static void pingpong(long count, long gap_us) {
    uint64_t *round_trips_ns = calloc((size_t)count, sizeof *round_trips_ns);
    struct timespec gap = {gap_us / 1000000, gap_us % 1000000 * 1000};
    for (long index = 0; index < count; index++) {
        uint64_t start_ns = now_ns();
        send_frame();
        await_lines(1);
        round_trips_ns[index] = now_ns() - start_ns;
        if (gap_us) nanosleep(&gap, NULL);
    }
    write_all(1, (char *)round_trips_ns, (size_t)count * sizeof *round_trips_ns);
    free(round_trips_ns);
}

static void *send_burst(void *count) {
    for (long left = *(long *)count; left > 0; left--) send_frame();
    return NULL;
}

static void burst(long count) {
    pthread_t sender;
    uint64_t start_ns = now_ns();
    if (pthread_create(&sender, NULL, send_burst, &count) != 0) abort();
    await_lines(count);
    uint64_t took_ns = now_ns() - start_ns;
    pthread_join(sender, NULL);
    write_all(1, (char *)&took_ns, sizeof took_ns);
}

static pid_t start_server(char **command) {
    int down[2], up[2];
    if (pipe2(down, O_CLOEXEC) || pipe2(up, O_CLOEXEC)) fail("pipe");
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid == 0) {
        dup2(down[0], 0);
        dup2(up[1], 1);
        execvp(command[0], command);
        fail(command[0]);
    }
    close(down[0]);
    close(up[1]);
    to_server = down[1];
    from_server = up[0];
    return pid;
}

static void obey(void) {
    char line[100];
    long count, gap_us;
    while (fgets(line, sizeof line, stdin)) {
        alarm(COMMAND_LIMIT_S);
        if (sscanf(line, "pingpong %ld %ld", &count, &gap_us) == 2) pingpong(count, gap_us);
        else if (sscanf(line, "burst %ld", &count) == 1) burst(count);
        alarm(0);
    }
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    signal(SIGPIPE, SIG_IGN);
    frame_bytes = strtoul(argv[1], NULL, 10);
    make_frame();
    pid_t pid = start_server(argv + 2);
    write_all(to_server, INITIALIZE, sizeof INITIALIZE - 1);
    await_lines(1);
    write_all(to_server, INITIALIZED, sizeof INITIALIZED - 1);
    printf("%d\n", (int)pid);
    fflush(stdout);
    obey();
    close(to_server);
    char rest[4096];
    while (read(from_server, rest, sizeof rest) > 0) continue;
    waitpid(pid, NULL, 0);
    return 0;
}
