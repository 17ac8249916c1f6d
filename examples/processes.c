/* Two processes on one folder: a child goes on with the client that its parent has made. Start the program as often as
 * you like, also at the same time: all may share the folder. */
#define _POSIX_C_SOURCE 200809L
#include <segment.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Each process counts its own messages, and delivers them. */
static void end(segment_client *client, const char *who) {
    segment_shutdown(client, 5000);
    segment_stats stats = SEGMENT_STATS_INIT;
    segment_get_stats(client, &stats);
    printf("%s: %llu delivered\n", who, (unsigned long long)stats.delivered);
    segment_free(client);
}

int main(int argc, char **argv) {
    if (argc < 3) return fprintf(stderr, "usage: processes ENDPOINT FOLDER\n"), 2;
    segment_config config = SEGMENT_CONFIG_INIT;
    config.write_key = "WRITE_KEY";
    config.endpoint = argv[1];
    config.spool_dir = argv[2];
    segment_client *client = segment_new(&config);
    if (!client) return fprintf(stderr, "%s\n", segment_error()), 1;

    segment_track(client, "render-farm", "Job Started", NULL, NULL);
    pid_t child = fork();
    if (child == 0) {                                   /* begins with an empty queue of its own */
        segment_track(client, "render-farm", "Frame Rendered", NULL, NULL);
        end(client, "child");
        return 0;
    }
    int status = 0;
    waitpid(child, &status, 0);
    segment_track(client, "render-farm", "Job Completed", NULL, NULL);
    end(client, "parent");
    return status == 0 ? 0 : 1;
}
