/* One request to Segment's HTTP API, and its answer: cc call.c -lsegment && ./a.out */
#include <segment.h>
#include <stdio.h>

int main(int argc, char **argv) {
    segment_config config = SEGMENT_CONFIG_INIT;
    config.write_key = "WRITE_KEY";
    if (argc > 1) config.endpoint = argv[1];            /* Segment's own, unless one is given */
    segment_client *client = segment_new(&config);
    if (!client) return fprintf(stderr, "%s\n", segment_error()), 1;

    static const char body[] = "{\"userId\":\"u-42\",\"groupId\":\"g-7\"}";
    segment_request request = SEGMENT_REQUEST_INIT;
    request.path = "/v1/group/";
    request.body = body;
    request.body_length = sizeof body - 1;
    segment_response *response = segment_call(client, &request);
    int status = segment_response_status(response);     /* 0: there was no answer */
    if (response) printf("%d %s\n", status, segment_response_body(response, NULL));
    else fprintf(stderr, "%s\n", segment_error());
    segment_response_free(response);
    segment_free(client);
    return status == 200 ? 0 : 1;
}
