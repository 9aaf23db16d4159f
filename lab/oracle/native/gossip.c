/* Datagrams between writers: vector clocks, the token, and times of sending and arrival for comparing clocks. */
#include "writer.h"
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOST_TOKEN_NS = 500000000 };

struct packet {
    uint8_t magic[8], run[RUN_BYTES];
    uint32_t epoch, from;
    uint64_t token; /* 0: none */
    int64_t sent, echo_sent, echo_arrived; /* echo: of the last packet that came from the receiver of this one */
    uint64_t clock[MAX_LANES];
};

/* The exchange with the shortest way there and back since the last print; times as in NTP. */
struct exchange { int64_t sent, arrived, answered, back; };
static struct peer_state {
    int64_t last_sent, last_arrived;
    struct exchange best;
    bool known;
} peers[MAX_MACHINES];
static int64_t opened; /* answers to packets from before that are not ours: another writer's, with another clock */
static pthread_mutex_t peers_lock = PTHREAD_MUTEX_INITIALIZER;

void gossip_open(struct writer *writer) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(writer->options.port)};
    opened = now_ns();
    writer->socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (writer->socket < 0 || bind(writer->socket, (struct sockaddr *)&here, sizeof here) != 0) die("gossip port");
}

static void send_to(struct writer *writer, unsigned peer, uint64_t token) {
    const struct options *options = &writer->options;
    struct packet packet = {.magic = "DRGOSSIP", .from = options->vm, .token = token};
    size_t length = offsetof(struct packet, clock) + 8 * (size_t)options->all_lanes;
    memcpy(packet.run, options->run, RUN_BYTES);
    pthread_mutex_lock(&writer->lock);
    packet.epoch = writer->epoch;
    memcpy(packet.clock, writer->clock, sizeof packet.clock);
    pthread_mutex_unlock(&writer->lock);
    pthread_mutex_lock(&peers_lock);
    packet.echo_sent = peers[peer].last_sent;
    packet.echo_arrived = peers[peer].last_arrived;
    pthread_mutex_unlock(&peers_lock);
    packet.sent = now_ns();
    const struct sockaddr_in *to = &options->peers[peer];
    sendto(writer->socket, &packet, length, 0, (const struct sockaddr *)to, sizeof *to);
}

static void take_token(struct writer *writer, uint64_t token) {
    if (token <= writer->token_seen) return; /* an old one, after a new one was made */
    writer->token = writer->token_seen = token;
    writer->token_here = true;
    pthread_cond_broadcast(&writer->changed);
}

static void note_exchange(const struct packet *packet, int64_t arrived) {
    struct peer_state *peer = &peers[packet->from];
    struct exchange found = {packet->echo_sent, packet->echo_arrived, packet->sent, arrived};
    int64_t way = (found.back - found.sent) - (found.answered - found.arrived);
    int64_t best = (peer->best.back - peer->best.sent) - (peer->best.answered - peer->best.arrived);
    pthread_mutex_lock(&peers_lock);
    if (packet->echo_sent >= opened && way >= 0 && (!peer->known || way < best)) {
        peer->best = found;
        peer->known = true;
    }
    peer->last_sent = packet->sent;
    peer->last_arrived = arrived;
    pthread_mutex_unlock(&peers_lock);
}

static void receive(struct writer *writer) {
    const struct options *options = &writer->options;
    struct packet packet;
    size_t length = offsetof(struct packet, clock) + 8 * (size_t)options->all_lanes;
    while (recv(writer->socket, &packet, sizeof packet, MSG_DONTWAIT) == (ssize_t)length) {
        int64_t arrived = now_ns();
        if (memcmp(packet.magic, "DRGOSSIP", 8) != 0 || memcmp(packet.run, options->run, RUN_BYTES) != 0) continue;
        if (packet.from >= options->machines || packet.from == options->vm) continue;
        note_exchange(&packet, arrived);
        pthread_mutex_lock(&writer->lock);
        if (packet.epoch == writer->epoch) {
            for (uint32_t i = 0; i < options->all_lanes; i++)
                if (packet.clock[i] > writer->clock[i]) writer->clock[i] = packet.clock[i];
            if (packet.token) take_token(writer, packet.token);
        }
        pthread_mutex_unlock(&writer->lock);
    }
}

void gossip_pass_token(struct writer *writer, uint64_t token) {
    send_to(writer, (writer->options.vm + 1u) % writer->options.machines, token);
}

/* The first machine makes a new token when the last one got lost: datagrams do, and machines die holding it. */
static void revive_token(struct writer *writer, uint64_t *last, int64_t *since) {
    pthread_mutex_lock(&writer->lock);
    int64_t now = now_ns();
    if (writer->token_seen != *last) {
        *last = writer->token_seen;
        *since = now;
    } else if (now - *since > LOST_TOKEN_NS) {
        take_token(writer, writer->token_seen + writer->options.machines);
    }
    pthread_mutex_unlock(&writer->lock);
}

void *gossip_main(void *argument) {
    struct writer *writer = argument;
    const struct options *options = &writer->options;
    int64_t next = now_ns(), since = next;
    uint64_t last_token = 0;
    for (unsigned turn = 0; !writer->ending;) {
        int64_t left = next - now_ns();
        struct timespec wait = {.tv_nsec = left > 0 ? left : 0};
        struct pollfd arrival = {.fd = writer->socket, .events = POLLIN};
        if (ppoll(&arrival, 1, &wait, NULL) > 0) receive(writer);
        if (now_ns() < next) continue;
        next = now_ns() + options->gossip_us * 1000;
        unsigned peer = (options->vm + 1u + turn++ % (options->machines - 1u)) % options->machines;
        if (options->peers[peer].sin_port) send_to(writer, peer, 0);
        if (options->vm == 0 && options->token_lane) revive_token(writer, &last_token, &since);
    }
    return NULL;
}

void gossip_print_exchanges(struct writer *writer) {
    for (unsigned i = 0; i < writer->options.machines; i++) {
        pthread_mutex_lock(&peers_lock);
        struct exchange best = peers[i].best;
        bool known = peers[i].known;
        peers[i].known = false;
        pthread_mutex_unlock(&peers_lock);
        if (known)
            printf("C %u %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 "\n", i, best.sent, best.arrived,
                   best.answered, best.back);
    }
}
