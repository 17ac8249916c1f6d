/* What the host may take into its own hands, and what a client remembers: HTTP, single requests, before_send, the user,
 * their consent. Every misuse of it, once. Nothing here touches a network. */
#define _XOPEN_SOURCE 700 /* mkdtemp and nftw, where the compiler is told to be strict */
#include "check.h"

#include <ftw.h>
#include <unistd.h>

/* segment_call gives no response, for this reason. */
#define NO_ANSWER(request, status, word) \
    (forget(), check(!calls(request) && is_refused(segment_error_status(), (status), (word)), __FILE__, __LINE__, \
                     #request))
#define SAYS(text) CHECK(strstr(net.body, (text)) != NULL)
#define SILENT(text) CHECK(strstr(net.body, (text)) == NULL)

/* A network of our own. It keeps what it was asked last, and answers as the theme wants. */
static struct {
    int asked;
    bool wrong;
    uint32_t timeout_ms;
    char method[16], url[512], headers[4096];
    char body[70000]; /* with a NUL behind it */
    size_t length;
    int32_t (*answer)(segment_response *response);
} net;

static int32_t good(segment_response *response) {
    segment_response_set(response, 200, "{\"success\": true}", 17);
    return 0;
}

static int32_t transport(void *userdata, const segment_http *request, segment_response *response) {
    net.asked++;
    net.wrong |= userdata != &net || request->size != sizeof *request || !request->body;
    net.wrong |= request->body_length >= sizeof net.body || strlen(request->url) >= sizeof net.url;
    if (net.wrong) return 99;
    net.timeout_ms = request->timeout_ms;
    net.length = request->body_length;
    snprintf(net.method, sizeof net.method, "%s", request->method);
    snprintf(net.url, sizeof net.url, "%s", request->url);
    memcpy(net.body, request->body, request->body_length);
    net.body[net.length] = '\0';
    net.headers[0] = '\0';
    for (size_t n = 0; request->headers[n]; n++) {
        size_t end = strlen(net.headers);
        snprintf(net.headers + end, sizeof net.headers - end, "%s\n", request->headers[n]);
    }
    return net.answer(response);
}

/* Sends by our own network, uncompressed so that it can be read, and only when told to. */
static segment_config by_host(void) {
    segment_config config = dry();
    memset(&net, 0, sizeof net);
    net.answer = good;
    config.flags = SEGMENT_NO_GZIP;
    config.transport = transport;
    config.userdata = &net;
    return config;
}

static const char *sent(void) {
    net.body[0] = '\0';
    ACCEPTED(segment_flush(client, PATIENCE));
    CHECK(!net.wrong);
    return net.body;
}

static segment_request request_to(const char *path) {
    return (segment_request){.size = sizeof(segment_request), .path = path};
}

/* Makes a request of which only whether there is an answer is of interest. */
static bool calls(const segment_request *request) {
    segment_response *response = segment_call(client, request);
    segment_response_free(response);
    return response != NULL;
}

/* The value of a header as it was sent, by the name as it was written; NULL unless it was sent exactly once. */
static const char *header_sent(const char *name) {
    static char value[512];
    size_t length = strlen(name);
    int found = 0;
    for (const char *line = net.headers; *line; line = strchr(line, '\n') + 1) {
        if (strncmp(line, name, length) != 0 || strncmp(line + length, ": ", 2) != 0) continue;
        snprintf(value, sizeof value, "%.*s", (int)strcspn(line + length + 2, "\n"), line + length + 2);
        found++;
    }
    return found == 1 ? value : NULL;
}

static bool is(const char *text, const char *expected) {
    return text && strcmp(text, expected) == 0;
}

static int delete_one(const char *path, const struct stat *status, int kind, struct FTW *place) {
    return (void)status, (void)kind, (void)place, remove(path);
}

static char folder[32];

static const char *new_folder(void) {
    snprintf(folder, sizeof folder, "/tmp/segment-abi-XXXXXX");
    if (!mkdtemp(folder)) abort();
    return folder;
}

static void delete_folder(void) {
    CHECK(nftw(folder, delete_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

static void null_never_crashes(void) {
    segment_request request = request_to("/v1/group/");
    segment_object *categories = segment_object_parse("{\"ads\": true}");
    char id[64] = "x";
    size_t length = 7;
    INVALID((segment_call(NULL, &request), segment_error_status()), "client");
    CHECK(segment_response_status(NULL) == 0);
    CHECK(segment_response_body(NULL, NULL) == NULL);
    CHECK(segment_response_body(NULL, &length) == NULL && length == 0);
    forget();
    CHECK(segment_response_header(NULL, "A") == NULL);
    INVALID(segment_error_status(), "response");
    segment_response_free(NULL);
    CHECK(segment_response_cursor(NULL) == NULL);
    FAILS(segment_response_set(NULL, 200, "", 0), "response");
    FAILS(segment_response_add_header(NULL, "A", "b"), "response");
    INVALID(segment_reset(NULL), "client");
    INVALID(segment_set_consent(NULL, categories), "client");
    INVALID(segment_opt_out(NULL), "client");
    INVALID(segment_opt_in(NULL), "client");
    FAILS(CHECK(segment_anonymous_id(NULL, id, sizeof id) == 0 && id[0] == '\0'), "client");
    FAILS(CHECK(segment_user_id(NULL, NULL, 0) == 0), "client");
    begin(by_host());
    FAILS(CHECK(segment_user_id(client, NULL, 1) == 0), "buffer");
    NO_ANSWER(NULL, SEGMENT_INVALID, "request");
    request.path = NULL;
    NO_ANSWER(&request, SEGMENT_INVALID, "path");
    segment_response *response = segment_call(client, &(segment_request){.size = sizeof request, .path = ""});
    CHECK(response && is(net.url, "https://api.segment.io/"));
    FAILS(CHECK(!segment_response_header(response, NULL)), "name");
    FAILS(CHECK(!segment_response_header(response, BAD)), "name");
    segment_response_free(response);
    segment_object_free(categories);
    end();
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
    return good(response), 7; /* an answer is none if the transport says so */
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

static void on_delivery(void *userdata, const segment_delivery *d) {
    net.wrong |= userdata != &net;
    if (d->status == SEGMENT_NETWORK && d->http_status == 0) lost_by_network += d->message_count;
}

/* What is no answer is none: for single requests at once, for messages after their last attempt. */
static void a_transport_may_fail_in_every_way(void) {
    static const struct { int32_t (*answer)(segment_response *response); const char *word; } ways[] = {
        {says_seven, "7"}, {says_nothing, "segment_response_set"}, {status_too_low, "status"},
        {status_too_high, "status"}, {status_negative, "status"}, {status_wraps, "status"}, {body_null, "body"},
        {body_endless, "body"}, {header_nameless, "name"}, {header_empty, "value"}, {header_no_text, "value"},
    };
    segment_config config = by_host();
    segment_request request = request_to("/v1/track");
    config.retry_max = UINT32_MAX; /* one attempt only */
    config.on_delivery = on_delivery;
    for (size_t n = 0; n < COUNT(ways); n++) {
        begin(config);
        net.answer = ways[n].answer;
        NO_ANSWER(&request, SEGMENT_NETWORK, ways[n].word);
        ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
        sent();
        CHECK(counts().failed == 1 && lost_by_network == n + 1);
        net.answer = good;
        CHECK(calls(&request)); /* the failures of messages are nothing to a single request */
        end();
    }
}

static int32_t binary(segment_response *response) {
    char *copy = malloc(5); /* as long as it is and no longer; and gone afterwards */
    if (!copy) abort();
    segment_response_set(response, 500, "forgotten", 9);
    segment_response_set(response, 418, memcpy(copy, "\0a\0\xff\0", 5), 5);
    free(copy);
    segment_response_add_header(response, "X-Twice", "first");
    segment_response_add_header(response, "x-twice", "second");
    segment_response_add_header(response, "Content-Type", "");
    segment_response_add_header(response, "", "nameless");
    return 0;
}

static int32_t cut_by_itself(segment_response *response) {
    size_t length = 0;
    segment_response_set(response, 200, "HEAD some text of an answer", 27);
    const char *body = segment_response_body(response, &length); /* a part of it takes the place of the whole */
    segment_response_set(response, 201, body + 5, length - 5);
    segment_response_add_header(response, "X-Body", segment_response_body(response, NULL));
    segment_response_add_header(response, "X-Again", segment_response_header(response, "X-Body"));
    return 0;
}

static int32_t no_body(segment_response *response) {
    return segment_response_set(response, 999, NULL, 0), 0;
}

static void answers_are_read_back(void) {
    segment_request request = request_to("/v1/track");
    size_t length = 0;
    begin(by_host());
    net.answer = cut_by_itself;
    segment_response *cut = segment_call(client, &request);
    CHECK(segment_response_status(cut) == 201 && is(segment_response_body(cut, &length), "some text of an answer"));
    CHECK(length == 22 && is(segment_response_header(cut, "x-again"), "some text of an answer"));
    segment_response_free(cut);
    net.answer = binary;
    segment_response *response = segment_call(client, &request);
    const char *body = segment_response_body(response, &length);
    CHECK(segment_response_status(response) == 418 && length == 5);
    CHECK(body && memcmp(body, "\0a\0\xff\0\0", 6) == 0); /* the last one is not the host's */
    CHECK(body == segment_response_body(response, NULL));
    CHECK(is(segment_response_header(response, "x-TWICE"), "first"));
    CHECK(is(segment_response_header(response, "content-type"), ""));
    CHECK(is(segment_response_header(response, ""), "nameless"));
    forget();
    CHECK(segment_response_header(response, "X-Twic") == NULL && segment_response_header(response, "X-Twice:") == NULL);
    INVALID(segment_error_status(), "client"); /* what is absent is no error */
    segment_response_free(response);

    net.answer = no_body;
    response = segment_call(client, &request);
    body = segment_response_body(response, &length);
    CHECK(segment_response_status(response) == 999 && length == 0 && is(body, ""));
    segment_response_free(response);
    end();
}

static void requests_are_made_as_they_are_asked_for(void) {
    static const char *const methods[][2] = {{NULL, "POST"}, {"POST", "POST"}, {"get", "GET"}, {"Put", "PUT"},
                                             {"pAtCh", "PATCH"}, {"delete", "DELETE"}};
    static const char *const urls[][3] = {
        {"/v1/group/", NULL, "/v1/group/"}, {"v1/track", "", "/v1/track"}, {"", "a=1", "/?a=1"},
        {"/v1/x", "a=b c&d=\xc3\xa9\"<>`{|}^\\", "/v1/x?a=b%20c&d=%C3%A9%22%3C%3E%60%7B%7C%7D%5E%5C"},
        {"/v1/x?a=1", "?b=%20", "/v1/x?a=1&b=%20"}, {"?a=1", "b=2", "/?a=1&b=2"},
        {"/@evil.example/", NULL, "/@evil.example/"}, {"/\\evil.example/", NULL, "/%5Cevil.example/"},
        {"/v1/x?to=https://evil.example/", NULL, "/v1/x?to=https://evil.example/"},
        {"https://api.segment.io/v1/x", NULL, "/v1/x"}, {"https://api.segment.io?a=1", NULL, "/?a=1"},
    };
    segment_request request = request_to("/");
    char url[512];
    begin(by_host());
    for (size_t n = 0; n < COUNT(methods); n++) {
        request.method = methods[n][0];
        CHECK(calls(&request) && is(net.method, methods[n][1]) && net.length == 0);
        CHECK(is(net.headers, "authorization: Basic S0VZOg==\n")); /* without a body it has no type */
    }
    request.method = "GET";
    for (size_t n = 0; n < COUNT(urls); n++) {
        request.path = urls[n][0];
        request.query = urls[n][1];
        snprintf(url, sizeof url, "https://api.segment.io%s", urls[n][2]);
        CHECK(calls(&request) && is(net.url, url));
    }

    char *body = malloc(6); /* no NUL behind it: reading on would be found out */
    if (!body) abort();
    request = request_to("/v1/import");
    request.body = memcpy(body, "\0{\xff}\0\n", 6);
    request.body_length = 6;
    for (size_t n = 0; n < COUNT(methods); n++) {
        request.method = methods[n][0];
        CHECK(calls(&request) && net.length == 6 && memcmp(net.body, "\0{\xff}\0\n", 6) == 0);
        CHECK(is(header_sent("content-type"), "application/json"));
    }
    free(body);
    request.body_length = 0; /* a pointer alone is no body */
    CHECK(calls(&request) && net.length == 0 && !header_sent("content-type"));

    request.timeout_ms = 77;
    CHECK(calls(&request) && net.timeout_ms <= 77);
    request.timeout_ms = UINT32_MAX;
    CHECK(calls(&request) && net.timeout_ms > UINT32_MAX - PATIENCE);
    request.timeout_ms = 0;
    CHECK(calls(&request) && net.timeout_ms <= 15000 && net.timeout_ms > 0);
    CHECK(counts().accepted == 0 && counts().refused == 0 && counts().requests == 0); /* they count messages */
    end();
}

static void requests_that_cannot_be_made_are_refused(void) {
    static const char *const no_colon[] = {"Authorization", NULL}, *const no_name[] = {": b", NULL};
    static const char *const split[] = {"A: b\r\nHost: evil", NULL}, *const ours[] = {"content-length: 3", NULL};
    static const char *const no_text[] = {"A: " BAD, NULL}, *const spaced[] = {"A b: c", NULL};
    static const struct { const char *name; segment_request request; } refused[] = {
        {"method", {.method = ""}}, {"method", {.method = "HEAD"}}, {"method", {.method = "GET "}},
        {"method", {.method = "CONNECT"}}, {"method", {.method = BAD}}, {"api", {.api = 3}},
        {"api", {.api = UINT32_MAX}},
        {"flags", {.flags = 1}}, {"flags", {.flags = UINT32_C(1) << 31}}, {"body", {.body_length = 1}},
        {"body", {.body = "x", .body_length = SIZE_MAX}}, {"path", {.path = BAD}}, {"query", {.query = BAD}},
        {"path", {.path = "https://evil.example/"}}, {"path", {.path = "//evil.example/"}},
        {"path", {.path = "https://api.segment.io.evil.example/"}}, {"path", {.path = "http://api.segment.io/"}},
        {"path", {.path = "https://api.segment.io@evil.example/"}}, {"path", {.path = "/a b\n"}},
        {"path", {.path = "/a#b"}}, {"query", {.query = "a\r\nb"}}, {"query", {.query = "#"}},
        {"headers", {.headers = no_colon}}, {"headers", {.headers = no_name}}, {"headers", {.headers = split}},
        {"headers", {.headers = ours}}, {"headers", {.headers = no_text}}, {"headers", {.headers = spaced}},
        {"access_token", {.api = SEGMENT_PUBLIC_API}}, {"profile_token", {.api = SEGMENT_PROFILE_API}},
        {"cursor", {.api = SEGMENT_PUBLIC_API, .cursor = ""}}, {"cursor", {.api = SEGMENT_PUBLIC_API, .cursor = BAD}},
        {"cursor", {.cursor = "a"}},
    };
    const char *endless[1002];
    begin(by_host());
    for (size_t n = 0; n < COUNT(refused); n++) {
        segment_request request = refused[n].request;
        request.size = sizeof request;
        if (!request.path) request.path = "/";
        NO_ANSWER(&request, SEGMENT_INVALID, refused[n].name);
    }
    segment_request request = request_to("/");
    for (size_t n = 0; n < COUNT(endless); n++) endless[n] = "A: b";
    request.headers = endless; /* somebody forgot the NULL */
    NO_ANSWER(&request, SEGMENT_INVALID, "headers");
    CHECK(net.asked == 0);
    ACCEPTED(segment_shutdown(client, 0));
    request.headers = NULL;
    NO_ANSWER(&request, SEGMENT_CLOSED, "shut down");
    CHECK(net.asked == 0);
    end();
}

static void each_api_has_its_host_its_credentials_and_its_headers(void) {
    static const char *const hosts[][3] = {
        {"https://api.segment.io/v1", "https://api.segmentapis.com/v1", "https://profiles.segment.com/v1"},
        {"https://events.eu1.segmentapis.com/v1", "https://eu1.api.segmentapis.com/v1",
         "https://profiles.euw1.segment.com/v1"},
        {"https://a/v1", "https://b/v1", "https://c/v1"},
    };
    static const char *const credentials[] = {"Basic S0VZOg==", "Bearer public", "Basic cHJvZmlsZTo="};
    static const char *const of_gateway[] = {"X-Gateway: all", "X-Other: ours", NULL};
    static const char *const own[] = {"aUTHORIZATION: Basic bWluZTo=", "CONTENT-type:text/plain", "x-gateway: mine",
                                      "Content-Encoding: gzip", NULL};
    segment_config config = by_host();
    config.headers = of_gateway;
    config.access_token = "public";
    config.profile_token = "profile";
    for (size_t region = 0; region < COUNT(hosts); region++) {
        config.endpoint = region == 0 ? NULL : region == 1 ? "EU" : "https://a";
        if (region == 2) config.public_endpoint = "https://b/v1/", config.profile_endpoint = "https://c/";
        begin(config);
        for (uint32_t api = 0; api < 3; api++) {
            segment_request request = request_to("/v1");
            request.api = api;
            request.body = "{}";
            request.body_length = 2;
            CHECK(calls(&request) && is(net.url, hosts[region][api]));
            CHECK(is(header_sent("authorization"), credentials[api]));
            CHECK(api == SEGMENT_TRACKING_API ? is(header_sent("X-Gateway"), "all") : !header_sent("X-Gateway"));
            request.headers = own;
            CHECK(calls(&request));
            CHECK(is(net.headers, api == SEGMENT_TRACKING_API
                                      ? "aUTHORIZATION: Basic bWluZTo=\nCONTENT-type: text/plain\nx-gateway: mine\n"
                                        "Content-Encoding: gzip\nX-Other: ours\n"
                                      : "aUTHORIZATION: Basic bWluZTo=\nCONTENT-type: text/plain\nx-gateway: mine\n"
                                        "Content-Encoding: gzip\n"));
        }
        end();
    }
    config = by_host();
    begin(config); /* whoever brings a header of their own needs no token */
    segment_request request = request_to("/");
    request.api = SEGMENT_PUBLIC_API;
    request.headers = own;
    CHECK(calls(&request));
    end();
}

static int32_t page(segment_response *response) {
    char body[128] = "{\"data\":{\"pagination\":{\"current\":\"c\"}}}";
    int left = 4 - net.asked;
    if (strncmp(net.url, "https://profiles.", 17) == 0) {
        snprintf(body, sizeof body, "{\"data\":[],\"cursor\":{\"has_more\":%s,\"next\":\"%d\"}}",
                 left ? "true" : "false", left);
    } else if (left) {
        snprintf(body, sizeof body, "{\"data\":{\"pagination\":{\"next\":\"b=%d\"}}}", left);
    }
    return segment_response_set(response, 200, body, strlen(body)), 0;
}

static int32_t no_page(segment_response *response) {
    return segment_response_set(response, 404, "{\"cursor\":{\"next\":\"a\"}}", 23), 0;
}

static int32_t no_cursor_in_c(segment_response *response) {
    return segment_response_set(response, 200, "{\"cursor\":{\"next\":\"a\\u0000b\"}}", 30), 0;
}

/* As a program of C goes through a list: the cursor of an answer, and with it the next request. */
static void a_list_is_read_page_by_page(void) {
    static const char *const queries[][4] = {
        {"?q=1", "?q=1&pagination.cursor=b%3D3", "?q=1&pagination.cursor=b%3D2", "?q=1&pagination.cursor=b%3D1"},
        {"?q=1", "?q=1&next=3", "?q=1&next=2", "?q=1&next=1"},
    };
    segment_config config = by_host();
    config.access_token = "public";
    config.profile_token = "profile";
    begin(config);
    for (size_t api = 0; api < 2; api++) {
        segment_request request = request_to("/list");
        segment_response *response = NULL;
        request.api = api ? SEGMENT_PROFILE_API : SEGMENT_PUBLIC_API;
        request.method = "GET";
        request.query = "q=1";
        net.asked = 0;
        net.answer = page;
        do {
            segment_response *next = segment_call(client, &request);
            segment_response_free(response); /* what it named was needed until here */
            response = next;
            const char *query = strchr(net.url, '?');
            CHECK(net.asked <= 4 && is(query, queries[api][net.asked - 1]));
            request.cursor = segment_response_cursor(response);
            CHECK(request.cursor == segment_response_cursor(response)); /* it stays where it is */
        } while (request.cursor);
        CHECK(net.asked == 4);
        segment_response_free(response);

        static int32_t (*const none[])(segment_response *) = {good, no_page, no_cursor_in_c, no_body, binary};
        for (size_t n = 0; n < COUNT(none); n++) {
            net.answer = none[n];
            response = segment_call(client, &request);
            CHECK(response && segment_response_cursor(response) == NULL);
            segment_response_free(response);
        }
    }
    end();
}

/* Of a request and of oauth: sizes that no header ever had, a newer header's, an older one's. */
static void structs_may_be_older_and_newer(void) {
    static const uint32_t wrong[] = {0, 4, 7, 9, 4097, UINT32_MAX};
    struct { segment_request known; uint64_t later[2]; } newer = {request_to("/v1/x"), {0, 0}};
    struct { segment_oauth known; uint64_t later[2]; } newer_oauth = {{.client_id = "c", .key_id = "k"}, {0, 0}};
    segment_config config = by_host();
    segment_request request = request_to("/v1/x");
    segment_oauth oauth = {.size = 0, .client_id = "c", .key_id = "k", .private_key = "no key"};
    begin(config);
    for (size_t n = 0; n < COUNT(wrong); n++) {
        request.size = oauth.size = wrong[n];
        NO_ANSWER(&request, SEGMENT_INVALID, "sizeof(segment_request)");
        config.oauth = &oauth;
        NO_CLIENT(&config, "sizeof(segment_oauth)");
    }
    request.size = offsetof(segment_request, query); /* what lies behind it is not read, though it would be refused */
    request.query = request.body = BAD;
    request.body_length = SIZE_MAX;
    request.headers = (const char *const *)&request;
    CHECK(calls(&request) && is(net.url, "https://api.segment.io/v1/x") && net.length == 0);
    request.size = offsetof(segment_request, method); /* so old that it has no path */
    NO_ANSWER(&request, SEGMENT_INVALID, "path");
    newer.known.size = sizeof newer;
    CHECK(calls(&newer.known));
    newer.later[1] = UINT64_C(1) << 63; /* a wish of the future: its last byte */
    NO_ANSWER(&newer.known, SEGMENT_INVALID, "segment_request");

    oauth.size = offsetof(segment_oauth, scope);
    oauth.scope = oauth.endpoint = BAD;
    NO_CLIENT(&config, "oauth: private_key"); /* as far as that it was read */
    newer_oauth.known.private_key = "no key";
    newer_oauth.known.size = sizeof newer_oauth;
    config.oauth = &newer_oauth.known;
    NO_CLIENT(&config, "oauth: private_key");
    newer_oauth.later[0] = 1;
    NO_CLIENT(&config, "segment_oauth");
    end();
}

static void settings_that_cannot_be_are_refused_by_name(void) {
    static const struct { const char *name; segment_oauth oauth; } refused[] = {
        {"oauth: client_id", {.client_id = NULL}}, {"oauth: client_id", {.client_id = BAD}},
        {"oauth: client_id", {.client_id = "", .key_id = "k", .private_key = "p"}},
        {"oauth: key_id", {.client_id = "c"}}, {"oauth: key_id", {.client_id = "c", .key_id = "", .private_key = "p"}},
        {"oauth: private_key", {.client_id = "c", .key_id = "k"}},
        {"oauth: private_key", {.client_id = "c", .key_id = "k", .private_key = ""}},
        {"oauth: private_key",
         {.client_id = "c", .key_id = "k",
          .private_key = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----"}},
        {"oauth: scope", {.client_id = "c", .key_id = "k", .private_key = "p", .scope = BAD}},
        {"oauth: scope", {.client_id = "c", .key_id = "k", .private_key = "p", .scope = ""}},
        {"oauth: endpoint", {.client_id = "c", .key_id = "k", .private_key = "p", .endpoint = BAD}},
        {"oauth: endpoint", {.client_id = "c", .key_id = "k", .private_key = "p", .endpoint = "host"}},
        {"oauth: endpoint", {.client_id = "c", .key_id = "k", .private_key = "p", .endpoint = ""}},
        {"oauth: flags", {.client_id = "c", .key_id = "k", .private_key = "p", .flags = 1}},
    };
    static const char *const proxies[] = {"host", "ftp://host", "http://", "socks5://", "http://a b", BAD};
    segment_config config = by_host();
    for (size_t n = 0; n < COUNT(refused); n++) {
        segment_oauth oauth = refused[n].oauth;
        oauth.size = sizeof oauth;
        config.oauth = &oauth;
        NO_CLIENT(&config, refused[n].name);
    }
    config = dry();
    for (size_t n = 0; n < COUNT(proxies); n++) {
        config.proxy = proxies[n];
        NO_CLIENT(&config, "proxy");
        CHECK(!strstr(segment_error(), "pw"));
    }
    config.proxy = "http://me:pw@host";
    CHECK(makes(&config));
    config.proxy = "";
    CHECK(makes(&config));
    config.ca_file = "/nowhere/ca.pem";
    forget();
    CHECK(!makes(&config) && is_refused(segment_error_status(), SEGMENT_STORAGE, "ca_file"));
    config.ca_file = __FILE__; /* there is no certificate in it */
    NO_CLIENT(&config, "ca_file");
    CHECK(net.asked == 0);
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
    INVALID(segment_track(client, "u", "", NULL, NULL), "event"); /* it does not see what is wrong anyway */
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

static segment_client *other; /* of the same program */
static segment_status inside[5];

static const char *call_back(const char *json) {
    if (editor.asked > 1) return json; /* it got through: that will be seen */
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

static void a_client_without_a_memory_knows_nobody(void) {
    char id[64] = "before";
    begin(by_host());
    CHECK(segment_anonymous_id(client, id, sizeof id) == 0 && id[0] == '\0');
    ACCEPTED(segment_identify(client, "u", NULL, NULL));
    id[0] = 'x';
    CHECK(segment_user_id(client, id, sizeof id) == 0 && id[0] == '\0');
    CHECK(segment_user_id(client, NULL, 0) == 0);
    INVALID(segment_reset(client), "stateful");
    INVALID(segment_track(client, NULL, "E", NULL, NULL), "user_id");
    INVALID(segment_alias(client, "v", NULL, NULL), "previous_id");
    INVALID(segment_enqueue(client, "{\"type\":\"page\"}", 15), "userId");
    end();
}

static void a_stateful_client_knows_its_user(void) {
    char anonymous[64], again[64], id[64], expected[200];
    segment_config config = by_host();
    segment_options options = {.size = sizeof options, .anonymous_id = "mine"};
    config.flags |= SEGMENT_STATEFUL;
    begin(config);
    CHECK(segment_anonymous_id(client, anonymous, sizeof anonymous) == 36 && strlen(anonymous) == 36);
    CHECK(segment_anonymous_id(client, NULL, 0) == 36 && segment_user_id(client, id, sizeof id) == 0 && id[0] == '\0');
    memset(again, 'x', sizeof again);
    CHECK(segment_anonymous_id(client, again, 0) == 36 && again[0] == 'x'); /* nothing may be written */
    CHECK(segment_anonymous_id(client, again, 1) == 36 && again[0] == '\0' && again[1] == 'x');
    /* no room for the NUL */
    CHECK(segment_anonymous_id(client, again, 36) == 36 && again[0] == '\0' && again[1] == 'x');
    CHECK(segment_anonymous_id(client, again, 37) == 36 && is(again, anonymous) && again[37] == 'x');

    ACCEPTED(segment_track(client, NULL, "E", NULL, NULL));
    snprintf(expected, sizeof expected, "\"anonymousId\":\"%s\",\"event\":\"E\"", anonymous);
    sent();
    SAYS(expected);
    SILENT("userId");

    segment_object *traits = segment_object_parse("{\"plan\": \"pro\"}");
    ACCEPTED(segment_identify(client, "u-1", traits, NULL));
    CHECK(segment_user_id(client, id, 4) == 3 && is(id, "u-1"));
    CHECK(segment_user_id(client, id, 3) == 3 && is(id, ""));
    ACCEPTED(segment_page(client, NULL, NULL, NULL, NULL));
    ACCEPTED(segment_enqueue(client, "{\"type\":\"screen\"}", 17));
    ACCEPTED(segment_group(client, "other", "g", NULL, &options)); /* what is given counts */
    sent();
    snprintf(expected, sizeof expected, "\"userId\":\"u-1\",\"anonymousId\":\"%s\",\"traits\":{\"plan\":\"pro\"}",
             anonymous);
    SAYS(expected);
    snprintf(expected, sizeof expected, "\"type\":\"screen\",\"userId\":\"u-1\",\"anonymousId\":\"%s\"", anonymous);
    SAYS(expected);
    SAYS("\"userId\":\"other\",\"anonymousId\":\"mine\",\"groupId\":\"g\"");
    SAYS("\"context\":{\"library\":");
    SAYS("\"traits\":{\"plan\":\"pro\"}}}");

    ACCEPTED(segment_alias(client, "u-2", NULL, NULL));
    sent();
    SAYS("\"userId\":\"u-2\"");
    SAYS("\"previousId\":\"u-1\"");
    CHECK(segment_user_id(client, id, sizeof id) == 3 && is(id, "u-2"));
    INVALID(segment_identify(client, "", NULL, NULL), "user_id"); /* who is refused is not remembered */
    CHECK(segment_user_id(client, id, sizeof id) == 3 && is(id, "u-2"));

    ACCEPTED(segment_reset(client));
    CHECK(segment_user_id(client, id, sizeof id) == 0);
    CHECK(segment_anonymous_id(client, again, sizeof again) == 36 && !is(again, anonymous));
    ACCEPTED(segment_track(client, NULL, "F", NULL, NULL));
    sent();
    SAYS(again);
    SILENT(anonymous);
    SILENT("plan");
    ACCEPTED(segment_alias(client, "u-3", NULL, NULL)); /* the one that is known is the anonymous one */
    sent();
    snprintf(expected, sizeof expected, "\"previousId\":\"%s\"", again);
    SAYS(expected);
    segment_object_free(traits);
    end();
}

/* On Unix a path is bytes: a home whose name is Latin-1 is as good as any. */
static void the_user_is_known_after_a_restart(const char *below) {
    char path[96];
    char anonymous[64], again[64], id[64];
    segment_config config = by_host();
    config.flags |= SEGMENT_STATEFUL;
    snprintf(path, sizeof path, "%s%s", new_folder(), below);
    config.spool_dir = path;
    spooling = true;
    begin(config);
    CHECK(segment_anonymous_id(client, anonymous, sizeof anonymous) == 36);
    ACCEPTED(segment_identify(client, "u-1", NULL, NULL));
    end();
    begin(config);
    CHECK(segment_anonymous_id(client, again, sizeof again) == 36 && is(again, anonymous));
    CHECK(segment_user_id(client, id, sizeof id) == 3 && is(id, "u-1"));
    ACCEPTED(segment_reset(client));
    end();
    begin(config);
    CHECK(segment_anonymous_id(client, again, sizeof again) == 36 && !is(again, anonymous));
    CHECK(segment_user_id(client, id, sizeof id) == 0);
    end();
    spooling = false;
    strcat(path, "/segment-native/identity.json");
    CHECK(access(path, R_OK) == 0);
    delete_folder();
}

static void consent_is_stamped_on_every_message(void) {
    static const char stamp[] = "\"consent\":{\"categoryPreferences\":{\"ads\":true,\"news\":false}}";
    static const char *const wrong[] = {
        "{}", "{\"ads\": 1}", "{\"ads\": true, \"news\": null}", "{\"ads\": \"yes\"}", "[",
    };
    for (uint32_t stateful = 0; stateful <= SEGMENT_STATEFUL; stateful += SEGMENT_STATEFUL) {
        segment_config config = by_host();
        config.flags |= stateful;
        begin(config);
        segment_object *categories = segment_object_new();
        segment_object_set_bool(categories, "ads", true);
        segment_object_set_bool(categories, "news", false);
        for (int times = 0; times < 2; times++) ACCEPTED(segment_set_consent(client, categories));
        CHECK(counts().accepted == (stateful ? 1 : 0)); /* a new choice is told, and only a new one */
        ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
        ACCEPTED(segment_enqueue(client, "{\"type\":\"page\",\"userId\":\"u\"}", 28));
        const char *place = sent();
        for (int n = 0; n < (stateful ? 3 : 2); n++) {
            place = strstr(place, stamp);
            CHECK(place != NULL);
            if (!place) break;
            place += sizeof stamp;
        }
        if (stateful) SAYS("\"event\":\"Segment Consent Preference Updated\"");
        else SILENT("Segment Consent Preference Updated");
        for (size_t n = 0; n < COUNT(wrong); n++) {
            segment_object *parsed = segment_object_parse(wrong[n]);
            INVALID(segment_set_consent(client, parsed), "categories");
            segment_object_free(parsed);
        }
        ACCEPTED(segment_track(client, "u", "F", NULL, NULL)); /* what was refused has changed nothing */
        CHECK(strstr(sent(), stamp) != NULL);
        ACCEPTED(segment_set_consent(client, NULL));
        ACCEPTED(segment_track(client, "u", "G", NULL, NULL));
        sent();
        SAYS("\"event\":\"G\"");
        SILENT("consent");
        segment_object_free(categories);
        end();
    }
}

static void who_opts_out_is_left_alone(void) {
    char id[64];
    segment_request request = request_to("/v1/x");
    segment_config config = by_host();
    config.flags |= SEGMENT_STATEFUL;
    config.access_token = "t";
    begin(config);
    ACCEPTED(segment_identify(client, "u", NULL, NULL));
    ACCEPTED(segment_track(client, NULL, "E", NULL, NULL));
    for (int times = 0; times < 2; times++) ACCEPTED(segment_opt_out(client));
    CHECK(counts().accepted == 2 && counts().dropped == 2 && counts().queued == 0);
    REFUSED(segment_identify(client, "u", NULL, NULL), SEGMENT_OPTED_OUT, "opted out");
    REFUSED(segment_track(client, "u", "E", NULL, NULL), SEGMENT_OPTED_OUT, "opted out");
    REFUSED(segment_enqueue(client, "{\"type\":\"page\",\"userId\":\"u\"}", 28), SEGMENT_OPTED_OUT, "opted out");
    REFUSED(segment_reset(client), SEGMENT_OPTED_OUT, "opted out");
    REFUSED(segment_set_consent(client, NULL), SEGMENT_OPTED_OUT, "opted out");
    NO_ANSWER(&request, SEGMENT_OPTED_OUT, "opted out");
    ACCEPTED(segment_flush(client, PATIENCE));
    CHECK(net.asked == 0 && counts().refused == 5 && counts().dropped == 2);
    request.api = SEGMENT_PUBLIC_API; /* it is about no user */
    CHECK(calls(&request) && net.asked == 1);
    CHECK(segment_user_id(client, id, sizeof id) == 0 && segment_anonymous_id(client, id, sizeof id) == 0);

    ACCEPTED(segment_opt_in(client));
    CHECK(segment_anonymous_id(client, id, sizeof id) == 36 && segment_user_id(client, NULL, 0) == 0);
    ACCEPTED(segment_track(client, NULL, "F", NULL, NULL));
    sent();
    SAYS(id);
    SILENT("\"event\":\"E\"");
    CHECK(counts().delivered == 1 && counts().dropped == 2);
    end();
}

static void who_opted_out_stays_so(void) {
    segment_config config = by_host();
    config.spool_dir = new_folder();
    spooling = true;
    begin(config);
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    ACCEPTED(segment_opt_out(client));
    CHECK(counts().dropped == 1);
    segment_client *first = client;
    begin(config); /* a second one, beside it */
    REFUSED(segment_track(client, "u", "E", NULL, NULL), SEGMENT_OPTED_OUT, "opted out");
    ACCEPTED(segment_flush(client, PATIENCE));
    CHECK(counts().accepted == 0 && counts().refused == 1);
    end();
    segment_free(first);
    config.write_key = "ANOTHER"; /* the user has opted out of the program, not of a source */
    begin(config);
    REFUSED(segment_page(client, "u", NULL, NULL, NULL), SEGMENT_OPTED_OUT, "opted out");
    ACCEPTED(segment_opt_in(client));
    end();
    begin(config);
    ACCEPTED(segment_page(client, "u", NULL, NULL, NULL));
    sent();
    SAYS("\"type\":\"page\"");
    SILENT("\"event\":\"E\"");
    end();
    spooling = false;
    delete_folder();
}

static int warnings;

static void on_log(void *userdata, int32_t level, const char *message) {
    net.wrong |= userdata != &net || message[0] == '\0';
    warnings += level == 1;
}

/* What a strict client refuses is what any other warns of. */
static void a_strict_client_refuses_what_others_warn_of(void) {
    static const char *const messages[] = {
        ("{\"type\":\"track\",\"userId\":\"u\",\"event\":\"Order Completed\","
         "\"properties\":{\"revenue\":1.5,\"currency\":\"EUR\"}}"),
        "{\"type\":\"track\",\"userId\":\"u\",\"event\":\"Order Completed\",\"properties\":{\"revenue\":\"1.5\"}}",
        "{\"type\":\"track\",\"userId\":\"u\",\"event\":\"Order Completed\",\"properties\":{\"currency\":\"euros\"}}",
        "{\"type\":\"identify\",\"userId\":\"u\",\"traits\":{\"age\":\"many\"}}",
        "{\"type\":\"identify\",\"userId\":\"null\",\"traits\":{\"name\":\"A\"}}",
        "{\"type\":\"identify\",\"userId\":\"u\",\"traits\":{\"first_name\":\"A\",\"firstName\":\"B\"}}",
        "{\"type\":\"page\",\"userId\":\"u\",\"timestamp\":\"2999-01-02T03:04:05Z\"}",
    };
    for (size_t n = 0; n < COUNT(messages); n++) {
        size_t length = strlen(messages[n]);
        segment_config config = by_host();
        config.on_log = on_log;
        warnings = 0;
        begin(config);
        ACCEPTED(segment_enqueue(client, messages[n], length));
        sent();
        end();
        config.on_log = NULL;
        config.flags |= SEGMENT_STRICT;
        begin(config);
        forget();
        segment_status status = segment_enqueue(client, messages[n], length);
        CHECK(status == (warnings ? SEGMENT_INVALID : SEGMENT_OK));
        CHECK(n > 0 || status == SEGMENT_OK);
        CHECK(counts().refused == (warnings ? 1 : 0));
        end();
    }
}

static void the_machine_is_described_if_that_is_wanted(void) {
    segment_config config = by_host();
    segment_object *context = segment_object_parse("{\"device\": {\"id\": \"d\"}, \"timezone\": \"Europe/Vienna\"}");
    config.context = context;
    for (int wanted = 0; wanted < 2; wanted++) {
        config.flags = SEGMENT_NO_GZIP | (wanted ? SEGMENT_DEVICE_CONTEXT : 0);
        begin(config);
        ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
        sent();
        SAYS("\"timezone\":\"Europe/Vienna\""); /* what the host says counts */
        CHECK((strstr(net.body, "\"os\":{\"name\":\"") != NULL) == wanted);
        CHECK((strstr(net.body, "\"device\":{\"type\":\"linux\",\"id\":\"d\"}") != NULL) == wanted);
        end();
    }
    segment_object_free(context);
    config.context = NULL;
    begin(config);
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    sent();
    SAYS("\"os\":{\"name\":\"");
    SAYS("\"device\":{\"type\":\"linux\"}");
    FILE *zone = fopen("/etc/timezone", "r"); /* where the system says it, so do we */
    if (zone) SAYS("\"timezone\":\""), fclose(zone);
    end();
}

static void the_life_of_an_app_is_tracked(void) {
    static const char *const runs[][3] = {
        {"{\"app\": {\"version\": \"1.0\", \"build\": \"7\"}}", "Application Installed",
         "\"properties\":{\"version\":\"1.0\",\"build\":\"7\"}"},
        {"{\"app\": {\"version\": \"1.0\", \"build\": \"7\"}}", NULL, ""},
        {"{\"app\": {\"version\": \"1.1\", \"build\": \"8\"}}", "Application Updated",
         "\"previous_version\":\"1.0\",\"previous_build\":\"7\""},
    };
    static const char *const events[] = {"Application Installed", "Application Updated"};
    segment_config config = by_host();
    config.flags |= SEGMENT_LIFECYCLE;
    NO_CLIENT(&config, "SEGMENT_STATEFUL");
    config.flags |= SEGMENT_STATEFUL;
    begin(config);
    CHECK(counts().accepted == 1); /* without a folder nobody knows whether there was an earlier time */
    sent();
    SAYS("\"event\":\"Application Opened\",\"properties\":{\"from_background\":false}");
    end();

    config.spool_dir = new_folder();
    spooling = true;
    for (size_t n = 0; n < COUNT(runs); n++) {
        segment_object *context = segment_object_parse(runs[n][0]);
        config.context = context;
        begin(config);
        CHECK(counts().accepted == (runs[n][1] ? 2 : 1));
        sent();
        SAYS("\"event\":\"Application Opened\"");
        SAYS(runs[n][2]);
        for (size_t e = 0; e < COUNT(events); e++)
            CHECK((strstr(net.body, events[e]) != NULL) == (runs[n][1] && strcmp(events[e], runs[n][1]) == 0));
        segment_object_free(context);
        end();
    }
    spooling = false;
    delete_folder();
}

int main(void) {
    null_never_crashes();
    the_hosts_http_sees_the_whole_request();
    a_transport_may_fail_in_every_way();
    answers_are_read_back();
    requests_are_made_as_they_are_asked_for();
    requests_that_cannot_be_made_are_refused();
    each_api_has_its_host_its_credentials_and_its_headers();
    a_list_is_read_page_by_page();
    structs_may_be_older_and_newer();
    settings_that_cannot_be_are_refused_by_name();
    before_send_keeps_replaces_and_drops();
    what_before_send_returns_is_checked();
    before_send_must_not_use_its_client();
    the_transport_of_a_call_must_not_end_its_client();
    a_client_without_a_memory_knows_nobody();
    a_stateful_client_knows_its_user();
    the_user_is_known_after_a_restart("");
    the_user_is_known_after_a_restart("/Andr\xe9");
    consent_is_stamped_on_every_message();
    who_opts_out_is_left_alone();
    who_opted_out_stays_so();
    a_strict_client_refuses_what_others_warn_of();
    the_machine_is_described_if_that_is_wanted();
    the_life_of_an_app_is_tracked();
    return sum();
}
