/* What the lanes did, as lines on stdout (see lab/oracle/history.py). One thread prints, so lines are never mixed. */
#include "writer.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { TAKE = 256, PERIOD_NS = 20000000, CLOCK_EVERY = 12 };

void history_push(struct lane *lane, struct row row) {
    pthread_mutex_lock(&lane->lock);
    while (lane->row_count == ROWS) pthread_cond_wait(&lane->room, &lane->lock);
    lane->rows[(lane->first_row + lane->row_count++) % ROWS] = row;
    pthread_mutex_unlock(&lane->lock);
}

static size_t take_rows(struct lane *lane, struct row *rows) {
    pthread_mutex_lock(&lane->lock);
    size_t count = lane->row_count < TAKE ? lane->row_count : TAKE;
    for (size_t i = 0; i < count; i++) rows[i] = lane->rows[(lane->first_row + i) % ROWS];
    lane->first_row = (lane->first_row + count) % ROWS;
    lane->row_count -= count;
    pthread_cond_broadcast(&lane->room);
    pthread_mutex_unlock(&lane->lock);
    return count;
}

/* S lane epoch first count first-issue last-ack, then four differences and the accepted operations for each step. */
static void print_steps(uint32_t lane, const struct row *rows, size_t count) {
    int64_t before = rows[0].log_issued;
    printf("S %" PRIu32 " %" PRIu32 " %" PRIu64 " %zu %" PRId64 " %" PRId64, lane, rows[0].epoch, rows[0].seq, count,
           before, rows[count - 1].hot_acked);
    for (size_t i = 0; i < count; i++) {
        const struct row *row = rows + i;
        printf(" %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRIu64, row->log_issued - before,
               row->log_acked - row->log_issued, row->hot_issued - row->log_acked, row->hot_acked - row->hot_issued,
               row->ahead);
        before = row->hot_acked;
    }
    putchar('\n');
}

static void print_other(uint32_t lane, const struct row *row) {
    if (row->kind == ROW_MARKER)
        printf("M %" PRIu32 " %" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 "\n", lane, row->epoch,
               row->marker,
               row->seq, row->ahead, row->hot_acked);
    if (row->kind == ROW_EPOCH)
        printf("E %" PRIu32 " %" PRIu32 " %" PRIu64 " %" PRIu64 "\n", lane, row->epoch, row->seq, row->ahead);
    if (row->kind == ROW_REFUSED)
        printf("X %" PRIu32 " %" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRId64 "\n", lane, row->epoch, row->seq,
               row->ahead,
               row->log_acked);
    if (row->kind == ROW_REDO)
        printf("D %" PRIu32 " %" PRIu32 " %" PRIu64 " %" PRId64 " %" PRId64 "\n", lane, row->epoch, row->seq,
               row->hot_issued, row->hot_acked);
}

static size_t print_lane(struct lane *lane) {
    struct row rows[TAKE];
    size_t count = take_rows(lane, rows), begin = 0;
    for (size_t at = 0; at <= count; at++) {
        bool goes_on = at < count && (rows[at].kind == ROW_STEP || rows[at].kind == ROW_MARKER);
        if (goes_on && (at == begin || rows[at].epoch == rows[begin].epoch)) continue;
        if (at > begin) print_steps(lane->index, rows + begin, at - begin);
        begin = goes_on ? at : at + 1;
    }
    for (size_t at = 0; at < count; at++)
        if (rows[at].kind != ROW_STEP) print_other(lane->index, rows + at);
    return count;
}

void history_header(const struct writer *writer) {
    const struct options *options = &writer->options;
    printf("V 1 ");
    for (int i = 0; i < RUN_BYTES; i++) printf("%02x", options->run[i]);
    printf(" %u %" PRIu32 " %" PRId64 "\n", options->vm, options->epoch, now_ns());
    fflush(stdout);
}

static size_t print_all(struct writer *writer) {
    size_t count = 0;
    for (unsigned i = 0; i < writer->lane_count; i++) count += print_lane(&writer->lanes[i]);
    return count;
}

void *history_main(void *argument) {
    struct writer *writer = argument;
    for (unsigned turn = 0; !writer->ended; turn++) {
        print_all(writer);
        if (turn % CLOCK_EVERY == 0) {
            gossip_print_exchanges(writer);
            printf("W %" PRId64 " %" PRId64 "\n", now_ns(), wall_minus_now_ns());
        }
        if (fflush(stdout) != 0) exit(0); /* nobody listens any more: writes that nobody hears of would prove nothing */
        pause_ns(PERIOD_NS);
    }
    while (print_all(writer) > 0) {}
    printf("Z %" PRId64 "\n", now_ns());
    fflush(stdout);
    return NULL;
}
