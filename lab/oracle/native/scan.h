/* Reading a copy of a volume as a stream of findings. */
#ifndef SCAN_H
#define SCAN_H
#include "record.h"
#include <stdio.h>

struct extent { uint64_t offset, length; }; /* bytes */

struct scan {
    uint8_t run[RUN_BYTES];
    uint16_t vm, volume;
    struct layout layout;
    int file;
    const struct extent *extents; /* where the volume's file is in an image; none: the whole file */
    size_t extent_count;
};

/* Prints what the volume holds (see lab/oracle/scan.py for the lines). Returns 0, or -1 with errno. */
int scan_print(const struct scan *scan, FILE *out);
/* The record of a block if it is whole and belongs there. */
bool scan_record(const struct scan *scan, uint64_t block, struct record *record);
#endif
