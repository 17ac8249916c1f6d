/* Every function of segment.h, and every misuse of it, once. Prints what failed with its line, and the sum. */
#define _POSIX_C_SOURCE 200809L /* pthreads and sockets, where the compiler is told to be strict */
#include "check.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <math.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLOSED_PORT "http://127.0.0.1:9" /* nobody answers there */

/* The setter marks the object: the call that uses it fails for this reason. Then the object is as good as new. */
#define MARKS(object, setter, status, word) \
    (forget(), (setter), REFUSED(segment_error_status(), (status), (word)), \
     REFUSED(segment_track(client, "u", "E", (object), NULL), (status), (word)), \
     segment_object_clear(object), ACCEPTED(segment_track(client, "u", "E", (object), NULL)))

/* Delivers to where nobody listens. */
static segment_config lost(segment_config config) {
    config.size = sizeof config;
    config.write_key = "KEY";
    config.endpoint = CLOSED_PORT;
    config.shutdown_ms = 1;
    return config;
}

/* Hands over a copy that ends where the text does, without a NUL: reading on would be found out. */
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
    const char *subject; /* what the third argument is called; NULL: there is none */
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

/* The ten setters under one signature, with a value that is right, and what they write. */
static const char *const WRITTEN[] = {
    "\"k0\":\"a\\\"b\"", "\"k1\":-9223372036854775808", "\"k2\":19.99", "\"k3\":true", "\"k4\":null",
    "\"k5\":\"2026-01-02T03:04:05.678Z\"", "\"k6\":[1,2]", "\"k7\":{\"x\":1}", "\"k8\":[{\"x\":1}]", "\"k9\":[\"i\"]"};
enum { SETTERS = COUNT(WRITTEN) };

static void set(int setter, segment_object *object, const char *key) {
    segment_object *inner = segment_object_parse("{\"x\": 1}");
    switch (setter) {
    case 0: segment_object_set_str(object, key, "a\"b"); break;
    case 1: segment_object_set_int(object, key, INT64_MIN); break;
    case 2: segment_object_set_double(object, key, 19.99); break;
    case 3: segment_object_set_bool(object, key, true); break;
    case 4: segment_object_set_null(object, key); break;
    case 5: segment_object_set_time(object, key, 1767323045678); break;
    case 6: segment_object_set_json(object, key, "[1, 2]"); break;
    case 7: segment_object_set_object(object, key, inner); break;
    case 8: segment_object_push_object(object, key, inner); break;
    default: segment_object_push_str(object, key, "i"); break;
    }
    segment_object_free(inner);
}

static void library(void) {
    CHECK(segment_error()[0] == '\0' && segment_error_status() == SEGMENT_OK);
    CHECK(strcmp(segment_version(), SEGMENT_VERSION) == 0);
    for (int32_t status = SEGMENT_OK; status <= SEGMENT_OPTED_OUT; status++) {
        CHECK(segment_strerror(status)[0] != '\0');
        CHECK(strcmp(segment_strerror(status), segment_strerror(-1)) != 0);
    }
    CHECK(strcmp(segment_strerror(SEGMENT_OPTED_OUT + 1), segment_strerror(-1)) == 0);
    CHECK(strcmp(segment_strerror(INT32_MAX), segment_strerror(INT32_MIN)) == 0);
}

static void *other_thread(void *right) {
    bool fresh = segment_error()[0] == '\0' && segment_error_status() == SEGMENT_OK;
    *(bool *)right = fresh && is_refused(segment_track(client, "u", "", NULL, NULL), SEGMENT_INVALID, "event");
    return NULL;
}

static void errors_belong_to_their_thread(void) {
    bool right = false;
    pthread_t thread;
    begin(dry());
    INVALID(segment_group(client, "u", NULL, NULL, NULL), "group_id");
    CHECK(pthread_create(&thread, NULL, other_thread, &right) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(right);
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    INVALID(segment_error_status(), "group_id"); /* success changes nothing */
    CHECK(counts().refused == 2);
    end();
}

/* One request of the client's, kept as it came, is answered with 200. */
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

    char endpoint[64], key[] = "k0";
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%u", (unsigned)ntohs(address.sin_port));
    segment_object *of_client = segment_object_parse("{\"ip\": \"5.6.7.8\", \"locale\": \"de-AT\"}");
    segment_object *context = segment_object_parse("{\"ip\": \"1.2.3.4\"}"), *object = segment_object_new();
    for (int setter = 0; setter < SETTERS; setter++, key[1]++) set(setter, object, key);
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
    shutdown(listener, SHUT_RDWR); /* should nothing have come, the server need not wait for it */
    CHECK(pthread_join(server, &text) == 0 && close(listener) == 0);
    CHECK(strstr(text, "POST /v1/batch HTTP/1.1\r\n") && strstr(text, "Basic S0VZOg==\r\n"));
    for (size_t n = 0; n < COUNT(CALLS); n++) CHECK(strstr(text, CALLS[n].written));
    for (size_t n = 0; n < COUNT(WRITTEN); n++) CHECK(strstr(text, WRITTEN[n]));
    CHECK(strstr(text, "\"userId\":\"someone\"") && strstr(text, "\"anonymousId\":\"nobody\""));
    CHECK(strstr(text, "\"messageId\":\"an id\"") && strstr(text, "\"category\":\"a category\""));
    CHECK(strstr(text, "\"timestamp\":\"1970-01-01T00:00:00.001Z\"") && strstr(text, "\"userId\":\"raw\""));
    CHECK(strstr(text, "\"ip\":\"1.2.3.4\"") && strstr(text, "\"integrations\":{\"ip\":\"1.2.3.4\"}"));
    CHECK(strstr(text, "\"ip\":\"5.6.7.8\"") && strstr(text, "\"locale\":\"de-AT\"")); /* of the raw one */
    end();
}

static void null_never_crashes(void) {
    segment_stats stats = {.size = sizeof stats};
    segment_object *object = segment_object_new();
    NO_CLIENT(NULL, "config");
    INVALID(segment_flush(NULL, 0), "client");
    INVALID(segment_shutdown(NULL, 0), "client");
    INVALID(segment_get_stats(NULL, &stats), "client");
    INVALID(segment_pause(NULL), "client");
    INVALID(segment_resume(NULL), "client");
    char sentence[4] = "old";
    FAILS((void)segment_last_problem(NULL, sentence, sizeof sentence), "client");
    CHECK(!*sentence);
    INVALID(segment_enqueue(NULL, "{}", 2), "client");
    segment_free(NULL);
    segment_object_free(NULL);
    FAILS(segment_object_clear(NULL), "object");
    for (int setter = 0; setter < SETTERS; setter++) FAILS(set(setter, NULL, "k"), "object");
    begin(dry());
    INVALID(segment_get_stats(client, NULL), "stats");
    INVALID(segment_enqueue(client, NULL, 0), "json");
    INVALID(segment_enqueue(client, NULL, 7), "json");
    for (size_t n = 0; n < COUNT(CALLS); n++) {
        INVALID(CALLS[n].call(NULL, "u", "S", object, NULL), "client");
        ACCEPTED(CALLS[n].call(client, "u", "S", NULL, NULL));
        if (!CALLS[n].required) ACCEPTED(CALLS[n].call(client, "u", NULL, object, NULL));
    }
    MARKS(object, segment_object_set_object(object, "plan", NULL), SEGMENT_INVALID, "plan");
    MARKS(object, segment_object_push_object(object, "plan", NULL), SEGMENT_INVALID, "plan");
    segment_object_free(object);
    end();
}

/* Every text argument: NULL where one is needed, and what is not UTF-8 everywhere. */
static void text_is_given_and_utf8(void) {
    segment_options options[] = {{.timestamp = BAD}, {.anonymous_id = BAD}, {.message_id = BAD}, {.category = BAD}};
    static const char *const names[] = {"timestamp", "anonymous_id", "message_id", "category"};
    segment_object *object = segment_object_new();
    for (int given = 0; given < 2; given++) {
        const char *bad = given ? BAD : NULL;
        segment_config config = dry();
        config.write_key = bad;
        NO_CLIENT(&config, "write_key");
        begin(dry());
        for (size_t n = 0; n < COUNT(CALLS); n++) {
            INVALID(CALLS[n].call(client, bad, "S", NULL, NULL), "user_id");
            if (!CALLS[n].subject || (!given && !CALLS[n].required)) continue;
            INVALID(CALLS[n].call(client, "u", bad, NULL, NULL), CALLS[n].subject);
        }
        for (int setter = 0; setter < SETTERS; setter++)
            MARKS(object, set(setter, object, bad), SEGMENT_INVALID, setter < 8 ? "key" : "list");
        MARKS(object, segment_object_set_str(object, "plan", bad), SEGMENT_INVALID, "plan");
        MARKS(object, segment_object_set_json(object, "plan", bad), SEGMENT_INVALID, "plan");
        MARKS(object, segment_object_push_str(object, "plan", bad), SEGMENT_INVALID, "plan");
        segment_object *parsed = segment_object_parse(bad);
        INVALID(segment_identify(client, "u", parsed, NULL), "json");
        segment_object_free(parsed);
        end();
    }
    segment_object_free(object);

    segment_config config = dry();
    config.endpoint = BAD;
    NO_CLIENT(&config, "endpoint must be UTF-8");
    begin(dry());
    INVALID(segment_enqueue(client, "{\"type\":\"" BAD "\"}", 13), "json must be UTF-8");
    for (size_t o = 0; o < COUNT(options); o++) {
        options[o].size = sizeof options[o];
        for (size_t n = 0; n < COUNT(CALLS); n++)
            INVALID(CALLS[n].call(client, "u", "S", NULL, &options[o]), names[o]);
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
        {"timestamp", {.timestamp = "2026-01-02T03:04:05"}}, /* without a zone nobody knows when that was */
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

/* One struct after the other: sizes that no header ever had, a newer header's, an older one's, and any address. */
static void structs_may_be_older_newer_and_anywhere(void) {
    static const uint32_t wrong[] = {0, 4, 7, 9, 4097, 8192, UINT32_MAX};
    segment_config config;
    segment_options options = {.size = 0};
    segment_stats stats;
    begin(dry());
    for (size_t n = 0; n < COUNT(wrong); n++) {
        config = dry();
        config.size = options.size = stats.size = wrong[n];
        NO_CLIENT(&config, "sizeof(segment_config)");
        INVALID(segment_track(client, "u", "E", NULL, &options), "sizeof(segment_options)");
        INVALID(segment_get_stats(client, &stats), "sizeof(segment_stats)");
    }
    if (sizeof(void *) == 8) { /* 12 would cut a field in two */
        options.size = 12;
        INVALID(segment_track(client, "u", "E", NULL, &options), "sizeof(segment_options)");
    }

    struct { segment_config known; uint64_t later[2]; } newer_config = {dry(), {0, 0}};
    struct { segment_options known; uint64_t later[2]; } newer_options = {{.message_id = "m"}, {0, 0}};
    struct { segment_stats known; uint64_t later[2]; } newer_stats;
    memset(&newer_stats, 0xee, sizeof newer_stats);
    newer_config.known.size = sizeof newer_config;
    newer_options.known.size = sizeof newer_options;
    newer_stats.known.size = sizeof newer_stats;
    CHECK(makes(&newer_config.known));
    ACCEPTED(segment_track(client, "u", "E", NULL, &newer_options.known));
    ACCEPTED(segment_get_stats(client, &newer_stats.known));
    CHECK(newer_stats.known.size == sizeof newer_stats && newer_stats.known.accepted == 1);
    CHECK(newer_stats.later[0] == 0 && newer_stats.later[1] == 0); /* no count that nobody made */
    newer_config.later[1] = newer_options.later[1] = UINT64_C(1) << 63; /* a wish of the future: its last byte */
    NO_CLIENT(&newer_config.known, "segment_config");
    INVALID(segment_track(client, "u", "E", NULL, &newer_options.known), "segment_options");

    config = dry(); /* what lies behind an older struct is not read, though it would be refused */
    config.size = offsetof(segment_config, spool_dir);
    config.spool_dir = config.proxy = BAD;
    config.uploads = 99;
    CHECK(makes(&config));
    memset(&options, 0xee, sizeof options);
    options.size = offsetof(segment_options, timestamp_ms);
    options.flags = 0;
    ACCEPTED(segment_track(client, "u", "E", NULL, &options));
    memset(&stats, 0xee, sizeof stats);
    stats.size = offsetof(segment_stats, delivered);
    ACCEPTED(segment_get_stats(client, &stats));
    CHECK(stats.accepted == 2 && stats.delivered == UINT64_C(0xeeeeeeeeeeeeeeee));

    char *odd = calloc(1, sizeof config + 1); /* exactly as long as it may be read, and at no aligned address */
    config = dry();
    CHECK(makes(memcpy(odd + 1, &config, sizeof config)));
    options = (segment_options){.size = sizeof options, .anonymous_id = "a", .message_id = ""};
    INVALID(segment_track(client, NULL, "E", NULL, memcpy(odd + 1, &options, sizeof options)), "message_id");
    stats.size = sizeof stats;
    ACCEPTED(segment_get_stats(client, memcpy(odd + 1, &stats, sizeof stats)));
    memcpy(&stats, odd + 1, sizeof stats);
    CHECK(stats.accepted == 2 && stats.queued == 2 && stats.flags == 0 && stats.size == sizeof stats);
    free(odd);
    end();
}

static void settings_are_honoured_or_refused_by_name(void) {
    static const char *const no_colon[] = {"A", NULL}, *const ours[] = {"Content-Length: 1", NULL};
    static const char *const split[] = {"A: b\r\nC: d", NULL}, *const no_text[] = {"A: " BAD, NULL};
    static const struct { const char *name; segment_config config; } refused[] = {
        {"spool_dir", {.flags = SEGMENT_SYNC}}, {"SEGMENT_STATEFUL", {.flags = SEGMENT_LIFECYCLE}},
        {"spool_dir", {.spool_dir = ""}}, {"uploads", {.uploads = 65}},
        {"proxy", {.proxy = "host:8080 or so"}}, {"proxy", {.proxy = "ftp://host"}}, {"proxy", {.proxy = BAD}},
        {"ca_file", {.ca_file = __FILE__}}, /* no certificate is in it */ {"ca_file", {.ca_file = ""}},
        {"public_endpoint", {.public_endpoint = ""}},
        {"profile_endpoint", {.profile_endpoint = ""}},
        {"headers", {.headers = no_colon}}, {"headers", {.headers = ours}}, {"headers", {.headers = split}},
        {"headers", {.headers = no_text}}, {"access_token", {.access_token = ""}},
        {"access_token", {.access_token = "a b"}}, {"access_token", {.access_token = BAD}},
        {"profile_token", {.profile_token = ""}}, {"profile_token", {.profile_token = "a:b"}},
        {"profile_token", {.profile_token = BAD}}, {"public_endpoint", {.public_endpoint = "host"}},
        {"public_endpoint", {.public_endpoint = BAD}}, {"profile_endpoint", {.profile_endpoint = "https://h?a=1"}},
        {"profile_endpoint", {.profile_endpoint = BAD}},
        {"flags", {.flags = 512}}, {"flags", {.flags = UINT32_C(1) << 31 | SEGMENT_DRY_RUN}},
        {"write_key", {.write_key = ""}}, {"write_key", {.write_key = "a:b"}}, {"endpoint", {.endpoint = ""}},
        {"endpoint", {.endpoint = "ftp://host"}}, {"endpoint", {.endpoint = "https://me:pw@host"}},
    };
    segment_config config = {.size = sizeof config};
    NO_CLIENT(&config, "write_key");
    for (size_t n = 0; n < COUNT(refused); n++) {
        config = refused[n].config;
        config.size = sizeof config;
        if (!config.write_key) config.write_key = "KEY";
        NO_CLIENT(&config, refused[n].name);
    }
    config = dry();
    config.uploads = 64;
    config.endpoint = "eu";
    config.retry_max = config.timeout_ms = UINT32_MAX;
    CHECK(makes(&config));
    config = dry();
    config.ca_file = "/nowhere/ca.pem";
    forget();
    CHECK(!makes(&config) && is_refused(segment_error_status(), SEGMENT_STORAGE, "ca_file"));
    segment_object *marked = segment_object_parse("[]");
    config = dry();
    config.context = marked;
    NO_CLIENT(&config, "context");
    config = dry();
    config.integrations = marked;
    NO_CLIENT(&config, "integrations");
    segment_object_free(marked);
}

static void objects_remember_what_went_wrong(void) {
    static const char *const no_objects[] = {
        "", "{", "{}}", "[]", "1", "{'a':1}", "{\"a\":01}", "{\"a\":NaN}", "{\"a\":\"\\ud800\"}"};
    begin(dry());
    segment_object *object = segment_object_new(), *marked = segment_object_parse("{");
    MARKS(object, segment_object_set_double(object, "price", (double)NAN), SEGMENT_INVALID, "price");
    MARKS(object, segment_object_set_double(object, "price", (double)INFINITY), SEGMENT_INVALID, "price");
    MARKS(object, segment_object_set_double(object, "price", -(double)INFINITY), SEGMENT_INVALID, "price");
    MARKS(object, segment_object_set_time(object, "when", INT64_MIN), SEGMENT_INVALID, "when");
    MARKS(object, segment_object_set_time(object, "when", INT64_MAX), SEGMENT_INVALID, "when");
    MARKS(object, segment_object_set_json(object, "raw", ""), SEGMENT_INVALID, "raw");
    MARKS(object, segment_object_set_json(object, "raw", "[1,]"), SEGMENT_INVALID, "raw");
    MARKS(object, segment_object_set_json(object, "raw", "1 2"), SEGMENT_INVALID, "raw");
    MARKS(object, segment_object_set_object(object, "inner", marked), SEGMENT_INVALID, "inner");
    MARKS(object, segment_object_push_object(object, "items", marked), SEGMENT_INVALID, "items");
    segment_object_set_int(object, "items", 1);
    MARKS(object, segment_object_push_str(object, "items", "x"), SEGMENT_INVALID, "items");
    segment_object_set_str(object, "items", "["); /* a text that looks like a list */
    MARKS(object, segment_object_push_str(object, "items", "x"), SEGMENT_INVALID, "items");
    for (size_t n = 0; n < COUNT(no_objects); n++) {
        segment_object *parsed = segment_object_parse(no_objects[n]);
        INVALID(segment_group(client, "u", "g", parsed, NULL), "traits");
        segment_object_free(parsed);
    }
    segment_options options = {.size = sizeof options, .context = marked};
    INVALID(segment_alias(client, "u", "p", &options), "context");
    options = (segment_options){.size = sizeof options, .integrations = marked};
    INVALID(segment_page(client, "u", "n", NULL, &options), "integrations");
    segment_object_free(marked);

    for (int n = 0; n < 5; n++) { /* an object may be put into itself, although that makes its memory move */
        segment_object_set_object(object, "self", object);
        segment_object_push_object(object, "selves", object);
        ACCEPTED(segment_track(client, "u", "E", object, NULL));
    }
    segment_object_clear(object);

    static char deep[1001];
    memset(deep, '[', 500);
    memset(deep + 500, ']', 500);
    MARKS(object, segment_object_set_json(object, "deep", deep), SEGMENT_INVALID, "deep");
    for (int n = 0; n < 500; n++) { /* each level holds the one before */
        segment_object *outer = segment_object_new();
        segment_object_set_object(outer, "in", object);
        segment_object_free(object);
        object = outer;
    }
    INVALID(segment_track(client, "u", "E", object, NULL), "in");
    segment_object_clear(object);

    segment_object *item = segment_object_new();
    for (size_t levels = 60; levels <= 61; levels++) { /* around them: item, list, properties, message */
        memset(deep, '[', levels);
        memset(deep + levels, ']', levels);
        deep[2 * levels] = '\0';
        segment_object_set_json(item, "in", deep);
        if (levels == 61) MARKS(object, segment_object_push_object(object, "items", item), SEGMENT_INVALID, "items");
        else segment_object_push_object(object, "items", item), ACCEPTED(segment_track(client, "u", "E", object, NULL));
    }
    segment_object_free(item);
    segment_object_free(object);
    end();
}

static void a_message_may_have_32000_bytes(void) {
    static char pad[33000], text[33000];
    segment_options options = {.size = sizeof options, .message_id = "m"};
    size_t around[2] = {0, 0}; /* what a message has besides the text in it: of track, of enqueue */
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
            if (size == 0) around[by] = bytes - 1 - (size_t)by; /* one is the comma behind it, one the user "u" */
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

/* What the callbacks saw. They only write; the theme checks when the client has settled or is gone. */
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

static void call_back(void *userdata, const segment_delivery *delivery) {
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
    config.on_delivery = call_back;
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

static void a_closed_client_takes_nothing(void) {
    begin(dry());
    ACCEPTED(segment_flush(client, 0)); /* nothing waits */
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    ACCEPTED(segment_shutdown(client, PATIENCE));
    ACCEPTED(segment_shutdown(client, 0)); /* again */
    ACCEPTED(segment_flush(client, 0));
    for (size_t n = 0; n < COUNT(CALLS); n++)
        REFUSED(CALLS[n].call(client, "u", "S", NULL, NULL), SEGMENT_CLOSED, "shut down");
    REFUSED(segment_enqueue(client, "{\"type\":\"page\",\"userId\":\"u\"}", 28), SEGMENT_CLOSED, "shut down");
    CHECK(counts().delivered == 1 && counts().refused == COUNT(CALLS) + 1);
    end();
}

static void a_paused_client_sends_nothing_and_says_so(void) {
    char sentence[64], cut[12];
    begin(dry());
    CHECK(segment_last_problem(client, sentence, sizeof sentence) == 0 && !*sentence);
    ACCEPTED(segment_pause(client));
    ACCEPTED(segment_flush(client, PATIENCE)); /* nothing waits */
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    REFUSED(segment_flush(client, PATIENCE), SEGMENT_TIMEOUT, "paused");
    CHECK(counts().queued == 1 && counts().last_success_ms == 0 && counts().paused_until_ms == 0);
    size_t length = segment_last_problem(client, sentence, sizeof sentence);
    CHECK(length == strlen(sentence) && !strcmp(sentence, "the client is paused; 1 message waits"));
    CHECK(segment_last_problem(client, NULL, 0) == length);
    CHECK(segment_last_problem(client, cut, sizeof cut) == length && !strcmp(cut, "the client "));
    ACCEPTED(segment_resume(client));
    ACCEPTED(segment_flush(client, PATIENCE));
    CHECK(counts().delivered == 1 && counts().last_http_status == 200 && counts().uploads == 0);
    CHECK(counts().last_success_ms > INT64_C(1700000000000) && segment_last_problem(client, cut, sizeof cut) == 0);
    end();
}

static void why_nothing_arrives_is_said(void) {
    char sentence[400];
    begin(lost((segment_config){.flush_at = 1}));
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    time_t start = time(NULL);
    do segment_flush(client, 10);
    while (!segment_last_problem(client, sentence, sizeof sentence) && difftime(time(NULL), start) < PATIENCE / 1000);
    CHECK(segment_last_problem(client, sentence, sizeof sentence) == strlen(sentence));
    CHECK(strstr(sentence, "Segment could not be reached") && strstr(sentence, " UTC; 1 message waits"));
    end();
}

static void what_cannot_be_delivered_is_reported(void) {
    struct seen seen = {.wrong = false};
    segment_config config = lost((segment_config){
        .retry_max = UINT32_MAX, .on_delivery = on_delivery, .on_log = on_log, .userdata = &seen});
    begin(config); /* one attempt only */
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    ACCEPTED(segment_flush(client, PATIENCE));
    CHECK(counts().failed == 1 && seen.failed == 1 && seen.logged > 0 && !seen.wrong);
    end();

    config.retry_max = 0; /* ten more attempts, and no time for them */
    begin(config);
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    REFUSED(segment_flush(client, 1), SEGMENT_TIMEOUT, "time");
    REFUSED(segment_flush(client, 0), SEGMENT_TIMEOUT, "time");
    REFUSED(segment_shutdown(client, 0), SEGMENT_TIMEOUT, "time");
    REFUSED(segment_shutdown(client, 1), SEGMENT_TIMEOUT, "time");
    CHECK(counts().queued == 1 && counts().delivered == 0);
    end();
    CHECK(seen.lost == 1 && seen.failed == 1 && seen.delivered == 0 && !seen.wrong);
}

static void a_full_queue_refuses_or_drops_the_oldest(void) {
    static char pad[30001];
    struct seen seen = {.wrong = false};
    memset(pad, 'x', 30000);
    segment_object *object = segment_object_new();
    segment_object_set_str(object, "p", pad);
    segment_config config =
        lost((segment_config){.queue_max_bytes = 100000, .on_delivery = on_delivery, .userdata = &seen});
    begin(config);
    for (int n = 0; n < 3; n++) ACCEPTED(segment_track(client, "u", "E", object, NULL));
    REFUSED(segment_track(client, "u", "E", object, NULL), SEGMENT_QUEUE_FULL, "queue_max_bytes");
    ACCEPTED(segment_track(client, "u", "Small", NULL, NULL));
    CHECK(counts().accepted == 4 && counts().refused == 1 && counts().queued_bytes <= 100000);
    end();
    CHECK(seen.lost == 4);

    config.flags = SEGMENT_DROP_OLDEST;
    begin(config);
    for (int n = 0; n < 20; n++) ACCEPTED(segment_track(client, "u", "E", object, NULL));
    CHECK(counts().dropped == 17 && counts().queued == 3 && counts().queued_bytes <= 100000);
    end();
    CHECK(seen.lost == 7 && seen.failed == 0 && !seen.wrong);
    config.queue_max_bytes = 1000;
    begin(config);
    REFUSED(segment_track(client, "u", "E", object, NULL), SEGMENT_QUEUE_FULL, "queue_max_bytes"); /* it never fits */
    end();
    segment_object_free(object);
}

/* Deletes the folder, and whether the library has left nothing in it but its mark and an empty folder for the queue. */
static bool was_empty(const char *folder) {
    char home[256], mark[512], queue[512] = "";
    snprintf(home, sizeof home, "%s/segment-native", folder);
    snprintf(mark, sizeof mark, "%s/mark", home);
    if (remove(mark) != 0) return false;
    DIR *listing = opendir(home);
    if (!listing) return false;
    for (struct dirent *entry; (entry = readdir(listing));)
        if (entry->d_name[0] != '.') snprintf(queue, sizeof queue, "%s/%.200s", home, entry->d_name);
    closedir(listing);
    return rmdir(queue) == 0 && rmdir(home) == 0 && rmdir(folder) == 0;
}

static void what_is_spooled_survives(void) {
    char folder[] = "/tmp/segment-abi-XXXXXX";
    if (!mkdtemp(folder)) abort();
    spooling = true;
    segment_config config = lost((segment_config){.spool_dir = folder, .flags = SEGMENT_SYNC});
    begin(config);
    for (int n = 0; n < 3; n++) ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    REFUSED(segment_shutdown(client, 0), SEGMENT_TIMEOUT, "");
    CHECK(counts().queued == 3 && counts().failed == 0);
    end();
    config.flags = SEGMENT_DRY_RUN;
    begin(config);
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    ACCEPTED(segment_flush(client, PATIENCE));
    CHECK(counts().recovered == 3 && counts().accepted == 4 && counts().delivered == 4);
    end();
    spooling = false;
    CHECK(was_empty(folder));
}

int main(void) {
    library();
    errors_belong_to_their_thread();
    what_is_passed_in_is_sent();
    null_never_crashes();
    text_is_given_and_utf8();
    ids_names_and_times_follow_the_rules();
    structs_may_be_older_newer_and_anywhere();
    settings_are_honoured_or_refused_by_name();
    objects_remember_what_went_wrong();
    a_message_may_have_32000_bytes();
    enqueue_takes_whole_messages();
    callbacks_may_track_but_not_wait();
    a_callback_may_use_the_client_until_it_returns();
    a_closed_client_takes_nothing();
    a_paused_client_sends_nothing_and_says_so();
    why_nothing_arrives_is_said();
    what_cannot_be_delivered_is_reported();
    a_full_queue_refuses_or_drops_the_oldest();
    what_is_spooled_survives();
    return sum();
}
