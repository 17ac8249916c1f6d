/* A user who is asked first (SEGMENT_ASK_FIRST): before they have answered nothing is written or sent.
 *     ask                        the tests
 *     ask silent|yes FOLDER URL  a program to trace, whose user never answers, or says yes */
#define _XOPEN_SOURCE 700 /* mkdtemp, setenv and nftw, which a strict compiler leaves out */
#include "check.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#define WEEK 604800000u /* in milliseconds: no test waits that long */

static char folder[64], spool[96];
static int asked;

static int32_t transport(void *userdata, const segment_http *request, segment_response *response) {
    (void)userdata, (void)request;
    asked++;
    segment_response_set(response, 200, "{\"success\":true}", 16);
    return 0;
}

/* With a spool that does not exist yet. */
static segment_config asking(void) {
    segment_config config = dry();
    config.flags = SEGMENT_ASK_FIRST | SEGMENT_STATEFUL;
    config.spool_dir = spool;
    config.transport = transport;
    config.shutdown_ms = WEEK;
    return config;
}

static void new_folder(void) {
    snprintf(folder, sizeof folder, "/tmp/segment-ask-XXXXXX");
    if (!mkdtemp(folder)) abort();
    snprintf(spool, sizeof spool, "%s/spool", folder);
    asked = 0;
}

static int delete_one(const char *path, const struct stat *stat, int kind, struct FTW *at) {
    (void)stat, (void)kind, (void)at;
    return remove(path);
}

static void delete_folder(void) {
    nftw(folder, delete_one, 16, FTW_DEPTH | FTW_PHYS);
}

static bool is_written(void) {
    struct stat stat_of_spool;
    return stat(spool, &stat_of_spool) == 0;
}

/* A consent and three calls: four messages. */
static void say_everything(void) {
    segment_object *choice = segment_object_new();
    segment_object_set_bool(choice, "ads", false);
    ACCEPTED(segment_set_consent(client, choice));
    ACCEPTED(segment_identify(client, "u-42", NULL, NULL));
    ACCEPTED(segment_alias(client, "u-43", NULL, NULL));
    ACCEPTED(segment_track(client, NULL, "E", NULL, NULL));
    segment_object_free(choice);
}

static bool is_held(uint64_t messages) {
    segment_stats s = counts();
    return s.held == messages && s.queued == messages && s.in_memory == messages && s.dropped == 0 && s.requests == 0;
}

static void misuse(void) {
    forget();
    CHECK(segment_opt_state(NULL) == SEGMENT_CHOICE_NONE);
    INVALID(segment_error_status(), "client");
    segment_config config = dry();
    config.flags = 512;
    NO_CLIENT(&config, "flags has unknown bits: 0x200");
}

static void a_yes_releases_everything(void) {
    char before[64], after[64];
    segment_request request = {.size = sizeof request, .path = "/v1/track", .method = "POST"};
    new_folder();
    begin(asking());
    CHECK(segment_opt_state(client) == SEGMENT_CHOICE_NONE);
    CHECK(segment_anonymous_id(client, before, sizeof before) == 36);
    say_everything();
    CHECK(is_held(4));
    REFUSED(segment_flush(client, WEEK), SEGMENT_TIMEOUT, "has not answered yet");
    forget();
    CHECK(!segment_call(client, &request));
    REFUSED(segment_error_status(), SEGMENT_OPTED_OUT, "has not answered yet");
    CHECK(!is_written() && asked == 0 && is_held(4));
    segment_status said = segment_opt_in(client);
    spooling = true; /* from now on */
    ACCEPTED(said);
    CHECK(segment_opt_state(client) == SEGMENT_CHOICE_IN && counts().held == 0 && is_written());
    ACCEPTED(segment_flush(client, PATIENCE));
    CHECK(counts().delivered == 4 && asked == 1);
    end();
    begin(asking()); /* the answer is remembered, and who gave it */
    CHECK(segment_opt_state(client) == SEGMENT_CHOICE_IN && segment_anonymous_id(client, after, sizeof after) == 36);
    CHECK(strcmp(before, after) == 0);
    ACCEPTED(segment_track(client, NULL, "E", NULL, NULL));
    ACCEPTED(segment_flush(client, PATIENCE));
    CHECK(counts().delivered == 1);
    end();
    spooling = false;
    delete_folder();
}

static void a_no_erases_it(void) {
    new_folder();
    begin(asking());
    say_everything();
    ACCEPTED(segment_opt_out(client));
    CHECK(segment_opt_state(client) == SEGMENT_CHOICE_OUT && counts().dropped == 4 && counts().held == 0);
    REFUSED(segment_track(client, "u", "E", NULL, NULL), SEGMENT_OPTED_OUT, "opted out");
    ACCEPTED(segment_flush(client, PATIENCE));
    end();
    begin(asking());
    CHECK(segment_opt_state(client) == SEGMENT_CHOICE_OUT && asked == 0);
    end();
    delete_folder();
}

static void without_an_answer_the_end_drops_it_at_once(void) {
    new_folder();
    begin(asking());
    say_everything();
    REFUSED(segment_shutdown(client, WEEK), SEGMENT_TIMEOUT, "has not answered yet");
    CHECK(is_held(4));
    segment_free(client); /* does not wait a week */
    client = NULL;
    CHECK(!is_written() && asked == 0);
    delete_folder();
}

static void what_cannot_be_read_is_a_no(void) {
    char path[160];
    new_folder();
    snprintf(path, sizeof path, "%s/segment-native", spool);
    CHECK(mkdir(spool, 0700) == 0);
    FILE *file = fopen(path, "w"); /* not a folder */
    CHECK(file && fclose(file) == 0);
    begin(asking());
    CHECK(segment_opt_state(client) == SEGMENT_CHOICE_OUT);
    REFUSED(segment_track(client, "u", "E", NULL, NULL), SEGMENT_OPTED_OUT, "counts as a no");
    end();
    delete_folder();
}

static void do_not_track_is_a_no_until_there_is_a_yes(void) {
    new_folder();
    CHECK(setenv("DO_NOT_TRACK", "1", 1) == 0);
    segment_config config = asking();
    config.flags = 0;
    config.spool_dir = NULL;
    begin(config);
    CHECK(segment_opt_state(client) == SEGMENT_CHOICE_NONE); /* without the flag it does not count */
    end();
    begin(asking());
    CHECK(segment_opt_state(client) == SEGMENT_CHOICE_OUT);
    REFUSED(segment_track(client, "u", "E", NULL, NULL), SEGMENT_OPTED_OUT, "DO_NOT_TRACK");
    CHECK(!is_written());
    ACCEPTED(segment_opt_in(client));
    spooling = true;
    ACCEPTED(segment_track(client, NULL, "E", NULL, NULL));
    ACCEPTED(segment_flush(client, PATIENCE));
    CHECK(segment_opt_state(client) == SEGMENT_CHOICE_IN && counts().delivered == 1);
    end();
    spooling = false;
    CHECK(unsetenv("DO_NOT_TRACK") == 0);
    delete_folder();
}

static void without_the_flag_an_answer_is_returned_too(void) {
    begin(dry());
    CHECK(segment_opt_state(client) == SEGMENT_CHOICE_NONE);
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    ACCEPTED(segment_opt_in(client));
    CHECK(segment_opt_state(client) == SEGMENT_CHOICE_IN && counts().queued == 1 && counts().held == 0);
    ACCEPTED(segment_opt_out(client));
    CHECK(segment_opt_state(client) == SEGMENT_CHOICE_OUT);
    end();
}

/* Does all that a program does; tests/c traces its system calls. */
static int live(bool says_yes, char *spool_dir, const char *endpoint) {
    segment_object *context = segment_object_parse("{\"app\":{\"version\":\"1\"}}");
    segment_config config = {.size = sizeof config, .write_key = "KEY", .shutdown_ms = WEEK, .flush_at = 1};
    segment_request request = {.size = sizeof request, .path = "/v1/track", .method = "POST"};
    config.flags = SEGMENT_ASK_FIRST | SEGMENT_STATEFUL | SEGMENT_LIFECYCLE | SEGMENT_SYNC | SEGMENT_DEVICE_CONTEXT;
    config.context = context;
    config.spool_dir = spool_dir;
    config.endpoint = endpoint;
    begin(config);
    say_everything();
    ACCEPTED(segment_reset(client));
    for (int n = 0; n < 3000; n++) ACCEPTED(segment_track(client, NULL, "E", NULL, NULL));
    CHECK(segment_opt_state(client) == SEGMENT_CHOICE_NONE);
    REFUSED(segment_flush(client, PATIENCE), SEGMENT_TIMEOUT, "has not answered yet");
    CHECK(!segment_call(client, &request) && is_held(3006));
    if (says_yes) {
        segment_status said = segment_opt_in(client);
        spooling = true; /* from now on */
        ACCEPTED(said);
        segment_flush(client, 500); /* no server is there */
        segment_shutdown(client, 0);
    }
    segment_free(client);
    client = NULL;
    segment_object_free(context);
    return sum();
}

int main(int argc, char **argv) {
    unsetenv("DO_NOT_TRACK");
    if (argc == 4) return live(strcmp(argv[1], "yes") == 0, argv[2], argv[3]);
    misuse();
    a_yes_releases_everything();
    a_no_erases_it();
    without_an_answer_the_end_drops_it_at_once();
    what_cannot_be_read_is_a_no();
    do_not_track_is_a_no_until_there_is_a_yes();
    without_the_flag_an_answer_is_returned_too();
    return sum();
}
