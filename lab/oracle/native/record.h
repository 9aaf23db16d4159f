/* The block that every write of the oracle puts on a disk: its form, how it is sealed, how it is verified. */
#ifndef RECORD_H
#define RECORD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BLOCK = 4096, SECTOR = 512, SECTORS = BLOCK / SECTOR, RUN_BYTES = 16, DIGEST_BYTES = 16, MAX_LANES = 256 };
enum kind { KIND_FRESH = 0, KIND_LOG = 1, KIND_HOT = 2, KIND_MARKER = 3, KIND_CANARY = 4 };

/* Little endian. The vector clock is the first 8 * lanes bytes of rest, the payload is what follows it. */
struct record {
    uint8_t magic[8];
    uint8_t run[RUN_BYTES];
    uint32_t epoch;
    uint16_t vm, volume;
    uint32_t lane; /* counted over the whole group */
    uint32_t kind;
    uint64_t seq;  /* from 1; 0 for fresh blocks and canaries */
    uint64_t slot; /* block number in the volume's file */
    int64_t issued_ns, previous_ack_ns;
    uint8_t parent[DIGEST_BYTES]; /* digest of the lane's LOG record before this one */
    uint8_t digest[DIGEST_BYTES]; /* BLAKE2b of the block with digest and crc zero */
    uint32_t crc[SECTORS];        /* CRC-32C of each sector, computed with crc zero and the digest in place */
    uint32_t lanes, reserved;
    uint8_t rest[BLOCK - 144];
};
_Static_assert(sizeof(struct record) == BLOCK, "a record fills one block");
_Static_assert(offsetof(struct record, rest) == 144, "no padding");

/* What verification found. TORN: some sectors fit their checksums, others do not. */
enum state { WHOLE, ZERO, GARBAGE, TORN };

void crc32c_prepare(void);
uint32_t crc32c(const void *data, size_t length);
void blake2b_128(uint8_t digest[DIGEST_BYTES], const void *data, size_t length);
uint64_t mix(uint64_t value);

const uint64_t *record_clock(const struct record *record);
void record_fill_payload(struct record *record, uint64_t seed, unsigned compressible_percent);
void record_seal(struct record *record);
/* Changes nothing that the caller can see. bad_sectors gets a bit for each sector that does not fit. */
enum state record_verify(struct record *record, unsigned *bad_sectors);

/* Where things are in a volume: canary, then for each lane its LOG ring, its HOT area and a canary. */
struct layout {
    uint32_t first_lane, lanes; /* of this volume */
    uint64_t log_slots, hot_slots;
};
uint64_t layout_blocks(const struct layout *layout);
uint64_t layout_log_base(const struct layout *layout, uint32_t lane_in_volume);
/* The overwrite schedule: which HOT slot step seq of a lane overwrites. Odd epochs use the first half of the area, even
 * ones the second: what the epoch before left stays visible, also what it wrote after it should have ended. */
uint64_t hot_slot(uint64_t seed, uint32_t lane, uint32_t epoch, uint64_t seq, uint64_t hot_slots);
#endif
