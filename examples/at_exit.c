/* The end of a program: it delivers for a limited time, and says what is left for the next start.
 *   ./at_exit ENDPOINT FOLDER [SECONDS] */
#include <segment.h>
#include <stdio.h>
#include <stdlib.h>

static segment_client *client;
static uint32_t seconds = 3;

/* Runs when main returns, and wherever the program calls exit. */
static void deliver(void) {
    if (segment_shutdown(client, seconds * 1000) != SEGMENT_OK) {
        char problem[256] = "";
        segment_last_problem(client, problem, sizeof problem);
        fprintf(stderr, "not all is delivered yet: %s\n", problem);
    }
    segment_stats stats = SEGMENT_STATS_INIT;
    segment_get_stats(client, &stats);
    printf("%llu delivered, %llu kept\n", (unsigned long long)stats.delivered, (unsigned long long)stats.queued);
    segment_free(client);                               /* after a shutdown it waits no more */
}

int main(int argc, char **argv) {
    if (argc < 3) return fprintf(stderr, "usage: at_exit ENDPOINT FOLDER [SECONDS]\n"), 2;
    if (argc > 3) seconds = (uint32_t)strtoul(argv[3], NULL, 10);
    segment_config config = SEGMENT_CONFIG_INIT;
    config.write_key = "WRITE_KEY";
    config.endpoint = argv[1];
    config.spool_dir = argv[2];                         /* without it, what is left would be lost */
    client = segment_new(&config);
    if (!client) return fprintf(stderr, "%s\n", segment_error()), 1;
    atexit(deliver);

    segment_track(client, "u-42", "Document Opened", NULL, NULL);
    segment_track(client, "u-42", "Document Saved", NULL, NULL);
    exit(0);
}
