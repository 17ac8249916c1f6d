/* A service that runs for months: SIGTERM ends it cleanly, SIGUSR1 makes it report its counts.
 *   ./daemon FOLDER [ENDPOINT] */
#define _POSIX_C_SOURCE 200809L
#include <segment.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

/* systemd reads the priority in front of a line; for syslog(3) it is the first argument. */
static void on_log(void *userdata, int32_t level, const char *message) {
    static const int priorities[] = {3, 4, 6, 7};       /* LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG */
    (void)userdata;
    fprintf(stderr, "<%d>segment: %s\n", priorities[level], message);
}

static void report(const segment_client *client) {
    char problem[256] = "";
    segment_stats stats = SEGMENT_STATS_INIT;
    segment_get_stats(client, &stats);
    segment_last_problem(client, problem, sizeof problem);
    fprintf(stderr, "<6>%llu accepted, %llu delivered, %llu failed, %llu wait; %s\n",
            (unsigned long long)stats.accepted, (unsigned long long)stats.delivered, (unsigned long long)stats.failed,
            (unsigned long long)stats.queued, problem[0] ? problem : "no problem");
}

int main(int argc, char **argv) {
    if (argc < 2) return fprintf(stderr, "usage: daemon FOLDER [ENDPOINT]\n"), 2;
    sigset_t signals;                                   /* waited for: no function of ours may be called in a handler */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);

    segment_config config = SEGMENT_CONFIG_INIT;
    config.write_key = "WRITE_KEY";
    config.spool_dir = argv[1];                         /* a crash or a restart loses nothing */
    if (argc > 2) config.endpoint = argv[2];            /* Segment's own, unless one is given */
    config.on_log = on_log;
    segment_client *client = segment_new(&config);
    if (!client) return fprintf(stderr, "<3>%s\n", segment_error()), 1;

    segment_track(client, "node-7", "Service Started", NULL, NULL);
    int signal;
    do {
        signal = sigtimedwait(&signals, NULL, &(struct timespec){60, 0});
        if (signal == SIGUSR1) report(client);
        else if (signal < 0) segment_track(client, "node-7", "Service Alive", NULL, NULL);  /* a minute has passed */
    } while (signal != SIGTERM && signal != SIGINT);
    segment_track(client, "node-7", "Service Stopped", NULL, NULL);
    segment_shutdown(client, 3000);                     /* what is left waits in the folder for the next start */
    report(client);
    segment_free(client);
    return 0;
}
