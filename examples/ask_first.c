/* Nothing is stored or sent before the user has answered. The answer is kept in FOLDER, for every later start.
 *   ./ask_first ENDPOINT FOLDER [yes | no] */
#include <segment.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    if (argc < 3) return fprintf(stderr, "usage: ask_first ENDPOINT FOLDER [yes | no]\n"), 2;
    segment_config config = SEGMENT_CONFIG_INIT;
    config.write_key = "WRITE_KEY";
    config.endpoint = argv[1];
    config.spool_dir = argv[2];
    config.flags = SEGMENT_ASK_FIRST | SEGMENT_STATEFUL;
    segment_client *client = segment_new(&config);
    if (!client) return fprintf(stderr, "%s\n", segment_error()), 1;

    segment_track(client, NULL, "Game Started", NULL, NULL);    /* held in memory until there is an answer */
    if (argc > 3 && segment_opt_state(client) == SEGMENT_CHOICE_NONE) {     /* asked once */
        bool yes = strcmp(argv[3], "yes") == 0;
        segment_status status = yes ? segment_opt_in(client) : segment_opt_out(client);
        if (status != SEGMENT_OK) fprintf(stderr, "%s\n", segment_error());
    }
    static const char *const answers[] = {"no answer yet", "yes", "no"};    /* by SEGMENT_CHOICE_NONE, _IN, _OUT */
    segment_stats stats = SEGMENT_STATS_INIT;
    segment_get_stats(client, &stats);
    printf("%s: %llu held\n", answers[segment_opt_state(client)], (unsigned long long)stats.held);
    segment_free(client);                               /* a held message is dropped, any other is delivered */
}
