/* Sealing and verifying records; the arithmetic of the layout. */
#include "record.h"
#include <string.h>

const uint64_t *record_clock(const struct record *record) { return (const uint64_t *)(const void *)record->rest; }

void record_fill_payload(struct record *record, uint64_t seed, unsigned compressible_percent) {
    uint64_t state = mix(seed ^ mix(record->seq ^ (uint64_t)record->lane << 48 ^ (uint64_t)record->kind << 40));
    size_t random_words = (100 - compressible_percent) * 64 / 100;
    for (size_t at = 8 * (size_t)record->lanes; at < sizeof record->rest; at += 8) {
        uint64_t word = 0;
        if (at / 8 % 64 < random_words) word = mix(state += 0x9e3779b97f4a7c15);
        memcpy(record->rest + at, &word, 8);
    }
}

void record_seal(struct record *record) {
    memset(record->digest, 0, sizeof record->digest);
    memset(record->crc, 0, sizeof record->crc);
    blake2b_128(record->digest, record, BLOCK);
    uint32_t crc[SECTORS];
    for (int i = 0; i < SECTORS; i++) crc[i] = crc32c((const uint8_t *)record + i * SECTOR, SECTOR);
    memcpy(record->crc, crc, sizeof crc);
}

static bool all_zero(const void *data) {
    const uint64_t *word = data;
    uint64_t any = 0;
    for (int i = 0; i < BLOCK / 8; i++) any |= word[i];
    return any == 0;
}

enum state record_verify(struct record *record, unsigned *bad_sectors) {
    *bad_sectors = 0;
    if (memcmp(record->magic, "DRORACL1", 8) != 0) return all_zero(record) ? ZERO : GARBAGE;
    uint32_t crc[SECTORS];
    uint8_t digest[DIGEST_BYTES], found[DIGEST_BYTES];
    memcpy(crc, record->crc, sizeof crc);
    memcpy(digest, record->digest, sizeof digest);
    memset(record->crc, 0, sizeof crc);
    for (int i = 0; i < SECTORS; i++)
        if (crc32c((const uint8_t *)record + i * SECTOR, SECTOR) != crc[i]) *bad_sectors |= 1u << i;
    memset(record->digest, 0, sizeof digest);
    blake2b_128(found, record, BLOCK);
    memcpy(record->crc, crc, sizeof crc);
    memcpy(record->digest, digest, sizeof digest);
    if (*bad_sectors) return TORN;
    return memcmp(found, digest, sizeof digest) == 0 && record->lanes <= MAX_LANES ? WHOLE : GARBAGE;
}

uint64_t layout_blocks(const struct layout *layout) {
    return 1 + layout->lanes * (layout->log_slots + layout->hot_slots + 1);
}

uint64_t layout_log_base(const struct layout *layout, uint32_t lane_in_volume) {
    return 1 + lane_in_volume * (layout->log_slots + layout->hot_slots + 1);
}

uint64_t hot_slot(uint64_t seed, uint32_t lane, uint32_t epoch, uint64_t seq, uint64_t hot_slots) {
    uint64_t half = hot_slots / 2;
    return mix(seed ^ mix((uint64_t)lane << 48 ^ seq)) % half + (epoch % 2 ? 0 : half);
}
