/* A consent dialog, and what each of its buttons does. The choice is kept in FOLDER, for every later start.
 *   ./consent ENDPOINT FOLDER [accept | necessary | refuse] */
#include <segment.h>
#include <stdio.h>
#include <string.h>

static segment_status agree(segment_client *client, bool analytics, bool advertising) {
    segment_member choices[] = {SEGMENT_BOOL("Necessary", true), SEGMENT_BOOL("Analytics", analytics),
                                SEGMENT_BOOL("Advertising", advertising)};
    segment_object *categories = segment_object_new();
    segment_object_set_members(categories, choices, sizeof choices / sizeof choices[0]);
    segment_status status = segment_opt_in(client);     /* they may have refused before */
    if (status == SEGMENT_OK) status = segment_set_consent(client, categories);
    segment_object_free(categories);
    return status;
}

static segment_status press(segment_client *client, const char *button) {
    if (strcmp(button, "accept") == 0) return agree(client, true, true);
    if (strcmp(button, "necessary") == 0) return agree(client, false, false);
    return segment_opt_out(client);                     /* deletes what waits, and forgets who the user is */
}

int main(int argc, char **argv) {
    if (argc < 3) return fprintf(stderr, "usage: consent ENDPOINT FOLDER [BUTTON]\n"), 2;
    segment_config config = SEGMENT_CONFIG_INIT;
    config.write_key = "WRITE_KEY";
    config.endpoint = argv[1];
    config.spool_dir = argv[2];
    config.flags = SEGMENT_STATEFUL;                    /* makes an anonymous id, and forgets it on refusal */
    segment_client *client = segment_new(&config);
    if (!client) return fprintf(stderr, "%s\n", segment_error()), 1;

    if (argc > 3 && press(client, argv[3]) != SEGMENT_OK) fprintf(stderr, "%s\n", segment_error());
    segment_status status = segment_track(client, NULL, "Level Completed", NULL, NULL);
    printf("%s\n", status == SEGMENT_OK ? "tracked" : segment_error());
    segment_free(client);
}
