/* Every way in which you are told that something is wrong. */
#include <segment.h>
#include <math.h>
#include <stdio.h>

int main(int argc, char **argv) {
    segment_config config = SEGMENT_CONFIG_INIT;
    config.write_key = "WRITE_KEY";
    config.endpoint = "https://api.segment.io:port";
    segment_client *client = segment_new(&config);      /* what creates returns NULL */
    if (!client) printf("no client: %s\n", segment_error());

    config.endpoint = argc > 1 ? argv[1] : NULL;        /* NULL: Segment's own */
    client = segment_new(&config);
    if (!client) return fprintf(stderr, "%s\n", segment_error()), 1;

    segment_status status = segment_track(client, NULL, "Order Completed", NULL, NULL);
    if (status != SEGMENT_OK) printf("status %d: %s\n", (int)status, segment_error());

    segment_object *properties = segment_object_new();
    segment_object_set_double(properties, "price", NAN);    /* returns nothing, and marks the object ... */
    status = segment_track(client, "u-42", "Order Completed", properties, NULL);
    if (status == SEGMENT_INVALID) printf("invalid: %s\n", segment_error());    /* ... so that its use fails */

    segment_object_clear(properties);                   /* takes the mark away */
    segment_object_set_double(properties, "price", 19.99);
    if (segment_track(client, "u-42", "Order Completed", properties, NULL) == SEGMENT_OK) printf("accepted\n");
    segment_object_free(properties);

    status = segment_flush(client, 5000);               /* what goes wrong later is no error of a call */
    char problem[256];
    if (segment_last_problem(client, problem, sizeof problem) > 0) printf("not delivered: %s\n", problem);
    else printf("%s\n", status == SEGMENT_OK ? "delivered" : segment_error());
    segment_free(client);
}
