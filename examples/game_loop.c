/* A game that tracks every frame: cc game_loop.c -lsegment && ./a.out http://127.0.0.1:8765 10
 * Tracking writes to memory and returns. Nothing in the loop waits for the network, whatever becomes of it. */
#define _POSIX_C_SOURCE 200809L
#include <segment.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void sleep_until(double then_us) {
    double left = then_us - now_us();
    if (left > 0) nanosleep(&(struct timespec){(time_t)(left / 1e6), (long)(left * 1e3) % 1000000000}, NULL);
}

int main(int argc, char **argv) {
    segment_config config = SEGMENT_CONFIG_INIT;
    config.write_key = "WRITE_KEY";
    config.shutdown_ms = 500;
    if (argc > 1) config.endpoint = argv[1];            /* Segment's own, unless one is given */
    long frames = 60 * (argc > 2 ? strtol(argv[2], NULL, 10) : 5), refused = 0;
    segment_client *client = segment_new(&config);
    if (!client) return fprintf(stderr, "%s\n", segment_error()), 1;

    segment_object *properties = segment_object_new();  /* one for all frames: no memory is asked for in the loop */
    double total = 0, worst = 0, start = now_us();
    for (long frame = 0; frame < frames; frame++) {
        double before = now_us();
        segment_object_clear(properties);
        segment_object_set_int(properties, "frame", frame);
        segment_object_set_double(properties, "x", (double)frame * 0.25);
        segment_object_set_str(properties, "level", "the-docks");
        segment_object_set_bool(properties, "grounded", frame % 7 != 0);
        if (segment_track(client, "player-1", "Frame", properties, NULL) != SEGMENT_OK) refused++;
        double took = now_us() - before;
        total += took;
        if (took > worst) worst = took;
        sleep_until(start + (double)(frame + 1) * 1e6 / 60);
    }
    segment_object_free(properties);
    if (refused > 0) fprintf(stderr, "%ld frames were not tracked: %s\n", refused, segment_error());

    segment_stats stats = SEGMENT_STATS_INIT;
    segment_get_stats(client, &stats);
    double mean = frames > 0 ? total / (double)frames : 0;
    printf("%ld frames, a call took %.1f us on average, %.1f us at worst\n", frames, mean, worst);
    printf("%llu accepted, %llu delivered, %llu failed, %llu waiting\n", (unsigned long long)stats.accepted,
           (unsigned long long)stats.delivered, (unsigned long long)stats.failed, (unsigned long long)stats.queued);
    double before = now_us();
    segment_free(client);                               /* delivers what is queued, for shutdown_ms at most */
    printf("segment_free took %.0f ms of the %u it may\n", (now_us() - before) / 1e3, (unsigned)config.shutdown_ms);
    return 0;
}
