/* Single requests to Segment's APIs, and their answers. */
#define _XOPEN_SOURCE 700 /* mkdtemp and nftw, which a strict compiler leaves out */
#include "host.h"

static void null_never_crashes(void) {
    segment_request request = request_to("/v1/group/");
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
    begin(by_host());
    NO_ANSWER(NULL, SEGMENT_INVALID, "request");
    request.path = NULL;
    NO_ANSWER(&request, SEGMENT_INVALID, "path");
    segment_response *response = segment_call(client, &(segment_request){.size = sizeof request, .path = ""});
    CHECK(response && is(net.url, "https://api.segment.io/"));
    FAILS(CHECK(!segment_response_header(response, NULL)), "name");
    FAILS(CHECK(!segment_response_header(response, BAD)), "name");
    segment_response_free(response);
    end();
}

static int32_t binary(segment_response *response) {
    char *copy = malloc(5); /* no longer than the body, and freed afterwards */
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
    const char *body = segment_response_body(response, &length); /* a part of it replaces the whole */
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
    INVALID(segment_error_status(), "client"); /* an absent header is not an error */
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

    char *body = malloc(6); /* no NUL at its end: reading further is detected */
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
    request.body_length = 0; /* a pointer alone is not a body */
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
    request.headers = endless; /* without the NULL at its end */
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
    begin(config); /* a request with its own header needs no token */
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

/* How a C program reads a list: the cursor of an answer goes into the next request. */
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
            segment_response_free(response); /* its cursor was needed until here */
            response = next;
            const char *query = strchr(net.url, '?');
            CHECK(net.asked <= 4 && is(query, queries[api][net.asked - 1]));
            request.cursor = segment_response_cursor(response);
            CHECK(request.cursor == segment_response_cursor(response)); /* the pointer stays the same */
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

/* Requests and oauth with sizes that no header ever had, with a newer header's, with an older one's. */
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
    request.size = offsetof(segment_request, query); /* what lies beyond it is not read, though it would be refused */
    request.query = request.body = BAD;
    request.body_length = SIZE_MAX;
    request.headers = (const char *const *)&request;
    CHECK(calls(&request) && is(net.url, "https://api.segment.io/v1/x") && net.length == 0);
    request.size = offsetof(segment_request, method); /* so old that it has no path */
    NO_ANSWER(&request, SEGMENT_INVALID, "path");
    newer.known.size = sizeof newer;
    CHECK(calls(&newer.known));
    newer.later[1] = UINT64_C(1) << 63; /* a later version's setting: its last byte */
    NO_ANSWER(&newer.known, SEGMENT_INVALID, "segment_request");

    oauth.size = offsetof(segment_oauth, scope);
    oauth.scope = oauth.endpoint = BAD;
    NO_CLIENT(&config, "oauth: private_key"); /* it was read up to here */
    newer_oauth.known.private_key = "no key";
    newer_oauth.known.size = sizeof newer_oauth;
    config.oauth = &newer_oauth.known;
    NO_CLIENT(&config, "oauth: private_key");
    newer_oauth.later[0] = 1;
    NO_CLIENT(&config, "segment_oauth");
    end();
}

int main(void) {
    null_never_crashes();
    answers_are_read_back();
    requests_are_made_as_they_are_asked_for();
    requests_that_cannot_be_made_are_refused();
    each_api_has_its_host_its_credentials_and_its_headers();
    a_list_is_read_page_by_page();
    structs_may_be_older_and_newer();
    return sum();
}
