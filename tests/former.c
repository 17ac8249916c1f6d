/* An update of a program has moved to another source or region: what waits in the folder for the former one is
 * delivered where the program sends now. */
#define _POSIX_C_SOURCE 200809L /* fork and mkdtemp, which a strict compiler leaves out */
#include "check.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define BEFORE "https://before.example"
#define NOW "https://now.example"

/* The host's own HTTP: takes everything, and records URLs and bodies. */
static char urls[4096], bodies[65536];

static int take(void *userdata, const segment_http *request, segment_response *response) {
    (void)userdata;
    if (strlen(urls) + strlen(request->url) + 2 < sizeof urls) strcat(strcat(urls, request->url), " ");
    if (strlen(bodies) + request->body_length < sizeof bodies) strncat(bodies, request->body, request->body_length);
    segment_response_set(response, 200, "", 0);
    return 0;
}

static segment_config settings(const char *folder, const char *write_key, const char *endpoint) {
    urls[0] = bodies[0] = 0;
    return (segment_config){.size = sizeof(segment_config), .flags = SEGMENT_NO_GZIP, .write_key = write_key,
                            .endpoint = endpoint, .spool_dir = folder, .transport = take, .shutdown_ms = 1};
}

/* A process of the former version, killed after it took a message. */
static void leave(const char *folder, const char *write_key, const char *endpoint, const char *id) {
    pid_t child = fork();
    int status = 0;
    if (child < 0) abort();
    if (child == 0) {
        segment_config before = settings(folder, write_key, endpoint);
        segment_options options = {.size = sizeof options, .message_id = id};
        segment_client *own = segment_new(&before);
        if (!own) _exit(1);
        segment_pause(own);
        if (segment_track(own, "u", "E", NULL, &options) != SEGMENT_OK) _exit(2);
        kill(getpid(), SIGKILL);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static bool has(const char *text) {
    return strstr(bodies, text) != NULL;
}

static void what_waits_is_sent_where_the_program_sends_now(void) {
    static const struct { const char *key, *endpoint; } formers[] = {
        {NULL, NULL}, {"OLD", NULL}, {NULL, BEFORE}, {"OLD", BEFORE "/v1/"}, {"NEW", NOW},
    };
    for (size_t n = 0; n < COUNT(formers); n++) {
        char folder[] = "/tmp/segment-former-XXXXXX";
        if (!mkdtemp(folder)) abort();
        leave(folder, "NEW", NOW, "own");
        leave(folder, "OLD", NOW, "of-the-key");
        leave(folder, "NEW", BEFORE, "of-the-region");
        leave(folder, "OLD", BEFORE, "of-both");
        bool key = formers[n].key && strcmp(formers[n].key, "OLD") == 0;
        bool endpoint = formers[n].endpoint && strcmp(formers[n].endpoint, NOW) != 0;
        uint64_t expected = (uint64_t)(1 + key + endpoint + (key && endpoint));
        segment_config now = settings(folder, "NEW", NOW);
        now.former_write_key = formers[n].key;
        now.former_endpoint = formers[n].endpoint;
        spooling = true;
        begin(now);
        ACCEPTED(segment_flush(client, PATIENCE));
        CHECK(counts().recovered == expected && counts().delivered == expected);
        CHECK(has("\"own\"") && has("\"of-the-key\"") == key && has("\"of-the-region\"") == endpoint);
        CHECK(has("\"of-both\"") == (key && endpoint));
        CHECK(has("\"writeKey\":\"NEW\"") && !has("OLD"));
        CHECK(strstr(urls, NOW "/v1/batch") && !strstr(urls, BEFORE));
        end();
        /* What is left still belongs to the former source. */
        begin(settings(folder, "OLD", BEFORE));
        ACCEPTED(segment_flush(client, PATIENCE));
        CHECK(counts().recovered == !(key && endpoint));
        end();
        spooling = false;
        char command[64];
        snprintf(command, sizeof command, "rm -r %s", folder);
        CHECK(system(command) == 0);
    }
}

static void a_wrong_one_is_named(void) {
    static const struct { const char *name, *key, *endpoint; } wrong[] = {
        {"former_write_key", "", NULL}, {"former_write_key", "a b", NULL}, {"former_write_key", BAD, NULL},
        {"former_endpoint", NULL, ""}, {"former_endpoint", NULL, "host"}, {"former_endpoint", NULL, BAD},
    };
    segment_config given;
    for (size_t n = 0; n < COUNT(wrong); n++) {
        given = settings("/tmp/segment-former-none", "NEW", NOW);
        given.former_write_key = wrong[n].key;
        given.former_endpoint = wrong[n].endpoint;
        NO_CLIENT(&given, wrong[n].name);
    }
    given = settings(NULL, "NEW", NOW);
    given.former_write_key = "OLD";
    NO_CLIENT(&given, "former_write_key needs a spool_dir");
    given = settings(NULL, "NEW", NOW);
    given.former_endpoint = "eu";
    NO_CLIENT(&given, "former_endpoint needs a spool_dir");
}

int main(void) {
    what_waits_is_sent_where_the_program_sends_now();
    a_wrong_one_is_named();
    return sum();
}
