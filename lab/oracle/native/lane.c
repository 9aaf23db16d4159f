/* One lane: LOG(k), wait for the acknowledgement, HOT(k), wait, step k + 1. Never more than one write under way. */
#include "writer.h"
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TOKEN_WAIT_NS = 50000000 };

static void prepare(struct lane *lane, enum kind kind, uint64_t seq, uint64_t slot) {
    struct writer *writer = lane->writer;
    struct record *record = lane->block;
    memset(record, 0, offsetof(struct record, rest));
    memcpy(record->magic, "DRORACL1", 8);
    memcpy(record->run, writer->options.run, RUN_BYTES);
    record->epoch = lane->epoch;
    record->vm = writer->options.vm;
    record->volume = lane->volume;
    record->lane = lane->index;
    record->kind = kind;
    record->seq = seq;
    record->slot = slot;
    record->previous_ack_ns = lane->last_ack;
    record->lanes = writer->options.all_lanes;
    memcpy(record->parent, lane->parent, DIGEST_BYTES);
    record_fill_payload(record, writer->options.seed, writer->options.compressible_percent);
    pthread_mutex_lock(&writer->lock);
    memcpy(record->rest, writer->clock, 8 * (size_t)record->lanes);
    pthread_mutex_unlock(&writer->lock);
}

/* Tells that the disk refused a write, and ends the lane: nothing after it is dependent any more. */
static void give_up(struct lane *lane, int reason) {
    struct record *record = lane->block;
    history_push(lane, (struct row){.kind = ROW_REFUSED, .epoch = lane->epoch, .seq = record->seq,
                                    .ahead = (uint64_t)reason, .log_issued = record->issued_ns, .log_acked = now_ns()});
    pthread_exit(NULL);
}

/* Returns the time of issue. Sealing comes after it: that widens the interval, it never narrows it. */
static int64_t put(struct lane *lane) {
    struct record *record = lane->block;
    record->issued_ns = now_ns();
    record_seal(record);
    if (pwrite(lane->file, record, BLOCK, (off_t)(record->slot * BLOCK)) != BLOCK) give_up(lane, errno);
    lane->last_ack = now_ns();
    return record->issued_ns;
}

static void put_hot(struct lane *lane, uint32_t epoch, uint64_t seq, struct row *row) {
    const struct layout *layout = &lane->writer->layout;
    uint64_t slot = hot_slot(lane->writer->options.seed, lane->index, epoch, seq, layout->hot_slots);
    prepare(lane, KIND_HOT, seq, lane->log_base + layout->log_slots + slot);
    row->hot_issued = put(lane);
    row->hot_acked = lane->last_ack;
}

static void step(struct lane *lane, uint64_t marker) {
    struct writer *writer = lane->writer;
    uint64_t seq = lane->seq + 1;
    struct row row = {.kind = marker ? ROW_MARKER : ROW_STEP, .epoch = lane->epoch, .seq = seq, .marker = marker};
    row.ahead = lane->accepted > seq ? lane->accepted - seq : 0;
    prepare(lane, marker ? KIND_MARKER : KIND_LOG, seq, lane->log_base + (seq - 1) % writer->layout.log_slots);
    row.log_issued = put(lane);
    row.log_acked = lane->last_ack;
    memcpy(lane->parent, lane->block->digest, DIGEST_BYTES);
    pthread_mutex_lock(&writer->lock);
    writer->clock[lane->index] = seq;
    pthread_mutex_unlock(&writer->lock);
    put_hot(lane, lane->epoch, seq, &row);
    lane->seq = seq;
    if (lane->accepted < seq) lane->accepted = seq;
    history_push(lane, row);
}

/* Freezes: what was accepted is written, then the marker; nothing more until the marker number is 0 again. */
static void write_marker(struct lane *lane, uint64_t marker) {
    struct writer *writer = lane->writer;
    while (lane->seq < lane->accepted) step(lane, 0);
    step(lane, marker);
    pthread_mutex_lock(&writer->lock);
    lane->held = true;
    while (writer->marker && !writer->ending) pthread_cond_wait(&writer->changed, &writer->lock);
    lane->held = false;
    pthread_mutex_unlock(&writer->lock);
    lane->accepted = lane->seq + writer->options.ahead;
}

/* Waits for the token if this lane passes one, but not for ever: a machine that died must not stop the others.
 * Returns the token's number, 0 when there is none. */
static uint64_t wait_token(struct lane *lane) {
    struct writer *writer = lane->writer;
    if (!writer->options.token_lane || lane->index != writer->options.first_lane) return 0;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += TOKEN_WAIT_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    int late = 0;
    pthread_mutex_lock(&writer->lock);
    while (!late && !writer->token_here && !writer->ending && !writer->marker && writer->epoch == lane->epoch)
        late = pthread_cond_timedwait(&writer->changed, &writer->lock, &until);
    uint64_t token = writer->token_here ? writer->token : 0;
    writer->token_here = false;
    pthread_mutex_unlock(&writer->lock);
    return token;
}

static void wait_rate(struct lane *lane, int64_t *next) {
    pthread_mutex_lock(&lane->writer->lock);
    double rate = lane->writer->rate;
    pthread_mutex_unlock(&lane->writer->lock);
    int64_t now = now_ns();
    if (rate <= 0) return;
    if (*next > now) pause_ns(*next - now);
    else *next = now;
    *next += (int64_t)(1e9 / rate);
}

static void start_epoch(struct lane *lane, uint32_t epoch) {
    lane->epoch = epoch;
    history_push(lane, (struct row){.kind = ROW_EPOCH, .epoch = epoch, .seq = lane->seq, .ahead = lane->redo});
    if (!lane->redo) return;
    struct row row = {.kind = ROW_REDO, .epoch = epoch, .seq = lane->seq};
    put_hot(lane, lane->redo_epoch, lane->seq, &row);
    lane->redo = false;
    history_push(lane, row);
}

void *lane_main(void *argument) {
    struct lane *lane = argument;
    struct writer *writer = lane->writer;
    int64_t next = now_ns();
    start_epoch(lane, lane->epoch);
    while (!writer->ending) {
        wait_rate(lane, &next);
        uint64_t token = wait_token(lane);
        pthread_mutex_lock(&writer->lock);
        uint64_t marker = writer->marker;
        uint32_t epoch = writer->epoch;
        pthread_mutex_unlock(&writer->lock);
        if (epoch != lane->epoch) start_epoch(lane, epoch);
        if (marker) {
            write_marker(lane, marker);
        } else {
            lane->accepted++;
            step(lane, 0);
        }
        if (token) gossip_pass_token(writer, token + 1);
    }
    return NULL;
}
