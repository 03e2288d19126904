/* The floor: what the kernel takes for a send() to each client, and nothing else done.
 *
 *   floor PORT CLIENTS accepts that many connections, then reads lines of "go EVENTS RATE BYTES" from standard input:
 *   EVENTS rounds, RATE a second (0: without a pause), of one frame of BYTES to everyone. It answers each with a line
 *   of JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LONGEST 4096

static int *sockets;
static size_t clients;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void sleep_until(uint64_t then) {
    struct timespec t = {.tv_sec = (time_t)(then / 1000000000u), .tv_nsec = (long)(then % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) continue;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void accept_all(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listening, (struct sockaddr *)&address, sizeof address) < 0) die("floor: bind");
    if (listen(listening, 4096) < 0) die("floor: listen");
    for (size_t i = 0; i < clients; i++) {
        struct pollfd waiting = {.fd = listening, .events = POLLIN};
        if (poll(&waiting, 1, 30000) != 1) die("floor: nobody connects");
        sockets[i] = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (sockets[i] < 0) die("floor: accept");
        /* As every server of the comparison does. */
        setsockopt(sockets[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
}

/* An event of the same size as the real ones, so that the clients count it like them. */
static size_t build(unsigned char *frame, unsigned long seq, size_t bytes, uint64_t sent, int last) {
    char head[64], tail[64], *text = (char *)frame + 4;
    size_t before = (size_t)snprintf(head, sizeof head, "42[\"job-progress\",{\"seq\":%lu,\"pad\":\"", seq);
    const char *mark = last ? ",\"end\":true" : "";
    size_t after = (size_t)snprintf(tail, sizeof tail, "\",\"details\":{\"t\":%lu%s}}]", sent, mark);
    size_t length = bytes < before + after ? before + after : bytes;
    if (length < 126) length = 126;
    memset(text, 'x', length);
    memcpy(text, head, before);
    memcpy(text + length - after, tail, after);
    frame[0] = 0x81;
    frame[1] = 126;
    frame[2] = (unsigned char)(length >> 8);
    frame[3] = (unsigned char)length;
    return length + 4;
}

/* Bounded: a client that does not read for five seconds ends the run. */
static void send_one(int fd, const unsigned char *frame, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t n = send(fd, frame + done, length - done, MSG_NOSIGNAL);
        if (n >= 0) {
            done += (size_t)n;
            continue;
        }
        struct pollfd full = {.fd = fd, .events = POLLOUT};
        if (errno != EAGAIN || poll(&full, 1, 5000) != 1) die("floor: send");
    }
}

static void go(unsigned long seq, unsigned long events, unsigned long rate, size_t bytes) {
    static unsigned char frame[LONGEST + 4];
    uint64_t start = now_ns();
    for (unsigned long n = 0; n < events; n++) {
        if (rate) sleep_until(start + n * 1000000000u / rate);
        size_t length = build(frame, seq + n, bytes, now_ns(), n + 1 == events);
        for (size_t i = 0; i < clients; i++) send_one(sockets[i], frame, length);
    }
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: floor PORT CLIENTS\n");
        return 2;
    }
    clients = strtoul(arguments[2], NULL, 10);
    sockets = calloc(clients, sizeof *sockets);
    if (!sockets) die("floor");
    accept_all(atoi(arguments[1]));
    char line[128];
    unsigned long events, rate, bytes, seq = 1;
    while (fgets(line, sizeof line, stdin) && sscanf(line, "go %lu %lu %lu", &events, &rate, &bytes) == 3) {
        if (bytes > LONGEST) return 2;
        go(seq, events, rate, bytes);
        seq += events;
        printf("{\"ok\":true}\n");
        fflush(stdout);
    }
    return 0;
}
