/* A provider that costs next to nothing: one thread, epoll, bytes prepared by its caller.
 *
 *   upstream MESSAGE OPENING CHUNK CLOSING      the answers as they go over the wire, HTTP framing included
 *
 * It listens on a free loopback port, which it prints, and knows HTTP but no provider's format. A request says what it wants in
 * its body: "bench 100x20 from 7" is OPENING, 100 times CHUNK 20 ms apart, CLOSING, for client 7; anything else is MESSAGE.
 * Each CHUNK is one write, as with real providers; streams without a pause take turns of TURN chunks. A connection that closes while its
 * stream is owed counts as aborted. GET /stats tells the counts and when each abort was seen, GET /reset clears them.
 * upstream.py does the same where there is no compiler.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define NONE (-1L)
#define EVENTS 512
#define MAX_CLIENTS 10000
#define READ 16384
#define TURN 4                      /* a write costs the same for one chunk or four: with one, the upstream was the bottleneck */

typedef struct { const char *bytes; size_t length; } Text;

typedef struct Connection {
    int fd, client, closed, blocked;
    long left;                      /* chunks owed to the stream; NONE where nothing is */
    int64_t pause, due;
    size_t slot;                    /* place in the heap, from 1; 0 for none */
    char *inbox, *outbox;
    size_t in, in_room, out;
    struct Connection *before, *after;  /* neighbours in the ring of streams without a pause */
    struct Connection *dead;
} Connection;

static Text message, opening, chunk, closing;
static char *turn;                  /* TURN chunks in a row */
static int epoll_fd;
static Connection ring = {.before = &ring, .after = &ring};
static Connection **heap;
static size_t heap_size, heap_room;
static Connection *graveyard;       /* freed after the round, since events of this round may still name them */
static long requests, started, completed, chunks, open_streams;
static int64_t aborted_at[MAX_CLIENTS];

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void *grown(void *memory, size_t size) {
    memory = realloc(memory, size);
    if (!memory) { perror("upstream"); exit(1); }
    return memory;
}

/* The heap of paced streams, the one that is due first on top. */

static void place(Connection *c, size_t slot) { heap[slot] = c; c->slot = slot; }

static void sift(Connection *c, size_t slot) {
    while (slot > 1 && heap[slot / 2]->due > c->due) { place(heap[slot / 2], slot); slot /= 2; }
    for (size_t child; (child = slot * 2) <= heap_size; slot = child) {
        if (child < heap_size && heap[child + 1]->due < heap[child]->due) child++;
        if (heap[child]->due >= c->due) break;
        place(heap[child], slot);
    }
    place(c, slot);
}

static void schedule(Connection *c) {
    if (heap_size + 2 > heap_room) heap = grown(heap, (heap_room = heap_room * 2 + 1024) * sizeof *heap);
    sift(c, c->slot ? c->slot : ++heap_size);
}

static void unschedule(Connection *c) {
    if (!c->slot) return;
    Connection *last = heap[heap_size--];
    if (last != c) sift(last, c->slot);
    c->slot = 0;
}

static void take_turns(Connection *c) {
    c->after = &ring; c->before = ring.before;
    ring.before->after = c; ring.before = c;
}

static void leave_ring(Connection *c) {
    if (!c->after) return;
    c->before->after = c->after; c->after->before = c->before;
    c->before = c->after = NULL;
}

/* Connections. */

static void watch(Connection *c, int operation) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | (c->blocked ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(epoll_fd, operation, c->fd, &event);
}

static void gone(Connection *c) {
    if (c->closed) return;
    if (c->left != NONE) open_streams--;
    if ((c->left != NONE || c->out) && c->client < MAX_CLIENTS) aborted_at[c->client] = now();
    unschedule(c); leave_ring(c);
    close(c->fd);
    c->closed = 1;
    c->dead = graveyard; graveyard = c;
}

/* Send; what the kernel does not take waits for the client, and its stream with it. True where all of it went. */
static int put(Connection *c, const char *bytes, size_t length) {
    ssize_t sent = 0;
    if (!c->out) {
        sent = send(c->fd, bytes, length, MSG_NOSIGNAL);
        if (sent == (ssize_t)length) return 1;
        if (sent < 0) {
            if (errno != EAGAIN) { gone(c); return 0; }
            sent = 0;
        }
    }
    c->outbox = grown(c->outbox, c->out + length - sent);
    memcpy(c->outbox + c->out, bytes + sent, length - sent);
    c->out += length - sent;
    if (!c->blocked) { c->blocked = 1; watch(c, EPOLL_CTL_MOD); }
    unschedule(c); leave_ring(c);
    return 0;
}

static int put_text(Connection *c, Text text) { return put(c, text.bytes, text.length); }

static void put_json(Connection *c, const char *json) {
    char head[160];
    int n = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n", strlen(json));
    put(c, head, n);
    if (!c->closed) put(c, json, strlen(json));
}

static void put_stats(Connection *c) {
    char *json = NULL; size_t size = 0;
    FILE *out = open_memstream(&json, &size);
    fprintf(out, "{\"requests\":%ld,\"streams_started\":%ld,\"streams_completed\":%ld,\"streams_open\":%ld,\"chunks\":%ld,\"aborted\":{",
            requests, started, completed, open_streams, chunks);
    const char *comma = "";
    for (int i = 0; i < MAX_CLIENTS; i++)
        if (aborted_at[i]) { fprintf(out, "%s\"%d\":%.6f", comma, i, (double)aborted_at[i] / SECOND); comma = ","; }
    fprintf(out, "}}");
    fclose(out);
    put_json(c, json);
    free(json);
}

/* One turn of a stream. */
static void step(Connection *c) {
    if (c->left > 0) {
        long count = c->pause || c->left < TURN ? 1 : TURN;
        c->left -= count; chunks += count;
        if (put(c, turn, count * chunk.length) && c->pause) { c->due += c->pause; schedule(c); }    /* however late this one was */
        return;
    }
    c->left = NONE;
    open_streams--; completed++;
    unschedule(c); leave_ring(c);
    put_text(c, closing);
}

static void resume(Connection *c) {
    if (c->left == NONE) return;
    if (!c->pause) { take_turns(c); return; }
    if (c->due < now()) c->due = now();
    schedule(c);
}

static void flush(Connection *c) {
    ssize_t sent = send(c->fd, c->outbox, c->out, MSG_NOSIGNAL);
    if (sent < 0) { if (errno != EAGAIN) gone(c); return; }
    memmove(c->outbox, c->outbox + sent, c->out -= sent);
    if (c->out) return;
    c->blocked = 0; watch(c, EPOLL_CTL_MOD);
    resume(c);
}

/* Requests. */

static const char *header(const char *head, const char *name) {
    const char *line = strstr(head, "\r\n");
    for (size_t n = strlen(name); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (!strncasecmp(line, name, n)) return line + n + strspn(line + n, " ");
    }
    return NULL;
}

/* Put the content of a chunked body at its own beginning. Returns where the body ended, or 0 where it has not. */
static size_t dechunk(char *body, size_t have, size_t *content) {
    for (size_t at = 0, out = 0; at < have;) {
        char *line_end = memmem(body + at, have - at, "\r\n", 2), *end;
        if (!line_end) return 0;
        size_t size = strtoul(body + at, NULL, 16), start = line_end + 2 - body;
        if (!size) {
            end = memmem(line_end, body + have - line_end, "\r\n\r\n", 4);
            *content = out;
            return end ? (size_t)(end + 4 - body) : 0;
        }
        if (size > have || start + size + 2 > have) return 0;
        memmove(body + out, body + start, size);
        out += size; at = start + size + 2;
    }
    return 0;
}

static void answer(Connection *c, const char *head, const char *body) {
    long count, pause;
    if (!strncmp(head, "GET /stats ", 11)) { put_stats(c); return; }
    if (!strncmp(head, "GET /reset ", 11)) {
        requests = started = completed = chunks = 0;
        memset(aborted_at, 0, sizeof aborted_at);
        put_json(c, "{}");
        return;
    }
    requests++;
    const char *plan = strstr(body, "bench ");
    if (!plan || sscanf(plan, "bench %ldx%ld from %d", &count, &pause, &c->client) != 3) { put_text(c, message); return; }
    started++; open_streams++;
    c->left = count; c->pause = pause * 1000000; c->due = now();
    if (put_text(c, opening)) resume(c);
}

/* Answer the first request of the inbox; false where it is not complete. */
static int take_request(Connection *c) {
    c->inbox[c->in] = 0;
    char *end = strstr(c->inbox, "\r\n\r\n");
    if (!end) return 0;
    char *body = end + 4;
    size_t have = c->inbox + c->in - body, length = 0, used = 0;
    end[2] = 0;                     /* ends the head for header(); its line break stays */
    const char *coding = header(c->inbox, "transfer-encoding:"), *told = header(c->inbox, "content-length:");
    int whole = 1;
    if (coding && !strncasecmp(coding, "chunked", 7)) whole = (used = dechunk(body, have, &length)) > 0;
    else if (told) whole = (length = used = strtoul(told, NULL, 10)) <= have;
    if (!whole) { end[2] = '\r'; return 0; }
    char kept = body[length];
    body[length] = 0;
    answer(c, c->inbox, body);
    body[length] = kept;
    c->in = have - used;
    memmove(c->inbox, body + used, c->in);
    return 1;
}

static void receive(Connection *c) {
    if (c->in + READ + 1 > c->in_room) c->inbox = grown(c->inbox, c->in_room = c->in + 2 * READ);
    ssize_t n = recv(c->fd, c->inbox + c->in, READ, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { gone(c); return; }
    c->in += n;
    while (c->in && !c->closed && c->left == NONE && take_request(c)) {}
}

static void welcome(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Connection *c = grown(NULL, sizeof *c);
        *c = (Connection){.fd = fd, .left = NONE};
        watch(c, EPOLL_CTL_ADD);
    }
}

static int wait_for_events(struct epoll_event *events) {
    if (ring.after != &ring) return epoll_wait(epoll_fd, events, EVENTS, 0);
    if (!heap_size) return epoll_wait(epoll_fd, events, EVENTS, -1);
    /* epoll_wait counts in milliseconds; polling its descriptor is exact. */
    int64_t wait = heap[1]->due - now();
    struct pollfd ready = {.fd = epoll_fd, .events = POLLIN};
    struct timespec t = {wait / SECOND, wait % SECOND};
    if (wait > 0) ppoll(&ready, 1, &t, NULL);
    return epoll_wait(epoll_fd, events, EVENTS, 0);
}

int main(int argc, char **argv) {
    if (argc != 5) { fprintf(stderr, "usage: upstream MESSAGE OPENING CHUNK CLOSING\n"); return 2; }
    Text *texts[] = {&message, &opening, &chunk, &closing};
    for (int i = 0; i < 4; i++) *texts[i] = (Text){argv[i + 1], strlen(argv[i + 1])};
    turn = grown(NULL, TURN * chunk.length);
    for (int i = 0; i < TURN; i++) memcpy(turn + i * chunk.length, chunk.bytes, chunk.length);
    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (void *)&address, size) || listen(listener, 4096) || getsockname(listener, (void *)&address, &size)) {
        perror("upstream");
        return 1;
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int n = wait_for_events(events);
        for (int i = 0; i < n; i++) {
            Connection *c = events[i].data.ptr;
            if (!c) welcome(listener);
            else if (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) gone(c);
            else {
                if (events[i].events & EPOLLOUT) flush(c);
                if (!c->closed && events[i].events & EPOLLIN) receive(c);
            }
        }
        for (int64_t t = heap_size ? now() : 0; heap_size && heap[1]->due <= t;) step(heap[1]);
        for (Connection *c = ring.after, *next; c != &ring; c = next) { next = c->after; step(c); }
        while (graveyard) {
            Connection *c = graveyard;
            graveyard = c->dead;
            free(c->inbox); free(c->outbox); free(c);
        }
    }
}
