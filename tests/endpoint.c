/* Where batches and calls go: the endpoint as a base and as the whole URL of batches, and a success that its body
 * denies. A transport of the test's own makes the requests, so that each URL is seen. */
#include "check.h"

static char urls[8][256]; /* of all requests, in order */
static size_t asked;
static const char *answer;
static char warning[1024]; /* the last one */
static int warnings;

static int32_t transport(void *userdata, const segment_http *request, segment_response *response) {
    (void)userdata;
    if (asked < COUNT(urls)) snprintf(urls[asked++], sizeof urls[0], "%s %s", request->method, request->url);
    segment_response_set(response, 200, answer, strlen(answer));
    return 0;
}

static void on_log(void *userdata, int32_t level, const char *message) {
    (void)userdata;
    if (level != 1) return;
    warnings++;
    snprintf(warning, sizeof warning, "%s", message);
}

static segment_config to(const char *endpoint) {
    segment_config config = dry();
    config.flags = SEGMENT_NO_GZIP;
    config.endpoint = endpoint;
    config.transport = transport;
    config.on_log = on_log;
    asked = 0;
    answer = "{\"success\": true}";
    return config;
}

static void each_endpoint_has_a_place_for_batches_and_one_for_calls(void) {
    static const char *const places[][3] = {
        {NULL, "POST https://api.segment.io/v1/batch", "POST https://api.segment.io/v1/track"},
        {"eu", "POST https://events.eu1.segmentapis.com/v1/batch", "POST https://events.eu1.segmentapis.com/v1/track"},
        {"https://host/path", "POST https://host/path/v1/batch", "POST https://host/path/v1/track"},
        {"https://host/v1/batch/", "POST https://host/v1/batch", "POST https://host/v1/track"},
        {"https://api.segment.io/v1/b", "POST https://api.segment.io/v1/b", "POST https://api.segment.io/v1/track"},
        {"https://host/x/b?tenant=7", "POST https://host/x/b?tenant=7", "POST https://host/x/v1/track"},
        {"https://host/api/public/apps/batch", "POST https://host/api/public/apps/batch",
         "POST https://host/api/public/apps/v1/track"},
    };
    for (size_t n = 0; n < COUNT(places); n++) {
        segment_request request = {.size = sizeof request, .method = "POST", .path = "/v1/track", .body = "{}",
                                   .body_length = 2};
        begin(to(places[n][0]));
        ACCEPTED(segment_track(client, "u-42", "E", NULL, NULL));
        ACCEPTED(segment_flush(client, PATIENCE));
        segment_response *response = segment_call(client, &request);
        CHECK(response && segment_response_status(response) == 200);
        segment_response_free(response);
        end();
        CHECK(asked == 2 && strcmp(urls[0], places[n][1]) == 0 && strcmp(urls[1], places[n][2]) == 0);
    }
}

static void only_a_batch_url_may_have_a_query(void) {
    segment_config config = to("https://host/v1?key=k");
    NO_CLIENT(&config, "endpoint must not hold a query or a fragment, unless its path ends in /batch or /b");
    config.endpoint = "https://host/batch?key=k#f";
    NO_CLIENT(&config, "endpoint must not hold a fragment");
    config.endpoint = "https://host/batch?key=a b";
    NO_CLIENT(&config, "endpoint must be a URL");
    config.endpoint = NULL;
    config.public_endpoint = "https://host/batch?key=k";
    NO_CLIENT(&config, "public_endpoint must not hold a query or a fragment");
}

static void a_success_that_its_body_denies_is_logged_once_a_kind(void) {
    static const struct { const char *answer; int warnings; } answers[] = {
        {"{\"ok\": true}", 0},
        {"{\"ok\": false, \"errors\": [\"message 17: too old\"]}", 1},
        {"{\"ok\": false, \"errors\": [\"message 18: too old\", \"message 19: too old\"]}", 1},
        {"{\"success\": false}", 2},
    };
    begin(to("https://host/batch"));
    warnings = 0;
    for (size_t n = 0; n < COUNT(answers); n++) {
        answer = answers[n].answer;
        ACCEPTED(segment_track(client, "u-42", "E", NULL, NULL));
        ACCEPTED(segment_flush(client, PATIENCE));
        CHECK(counts().delivered == n + 1 && counts().failed == 0);
        CHECK(warnings == answers[n].warnings);
    }
    CHECK(strcmp(warning, "1 message counts as delivered, but the answer denies it: {\"success\":false}") == 0);
    end();
}

int main(void) {
    each_endpoint_has_a_place_for_batches_and_one_for_calls();
    only_a_batch_url_may_have_a_query();
    a_success_that_its_body_denies_is_logged_once_a_kind();
    return sum();
}
