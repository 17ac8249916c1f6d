/* The library built without HTTP and TLS (--no-default-features): the host brings its own, and settings that need ours
 * are refused by name. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

static int asked;
static char url[256], body[65536];

static int32_t transport(void *userdata, const segment_http *request, segment_response *response) {
    (void)userdata;
    if (request->body_length >= sizeof body) return 1;
    asked++;
    snprintf(url, sizeof url, "%s", request->url);
    memcpy(body, request->body, request->body_length);
    body[request->body_length] = '\0';
    segment_response_set(response, 200, "{\"success\": true}", 17);
    return 0;
}

static void without_a_transport_there_is_no_client(void) {
    static const segment_oauth oauth = {.size = sizeof oauth, .client_id = "c", .key_id = "k", .private_key = "p"};
    segment_config config = dry();
    CHECK(makes(&config)); /* a dry run needs none */
    config.flags = 0;
    NO_CLIENT(&config, "transport must be given: this build of the library has no HTTP of its own");
    config.transport = transport;
    CHECK(makes(&config));
    config.proxy = "http://host:8080";
    NO_CLIENT(&config, "proxy");
    config.proxy = NULL;
    config.ca_file = __FILE__;
    NO_CLIENT(&config, "ca_file");
    config.ca_file = NULL;
    config.oauth = &oauth;
    NO_CLIENT(&config, "oauth");
}

static void with_one_everything_works(void) {
    segment_request request = {.size = sizeof request, .path = "/v1/group/"};
    segment_config config = dry();
    config.flags = SEGMENT_NO_GZIP | SEGMENT_STATEFUL;
    config.transport = transport;
    begin(config);
    ACCEPTED(segment_identify(client, "u", NULL, NULL));
    ACCEPTED(segment_track(client, NULL, "E", NULL, NULL));
    ACCEPTED(segment_flush(client, PATIENCE));
    CHECK(asked == 1 && counts().delivered == 2);
    CHECK(strcmp(url, "https://api.segment.io/v1/batch") == 0 && strstr(body, "\"event\":\"E\"") != NULL);
    segment_response *response = segment_call(client, &request);
    const char *answer = segment_response_body(response, NULL);
    CHECK(segment_response_status(response) == 200 && answer && strcmp(answer, "{\"success\": true}") == 0);
    CHECK(asked == 2 && strcmp(url, "https://api.segment.io/v1/group/") == 0);
    segment_response_free(response);
    end();
}

int main(void) {
    without_a_transport_there_is_no_client();
    with_one_everything_works();
    return sum();
}
