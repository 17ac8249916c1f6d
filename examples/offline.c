/* What is accepted arrives, whatever becomes of the program: run it with no server, then again with one and time to
 * deliver.
 *   ./offline http://127.0.0.1:8765 spool        # nobody listens: tracks, and is gone at once
 *   segment inspect &
 *   ./offline http://127.0.0.1:8765 spool 30     # delivers what both runs have tracked */
#define _POSIX_C_SOURCE 200809L
#include <segment.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 3) return fprintf(stderr, "usage: offline ENDPOINT FOLDER [SECONDS]\n"), 2;
    segment_config config = SEGMENT_CONFIG_INIT;
    config.write_key = "WRITE_KEY";
    config.endpoint = argv[1];
    config.spool_dir = argv[2];
    segment_client *client = segment_new(&config);
    if (!client) return fprintf(stderr, "%s\n", segment_error()), 1;

    for (int n = 0; n < 10; n++) {
        if (segment_track(client, "kiosk-7", "Ticket Printed", NULL, NULL) != SEGMENT_OK)
            fprintf(stderr, "%s\n", segment_error());
    }
    if (argc > 3) segment_flush(client, 1000 * (uint32_t)strtoul(argv[3], NULL, 10));
    segment_stats stats = SEGMENT_STATS_INIT;
    segment_get_stats(client, &stats);
    printf("%llu accepted, %llu of them found from earlier runs; %llu delivered, %llu wait\n",
           (unsigned long long)stats.accepted, (unsigned long long)stats.recovered, (unsigned long long)stats.delivered,
           (unsigned long long)stats.queued);
    fflush(stdout);
    _exit(0);                                           /* no farewell: as a crash would do it */
}
