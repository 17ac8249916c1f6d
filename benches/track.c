/* What a call costs its thread, and how fast events leave: track.c ENDPOINT [EVENTS] [THREADS] [PAUSE_NS]
 *
 * Each call builds 8 properties (4 texts, a number, 2 integers, a nested object) and tracks one event; each is timed by
 * itself, the clock's own cost included (some 25 ns). With PAUSE_NS the thread rests between calls, spinning. The
 * variable SPOOL names a folder for spool_dir, NO_GZIP sends plain, UPLOADS is how many batches may be on their way. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <segment.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static segment_client *client;
static size_t events = 200000, threads = 1, pause_ns = 0;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *track(void *times_of_thread) {
    uint32_t *times = times_of_thread;
    segment_object *properties = segment_object_new(), *shipping = segment_object_new();
    for (size_t n = 0; n < events / threads; n++) {
        uint64_t start = now();
        segment_object_clear(properties);
        segment_object_clear(shipping);
        segment_object_set_str(properties, "order_id", "50314b8e9bcf000000000000");
        segment_object_set_str(properties, "affiliation", "Google Store");
        segment_object_set_str(properties, "coupon", "hasbros");
        segment_object_set_str(properties, "currency", "USD");
        segment_object_set_double(properties, "revenue", 25.37);
        segment_object_set_int(properties, "quantity", 2);
        segment_object_set_int(properties, "sequence", (int64_t)n);
        segment_object_set_str(shipping, "city", "Oslo");
        segment_object_set_object(properties, "shipping", shipping);
        while (segment_track(client, "019mr8mf4r", "Order Completed", properties, NULL) == SEGMENT_QUEUE_FULL)
            segment_flush(client, 10);
        uint64_t end = now();
        times[n] = (uint32_t)(end - start);
        while (pause_ns && now() - end < pause_ns) {}
    }
    segment_object_free(properties);
    segment_object_free(shipping);
    return NULL;
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc < 2) return fprintf(stderr, "usage: track ENDPOINT [EVENTS] [THREADS] [PAUSE_NS]\n"), 2;
    if (argc > 2) events = strtoul(argv[2], NULL, 10);
    if (argc > 3) threads = strtoul(argv[3], NULL, 10);
    if (argc > 4) pause_ns = strtoul(argv[4], NULL, 10);
    segment_config config = {.size = sizeof config, .write_key = "WRITE_KEY", .endpoint = argv[1],
                             .queue_max_bytes = 1u << 30, .spool_dir = getenv("SPOOL"),
                             .uploads = getenv("UPLOADS") ? (uint32_t)atoi(getenv("UPLOADS")) : 0,
                             .flags = getenv("NO_GZIP") ? SEGMENT_NO_GZIP : 0};
    client = segment_new(&config);
    if (!client) return fprintf(stderr, "%s\n", segment_error()), 1;
    uint32_t *times = calloc(events, sizeof *times);
    pthread_t ids[64];
    uint64_t start = now();
    for (size_t t = 0; t < threads; t++) pthread_create(&ids[t], NULL, track, times + t * (events / threads));
    for (size_t t = 0; t < threads; t++) pthread_join(ids[t], NULL);
    uint64_t tracked = now();
    segment_status flushed = segment_flush(client, 60000);
    uint64_t end = now();
    events = events / threads * threads;
    segment_stats stats = {.size = sizeof stats};
    segment_get_stats(client, &stats);
    double sum = 0;
    for (size_t n = 0; n < events; n++) sum += times[n];
    qsort(times, events, sizeof *times, by_size);
    printf("%zu events, %zu threads: p50 %u ns, p99 %u, p99.9 %u, worst %u, mean %.0f\n", events, threads,
           times[events / 2], times[events / 100 * 99], times[events / 1000 * 999], times[events - 1],
           sum / (double)events);
    printf("calls/s %.0f, delivered/s %.0f in %llu requests, flush status %d\n",
           (double)events * 1e9 / (double)(tracked - start), (double)stats.delivered * 1e9 / (double)(end - start),
           (unsigned long long)stats.requests, (int)flushed);
    free(times);
    segment_free(client);
    return flushed != SEGMENT_OK;
}
