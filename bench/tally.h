/* What the clients saw: how many events, which were left out and whether that was declared, and how late they came. */
#ifndef TALLY_H
#define TALLY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define MOST_LATENCIES (4u << 20)

/* One job as one client sees it. */
struct slot {
    uint64_t seq;
    bool ended;
};

static struct {
    uint64_t delivered, conflated, lost, ends, frames, bytes, pings, closed;
    uint64_t began;
    double cpu;
    struct slot *slots;
    size_t slot_count;
    uint32_t latencies[MOST_LATENCIES]; /* in 100 ns */
    size_t latency_count;
    char fault[256];
} tally;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double cpu_used(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* Only the first fault is kept: what follows is mostly its consequence. */
static void fault(const char *what, const char *detail, size_t length) {
    int shown = length > 120 ? 120 : (int)length;
    if (!tally.fault[0]) snprintf(tally.fault, sizeof tally.fault, "%s: %.*s", what, shown, detail);
}

static struct slot *slot_at(size_t index) {
    if (index >= tally.slot_count) {
        size_t count = (index + 1) * 2;
        struct slot *grown = realloc(tally.slots, count * sizeof *grown);
        if (!grown) abort();
        memset(grown + tally.slot_count, 0, (count - tally.slot_count) * sizeof *grown);
        tally.slots = grown;
        tally.slot_count = count;
    }
    return &tally.slots[index];
}

/* The numbers seen stay: a gap between two measurements is a loss too. */
static void tally_reset(void) {
    tally.delivered = tally.conflated = tally.lost = tally.ends = tally.frames = tally.bytes = tally.pings = 0;
    tally.latency_count = 0;
    for (size_t i = 0; i < tally.slot_count; i++) tally.slots[i].ended = false;
    tally.began = now_ns();
    tally.cpu = cpu_used();
}

static void count_latency(uint64_t sent, uint64_t now) {
    if (!sent || tally.latency_count == MOST_LATENCIES) return;
    tally.latencies[tally.latency_count++] = now > sent ? (uint32_t)((now - sent) / 100) : 0;
}

/* An event that replaces others says how many; a gap that nobody declared is a loss. */
static void count_event(struct slot *slot, uint64_t seq, uint64_t skipped, uint64_t sent, bool end, uint64_t now) {
    if (end && !slot->ended) {
        slot->ended = true;
        tally.ends++;
    }
    if (seq <= slot->seq) return; /* the latest event, told once more behind a snapshot */
    uint64_t gap = slot->seq ? seq - slot->seq - 1 : 0;
    tally.conflated += gap < skipped ? gap : skipped;
    tally.lost += gap > skipped ? gap - skipped : 0;
    slot->seq = seq;
    tally.delivered++;
    count_latency(sent, now);
}

/* A snapshot declares everything up to its position. */
static void count_snapshot(struct slot *slot, uint64_t seq) {
    if (slot->seq && seq > slot->seq) tally.conflated += seq - slot->seq;
    if (seq > slot->seq) slot->seq = seq;
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile(double share) {
    if (!tally.latency_count) return 0;
    return tally.latencies[(size_t)(share * (double)(tally.latency_count - 1))] / 10.0;
}

static void tally_report(bool ok, size_t open) {
    double wall = (now_ns() - tally.began) / 1e9, cpu = cpu_used() - tally.cpu;
    qsort(tally.latencies, tally.latency_count, sizeof *tally.latencies, by_size);
    for (char *c = tally.fault; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ') *c = '\'';
    printf("{\"ok\":%s,\"open\":%zu,\"delivered\":%lu,\"conflated\":%lu,\"lost\":%lu,\"ends\":%lu,\"frames\":%lu,"
           "\"bytes\":%lu,\"pings\":%lu,\"closed\":%lu,\"samples\":%zu,\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f,"
           "\"cpu\":%.4f,\"wall\":%.4f,\"fault\":\"%s\"}\n",
           ok && !tally.fault[0] ? "true" : "false", open, tally.delivered, tally.conflated, tally.lost, tally.ends,
           tally.frames, tally.bytes, tally.pings, tally.closed, tally.latency_count, percentile(0.5),
           percentile(0.99), percentile(1), cpu, wall, tally.fault);
    fflush(stdout);
}

#endif
