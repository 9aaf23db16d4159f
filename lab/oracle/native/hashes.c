/* CRC-32C (eight bytes at a time by tables) and BLAKE2b with 16 bytes of output (RFC 7693). */
#include "record.h"
#include <string.h>

static uint32_t table[8][256];

void crc32c_prepare(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (0x82F63B78u & -(value & 1));
        table[0][i] = value;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int n = 1; n < 8; n++) table[n][i] = table[n - 1][i] >> 8 ^ table[0][table[n - 1][i] & 0xff];
}

uint32_t crc32c(const void *data, size_t length) {
    const uint8_t *at = data;
    uint32_t crc = ~0u;
    for (; length >= 8; length -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        word ^= crc;
        crc = table[7][word & 0xff] ^ table[6][word >> 8 & 0xff] ^ table[5][word >> 16 & 0xff] ^
              table[4][word >> 24 & 0xff] ^ table[3][word >> 32 & 0xff] ^ table[2][word >> 40 & 0xff] ^
              table[1][word >> 48 & 0xff] ^ table[0][word >> 56];
    }
    while (length--) crc = crc >> 8 ^ table[0][(crc ^ *at++) & 0xff];
    return ~crc;
}

static const uint64_t iv[8] = {0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
                               0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};
static const uint8_t sigma[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

static inline uint64_t rotate(uint64_t value, unsigned by) { return value >> by | value << (64 - by); }

#define G(a, b, c, d, x, y)            \
    do {                               \
        a += b + (x);                  \
        d = rotate(d ^ a, 32);         \
        c += d;                        \
        b = rotate(b ^ c, 24);         \
        a += b + (y);                  \
        d = rotate(d ^ a, 16);         \
        c += d;                        \
        b = rotate(b ^ c, 63);         \
    } while (0)
#define ROUND(r)                                                                  \
    do {                                                                          \
        G(v[0], v[4], v[8], v[12], m[sigma[r][0]], m[sigma[r][1]]);               \
        G(v[1], v[5], v[9], v[13], m[sigma[r][2]], m[sigma[r][3]]);               \
        G(v[2], v[6], v[10], v[14], m[sigma[r][4]], m[sigma[r][5]]);              \
        G(v[3], v[7], v[11], v[15], m[sigma[r][6]], m[sigma[r][7]]);              \
        G(v[0], v[5], v[10], v[15], m[sigma[r][8]], m[sigma[r][9]]);              \
        G(v[1], v[6], v[11], v[12], m[sigma[r][10]], m[sigma[r][11]]);            \
        G(v[2], v[7], v[8], v[13], m[sigma[r][12]], m[sigma[r][13]]);             \
        G(v[3], v[4], v[9], v[14], m[sigma[r][14]], m[sigma[r][15]]);             \
    } while (0)

static void compress(uint64_t h[8], const uint8_t *block, uint64_t count, bool last) {
    uint64_t v[16], m[16];
    memcpy(m, block, sizeof m);
    memcpy(v, h, 64);
    memcpy(v + 8, iv, 64);
    v[12] ^= count;
    if (last) v[14] = ~v[14];
    ROUND(0); ROUND(1); ROUND(2); ROUND(3); ROUND(4); ROUND(5);
    ROUND(6); ROUND(7); ROUND(8); ROUND(9); ROUND(0); ROUND(1);
    for (int i = 0; i < 8; i++) h[i] ^= v[i] ^ v[i + 8];
}

void blake2b_128(uint8_t digest[DIGEST_BYTES], const void *data, size_t length) {
    const uint8_t *at = data;
    uint64_t h[8], done = 0;
    memcpy(h, iv, sizeof h);
    h[0] ^= 0x01010000 ^ DIGEST_BYTES;
    while (length - done > 128) {
        done += 128;
        compress(h, at, done, false);
        at += 128;
    }
    uint8_t end[128] = {0};
    memcpy(end, at, length - done);
    compress(h, end, length, true);
    memcpy(digest, h, DIGEST_BYTES);
}

uint64_t mix(uint64_t value) { /* the finaliser of splitmix64 */
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return value ^ value >> 31;
}
