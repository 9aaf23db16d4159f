/* oracle digest PATH: what each block of a device holds, as runs of equal digests (lab/oracle/device). */
#include "digest.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK_BLOCKS = 256 };

struct run {
    uint8_t digest[DIGEST_BYTES];
    uint64_t count;
    FILE *out;
};

static void flush(struct run *run) {
    if (!run->count) return;
    fprintf(run->out, "%" PRIu64 " ", run->count);
    for (int i = 0; i < DIGEST_BYTES; i++) fprintf(run->out, "%02x", run->digest[i]);
    fputc('\n', run->out);
    run->count = 0;
}

static void take(struct run *run, const uint8_t *digest) {
    if (run->count && memcmp(run->digest, digest, DIGEST_BYTES) != 0) flush(run);
    if (!run->count) memcpy(run->digest, digest, DIGEST_BYTES);
    run->count++;
}

static ssize_t read_whole(int file, uint8_t *buffer, size_t length, off_t at) {
    size_t done = 0;
    while (done < length) {
        ssize_t got = pread(file, buffer + done, length - done, at + (off_t)done);
        if (got < 0) return -1;
        if (got == 0) break;
        done += (size_t)got;
        if (got % BLOCK) break; /* the end: a direct read may not go on from an odd place */
    }
    return (ssize_t)done;
}

static int open_past_the_cache(const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    return file < 0 && errno == EINVAL ? open(path, O_RDONLY | O_CLOEXEC) : file; /* a file system without O_DIRECT */
}

int digest_print(const char *path, FILE *out) {
    static const uint8_t zeros[BLOCK];
    uint8_t zero[DIGEST_BYTES], digest[DIGEST_BYTES];
    int file = open_past_the_cache(path);
    uint8_t *buffer = aligned_alloc(BLOCK, CHUNK_BLOCKS * (size_t)BLOCK);
    off_t size = file < 0 ? -1 : lseek(file, 0, SEEK_END);
    if (size < 0 || !buffer) return -1;
    uint64_t blocks = ((uint64_t)size + BLOCK - 1) / BLOCK, at = 0;
    struct run run = {.out = out};
    blake2b_128(zero, zeros, BLOCK);
    fprintf(out, "V 1 %" PRIu64 "\n", blocks);
    while (at < blocks) {
        ssize_t got = read_whole(file, buffer, CHUNK_BLOCKS * (size_t)BLOCK, (off_t)(at * BLOCK));
        if (got <= 0) return -1; /* it became shorter while it was read */
        size_t count = ((size_t)got + BLOCK - 1) / BLOCK;
        memset(buffer + got, 0, count * BLOCK - (size_t)got);
        for (size_t i = 0; i < count; i++) {
            bool blank = memcmp(buffer + i * BLOCK, zeros, BLOCK) == 0;
            if (!blank) blake2b_128(digest, buffer + i * BLOCK, BLOCK);
            take(&run, blank ? zero : digest);
        }
        at += count;
    }
    flush(&run);
    free(buffer);
    close(file);
    fprintf(out, "Z %" PRIu64 "\n", at);
    return fflush(out);
}
