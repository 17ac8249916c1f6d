/* What the host does for the library: on_delivery, on_log, before_send, its own HTTP. */
#define _XOPEN_SOURCE 700 /* mkdtemp and nftw, which a strict compiler leaves out */
#include "host.h"

/* What the callbacks saw. They only write; the test checks when the client has settled or is gone. */
struct seen {
    uint64_t delivered, failed, lost, logged;
    bool wrong, called_back;
    segment_status flush, shutdown, track;
};

static void on_delivery(void *userdata, const segment_delivery *d) {
    struct seen *seen = userdata;
    if (d->size != sizeof *d || (d->status == SEGMENT_OK) != (d->error == NULL)) seen->wrong = true;
    for (uint32_t n = 0; n < d->message_count; n++) seen->wrong |= strlen(d->message_ids[n]) == 0;
    if (d->status == SEGMENT_OK) seen->delivered += d->message_count;
    else if (d->status == SEGMENT_NETWORK) seen->failed += d->message_count;
    else if (d->status == SEGMENT_TIMEOUT) seen->lost += d->message_count;
    else seen->wrong = true;
    if (d->status == SEGMENT_NETWORK) seen->wrong |= d->attempts == 0 || d->body_bytes == 0 || d->http_status != 0;
}

static void on_log(void *userdata, int32_t level, const char *message) {
    struct seen *seen = userdata;
    seen->logged++;
    if (level < 0 || level > 3 || message[0] == '\0' || segment_flush(client, 0) != SEGMENT_INVALID) seen->wrong = true;
}

static void use_the_client(void *userdata, const segment_delivery *delivery) {
    struct seen *seen = userdata;
    on_delivery(userdata, delivery);
    if (seen->called_back) return;
    seen->called_back = true;
    seen->flush = segment_flush(client, PATIENCE);
    seen->shutdown = segment_shutdown(client, 0);
    seen->wrong |= !strstr(segment_error(), "callback");
    segment_free(client);
    seen->wrong |= !adds_up(); /* it is still there */
    seen->track = segment_track(client, "u", "From the callback", NULL, NULL);
}

static void callbacks_may_track_but_not_wait(void) {
    struct seen seen = {.flush = SEGMENT_OK, .shutdown = SEGMENT_OK, .track = SEGMENT_INTERNAL};
    segment_config config = dry();
    config.on_delivery = use_the_client;
    config.on_log = on_log;
    config.userdata = &seen;
    begin(config);
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    ACCEPTED(segment_flush(client, PATIENCE));
    CHECK(seen.called_back && seen.delivered == 1 && !seen.wrong && seen.logged > 0);
    CHECK(seen.flush == SEGMENT_INVALID && seen.shutdown == SEGMENT_INVALID && seen.track == SEGMENT_OK);
    INVALID(segment_flush(NULL, 0), "client"); /* its errors were the delivery thread's */
    ACCEPTED(segment_flush(client, PATIENCE));
    CHECK(counts().delivered == 2 && seen.delivered == 2);
    end();
}

static void use_until_the_end(void *userdata, const segment_delivery *delivery) {
    struct seen *seen = userdata;
    on_delivery(userdata, delivery);
    if (seen->called_back) return;
    seen->called_back = true;
    do seen->track = segment_track(client, "u", "From the callback", NULL, NULL);
    while (seen->track == SEGMENT_OK || seen->track == SEGMENT_QUEUE_FULL);
    seen->wrong |= !adds_up();
}

/* While segment_free waits for it, a callback is still using the client. */
static void a_callback_may_use_the_client_until_it_returns(void) {
    struct seen seen = {.track = SEGMENT_INTERNAL};
    segment_config config = dry();
    config.on_delivery = use_until_the_end;
    config.userdata = &seen;
    config.flush_at = 1;
    config.queue_max_bytes = 100000;
    config.shutdown_ms = 1;
    begin(config);
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    while (counts().accepted == 1) segment_flush(client, 1); /* it is in the callback then, and until it is closed */
    segment_free(client);
    client = NULL;
    CHECK(seen.called_back && seen.track == SEGMENT_CLOSED && !seen.wrong);
}

static void null_never_crashes(void) {
    FAILS(segment_response_set(NULL, 200, "", 0), "response");
    FAILS(segment_response_add_header(NULL, "A", "b"), "response");
}

static void the_hosts_http_sees_the_whole_request(void) {
    static const char *const headers[] = {"X-Gateway: a: b", "user-agent:mine", NULL};
    segment_config config = by_host();
    config.headers = headers;
    config.timeout_ms = 1234;
    begin(config);
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    CHECK(net.asked == 0); /* nothing is done on this thread */
    sent();
    CHECK(net.asked == 1 && is(net.method, "POST") && is(net.url, "https://api.segment.io/v1/batch"));
    CHECK(net.timeout_ms > 0 && net.timeout_ms <= 1234);
    CHECK(is(net.headers, "X-Gateway: a: b\nuser-agent: mine\ncontent-type: application/json\n"
                          "authorization: Basic S0VZOg==\n"));
    CHECK(net.length == strlen(net.body) && strncmp(net.body, "{\"batch\":[{\"messageId\":\"", 24) == 0);
    SAYS("\"event\":\"E\"");
    CHECK(counts().delivered == 1 && counts().requests == 1);
    end();

    config.flags = 0;
    begin(config);
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    sent();
    CHECK(memcmp(net.body, "\x1f\x8b", 2) == 0 && is(header_sent("content-encoding"), "gzip"));
    end();
}

static int32_t says_seven(segment_response *response) {
    return good(response), 7; /* a status other than 0 discards the answer */
}

static int32_t says_nothing(segment_response *response) {
    return (void)response, 0;
}

static int32_t status_too_low(segment_response *response) {
    return segment_response_set(response, 99, "", 0), 0;
}

static int32_t status_too_high(segment_response *response) {
    return segment_response_set(response, 1000, "", 0), 0;
}

static int32_t status_negative(segment_response *response) {
    return segment_response_set(response, -200, "", 0), 0;
}

static int32_t status_wraps(segment_response *response) {
    return segment_response_set(response, 65536 + 200, "", 0), 0;
}

static int32_t body_null(segment_response *response) {
    return segment_response_set(response, 200, NULL, 1), 0;
}

static int32_t body_endless(segment_response *response) {
    return segment_response_set(response, 200, "", SIZE_MAX), 0;
}

static int32_t header_nameless(segment_response *response) {
    return segment_response_add_header(response, NULL, "b"), good(response);
}

static int32_t header_empty(segment_response *response) {
    return segment_response_add_header(response, "A", NULL), good(response);
}

static int32_t header_no_text(segment_response *response) {
    return good(response), segment_response_add_header(response, "A", BAD), 0;
}

static uint64_t lost_by_network;

static void count_lost(void *userdata, const segment_delivery *d) {
    net.wrong |= userdata != &net;
    if (d->status == SEGMENT_NETWORK && d->http_status == 0) lost_by_network += d->message_count;
}

/* A failed exchange fails single requests at once, and messages after their last attempt. */
static void a_transport_may_fail_in_every_way(void) {
    static const struct { int32_t (*answer)(segment_response *response); const char *word; } ways[] = {
        {says_seven, "7"}, {says_nothing, "segment_response_set"}, {status_too_low, "status"},
        {status_too_high, "status"}, {status_negative, "status"}, {status_wraps, "status"}, {body_null, "body"},
        {body_endless, "body"}, {header_nameless, "name"}, {header_empty, "value"}, {header_no_text, "value"},
    };
    segment_config config = by_host();
    segment_request request = request_to("/v1/track");
    config.retry_max = UINT32_MAX; /* one attempt only */
    config.on_delivery = count_lost;
    for (size_t n = 0; n < COUNT(ways); n++) {
        begin(config);
        net.answer = ways[n].answer;
        NO_ANSWER(&request, SEGMENT_NETWORK, ways[n].word);
        ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
        sent();
        CHECK(counts().failed == 1 && lost_by_network == n + 1);
        net.answer = good;
        CHECK(calls(&request)); /* failed messages do not affect a single request */
        end();
    }
}

/* What before_send saw and does. */
static struct {
    const char *(*edit)(const char *json);
    int asked;
    char json[40000];
} editor;

static const char *before_send(void *userdata, const char *json) {
    net.wrong |= userdata != &net;
    editor.asked++;
    snprintf(editor.json, sizeof editor.json, "%s", json);
    return editor.edit(json);
}

static segment_config edited_by(const char *(*edit)(const char *json)) {
    segment_config config = by_host();
    memset(&editor, 0, sizeof editor);
    editor.edit = edit;
    config.before_send = before_send;
    return config;
}

static const char *keep(const char *json) {
    return json;
}

static const char *drop(const char *json) {
    return (void)json, NULL;
}

static const char *replacement; /* it is freed after the call: it was copied */

static const char *replace(const char *json) {
    return (void)json, replacement;
}

static void before_send_keeps_replaces_and_drops(void) {
    begin(edited_by(keep));
    segment_object *object = segment_object_parse("{\"password\": \"secret\"}");
    ACCEPTED(segment_track(client, "u", "E", object, NULL));
    CHECK(editor.asked == 1 && counts().queued == 1 && strstr(editor.json, "\"password\":\"secret\""));
    SAYS(""); /* nothing yet */
    CHECK(strstr(sent(), editor.json) != NULL); /* what it saw is what is sent, byte for byte */
    ACCEPTED(segment_enqueue(client, "{\"type\":\"page\",\"userId\":\"u\"}", 28));
    CHECK(editor.asked == 2 && strstr(sent(), editor.json) != NULL);
    INVALID(segment_track(client, "u", "", NULL, NULL), "event"); /* it does not see messages that are refused */
    CHECK(editor.asked == 2);
    end();

    segment_config config = edited_by(replace);
    config.context = object;
    begin(config);
    char *copy = malloc(100);
    if (!copy) abort();
    strcpy(copy, " { \"type\": \"track\", \"anonymousId\": \"a\", \"event\": \"F\", \"messageId\": \"m\" } ");
    replacement = copy;
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    memset(copy, 'x', 99);
    free(copy);
    sent();
    SAYS("{\"batch\":[{\"messageId\":\"m\",\"type\":\"track\",\"anonymousId\":\"a\",\"event\":\"F\","
         "\"timestamp\":\"20");
    SILENT("secret"); /* what was taken out stays out */
    SILENT("\"u\"");
    segment_object_free(object);
    end();

    begin(edited_by(drop));
    for (int n = 0; n < 3; n++) ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    ACCEPTED(segment_flush(client, PATIENCE));
    CHECK(counts().accepted == 3 && counts().dropped == 3 && counts().queued == 0 && net.asked == 0);
    ACCEPTED(segment_shutdown(client, 0));
    REFUSED(segment_track(client, "u", "E", NULL, NULL), SEGMENT_CLOSED, "shut down");
    CHECK(editor.asked == 3 && counts().accepted == 3);
    end();
}

static void what_before_send_returns_is_checked(void) {
    static const char *const refused[][2] = {
        {"", "before_send"}, {"{", "before_send"}, {"[]", "before_send"}, {"nonsense", "before_send"},
        {BAD, "before_send"}, {"{\"type\":\"track\",\"userId\":\"" BAD "\",\"event\":\"E\"}", "before_send"},
        {"{}", "type"}, {"{\"type\":\"track\",\"userId\":\"u\"}", "event"}, {"{\"type\":\"page\"}", "userId"},
        {"{\"type\":\"page\",\"userId\":7}", "userId"},
        {"{\"type\":\"page\",\"userId\":\"u\",\"timestamp\":\"now\"}", "timestamp"},
    };
    static char large[33000];
    begin(edited_by(replace));
    for (size_t n = 0; n < COUNT(refused); n++) {
        replacement = refused[n][0];
        INVALID(segment_track(client, "u", "E", NULL, NULL), refused[n][1]);
        CHECK(strstr(segment_error(), "before_send") != NULL);
        CHECK(counts().accepted == 0 && counts().refused == n + 1 && counts().dropped == 0);
    }
    snprintf(large, sizeof large, "{\"type\":\"page\",\"userId\":\"u\",\"x\":\"%032000d\"}", 0);
    replacement = large;
    REFUSED(segment_track(client, "u", "E", NULL, NULL), SEGMENT_TOO_LARGE, "before_send");
    replacement = "{\"type\":\"page\",\"userId\":\"u\"}";
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    sent();
    CHECK(counts().accepted == 1 && counts().delivered == 1 && counts().refused == COUNT(refused) + 1);
    end();
}

static segment_client *other; /* another client of the same program */
static segment_status inside[5];

static const char *call_back(const char *json) {
    if (editor.asked > 1) return json; /* a second message got through: the test sees that */
    inside[0] = segment_track(client, "u", "From the callback", NULL, NULL);
    net.wrong |= !strstr(segment_error(), "before_send");
    inside[1] = segment_enqueue(client, "{\"type\":\"page\",\"userId\":\"u\"}", 28);
    inside[2] = segment_flush(client, PATIENCE);
    net.wrong |= !strstr(segment_error(), "callback");
    inside[3] = segment_shutdown(client, 0);
    segment_free(client);
    net.wrong |= !strstr(segment_error(), "callback");
    net.wrong |= !adds_up(); /* it is still there */
    inside[4] = segment_track(other, "u", "From the callback", NULL, NULL);
    return json;
}

static void before_send_must_not_use_its_client(void) {
    segment_config config = dry();
    other = segment_new(&config);
    begin(edited_by(call_back));
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    for (int n = 0; n < 4; n++) CHECK(inside[n] == SEGMENT_INVALID);
    CHECK(inside[4] == SEGMENT_OK && counts().accepted == 1 && counts().refused == 2 && editor.asked == 1);
    sent();
    SAYS("\"event\":\"E\"");
    SILENT("callback");
    CHECK(counts().delivered == 1);
    ACCEPTED(segment_shutdown(client, 0)); /* outside of it everything works again */
    segment_free(other);
    end();
}

static segment_status in_transport[2];

static int32_t calls_back(segment_response *response) {
    in_transport[0] = segment_flush(client, PATIENCE);
    net.wrong |= !strstr(segment_error(), "callback");
    in_transport[1] = segment_shutdown(client, PATIENCE);
    segment_free(client);
    net.wrong |= !adds_up(); /* it is still there */
    return good(response);
}

static void the_transport_of_a_call_must_not_end_its_client(void) {
    segment_request request = request_to("/v1/x");
    begin(by_host());
    net.answer = calls_back;
    CHECK(calls(&request) && !net.wrong);
    CHECK(in_transport[0] == SEGMENT_INVALID && in_transport[1] == SEGMENT_INVALID);
    net.answer = good;
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    sent();
    end();
}

int main(void) {
    null_never_crashes();
    callbacks_may_track_but_not_wait();
    a_callback_may_use_the_client_until_it_returns();
    the_hosts_http_sees_the_whole_request();
    a_transport_may_fail_in_every_way();
    before_send_keeps_replaces_and_drops();
    what_before_send_returns_is_checked();
    before_send_must_not_use_its_client();
    the_transport_of_a_call_must_not_end_its_client();
    return sum();
}
