/* The writer of one machine: lanes of dependent writes, their history on stdout, gossip with the other writers. */
#ifndef WRITER_H
#define WRITER_H
#include "record.h"
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

enum { MAX_VOLUMES = 16, MAX_MACHINES = 32, ROWS = 1024 };

struct options {
    uint8_t run[RUN_BYTES];
    uint16_t vm, machines;
    uint32_t epoch, first_lane, lanes_per_volume, all_lanes;
    uint64_t log_slots, hot_slots, seed;
    const char *paths[MAX_VOLUMES];
    unsigned volumes, compressible_percent, ahead;
    double rate; /* steps a second and lane, 0: as fast as the disk allows */
    bool resume, token_lane;
    uint16_t port;
    long gossip_us;
    struct sockaddr_in peers[MAX_MACHINES]; /* sin_port 0: unknown */
};

enum row_kind { ROW_STEP, ROW_MARKER, ROW_EPOCH, ROW_REDO, ROW_REFUSED };
struct row {
    enum row_kind kind;
    uint32_t epoch;
    uint64_t seq, marker;
    uint64_t ahead; /* operations accepted but not yet written when LOG was issued;
                       ROW_EPOCH: whether a redo follows; ROW_REFUSED: errno */
    int64_t log_issued, log_acked, hot_issued, hot_acked;
};

struct lane {
    struct writer *writer;
    pthread_t thread;
    uint32_t index; /* over the whole group */
    uint16_t volume;
    int file;
    uint64_t log_base; /* block numbers */
    uint64_t seq;      /* last finished step */
    uint64_t accepted; /* last operation that the application has promised to somebody */
    uint32_t epoch;
    int64_t last_ack;
    uint8_t parent[DIGEST_BYTES];
    struct record *block;
    bool redo; /* the HOT block of step seq may be missing: write it again first */
    uint32_t redo_epoch;
    bool held;
    pthread_mutex_t lock; /* rows */
    pthread_cond_t room;
    struct row rows[ROWS];
    size_t first_row, row_count;
};

struct writer {
    struct options options;
    struct layout layout; /* of every volume, but for first_lane */
    struct lane *lanes;
    unsigned lane_count;
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t changed;
    uint64_t clock[MAX_LANES]; /* highest step of each lane whose LOG record is known to be acknowledged */
    uint32_t epoch;
    uint64_t marker; /* number of the marker that lanes have to write, 0: none; they are held until it is 0 again */
    uint64_t token, token_seen;
    bool token_here;
    double rate;
    atomic_bool ending; /* lanes stop after their step */
    atomic_bool ended;  /* no lane says anything any more */
    int socket;
};

int64_t now_ns(void);           /* wall clock at the start plus monotonic time since: never steps */
int64_t wall_minus_now_ns(void);
void clock_prepare(void);
void pause_ns(int64_t ns);
void die(const char *what);     /* prints errno, ends the process */

void volumes_open(struct writer *writer);  /* opens, writes every block once or finds where to go on */
void *lane_main(void *lane);
void gossip_open(struct writer *writer);
void *gossip_main(void *writer);
void gossip_pass_token(struct writer *writer, uint64_t token);
void gossip_print_exchanges(struct writer *writer);

void history_push(struct lane *lane, struct row row); /* waits while nobody takes the rows away */
void history_header(const struct writer *writer);
void *history_main(void *writer);
#endif
