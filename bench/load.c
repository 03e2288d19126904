/* The clients of the benchmark, all in one process and cheap enough never to be what is measured.
 *
 *   load PORT PATH, then lines on standard input, each answered by one line of JSON:
 *     open COUNT job|queue|raw TARGET ACK WINDOW MILLISECONDS   COUNT more clients, at most WINDOW on their way
 *     wait ENDS MILLISECONDS                                    until so many ends of jobs were seen, of all clients
 *     report | reset | quit
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>

#include "client.h"

#define BUFFER (2u << 20)
#define MOST_CLIENTS 65536

static struct client *clients[MOST_CLIENTS];
static size_t begun;
static int port, epoll;
static const char *path;
static char commands[4096];
static size_t command_length;
static bool input_over;

static struct {
    enum { NOTHING, OPENING, WAITING } what;
    uint64_t goal, window, deadline;
} task;

static int dial(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    /* Linux bounds connect() by the time-out for sending. */
    struct timeval patience = {.tv_sec = 5};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) return -1;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void begin_client(void) {
    int fd = dial();
    struct client *c = calloc(1, sizeof *c);
    if (fd < 0 || !c) {
        fault("cannot connect", strerror(errno), 120);
        return;
    }
    *c = (struct client){.fd = fd, .index = begun};
    clients[begun++] = c;
    struct epoll_event interest = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &interest);
    if (wish.kind == RAW) {
        c->state = READY;
        wish.ready++;
    } else {
        send_upgrade(c, path, port);
    }
}

static void keep_rest(struct client *c, const char *bytes, size_t length) {
    free(c->rest);
    c->rest = NULL;
    c->rest_length = length;
    if (!length) return;
    c->rest = malloc(length);
    if (!c->rest) abort();
    memcpy(c->rest, bytes, length);
}

static void readable(struct client *c) {
    static char buffer[BUFFER];
    if (c->rest_length) memcpy(buffer, c->rest, c->rest_length);
    ssize_t got = read(c->fd, buffer + c->rest_length, BUFFER - c->rest_length);
    uint64_t now = now_ns();
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR)) hang_up(c);
        return;
    }
    size_t length = c->rest_length + (size_t)got, used = take(c, buffer, length, now);
    if (c->rest_length || used < length) keep_rest(c, buffer + used, length - used);
    if (c->rest_length == BUFFER) {
        fault("a frame longer than the buffer", "", 0);
        hang_up(c);
    }
}

static void read_commands(void) {
    ssize_t got = read(STDIN_FILENO, commands + command_length, sizeof commands - 1 - command_length);
    if (got <= 0) input_over = true;
    else command_length += (size_t)got;
}

static void step(int patience) {
    struct epoll_event events[512];
    int count = epoll_wait(epoll, events, 512, patience);
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr) readable(events[i].data.ptr);
        else read_commands();
    }
}

static void answer(bool ok) {
    task.what = NOTHING;
    tally_report(ok, wish.ready);
}

static void begin_opening(const char *line) {
    char kind[16];
    int acknowledged;
    unsigned long count, window, milliseconds;
    int found = sscanf(line, "open %lu %15s %159s %d %lu %lu", &count, kind, wish.target, &acknowledged, &window,
                       &milliseconds);
    if (found != 6 || begun + count > MOST_CLIENTS) {
        fault("cannot be opened", line, strlen(line));
        answer(false);
        return;
    }
    wish.kind = !strcmp(kind, "job") ? JOB : !strcmp(kind, "queue") ? QUEUE : RAW;
    wish.acknowledged = acknowledged != 0;
    task.what = OPENING;
    task.goal = begun + count;
    task.window = window;
    task.deadline = now_ns() + milliseconds * 1000000u;
}

static void begin(const char *line) {
    unsigned long ends, milliseconds;
    if (starts(line, strlen(line), "open ")) {
        begin_opening(line);
    } else if (sscanf(line, "wait %lu %lu", &ends, &milliseconds) == 2) {
        task.what = WAITING;
        task.goal = ends;
        task.deadline = now_ns() + milliseconds * 1000000u;
    } else if (!strcmp(line, "reset")) {
        tally_reset();
        answer(true);
    } else if (!strcmp(line, "quit")) {
        input_over = true;
    } else {
        answer(!strcmp(line, "report"));
    }
}

static void take_command(void) {
    char *end = memchr(commands, '\n', command_length);
    if (!end) return;
    char line[sizeof commands];
    size_t length = (size_t)(end - commands);
    memcpy(line, commands, length);
    line[length] = 0;
    command_length -= length + 1;
    memmove(commands, end + 1, command_length);
    begin(line);
}

static void pursue(void) {
    while (task.what == OPENING && begun < task.goal && begun - wish.ready < task.window && !tally.fault[0])
        begin_client();
    bool done = task.what == OPENING ? wish.ready >= task.goal : tally.ends >= task.goal;
    if (done || tally.fault[0] || tally.closed || now_ns() > task.deadline) answer(done && !tally.closed);
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: load PORT PATH\n");
        return 2;
    }
    port = atoi(arguments[1]);
    path = arguments[2];
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event interest = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &interest);
    tally_reset();
    while (!input_over) {
        if (task.what != NOTHING) pursue();
        else take_command();
        bool pending = task.what == NOTHING && memchr(commands, '\n', command_length);
        if (!pending) step(task.what == NOTHING ? -1 : 50);
    }
    return 0;
}
