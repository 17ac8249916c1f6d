/* The six calls, and whole messages in JSON. */
#define _POSIX_C_SOURCE 200809L /* what a strict compiler leaves out */
#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

/* Passes a copy that ends where the text does, without a NUL: reading further is detected. */
static segment_status enqueue(const char *json, size_t length) {
    char *copy = malloc(length ? length : 1);
    if (!copy) abort();
    segment_status status = segment_enqueue(client, memcpy(copy, json, length), length);
    free(copy);
    return status;
}

/* The six calls under one signature. */
typedef segment_status call(const segment_client *client, const char *user_id, const char *subject,
                            const segment_object *payload, const segment_options *options);

static segment_status identify(const segment_client *c, const char *id, const char *none, const segment_object *traits,
                               const segment_options *options) {
    return (void)none, segment_identify(c, id, traits, options);
}

static segment_status alias(const segment_client *c, const char *id, const char *previous, const segment_object *none,
                            const segment_options *options) {
    return (void)none, segment_alias(c, id, previous, options);
}

static const struct {
    call *call;
    const char *subject; /* the name of the third argument; NULL: there is none */
    bool required, category;
    const char *written;
} CALLS[] = {
    {identify, NULL, false, false, "\"type\":\"identify\""},
    {segment_track, "event", true, false, "\"event\":\"the subject\""},
    {segment_page, "name", false, true, "\"type\":\"page\""},
    {segment_screen, "name", false, true, "\"type\":\"screen\""},
    {segment_group, "group_id", true, false, "\"groupId\":\"the subject\""},
    {alias, "previous_id", true, false, "\"previousId\":\"the subject\""},
};

static void null_is_none_or_refused(void) {
    segment_object *object = segment_object_new();
    INVALID(segment_enqueue(NULL, "{}", 2), "client");
    begin(dry());
    INVALID(segment_enqueue(client, NULL, 0), "json");
    INVALID(segment_enqueue(client, NULL, 7), "json");
    for (size_t n = 0; n < COUNT(CALLS); n++) {
        INVALID(CALLS[n].call(NULL, "u", "S", object, NULL), "client");
        INVALID(CALLS[n].call(client, NULL, "S", object, NULL), "user_id");
        if (CALLS[n].required) INVALID(CALLS[n].call(client, "u", NULL, object, NULL), CALLS[n].subject);
        else ACCEPTED(CALLS[n].call(client, "u", NULL, object, NULL));
        ACCEPTED(CALLS[n].call(client, "u", "S", NULL, NULL));
    }
    segment_object_free(object);
    end();
}

static void texts_are_utf8(void) {
    segment_options options[] = {{.timestamp = BAD}, {.anonymous_id = BAD}, {.message_id = BAD}, {.category = BAD}};
    static const char *const names[] = {"timestamp", "anonymous_id", "message_id", "category"};
    begin(dry());
    INVALID(segment_enqueue(client, "{\"type\":\"" BAD "\"}", 13), "json must be UTF-8");
    for (size_t n = 0; n < COUNT(CALLS); n++) {
        INVALID(CALLS[n].call(client, BAD, "S", NULL, NULL), "user_id");
        if (CALLS[n].subject) INVALID(CALLS[n].call(client, "u", BAD, NULL, NULL), CALLS[n].subject);
        for (size_t o = 0; o < COUNT(options); o++) {
            options[o].size = sizeof options[o];
            INVALID(CALLS[n].call(client, "u", "S", NULL, &options[o]), names[o]);
        }
    }
    end();
}

static void ids_names_and_times_follow_the_rules(void) {
    char id[101] = "", wide[201] = "";
    memset(id, 'i', 100);
    for (int n = 0; n < 100; n++) memcpy(wide + 2 * n, "\xc3\xa9", 2); /* characters are counted, not bytes */
    const struct { const char *name; segment_options options; } refused[] = {
        {"category", {.category = ""}}, /* the first: of pages and screens only */
        {"anonymous_id", {.anonymous_id = ""}}, {"message_id", {.message_id = ""}},
        {"message_id", {.message_id = id}}, {"message_id", {.message_id = wide}},
        {"timestamp", {.timestamp = ""}}, {"timestamp", {.timestamp = "yesterday"}},
        {"timestamp", {.timestamp = "2026-01-02T03:04:05"}}, /* without a zone it is ambiguous */
        {"timestamp_ms", {.timestamp = "2026-01-02T03:04:05Z", .timestamp_ms = 1}},
        {"timestamp_ms", {.timestamp_ms = INT64_MIN}}, {"timestamp_ms", {.timestamp_ms = INT64_MAX}},
        {"flags", {.flags = 1}},
    };
    const segment_options accepted[] = {
        {.message_id = id + 1}, {.message_id = wide + 2}, {.timestamp_ms = -1}, {.timestamp = "1970-01-01T00:00:00Z"}};
    segment_options anonymous = {.size = sizeof anonymous, .anonymous_id = "a"};
    begin(dry());
    for (size_t n = 0; n < COUNT(CALLS); n++) {
        INVALID(CALLS[n].call(client, "", "S", NULL, NULL), "user_id");
        if (CALLS[n].subject) INVALID(CALLS[n].call(client, "u", "", NULL, NULL), CALLS[n].subject);
        if (CALLS[n].call == alias) INVALID(alias(client, NULL, "S", NULL, &anonymous), "user_id");
        else ACCEPTED(CALLS[n].call(client, NULL, "S", NULL, &anonymous));
        for (size_t o = 0; o < COUNT(refused); o++) {
            segment_options options = refused[o].options;
            options.size = sizeof options;
            if (o == 0 && !CALLS[n].category) ACCEPTED(CALLS[n].call(client, "u", "S", NULL, &options));
            else INVALID(CALLS[n].call(client, "u", "S", NULL, &options), refused[o].name);
        }
        for (size_t o = 0; o < COUNT(accepted); o++) {
            segment_options options = accepted[o];
            options.size = sizeof options;
            ACCEPTED(CALLS[n].call(client, "u", "S", NULL, &options));
        }
    }
    end();
}

static void a_call_says_why_its_object_is_marked(void) {
    segment_object *marked = segment_object_parse("{");
    segment_options options = {.size = sizeof options, .context = marked};
    begin(dry());
    INVALID(segment_group(client, "u", "g", marked, NULL), "traits");
    INVALID(segment_alias(client, "u", "p", &options), "context");
    options = (segment_options){.size = sizeof options, .integrations = marked};
    INVALID(segment_page(client, "u", "n", NULL, &options), "integrations");
    segment_object_free(marked);
    end();
}

/* Answers one request of the client with 200, and stores it as it came. */
static void *serve(void *argument) {
    static char text[65536];
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    int connection = accept(*(int *)argument, NULL, NULL);
    size_t length = 0;
    ssize_t more = 1;
    while (!strstr(text, "\"writeKey\":\"KEY\"}") && more > 0 && length < sizeof text - 1) {
        more = recv(connection, text + length, sizeof text - 1 - length, 0);
        if (more > 0) length += (size_t)more;
    }
    if (send(connection, answer, sizeof answer - 1, 0) < 0) perror("send");
    close(connection);
    return text;
}

static void what_is_passed_in_is_sent(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    pthread_t server;
    CHECK(pthread_create(&server, NULL, serve, &listener) == 0);

    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%u", (unsigned)ntohs(address.sin_port));
    segment_object *of_client = segment_object_parse("{\"ip\": \"5.6.7.8\", \"locale\": \"de-AT\"}");
    segment_object *context = segment_object_parse("{\"ip\": \"1.2.3.4\"}");
    segment_object *object = segment_object_parse("{\"k\": [1, 2]}");
    segment_config config = dry();
    config.flags = SEGMENT_NO_GZIP;
    config.endpoint = endpoint;
    config.context = of_client;
    begin(config);
    segment_object_free(of_client); /* it was copied */
    segment_options options = {.size = sizeof options, .timestamp_ms = 1, .anonymous_id = "nobody",
                               .message_id = "an id", .context = context, .integrations = context,
                               .category = "a category"};
    for (size_t n = 0; n < COUNT(CALLS); n++)
        ACCEPTED(CALLS[n].call(client, "someone", "the subject", object, &options));
    ACCEPTED(segment_enqueue(client, "{\"type\":\"track\",\"userId\":\"raw\",\"event\":\"E\"}tail", 43));
    segment_object_free(object);
    segment_object_free(context);
    ACCEPTED(segment_flush(client, PATIENCE));
    CHECK(counts().delivered == COUNT(CALLS) + 1 && counts().requests == 1 && counts().retries == 0);

    void *text = NULL;
    shutdown(listener, SHUT_RDWR); /* if nothing came, the server stops waiting */
    CHECK(pthread_join(server, &text) == 0 && close(listener) == 0);
    CHECK(strstr(text, "POST /v1/batch HTTP/1.1\r\n") && strstr(text, "Basic S0VZOg==\r\n"));
    for (size_t n = 0; n < COUNT(CALLS); n++) CHECK(strstr(text, CALLS[n].written));
    CHECK(strstr(text, "\"k\":[1,2]"));
    CHECK(strstr(text, "\"userId\":\"someone\"") && strstr(text, "\"anonymousId\":\"nobody\""));
    CHECK(strstr(text, "\"messageId\":\"an id\"") && strstr(text, "\"category\":\"a category\""));
    CHECK(strstr(text, "\"timestamp\":\"1970-01-01T00:00:00.001Z\"") && strstr(text, "\"userId\":\"raw\""));
    CHECK(strstr(text, "\"ip\":\"1.2.3.4\"") && strstr(text, "\"integrations\":{\"ip\":\"1.2.3.4\"}"));
    CHECK(strstr(text, "\"ip\":\"5.6.7.8\"") && strstr(text, "\"locale\":\"de-AT\"")); /* of the raw one */
    end();
}

static void a_message_may_have_32000_bytes(void) {
    static char pad[33000], text[33000];
    segment_options options = {.size = sizeof options, .message_id = "m"};
    size_t around[2] = {0, 0}; /* the bytes of a message around its text: of track, of enqueue */
    begin(dry());
    segment_object *object = segment_object_new();
    for (int by = 0; by < 2; by++) {
        for (int size = 0; size < 3; size++) { /* nothing in it, exactly full, one byte too many */
            size_t before = (size_t)counts().queued_bytes, fill = size == 0 ? 0 : 31999 - around[by] + (size_t)size;
            segment_status status;
            memset(pad, 'x', fill);
            pad[fill] = '\0';
            segment_object_set_str(object, "p", pad);
            if (by == 0) status = segment_track(client, "u", "E", object, &options);
            else {
                int length = snprintf(text, sizeof text, "{\"type\":\"page\",\"userId\":\"%s\"}", fill ? pad : "u");
                status = enqueue(text, (size_t)length);
            }
            if (size == 2) REFUSED(status, SEGMENT_TOO_LARGE, "32");
            else ACCEPTED(status);
            size_t bytes = (size_t)counts().queued_bytes - before;
            if (size == 0) around[by] = bytes - 1 - (size_t)by; /* one is the comma after it, one the user "u" */
            else CHECK(bytes == (size == 1 ? 32001 : 0));
        }
    }
    memset(pad, 'x', sizeof pad - 1);
    MARKS(object, segment_object_set_str(object, "p", pad), SEGMENT_TOO_LARGE, "p");
    MARKS(object, segment_object_push_str(object, "p", pad), SEGMENT_TOO_LARGE, "p");
    segment_object_free(object);
    end();
}

static void enqueue_takes_whole_messages(void) {
    static const struct { const char *json, *word; } refused[] = {
        {"", "json"}, {"{", "json"}, {"[]", "json"}, {"nonsense", "json"}, {"{}", "type"},
        {"{\"type\":\"PAGE\",\"userId\":\"u\"}", "type"}, {"{\"type\":\"track\",\"event\":\"E\"}", "userId"},
        {"{\"type\":\"page\",\"userId\":7}", "userId"}, {"{\"type\":\"track\",\"userId\":\"u\"}", "event"},
        {"{\"type\":\"page\",\"userId\":\"u\",\"context\":[]}", "context"},
        {"{\"type\":\"page\",\"userId\":\"u\",\"timestamp\":\"now\"}", "timestamp"},
    };
    begin(dry());
    for (size_t n = 0; n < COUNT(refused); n++)
        INVALID(enqueue(refused[n].json, strlen(refused[n].json)), refused[n].word);
    INVALID(segment_enqueue(client, "{}", SIZE_MAX), "json");
    INVALID(segment_enqueue(client, "{\"type\":\"page\",\0\"userId\":\"u\"}", 29), "json");
    CHECK(counts().refused == COUNT(refused) + 2);
    end();
}

static void a_closed_client_takes_nothing(void) {
    begin(dry());
    ACCEPTED(segment_shutdown(client, PATIENCE));
    for (size_t n = 0; n < COUNT(CALLS); n++)
        REFUSED(CALLS[n].call(client, "u", "S", NULL, NULL), SEGMENT_CLOSED, "shut down");
    REFUSED(segment_enqueue(client, "{\"type\":\"page\",\"userId\":\"u\"}", 28), SEGMENT_CLOSED, "shut down");
    CHECK(counts().refused == COUNT(CALLS) + 1);
    end();
}

int main(void) {
    null_is_none_or_refused();
    texts_are_utf8();
    ids_names_and_times_follow_the_rules();
    a_call_says_why_its_object_is_marked();
    what_is_passed_in_is_sent();
    a_message_may_have_32000_bytes();
    enqueue_takes_whole_messages();
    a_closed_client_takes_nothing();
    return sum();
}
