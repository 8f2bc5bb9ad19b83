/* A crowd of callers: plain requests or streams over kept connections, timed as their bytes are read. One thread, epoll.
 *
 *   load -p PORT -q REQUEST -z MARK [-n CHUNKS -m MARK] [-c CONNECTIONS] [-s SECONDS] [-e EACH] [-r RAMP] [-k LEAVE] [-w]
 *
 * REQUEST goes out as it is, but for "#####", which becomes the number of the client. Each client asks, reads the whole answer,
 * checks it, and asks again, for -s seconds or -e times. An answer is right if its status is 200, it has -n times the mark -m
 * (a chunk) and then the mark -z; whatever else comes is an error, counted by its reason. Marks begin with a character that they
 * do not hold again before their end, so that a simple automaton finds them however the bytes were cut.
 * Rates count what was complete (a chunk: what was read) before the seconds were over. Answers under way are awaited, and are
 * among "answers" and "chunks_read" only.
 * -r spreads the first requests over so many seconds. With -k a client leaves after so many chunks. With -w the clients stay in
 * their streams: one line when all have a first chunk, the rest when standard input ends.
 * Prints JSON; times are seconds. load.py does the same where there is no compiler.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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
#define RETRY (SECOND / 100)
#define GRACE (30 * SECOND)         /* how long answers that are under way at the end may take */
#define EVENTS 512
#define MAX_HEAD 16384

typedef enum { HEAD, LENGTH, UNTIL_CLOSE, SIZE, EXTENSION, CONTENT, CONTENT_END, TRAILER } State;
typedef struct { const char *text; size_t length; } Mark;
typedef struct { double *values; size_t count, room; } Samples;

typedef struct {
    int fd, number, busy, closing, ended;
    long asked, chunks;
    State state;
    size_t left, chunk_mark, end_mark, line;   /* left of a body or chunk; bytes of each mark seen; length of a trailer line */
    char *head;
    size_t head_size;
    int64_t began, last, left_at, ask_at;      /* ask_at: when to ask next; 0 for not by the clock */
} Client;

static struct { const char *text; long count; } errors[16];
static const char *request = "";
static Mark chunk_mark = {"", 0}, end_mark = {"", 0};
static long wanted_chunks, each, leave, connections = 1, patience;
static int port, hold, epoll_fd;
static double seconds = 2, ramp;
static int64_t end;
static long answered, chunks, chunks_read, held, failed, waiting, under_way;
static Samples latencies, firsts, gaps;
static Client *clients;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void *grown(void *memory, size_t size) {
    memory = realloc(memory, size);
    if (!memory) { perror("load"); exit(1); }
    return memory;
}

static void sample(Samples *s, int64_t time) {
    if (s->count == s->room) s->values = grown(s->values, (s->room = s->room * 2 + 4096) * sizeof *s->values);
    s->values[s->count++] = (double)time / SECOND;
}

static void count_error(const char *reason) {
    int i = 0;
    while (i < 15 && errors[i].text && strcmp(errors[i].text, reason)) i++;
    if (!errors[i].text) errors[i].text = strdup(reason);
    errors[i].count++;
    failed++;
}

/* Connections. */

static void hang_up(Client *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

static void idle(Client *c) {
    under_way -= c->busy;
    c->busy = 0;
}

static void wake(Client *c, int64_t at) { c->ask_at = at; waiting++; }

static void fail(Client *c, const char *reason) {
    idle(c);
    hang_up(c);
    count_error(reason);
    /* Where everything fails there is nothing to measure, and no reason to insist. */
    if (failed <= patience) wake(c, now() + RETRY);
}

static int dial(Client *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (void *)&address, sizeof address)) return -1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
}

static void ask(Client *c) {
    if (now() >= end || (each && c->asked >= each)) { hang_up(c); return; }
    c->state = HEAD;
    c->head_size = c->chunk_mark = c->end_mark = c->line = 0;
    c->chunks = c->ended = c->closing = 0;
    if (c->fd < 0 && dial(c)) { fail(c, strerror(errno)); return; }
    char *bytes = strdup(request), *number = strstr(bytes, "#####"), digits[16];
    if (number) { snprintf(digits, sizeof digits, "%05d", c->number); memcpy(number, digits, 5); }
    c->asked++; c->busy = 1; under_way++;
    c->began = c->last = now();
    ssize_t length = strlen(bytes);
    if (send(c->fd, bytes, length, MSG_NOSIGNAL) != length) fail(c, "not sent");
    free(bytes);
}

static void complete(Client *c) {
    if (!c->ended || c->chunks != wanted_chunks) { fail(c, "incomplete answer"); return; }
    int64_t t = now();
    idle(c);
    if (t <= end) answered++;
    sample(&latencies, t - c->began);
    if (c->closing) hang_up(c);
    ask(c);
}

/* Answers. */

static int seen(Mark mark, size_t *at, char byte) {
    if (!mark.length) return 0;
    *at = byte == mark.text[*at] ? *at + 1 : byte == mark.text[0];
    if (*at < mark.length) return 0;
    *at = 0;
    return 1;
}

static void take(Client *c, const char *bytes, size_t count, int64_t t) {
    long found = 0;
    for (size_t i = 0; i < count; i++) {
        found += seen(chunk_mark, &c->chunk_mark, bytes[i]);
        c->ended |= seen(end_mark, &c->end_mark, bytes[i]);
    }
    if (!found) return;
    chunks_read += found;
    if (t <= end) chunks += found;
    if (c->chunks) sample(&gaps, t - c->last);
    else { sample(&firsts, t - c->began); held += hold; }
    for (long i = 1; i < found; i++) sample(&gaps, 0);
    c->last = t; c->chunks += found;
    if (leave && c->chunks >= leave) { c->left_at = now(); idle(c); hang_up(c); }
}

static const char *header(const char *head, const char *name) {
    const char *line = strstr(head, "\r\n");
    for (size_t n = strlen(name); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (!strncasecmp(line, name, n)) return line + n + strspn(line + n, " ");
    }
    return NULL;
}

/* Collect the head, and see what the body will be like. Returns how many of the bytes were the head's. */
static size_t take_head(Client *c, const char *bytes, size_t count) {
    char reason[32];
    size_t before = c->head_size, room = MAX_HEAD - before;
    if (count > room) count = room;
    if (!c->head) c->head = grown(NULL, MAX_HEAD + 1);
    memcpy(c->head + before, bytes, count);
    c->head[c->head_size += count] = 0;
    char *stop = strstr(c->head, "\r\n\r\n");
    if (!stop) {
        if (c->head_size == MAX_HEAD) fail(c, "head too large");
        return count;
    }
    stop[2] = 0;
    int status = strncmp(c->head, "HTTP/1.", 7) ? 0 : atoi(c->head + 9);
    if (status != 200) {
        snprintf(reason, sizeof reason, "status %d", status);
        fail(c, reason);
        return count;
    }
    const char *coding = header(c->head, "transfer-encoding:"), *length = header(c->head, "content-length:");
    const char *connection = header(c->head, "connection:");
    c->closing = c->head[7] == '0' || (connection && !strncasecmp(connection, "close", 5));
    c->left = length ? strtoul(length, NULL, 10) : 0;
    c->state = length ? LENGTH : coding && !strncasecmp(coding, "chunked", 7) ? SIZE : UNTIL_CLOSE;
    return stop + 4 - c->head - before;
}

/* One byte of the chunked coding's own; content is taken in pieces. */
static void take_coding(Client *c, char byte) {
    const char *digits = "0123456789abcdef";
    switch (c->state) {
    case SIZE: {
        const char *digit = byte ? strchr(digits, byte | 0x20) : NULL;
        if (digit && byte > ' ') c->left = c->left * 16 + (digit - digits);
        else if (byte == '\n') c->state = c->left ? CONTENT : TRAILER;
        else if (byte == ';') c->state = EXTENSION;
        else if (byte != '\r' && byte != ' ') fail(c, "bad framing");
        break;
    }
    case EXTENSION:
        if (byte == '\n') c->state = c->left ? CONTENT : TRAILER;
        break;
    case CONTENT_END:
        if (byte == '\n') c->state = SIZE;
        break;
    default: /* TRAILER: an empty line ends it */
        if (byte == '\n' && !c->line) complete(c);
        else if (byte != '\r') c->line = byte == '\n' ? 0 : c->line + 1;
    }
}

static void feed(Client *c, const char *bytes, size_t count) {
    int64_t t = now();
    long asked = c->asked;
    /* An answer that ends asks the next question; what follows it here would be nonsense. */
    for (size_t i = 0; i < count && c->busy && c->asked == asked;) {
        size_t rest = count - i;
        switch (c->state) {
        case HEAD:
            i += take_head(c, bytes + i, rest);
            if (c->state == LENGTH && !c->left) complete(c);
            break;
        case LENGTH:
        case CONTENT:
            if (rest > c->left) rest = c->left;
            take(c, bytes + i, rest, t);
            i += rest; c->left -= rest;
            if (c->left || !c->busy) break;
            if (c->state == LENGTH) complete(c);
            else c->state = CONTENT_END;
            break;
        case UNTIL_CLOSE:
            take(c, bytes + i, rest, t);
            i += rest;
            break;
        default:
            take_coding(c, bytes[i++]);
        }
    }
}

static void receive(Client *c) {
    static char bytes[1 << 18];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (!c->busy) hang_up(c);       /* closed between two requests: the next one opens it again */
    else if (n > 0) feed(c, bytes, n);
    else if (n == 0 && c->state == UNTIL_CLOSE) { c->closing = 1; complete(c); }
    else fail(c, "closed early");
}

/* What was seen. */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_quantiles(const char *name, Samples *s) {
    printf(",\"%s\":{", name);
    if (s->count) {
        qsort(s->values, s->count, sizeof *s->values, ascending);
        size_t last = s->count - 1, p99 = s->count * 99 / 100;
        printf("\"p50\":%.9f,\"p99\":%.9f,\"max\":%.9f", s->values[s->count / 2], s->values[p99 < last ? p99 : last], s->values[last]);
    }
    printf("}");
}

static void print_seen(double elapsed) {
    const char *comma = "";
    printf("{\"seconds\":%.6f,\"requests\":%ld,\"requests_per_second\":%.3f,\"chunks\":%ld,\"chunks_per_second\":%.3f,\"held\":%ld,"
           "\"answers\":%zu,\"chunks_read\":%ld",
           elapsed, answered, answered / elapsed, chunks, chunks / elapsed, held, latencies.count, chunks_read);
    print_quantiles("latency", &latencies);
    print_quantiles("first_chunk", &firsts);
    print_quantiles("gap", &gaps);
    printf(",\"left_at\":{");
    for (long i = 0; i < connections; i++)
        if (clients[i].left_at) { printf("%s\"%ld\":%.6f", comma, i, (double)clients[i].left_at / SECOND); comma = ","; }
    printf("},\"errors\":{");
    comma = "";
    for (int i = 0; i < 16 && errors[i].text; i++) { printf("%s\"%s\":%ld", comma, errors[i].text, errors[i].count); comma = ","; }
    printf("}}\n");
}

static void ask_due(int64_t t) {
    waiting = 0;
    for (long i = 0; i < connections; i++) {
        Client *c = &clients[i];
        if (!c->ask_at) continue;
        if (c->ask_at > t) { waiting++; continue; }
        c->ask_at = 0;
        ask(c);
    }
}

static void run(void) {
    struct epoll_event events[EVENTS];
    for (int64_t give_up = end + GRACE; waiting || under_way;) {
        int64_t t = now();
        if (t > give_up || (hold && held + failed >= connections)) return;
        if (waiting) ask_due(t);
        int n = epoll_wait(epoll_fd, events, EVENTS, waiting ? 1 : 50);
        for (int i = 0; i < n; i++) {
            Client *c = events[i].data.ptr;
            if (c->fd >= 0) receive(c);
        }
    }
}

static Mark mark(const char *text) { return (Mark){text, strlen(text)}; }

int main(int argc, char **argv) {
    for (int option; (option = getopt(argc, argv, "p:q:z:n:m:c:s:e:r:k:w")) != -1;) switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'q': request = optarg; break;
        case 'z': end_mark = mark(optarg); break;
        case 'n': wanted_chunks = atol(optarg); break;
        case 'm': chunk_mark = mark(optarg); break;
        case 'c': connections = atol(optarg); break;
        case 's': seconds = atof(optarg); break;
        case 'e': each = atol(optarg); break;
        case 'r': ramp = atof(optarg); break;
        case 'k': leave = atol(optarg); break;
        case 'w': hold = 1; break;
        default: return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    patience = 2 * connections;
    clients = calloc(connections, sizeof *clients);
    for (long i = 0; i < connections; i++) {
        clients[i].number = i;
        clients[i].fd = -1;
        if (dial(&clients[i])) fail(&clients[i], strerror(errno));
    }
    int64_t began = now();
    end = began + seconds * SECOND;
    for (long i = 0; i < connections; i++) wake(&clients[i], began + ramp * SECOND * i / connections);
    run();
    double elapsed = (double)(now() - began) / SECOND;
    if (hold) {
        printf("{\"held\":%ld}\n", held);
        fflush(stdout);
        while (getchar() != EOF) {}
    } else while (under_way--) count_error("no answer in time");
    print_seen(elapsed < seconds ? elapsed : seconds);
}
