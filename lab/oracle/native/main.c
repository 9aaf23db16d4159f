/* oracle write ... | scan ... | digest PATH: options, and the commands that the writer takes on stdin. */
#include "digest.h"
#include "scan.h"
#include "writer.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_EXTENTS = 4096 };
static int64_t wall_at_start;

static int64_t read_clock(clockid_t id) {
    struct timespec time;
    clock_gettime(id, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

void clock_prepare(void) { wall_at_start = read_clock(CLOCK_REALTIME) - read_clock(CLOCK_MONOTONIC); }
int64_t now_ns(void) { return wall_at_start + read_clock(CLOCK_MONOTONIC); }
int64_t wall_minus_now_ns(void) { return read_clock(CLOCK_REALTIME) - now_ns(); }

void pause_ns(int64_t ns) {
    struct timespec left = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {}
}

void die(const char *what) {
    fprintf(stderr, "oracle: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void usage(const char *problem) {
    fprintf(stderr, "oracle: %s\n", problem);
    exit(2);
}

static void parse_run(uint8_t *run, const char *text) {
    if (strlen(text) != 2 * RUN_BYTES) usage("--run needs 32 hexadecimal digits");
    for (int i = 0; i < RUN_BYTES; i++)
        if (sscanf(text + 2 * i, "%2hhx", &run[i]) != 1) usage("--run needs 32 hexadecimal digits");
}

/* --peer 2=10.0.0.3:7000 */
static void parse_peer(struct options *options, const char *text) {
    unsigned vm, port;
    char address[64];
    if (sscanf(text, "%u=%63[0-9.]:%u", &vm, address, &port) != 3 || vm >= MAX_MACHINES) usage("--peer N=ADDRESS:PORT");
    options->peers[vm] = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, address, &options->peers[vm].sin_addr) != 1) usage("--peer needs an IPv4 address");
}

static struct extent extents[MAX_EXTENTS];
static size_t extent_count;
static bool uncached;

static void parse_extent(const char *text) {
    char *rest;
    if (extent_count == MAX_EXTENTS) usage("too many extents");
    extents[extent_count].offset = strtoull(text, &rest, 10);
    if (*rest != ':') usage("--extent OFFSET:LENGTH");
    extents[extent_count++].length = strtoull(rest + 1, NULL, 10);
}

enum { RUN = 'a', VM, MACHINES, EPOCH, FIRST_LANE, LANES, ALL_LANES, LOG_SLOTS, HOT_SLOTS, SEED, VOLUME, COMPRESSIBLE,
       AHEAD, RATE, RESUME, TOKEN, PORT, GOSSIP, PEER, INDEX, EXTENT, UNCACHED };
static const struct option names[] = {
    {"run", 1, 0, RUN}, {"vm", 1, 0, VM}, {"machines", 1, 0, MACHINES}, {"epoch", 1, 0, EPOCH},
    {"first-lane", 1, 0, FIRST_LANE}, {"lanes-per-volume", 1, 0, LANES}, {"all-lanes", 1, 0, ALL_LANES},
    {"log-slots", 1, 0, LOG_SLOTS}, {"hot-slots", 1, 0, HOT_SLOTS}, {"seed", 1, 0, SEED}, {"volume", 1, 0, VOLUME},
    {"compressible", 1, 0, COMPRESSIBLE}, {"ahead", 1, 0, AHEAD}, {"rate", 1, 0, RATE}, {"resume", 0, 0, RESUME},
    {"token-lane", 0, 0, TOKEN}, {"port", 1, 0, PORT}, {"gossip-us", 1, 0, GOSSIP}, {"peer", 1, 0, PEER},
    {"volume-index", 1, 0, INDEX}, {"extent", 1, 0, EXTENT}, {"uncached", 0, 0, UNCACHED}, {0, 0, 0, 0}};

static void take_option(struct options *options, uint16_t *volume_index, int option, const char *value) {
    uint64_t number = value ? strtoull(value, NULL, 10) : 0;
    switch (option) {
    case RUN: parse_run(options->run, value); break;
    case VM: options->vm = (uint16_t)number; break;
    case MACHINES: options->machines = (uint16_t)number; break;
    case EPOCH: options->epoch = (uint32_t)number; break;
    case FIRST_LANE: options->first_lane = (uint32_t)number; break;
    case LANES: options->lanes_per_volume = (uint32_t)number; break;
    case ALL_LANES: options->all_lanes = (uint32_t)number; break;
    case LOG_SLOTS: options->log_slots = number; break;
    case HOT_SLOTS: options->hot_slots = number; break;
    case SEED: options->seed = number; break;
    case VOLUME:
        if (options->volumes == MAX_VOLUMES) usage("too many volumes");
        options->paths[options->volumes++] = value;
        break;
    case COMPRESSIBLE: options->compressible_percent = number > 100 ? 100 : (unsigned)number; break;
    case AHEAD: options->ahead = (unsigned)number; break;
    case RATE: options->rate = strtod(value, NULL); break;
    case RESUME: options->resume = true; break;
    case TOKEN: options->token_lane = true; break;
    case PORT: options->port = (uint16_t)number; break;
    case GOSSIP: options->gossip_us = (long)number; break;
    case PEER: parse_peer(options, value); break;
    case INDEX: *volume_index = (uint16_t)number; break;
    case EXTENT: parse_extent(value); break;
    case UNCACHED: uncached = true; break;
    default: usage("unknown option");
    }
}

static void check_options(const struct options *options) {
    if (!options->volumes || !options->lanes_per_volume) usage("--volume and --lanes-per-volume are needed");
    if (options->log_slots < 4 || options->hot_slots < 2) usage("--log-slots (4 or more) --hot-slots (2 or more)");
    if (options->machines > MAX_MACHINES || options->vm >= options->machines) usage("--vm < --machines <= 32");
    if (options->all_lanes > MAX_LANES) usage("256 lanes at most in a group");
    if (options->first_lane + options->volumes * options->lanes_per_volume > options->all_lanes) usage("--all-lanes");
}

static bool command(struct writer *writer, const char *line) {
    unsigned long long number = 0;
    double rate;
    pthread_mutex_lock(&writer->lock);
    bool known = true;
    if (sscanf(line, "marker %llu", &number) == 1 && number) writer->marker = number;
    else if (strcmp(line, "resume") == 0) writer->marker = 0;
    else if (sscanf(line, "epoch %llu", &number) == 1) writer->epoch = (uint32_t)number;
    else if (sscanf(line, "rate %lf", &rate) == 1) writer->rate = rate;
    else if (strcmp(line, "token") == 0) {
        writer->token = writer->token_seen += writer->options.machines;
        writer->token_here = true;
    } else known = false;
    pthread_cond_broadcast(&writer->changed);
    pthread_mutex_unlock(&writer->lock);
    return known;
}

/* Obeys stdin until it ends; ends too when nobody reads stdout. */
static void obey(struct writer *writer) {
    char line[256];
    size_t length = 0;
    for (;;) {
        struct pollfd ends[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = STDOUT_FILENO}};
        if (poll(ends, 2, -1) < 0 && errno != EINTR) die("poll");
        if (ends[1].revents & (POLLERR | POLLHUP)) return;
        if (!ends[0].revents) continue;
        ssize_t got = read(STDIN_FILENO, line + length, 1);
        if (got <= 0) return;
        if (line[length] != '\n' && length + 2 < sizeof line) {
            length++;
            continue;
        }
        line[length] = 0;
        if (length && !command(writer, line)) fprintf(stderr, "oracle: unknown command: %s\n", line);
        length = 0;
    }
}

/* Lets every lane finish its step, and says everything that happened before the last line. */
static void stop_writer(struct writer *writer, pthread_t history) {
    writer->ending = true;
    pthread_mutex_lock(&writer->lock);
    pthread_cond_broadcast(&writer->changed);
    pthread_mutex_unlock(&writer->lock);
    for (unsigned i = 0; i < writer->lane_count; i++) pthread_join(writer->lanes[i].thread, NULL);
    writer->ended = true;
    pthread_join(history, NULL);
}

static int run_writer(struct options options) {
    static struct writer writer;
    pthread_t gossip, history;
    writer.options = options;
    writer.layout = (struct layout){options.first_lane, options.lanes_per_volume, options.log_slots, options.hot_slots};
    writer.epoch = options.epoch;
    writer.rate = options.rate;
    writer.options.token_lane = options.token_lane && options.machines > 1;
    pthread_mutex_init(&writer.lock, NULL);
    pthread_cond_init(&writer.changed, NULL);
    volumes_open(&writer);
    history_header(&writer);
    if (options.machines > 1) {
        gossip_open(&writer);
        pthread_create(&gossip, NULL, gossip_main, &writer);
    }
    for (unsigned i = 0; i < writer.lane_count; i++)
        pthread_create(&writer.lanes[i].thread, NULL, lane_main, &writer.lanes[i]);
    pthread_create(&history, NULL, history_main, &writer);
    obey(&writer);
    stop_writer(&writer, history);
    if (options.machines > 1) pthread_join(gossip, NULL);
    return 0;
}

static int run_scan(const struct options *options, uint16_t volume_index) {
    struct scan scan = {.vm = options->vm, .volume = volume_index, .extents = extents, .extent_count = extent_count};
    memcpy(scan.run, options->run, RUN_BYTES);
    scan.layout.first_lane = options->first_lane;
    scan.layout.lanes = options->lanes_per_volume;
    scan.layout.log_slots = options->log_slots;
    scan.layout.hot_slots = options->hot_slots;
    scan.file = open(options->paths[0], O_RDONLY | O_CLOEXEC);
    if (scan.file < 0) die(options->paths[0]);
    if (uncached) posix_fadvise(scan.file, 0, 0, POSIX_FADV_DONTNEED);
    posix_fadvise(scan.file, 0, 0, POSIX_FADV_SEQUENTIAL);
    if (scan_print(&scan, stdout) != 0) die("scan");
    return 0;
}

static int run_digest(int count, char **arguments) {
    if (count != 3) usage("digest PATH");
    if (digest_print(arguments[2], stdout) != 0) die(arguments[2]);
    return 0;
}

int main(int count, char **arguments) {
    struct options options = {.machines = 1, .all_lanes = MAX_LANES, .epoch = 1, .ahead = 8, .gossip_us = 2000};
    uint16_t volume_index = 0;
    if (count < 2) usage("write, scan or digest?");
    if (strcmp(arguments[1], "digest") == 0) return run_digest(count, arguments);
    bool writes = strcmp(arguments[1], "write") == 0;
    if (!writes && strcmp(arguments[1], "scan") != 0) usage("write, scan or digest?");
    optind = 2;
    for (int option; (option = getopt_long(count, arguments, "", names, NULL)) != -1;)
        take_option(&options, &volume_index, option, optarg);
    check_options(&options);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a write beyond a limit is refused like any other */
    crc32c_prepare();
    clock_prepare();
    return writes ? run_writer(options) : run_scan(&options, volume_index);
}
