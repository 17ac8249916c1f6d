/* Properties from arrays, in one call each: one that never changes, and one that is made on the spot. */
#include <segment.h>
#include <stdio.h>

static const segment_member build[] = {                 /* built by the compiler */
    SEGMENT_STR("version", "2.1.0"), SEGMENT_INT("build", 417), SEGMENT_BOOL("beta", true)};

int main(int argc, char **argv) {
    segment_config config = SEGMENT_CONFIG_INIT;
    config.write_key = "WRITE_KEY";
    if (argc > 1) config.endpoint = argv[1];            /* Segment's own, unless one is given */
    segment_client *client = segment_new(&config);
    if (!client) return fprintf(stderr, "%s\n", segment_error()), 1;

    const char *line = "caves-7 cleared";               /* "caves" is a part of it, without a NUL behind it */
    int coins = 31, seconds = 214;
    segment_member level[] = {
        SEGMENT_STR("name", line), SEGMENT_INT("coins", coins), SEGMENT_DOUBLE("minutes", seconds / 60.0),
        SEGMENT_JSON("path", "[4, 8, 15]"), SEGMENT_NULL("coupon")};
    level[0].length = 5;

    segment_object *properties = segment_object_new();
    segment_object_set_members(properties, build, sizeof build / sizeof build[0]);
    segment_object_set_members(properties, level, sizeof level / sizeof level[0]);
    if (segment_track(client, "u-42", "Level Completed", properties, NULL) != SEGMENT_OK)
        fprintf(stderr, "%s\n", segment_error());
    segment_object_free(properties);
    segment_free(client);
}
