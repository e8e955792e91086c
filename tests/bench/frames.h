/* What both ends of a benchmark conversation share: filler text and output that insists. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Prose, paths and numbers: what redaction will have to read through in real life. */
static const char FILLER[] =
    "The report in /srv/data/quarter-3.csv holds 1842 rows; row 17 says that order 55231 was shipped on 2024-05-06 "
    "and the customer, Ada Example of Sampletown, asked twice whether it could be returned. ";

static inline void fill(char *target, size_t size_bytes) {
    for (size_t done = 0; done < size_bytes;) {
        size_t part = sizeof FILLER - 1 < size_bytes - done ? sizeof FILLER - 1 : size_bytes - done;
        memcpy(target + done, FILLER, part);
        done += part;
    }
}

/* Return 0 when the reader is gone. */
static inline int write_all(int fd, const char *bytes, size_t size_bytes) {
    while (size_bytes > 0) {
        ssize_t written = write(fd, bytes, size_bytes);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return 0;
        bytes += written;
        size_bytes -= (size_t)written;
    }
    return 1;
}
