/* Opening volumes: every block is written once in advance, so that later writes change no file-system metadata. */
#include "scan.h"
#include "writer.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK_BLOCKS = 64 };

static int open_volume(const char *path) {
    int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_DSYNC;
    int file = open(path, flags | O_DIRECT, 0600);
    if (file < 0 && errno == EINVAL) file = open(path, flags, 0600); /* a file system without O_DIRECT */
    if (file < 0) die(path);
    return file;
}

static void fill_block(const struct writer *writer, uint16_t volume, uint64_t block, struct record *record) {
    const struct options *options = &writer->options;
    uint64_t stride = writer->layout.log_slots + writer->layout.hot_slots + 1;
    bool canary = block % stride == 0;
    memset(record, 0, BLOCK);
    memcpy(record->magic, "DRORACL1", 8);
    memcpy(record->run, options->run, RUN_BYTES);
    record->epoch = options->epoch;
    record->vm = options->vm;
    record->volume = volume;
    record->lane = options->first_lane + volume * options->lanes_per_volume;
    if (block) record->lane += (uint32_t)((block - 1) / stride);
    record->kind = canary ? KIND_CANARY : KIND_FRESH;
    record->slot = block;
    record_fill_payload(record, options->seed ^ block, options->compressible_percent);
    record_seal(record);
}

static void prewrite(const struct writer *writer, uint16_t volume, int file) {
    uint64_t blocks = layout_blocks(&writer->layout);
    struct record *buffer = aligned_alloc(BLOCK, CHUNK_BLOCKS * (size_t)BLOCK);
    if (!buffer || posix_fallocate(file, 0, (off_t)(blocks * BLOCK)) != 0) die("preallocation");
    for (uint64_t at = 0; at < blocks; at += CHUNK_BLOCKS) {
        size_t count = blocks - at < CHUNK_BLOCKS ? blocks - at : CHUNK_BLOCKS;
        for (size_t i = 0; i < count; i++) fill_block(writer, volume, at + i, buffer + i);
        if (pwrite(file, buffer, count * BLOCK, (off_t)(at * BLOCK)) != (ssize_t)(count * BLOCK)) die("prewrite");
    }
    if (fsync(file) != 0) die("fsync");
    free(buffer);
}

/* Finds the newest step of a lane whose predecessors are all there, as an application's recovery would. */
static void find_frontier(struct lane *lane, const struct scan *scan) {
    uint64_t slots = scan->layout.log_slots, newest = 0;
    uint64_t *found = calloc(slots, sizeof *found);
    if (!found) die("memory");
    for (uint64_t slot = 0; slot < slots; slot++) {
        bool whole = scan_record(scan, lane->log_base + slot, lane->block) && lane->block->kind != KIND_FRESH;
        found[slot] = whole ? lane->block->seq : 0;
        if (found[slot] > newest) newest = found[slot];
    }
    /* After the ring has wrapped the oldest slot may be the one that was in flight. */
    uint64_t seq = newest >= slots ? newest - slots + 1 : 0;
    while (seq < newest && found[seq % slots] == seq + 1) seq++;
    free(found);
    lane->seq = seq;
    lane->redo = seq > 0;
    if (!seq) return;
    if (!scan_record(scan, lane->log_base + (seq - 1) % slots, lane->block)) die("a record vanished");
    memcpy(lane->parent, lane->block->digest, DIGEST_BYTES);
    lane->redo_epoch = lane->block->epoch;
    for (uint32_t i = 0; i < lane->block->lanes; i++) {
        uint64_t known = record_clock(lane->block)[i];
        if (known > lane->writer->clock[i]) lane->writer->clock[i] = known;
    }
}

static void open_lane(struct writer *writer, unsigned number, uint16_t volume, uint32_t in_volume, int file) {
    struct lane *lane = &writer->lanes[number];
    const struct options *options = &writer->options;
    lane->writer = writer;
    lane->index = options->first_lane + number;
    lane->volume = volume;
    lane->file = file;
    lane->log_base = layout_log_base(&writer->layout, in_volume);
    lane->epoch = options->epoch;
    lane->block = aligned_alloc(BLOCK, BLOCK);
    if (!lane->block) die("memory");
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->room, NULL);
    if (options->resume) {
        struct scan scan = {.vm = options->vm, .volume = volume, .layout = writer->layout, .file = file};
        memcpy(scan.run, options->run, RUN_BYTES);
        scan.layout.first_lane = options->first_lane + volume * options->lanes_per_volume;
        find_frontier(lane, &scan);
    }
    lane->accepted = lane->seq + options->ahead;
}

void volumes_open(struct writer *writer) {
    const struct options *options = &writer->options;
    writer->lane_count = options->volumes * options->lanes_per_volume;
    writer->lanes = calloc(writer->lane_count, sizeof *writer->lanes);
    if (!writer->lanes) die("memory");
    for (unsigned volume = 0; volume < options->volumes; volume++) {
        int file = open_volume(options->paths[volume]);
        if (!options->resume) prewrite(writer, (uint16_t)volume, file);
        for (uint32_t i = 0; i < options->lanes_per_volume; i++)
            open_lane(writer, volume * options->lanes_per_volume + i, (uint16_t)volume, i, file);
    }
    for (unsigned i = 0; i < writer->lane_count; i++)
        writer->clock[writer->lanes[i].index] = writer->lanes[i].seq;
}
