/* One WebSocket client that speaks Socket.IO: from the upgrade to the subscription, then it only counts. */
#ifndef CLIENT_H
#define CLIENT_H

#include <ctype.h>
#include <errno.h>
#include <unistd.h>

#include "tally.h"

enum state { UPGRADING, GREETING, CONNECTING, SUBSCRIBING, READY, CLOSED };

struct client {
    int fd;
    enum state state;
    size_t index;
    char *rest; /* of a frame cut across two reads */
    size_t rest_length;
};

/* What all clients ask for. A "*" at the target's end stands for the client's own number. */
static struct {
    enum { RAW, JOB, QUEUE } kind;
    char target[160];
    bool acknowledged;
    size_t ready;
} wish;

static bool starts(const char *text, size_t length, const char *head) {
    size_t n = strlen(head);
    return length >= n && !memcmp(text, head, n);
}

static void write_all(struct client *c, const void *bytes, size_t length) {
    if (write(c->fd, bytes, length) != (ssize_t)length) fault("a client could not write", strerror(errno), 120);
}

/* Masked with zeros: on one machine there is nothing to hide, and the server unmasks all the same. */
static void send_frame(struct client *c, int opcode, const char *text, size_t length) {
    char frame[512];
    size_t head = length < 126 ? 6 : 8;
    if (head + length > sizeof frame) {
        fault("a client's own frame is too long", text, length);
        return;
    }
    memset(frame, 0, head);
    frame[0] = (char)(0x80 | opcode);
    frame[1] = (char)(0x80 | (length < 126 ? length : 126));
    if (length >= 126) {
        frame[2] = (char)(length >> 8);
        frame[3] = (char)length;
    }
    memcpy(frame + head, text, length);
    write_all(c, frame, head + length);
}

static void send_text(struct client *c, const char *text) { send_frame(c, 1, text, strlen(text)); }

static void subscribe(struct client *c) {
    char target[192], text[320];
    size_t length = strlen(wish.target);
    if (length && wish.target[length - 1] == '*')
        snprintf(target, sizeof target, "%.*s%zu", (int)length - 1, wish.target, c->index);
    else
        snprintf(target, sizeof target, "%s", wish.target);
    const char *verb = wish.kind == JOB ? "job" : "queue", *field = wish.kind == JOB ? "jobId" : "queueName";
    const char *call_id = wish.acknowledged ? "0" : "";
    snprintf(text, sizeof text, "42%s[\"subscribe-to-%s\",{\"%s\":\"%s\"}]", call_id, verb, field, target);
    c->state = SUBSCRIBING;
    send_text(c, text);
}

static uint64_t number(const char *at, const char *end) {
    uint64_t value = 0;
    for (; at < end && isdigit((unsigned char)*at); at++) value = value * 10 + (uint64_t)(*at - '0');
    return value;
}

/* The number behind a key, 0 without it. */
static uint64_t number_after(const char *text, size_t length, const char *key) {
    size_t n = strlen(key);
    const char *found = memmem(text, length, key, n);
    return found ? number(found + n, text + length) : 0;
}

/* Jobs are numbered at the end of their ids: whoever watches a queue tells them apart by that. */
static struct slot *slot_of(struct client *c, const char *text, size_t length) {
    if (wish.kind != QUEUE) return slot_at(c->index);
    static const char key[] = "\"jobId\":\"";
    const char *id = memmem(text, length, key, sizeof key - 1), *end = text + length;
    if (!id) return slot_at(0);
    id += sizeof key - 1;
    const char *quote = memchr(id, '"', (size_t)(end - id)), *digits = quote ? quote : end;
    while (digits > id && isdigit((unsigned char)digits[-1])) digits--;
    return slot_at(number(digits, end));
}

/* The event's number among those of its job; on a queue its place among the queue's may stand before it. */
static uint64_t seq_of(const char *text, size_t length) {
    static const char key[] = "\"queuePosition\":{";
    const char *place = memmem(text, length, key, sizeof key - 1), *end = text + length;
    const char *behind = place ? memchr(place, '}', (size_t)(end - place)) : NULL;
    if (!behind) behind = text;
    return number_after(behind, (size_t)(end - behind), "\"seq\":");
}

/* What is looked for stands at the two ends: the frame between them is not searched, this client must be cheap. */
static void progress(struct client *c, const char *text, size_t length, uint64_t now) {
    size_t head = length < 120 ? length : 120, tail = length < 60 ? length : 60;
    const char *end = text + length - tail;
    uint64_t seq = seq_of(text, head), skipped = number_after(text, head, "\"skipped\":");
    uint64_t sent = number_after(end, tail, "\"t\":");
    count_event(slot_of(c, text, length), seq, skipped, sent, memmem(end, tail, "\"end\":true", 10) != NULL, now);
}

static void become_ready(struct client *c) {
    if (c->state != SUBSCRIBING) return;
    c->state = READY;
    wish.ready++;
}

static void socketio(struct client *c, const char *text, size_t length, uint64_t now) {
    if (starts(text, length, "42[\"job-progress\"")) {
        progress(c, text, length, now);
    } else if (starts(text, length, "42[\"job-snapshot\"")) {
        count_snapshot(slot_of(c, text, length), seq_of(text, length));
    } else if (starts(text, length, "42[\"subscription-success\"")) {
        if (!wish.acknowledged) become_ready(c);
    } else if (starts(text, length, "430")) {
        if (memmem(text, length, "\"ok\":true", 9)) become_ready(c);
        else fault("the call was refused", text, length);
    } else if (starts(text, length, "40")) {
        if (c->state == CONNECTING) subscribe(c);
    } else if (starts(text, length, "44") || starts(text, length, "42[\"subscription-error\"")) {
        fault("the server refused", text, length);
    }
}

static void message(struct client *c, const char *text, size_t length, uint64_t now) {
    tally.frames++;
    tally.bytes += length;
    if (!length) return;
    if (text[0] == '4') {
        socketio(c, text, length, now);
    } else if (text[0] == '2') {
        tally.pings++;
        send_text(c, "3");
    } else if (text[0] == '0' && c->state == GREETING) {
        c->state = CONNECTING;
        send_text(c, "40");
    }
}

static void hang_up(struct client *c) {
    if (c->state == CLOSED) return;
    c->state = CLOSED;
    close(c->fd);
    tally.closed++;
}

static void frame(struct client *c, int first, const char *body, size_t length, uint64_t now) {
    switch (first) {
    case 0x81: message(c, body, length, now); break;
    case 0x88: hang_up(c); break;
    case 0x89:
        if (length < 126) send_frame(c, 10, body, length);
        break;
    case 0x8a: break;
    default: fault("a frame that is no whole text", body, length);
    }
}

/* How many bytes of the buffer were whole frames. */
static size_t take_frames(struct client *c, const char *bytes, size_t length, uint64_t now) {
    size_t used = 0;
    while (c->state != CLOSED && length - used >= 2) {
        const unsigned char *at = (const unsigned char *)bytes + used;
        uint64_t body = at[1] & 0x7f;
        size_t head = body < 126 ? 2 : body == 126 ? 4 : 10;
        if (length - used < head) break;
        if (head > 2) {
            body = 0;
            for (size_t i = 2; i < head; i++) body = body << 8 | at[i];
        }
        if (length - used - head < body) break;
        frame(c, at[0], (const char *)at + head, body, now);
        used += head + body;
    }
    return used;
}

static void send_upgrade(struct client *c, const char *path, int port) {
    char request[512];
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                     path, port);
    write_all(c, request, (size_t)n);
}

static size_t take_upgrade(struct client *c, const char *bytes, size_t length) {
    const char *end = memmem(bytes, length, "\r\n\r\n", 4);
    if (!end) return 0;
    if (!starts(bytes, length, "HTTP/1.1 101")) {
        fault("no upgrade", bytes, length);
        hang_up(c);
        return length;
    }
    c->state = GREETING;
    return (size_t)(end - bytes) + 4;
}

static size_t take(struct client *c, const char *bytes, size_t length, uint64_t now) {
    size_t used = c->state == UPGRADING ? take_upgrade(c, bytes, length) : 0;
    if (c->state == UPGRADING) return used;
    return used + take_frames(c, bytes + used, length - used, now);
}

#endif
