/* What the program is doing, on every message from now on: the level, the build, an experiment. */
#include <segment.h>
#include <stdio.h>

static void set(const segment_client *client, const char *key, const char *json) {
    if (segment_set_context(client, key, json) != SEGMENT_OK) fprintf(stderr, "%s\n", segment_error());
}

int main(int argc, char **argv) {
    segment_config config = SEGMENT_CONFIG_INIT;
    config.write_key = "WRITE_KEY";
    if (argc > 1) config.endpoint = argv[1];            /* Segment's own, unless one is given */
    segment_client *client = segment_new(&config);
    if (!client) return fprintf(stderr, "%s\n", segment_error()), 1;

    set(client, "experiment", "{\"name\": \"short-intro\", \"variant\": \"B\"}");  /* from any thread, at any time */
    set(client, "level", "\"the-docks\"");
    segment_track(client, "u-42", "Level Started", NULL, NULL);
    set(client, "level", NULL);                         /* later messages are in no level */
    segment_track(client, "u-42", "Menu Opened", NULL, NULL);
    segment_free(client);
}
