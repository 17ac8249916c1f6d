/* A network of the test's own (segment_config.transport), and a folder for a spool. */
#ifndef HOST_H
#define HOST_H

#include "check.h"

#include <ftw.h>
#include <unistd.h>

/* segment_call gives no response, for this reason. */
#define NO_ANSWER(request, status, word) \
    (forget(), check(!calls(request) && is_refused(segment_error_status(), (status), (word)), __FILE__, __LINE__, \
                     #request))
#define SAYS(text) CHECK(strstr(net.body, (text)) != NULL)
#define SILENT(text) CHECK(strstr(net.body, (text)) == NULL)

/* In place of the network: stores the last request, and answers as the test wants. */
static struct {
    int asked;
    bool wrong;
    uint32_t timeout_ms;
    char method[16], url[512], headers[4096];
    char body[70000]; /* with a NUL at its end */
    size_t length;
    int32_t (*answer)(segment_response *response);
} net;

static inline int32_t good(segment_response *response) {
    segment_response_set(response, 200, "{\"success\": true}", 17);
    return 0;
}

static inline int32_t transport(void *userdata, const segment_http *request, segment_response *response) {
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

/* Sends through that network, uncompressed so that it can be read, and only when told to. */
static inline segment_config by_host(void) {
    segment_config config = dry();
    memset(&net, 0, sizeof net);
    net.answer = good;
    config.flags = SEGMENT_NO_GZIP;
    config.transport = transport;
    config.userdata = &net;
    return config;
}

static inline const char *sent(void) {
    net.body[0] = '\0';
    ACCEPTED(segment_flush(client, PATIENCE));
    CHECK(!net.wrong);
    return net.body;
}

static inline segment_request request_to(const char *path) {
    return (segment_request){.size = sizeof(segment_request), .path = path};
}

/* Makes a request, and returns only whether there was an answer. */
static inline bool calls(const segment_request *request) {
    segment_response *response = segment_call(client, request);
    segment_response_free(response);
    return response != NULL;
}

/* The value of a header as it was sent, by its exact name; NULL unless it was sent exactly once. */
static inline const char *header_sent(const char *name) {
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

static inline bool is(const char *text, const char *expected) {
    return text && strcmp(text, expected) == 0;
}

static inline int delete_one(const char *path, const struct stat *status, int kind, struct FTW *place) {
    return (void)status, (void)kind, (void)place, remove(path);
}

static char folder[32];

static inline const char *new_folder(void) {
    snprintf(folder, sizeof folder, "/tmp/segment-abi-XXXXXX");
    if (!mkdtemp(folder)) abort();
    return folder;
}

static inline void delete_folder(void) {
    CHECK(nftw(folder, delete_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

#endif
