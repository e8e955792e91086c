/* The server of the benchmarks: answers every request with a JSON-RPC result of the request's own size.
 * It knows the frames of load_client.c and of the Python benchmarks only: `"id":` stands in the first bytes. */
#define _GNU_SOURCE
#include "frames.h"
#include <stdio.h>

#define READ_BYTES (256 * 1024)
#define HEAD_BYTES 256

struct buffer {
    char *bytes;
    size_t used, capacity;
};

static void reserve(struct buffer *buffer, size_t more_bytes) {
    if (buffer->used + more_bytes <= buffer->capacity) return;
    buffer->capacity = 2 * (buffer->used + more_bytes);
    buffer->bytes = realloc(buffer->bytes, buffer->capacity);
    if (!buffer->bytes) abort();
}

static void append(struct buffer *buffer, const char *bytes, size_t size_bytes) {
    reserve(buffer, size_bytes);
    memcpy(buffer->bytes + buffer->used, bytes, size_bytes);
    buffer->used += size_bytes;
}

static void append_filler(struct buffer *buffer, size_t size_bytes) {
    reserve(buffer, size_bytes);
    fill(buffer->bytes + buffer->used, size_bytes);
    buffer->used += size_bytes;
}

static const char INITIALIZED[] = "{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{}},"
                                  "\"serverInfo\":{\"name\":\"echo\",\"version\":\"1.0.0\"}}}\n";
static const char CONTENT[] = "{\"content\":[{\"type\":\"text\",\"text\":\"";
static const char CONTENT_END[] = "\"}]}}\n";

static void answer(const char *line, size_t size_bytes, struct buffer *out) {
    size_t head_bytes = size_bytes < HEAD_BYTES ? size_bytes : HEAD_BYTES;
    const char *id = memmem(line, head_bytes, "\"id\":", 5);
    if (!id) return; /* a notification */
    id += 5;
    size_t id_bytes = 0;
    while (id + id_bytes < line + size_bytes && id[id_bytes] != ',' && id[id_bytes] != '}') id_bytes++;
    char head[HEAD_BYTES + 64];
    int used = snprintf(head, sizeof head, "{\"jsonrpc\":\"2.0\",\"id\":%.*s,\"result\":", (int)id_bytes, id);
    append(out, head, (size_t)used);
    if (memmem(line, head_bytes, "\"initialize\"", 12)) {
        append(out, INITIALIZED, sizeof INITIALIZED - 1);
        return;
    }
    size_t fixed_bytes = (size_t)used + sizeof CONTENT - 1 + sizeof CONTENT_END - 1;
    append(out, CONTENT, sizeof CONTENT - 1);
    append_filler(out, size_bytes > fixed_bytes ? size_bytes - fixed_bytes : 0);
    append(out, CONTENT_END, sizeof CONTENT_END - 1);
}

/* Answer each whole line of *in*, keep the rest; *searched_bytes* of it are known to hold no line end. */
static void answer_lines(struct buffer *in, size_t *searched_bytes, struct buffer *out) {
    size_t start = 0;
    char *end;
    while ((end = memchr(in->bytes + *searched_bytes, '\n', in->used - *searched_bytes))) {
        size_t after = (size_t)(end - in->bytes) + 1;
        answer(in->bytes + start, after - start, out);
        start = *searched_bytes = after;
    }
    memmove(in->bytes, in->bytes + start, in->used - start);
    in->used -= start;
    *searched_bytes = in->used;
}

int main(void) {
    struct buffer in = {0}, out = {0};
    size_t searched_bytes = 0;
    for (;;) {
        reserve(&in, READ_BYTES);
        ssize_t got = read(0, in.bytes + in.used, READ_BYTES);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return 0;
        in.used += (size_t)got;
        out.used = 0;
        answer_lines(&in, &searched_bytes, &out);
        if (!write_all(1, out.bytes, out.used)) return 0;
    }
}
