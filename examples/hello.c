/* The first event: cc hello.c -lsegment && ./a.out */
#include <segment.h>
#include <stdio.h>

int main(int argc, char **argv) {
    segment_config config = SEGMENT_CONFIG_INIT;
    config.write_key = "WRITE_KEY";
    if (argc > 1) config.endpoint = argv[1];            /* Segment's own, unless one is given */
    segment_client *client = segment_new(&config);
    if (!client) return fprintf(stderr, "%s\n", segment_error()), 1;

    segment_object *properties = segment_object_new();
    segment_object_set_str(properties, "plan", "pro");
    segment_object_set_double(properties, "price", 19.99);
    if (segment_track(client, "u-42", "Plan Upgraded", properties, NULL) != SEGMENT_OK)
        fprintf(stderr, "%s\n", segment_error());
    segment_object_free(properties);
    segment_free(client);                               /* delivers what is queued */
}
