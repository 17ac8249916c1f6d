/* Errors, and what the library says about itself. */
#define _POSIX_C_SOURCE 200809L /* what a strict compiler leaves out */
#include "check.h"

#include <pthread.h>

static void every_status_has_a_sentence(void) {
    CHECK(segment_error()[0] == '\0' && segment_error_status() == SEGMENT_OK);
    for (int32_t status = SEGMENT_OK; status <= SEGMENT_OPTED_OUT; status++) {
        CHECK(segment_strerror(status)[0] != '\0');
        CHECK(strcmp(segment_strerror(status), segment_strerror(-1)) != 0);
    }
    CHECK(strcmp(segment_strerror(SEGMENT_OPTED_OUT + 1), segment_strerror(-1)) == 0);
    CHECK(strcmp(segment_strerror(INT32_MAX), segment_strerror(INT32_MIN)) == 0);
}

static void the_library_says_what_it_is(void) {
    unsigned major = 0, minor = 0, patch = 0;
    char begin[64];
    CHECK(strcmp(segment_version(), SEGMENT_VERSION) == 0 && segment_version_number() == SEGMENT_VERSION_NUMBER);
    CHECK(sscanf(segment_version(), "%u.%u.%u", &major, &minor, &patch) == 3);
    CHECK(major * 1000000 + minor * 1000 + patch == segment_version_number());
    snprintf(begin, sizeof begin, "{\"version\":\"%s\",\"abi\":\"", SEGMENT_VERSION);
    CHECK(strncmp(segment_build_info(), begin, strlen(begin)) == 0);
    CHECK(strstr(segment_build_info(), "\"target\":\"") && !strstr(segment_build_info(), "\"target\":\"\""));
    CHECK(strstr(segment_build_info(), "\"features\":[\"http\",\"oauth\"]}"));
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

int main(void) {
    every_status_has_a_sentence();
    the_library_says_what_it_is();
    errors_belong_to_their_thread();
    return sum();
}
