/* One pass over a volume: runs of consecutive LOG records, versions in HOT slots, everything that does not belong. */
#include "scan.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK_BLOCKS = 256 };

/* What has been seen but not printed yet. */
struct pass {
    const struct scan *scan;
    FILE *out;
    char bad[80];              /* the kind of damage under way, empty for none */
    uint32_t lane;
    uint64_t bad_first, bad_count;
    struct record last;        /* of the LOG run under way */
    uint64_t run_first, run_count;
    uint64_t fresh_first, fresh_count;
    bool hot_open;
    uint32_t hot_epoch;
    struct record newest; /* HOT record of the lane; seq 0: none yet */
};

enum region { CANARY, LOG, HOT };
struct place { enum region region; uint32_t lane; uint64_t slot; };

static struct place place_of(const struct layout *layout, uint64_t block) {
    if (block == 0) return (struct place){CANARY, 0, 0};
    uint64_t stride = layout->log_slots + layout->hot_slots + 1, within = (block - 1) % stride;
    uint32_t lane = layout->first_lane + (uint32_t)((block - 1) / stride);
    if (within < layout->log_slots) return (struct place){LOG, lane, within};
    if (within < stride - 1) return (struct place){HOT, lane, within - layout->log_slots};
    return (struct place){CANARY, lane, 0};
}

static void flush_bad(struct pass *pass) {
    if (pass->bad_count)
        fprintf(pass->out, "B %s %" PRIu32 " %" PRIu64 " %" PRIu64 "\n", pass->bad, pass->lane, pass->bad_first,
                pass->bad_count);
    pass->bad_count = 0;
}

static void flush_fresh(struct pass *pass) {
    if (pass->fresh_count)
        fprintf(pass->out, "F %" PRIu32 " %" PRIu64 " %" PRIu64 "\n", pass->lane, pass->fresh_first, pass->fresh_count);
    pass->fresh_count = 0;
}

static void print_clock(FILE *out, const struct record *record) {
    for (uint32_t i = 0; i < record->lanes; i++) fprintf(out, " %" PRIu64, record_clock(record)[i]);
    fputc('\n', out);
}

static void flush_run(struct pass *pass) {
    const struct record *last = &pass->last;
    if (pass->run_count) {
        fprintf(pass->out, "L %" PRIu32 " %" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu64, last->lane, last->epoch,
                pass->run_first, last->seq - pass->run_count + 1, pass->run_count);
        fprintf(pass->out, " %" PRIu32 " %" PRId64 " %" PRId64, last->kind, last->issued_ns, last->previous_ack_ns);
        print_clock(pass->out, last);
    }
    pass->run_count = 0;
}

static void flush_hot(struct pass *pass) {
    if (pass->hot_open) fputc('\n', pass->out);
    pass->hot_open = false;
}

static void flush(struct pass *pass) {
    flush_bad(pass);
    flush_fresh(pass);
    flush_run(pass);
    flush_hot(pass);
}

static void end_lane(struct pass *pass) {
    flush(pass);
    const struct record *newest = &pass->newest;
    if (newest->seq) {
        fprintf(pass->out, "N %" PRIu32 " %" PRIu32 " %" PRIu64 " %" PRId64 " %" PRId64, pass->lane, newest->epoch,
                newest->seq, newest->issued_ns, newest->previous_ack_ns);
        print_clock(pass->out, newest);
    }
    pass->newest.epoch = 0;
    pass->newest.seq = 0;
}

static void bad(struct pass *pass, const char *what, uint64_t block, uint64_t count) {
    if (pass->bad_count && strcmp(pass->bad, what) == 0 && block == pass->bad_first + pass->bad_count) {
        pass->bad_count += count;
        return;
    }
    flush(pass);
    snprintf(pass->bad, sizeof pass->bad, "%s", what);
    pass->bad_first = block;
    pass->bad_count = count;
}

static void log_record(struct pass *pass, const struct record *record, uint64_t slot) {
    if (record->kind == KIND_FRESH) {
        if (!pass->fresh_count) {
            flush(pass);
            pass->fresh_first = slot;
        }
        pass->fresh_count++;
        return;
    }
    bool follows = pass->run_count && record->seq == pass->last.seq + 1 && slot == pass->run_first + pass->run_count;
    if (follows && memcmp(record->parent, pass->last.digest, DIGEST_BYTES) != 0) {
        flush(pass);
        fprintf(pass->out, "B forked %" PRIu32 " %" PRIu64 " 1\n", pass->lane, record->slot);
        follows = false;
    }
    if (!follows || record->epoch != pass->last.epoch) {
        flush(pass);
        pass->run_first = slot;
    }
    pass->last = *record;
    pass->run_count++;
}

static void hot_record(struct pass *pass, const struct record *record, uint64_t slot) {
    if (!pass->hot_open || pass->hot_epoch != record->epoch) {
        flush(pass);
        fprintf(pass->out, "H %" PRIu32 " %" PRIu64 " %" PRIu32, pass->lane, slot, record->epoch);
        pass->hot_open = true;
        pass->hot_epoch = record->epoch;
    }
    fprintf(pass->out, " %" PRIu64, record->seq);
    if (record->epoch > pass->newest.epoch || (record->epoch == pass->newest.epoch && record->seq > pass->newest.seq))
        pass->newest = *record;
}

static bool kind_fits(enum region region, uint32_t kind) {
    if (region == CANARY) return kind == KIND_CANARY;
    if (kind == KIND_FRESH) return true;
    return region == LOG ? kind == KIND_LOG || kind == KIND_MARKER : kind == KIND_HOT;
}

static bool belongs(const struct scan *scan, const struct record *record, uint64_t block) {
    struct place place = place_of(&scan->layout, block);
    if (record->vm != scan->vm || record->volume != scan->volume || record->slot != block) return false;
    if (!kind_fits(place.region, record->kind) || (place.region != CANARY && record->lane != place.lane)) return false;
    if (place.region != LOG || record->kind == KIND_FRESH) return true;
    return (record->seq - 1) % scan->layout.log_slots == place.slot;
}

static void take(struct pass *pass, struct record *record, uint64_t block) {
    unsigned sectors;
    struct place place = place_of(&pass->scan->layout, block);
    enum state state = record_verify(record, &sectors);
    char what[80];
    if (state == ZERO) return bad(pass, "zero", block, 1);
    if (state == GARBAGE) return bad(pass, "garbage", block, 1);
    if (state == TORN) {
        snprintf(what, sizeof what, "torn:%02x", sectors);
        return bad(pass, what, block, 1);
    }
    if (memcmp(record->run, pass->scan->run, RUN_BYTES) != 0) return bad(pass, "foreign-run", block, 1);
    if (!belongs(pass->scan, record, block)) {
        snprintf(what, sizeof what, "misdirected:%u/%u/%" PRIu64 "/%" PRIu32 "/%" PRIu64, record->vm, record->volume,
                 record->slot, record->lane, record->seq);
        return bad(pass, what, block, 1);
    }
    if (place.region == LOG) log_record(pass, record, place.slot);
    if (place.region == HOT) hot_record(pass, record, place.slot);
}

/* Finds where a byte of the volume is in the file; *length becomes what is contiguous there. */
static uint64_t locate(const struct scan *scan, uint64_t at, uint64_t *length) {
    for (size_t i = 0; i < scan->extent_count; i++) {
        if (at < scan->extents[i].length) {
            if (*length > scan->extents[i].length - at) *length = scan->extents[i].length - at;
            return scan->extents[i].offset + at;
        }
        at -= scan->extents[i].length;
    }
    if (scan->extent_count) *length = 0;
    return at;
}

static ssize_t read_at(const struct scan *scan, void *buffer, uint64_t at, uint64_t length) {
    uint64_t done = 0;
    while (done < length) {
        uint64_t part = length - done, where = locate(scan, at + done, &part);
        ssize_t got = part ? pread(scan->file, (char *)buffer + done, part, (off_t)where) : 0;
        if (got < 0) return -1;
        if (got == 0) break;
        done += (uint64_t)got;
    }
    return (ssize_t)done;
}

/* Blocks from here on that are a hole of a sparse file: known to be zero without reading them. */
static uint64_t hole_blocks(const struct scan *scan, uint64_t block, uint64_t end) {
    uint64_t length = (end - block) * BLOCK, where = locate(scan, block * BLOCK, &length);
    off_t data = lseek(scan->file, (off_t)where, SEEK_DATA);
    if (data < 0) {
        bool to_the_end = errno == ENXIO && lseek(scan->file, 0, SEEK_END) >= (off_t)(where + length);
        return to_the_end ? length / BLOCK : 0;
    }
    uint64_t hole = (uint64_t)data - where;
    return (hole < length ? hole : length) / BLOCK;
}

static uint64_t end_of_lane(const struct layout *layout, uint64_t block) {
    uint64_t stride = layout->log_slots + layout->hot_slots + 1;
    return block == 0 ? 1 : 1 + ((block - 1) / stride + 1) * stride;
}

static int scan_part(struct pass *pass, uint64_t block, uint64_t end, struct record *buffer) {
    while (block < end) {
        uint64_t hole = hole_blocks(pass->scan, block, end);
        if (hole) {
            bad(pass, "zero", block, hole);
            block += hole;
            continue;
        }
        uint64_t count = end - block < CHUNK_BLOCKS ? end - block : CHUNK_BLOCKS;
        ssize_t got = read_at(pass->scan, buffer, block * BLOCK, count * BLOCK);
        if (got < 0) return -1;
        uint64_t whole = (uint64_t)got / BLOCK;
        for (uint64_t i = 0; i < whole; i++) take(pass, buffer + i, block + i);
        if (whole < count) bad(pass, "absent", block + whole, end - block - whole);
        block = whole < count ? end : block + whole;
    }
    return 0;
}

int scan_print(const struct scan *scan, FILE *out) {
    uint64_t blocks = layout_blocks(&scan->layout);
    struct pass pass = {.scan = scan, .out = out};
    struct record *buffer = aligned_alloc(BLOCK, CHUNK_BLOCKS * (size_t)BLOCK);
    int result = buffer ? 0 : -1;
    fprintf(out, "V 1 %u %u %" PRIu64 "\n", scan->vm, scan->volume, blocks);
    for (uint64_t block = 0; result == 0 && block < blocks; block = end_of_lane(&scan->layout, block)) {
        pass.lane = place_of(&scan->layout, block).lane;
        if (block == 0) pass.lane = scan->layout.first_lane;
        result = scan_part(&pass, block, end_of_lane(&scan->layout, block), buffer);
        end_lane(&pass);
    }
    free(buffer);
    if (result == 0) fprintf(out, "Z %" PRIu64 "\n", blocks);
    return fflush(out) != 0 ? -1 : result;
}

bool scan_record(const struct scan *scan, uint64_t block, struct record *record) {
    unsigned sectors;
    if (read_at(scan, record, block * BLOCK, BLOCK) != BLOCK) return false;
    return record_verify(record, &sectors) == WHOLE && memcmp(record->run, scan->run, RUN_BYTES) == 0 &&
           belongs(scan, record, block);
}
