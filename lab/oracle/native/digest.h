/* Digests of all blocks of a device. */
#ifndef DIGEST_H
#define DIGEST_H
#include "record.h"
#include <stdio.h>

/* Prints them (see lab/oracle/device/digests.py for the lines). Returns 0, or -1 with errno. */
int digest_print(const char *path, FILE *out);
#endif
