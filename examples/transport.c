/* HTTP of your own. This one prints each request and answers it as Segment does: so a test sees what a program tracks.
 * A host that has HTTP (an engine, a browser, an updater) makes the request here instead. */
#include <segment.h>
#include <stdio.h>

/* On the delivery thread, for request->timeout_ms at most. */
static int32_t transport(void *userdata, const segment_http *request, segment_response *response) {
    FILE *out = userdata;                               /* config.userdata */
    fprintf(out, "%s %s\n", request->method, request->url);
    for (const char *const *header = request->headers; *header; header++) fprintf(out, "%s\n", *header);
    fprintf(out, "\n%.*s\n", (int)request->body_length, request->body);     /* it has no NUL behind it */

    static const char answer[] = "{\"success\": true}";
    segment_response_set(response, 200, answer, sizeof answer - 1);
    segment_response_add_header(response, "Content-Type", "application/json");
    return 0;                                           /* anything else: no answer, so it is tried again */
}

int main(void) {
    segment_config config = SEGMENT_CONFIG_INIT;
    config.write_key = "WRITE_KEY";
    config.flags = SEGMENT_NO_GZIP;                     /* a body to read */
    config.transport = transport;
    config.userdata = stdout;
    segment_client *client = segment_new(&config);
    if (!client) return fprintf(stderr, "%s\n", segment_error()), 1;

    segment_track(client, "u-42", "Plan Upgraded", NULL, NULL);
    segment_free(client);
}
