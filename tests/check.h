/* What the C test programs have in common: each prints the checks that fail, with their lines, and the totals at the
 * end. */
#ifndef CHECK_H
#define CHECK_H

#include <segment.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int passed, failed;
static segment_client *client; /* of the test that is running */
static bool spooling;

#define BAD "\xc3\x28"       /* not UTF-8 */
#define COUNT(table) (sizeof(table) / sizeof(table)[0])
#define PATIENCE patience()   /* in milliseconds, longer than anything but a hang takes */

#define CHECK(condition) check((condition), __FILE__, __LINE__, #condition)
#define ACCEPTED(call) check((call) == SEGMENT_OK, __FILE__, __LINE__, #call)
/* The call returns this status, and the sentence names what is wrong. */
#define REFUSED(call, status, word) check(is_refused((call), (status), (word)), __FILE__, __LINE__, #call)
#define INVALID(call, word) REFUSED(call, SEGMENT_INVALID, word)
/* The same for functions that return nothing, and for settings that are refused. */
#define FAILS(call, word) (forget(), (call), INVALID(segment_error_status(), word))
#define NO_CLIENT(config, word) \
    (forget(), check(!makes(config) && is_refused(segment_error_status(), SEGMENT_INVALID, (word)), __FILE__, \
                     __LINE__, #config))

static inline uint32_t patience(void) {
    const char *factor = getenv("SEGMENT_TEST_PATIENCE");
    return (uint32_t)(120000 * (factor ? strtod(factor, NULL) : 1));
}

static inline segment_stats counts(void) {
    segment_stats stats;
    memset(&stats, 0xee, sizeof stats);
    stats.size = sizeof stats;
    if (segment_get_stats(client, &stats) != SEGMENT_OK) abort();
    return stats;
}

static inline bool adds_up(void) {
    segment_stats s = counts();
    /* A disk that stalls may keep a message in memory for a moment. */
    time_t start = time(NULL);
    while (spooling && s.in_memory > 0 && difftime(time(NULL), start) < patience() / 1000) s = counts();
    return s.accepted == s.delivered + s.failed + s.dropped + s.queued &&
           (spooling ? s.in_memory == 0 : s.in_memory == s.queued && s.recovered == 0);
}

/* Counts a check, and after each one the messages: they must add up at every moment. */
static inline void check(bool holds, const char *file, int line, const char *what) {
    bool counted = !client || adds_up();
    if (holds && counted) {
        passed++;
        return;
    }
    failed++;
    printf("%s:%d: %s%s; the last error: %s\n", file, line, what, counted ? "" : ": the counts do not add up",
           segment_error());
    fflush(stdout); /* what comes next may crash */
}

static inline bool is_refused(segment_status status, segment_status expected, const char *word) {
    return status == expected && segment_error_status() == expected && strstr(segment_error(), word);
}

/* Sets an error that no test looks for, so that an old one is not taken for a new one. */
static inline void forget(void) {
    segment_flush(NULL, 0);
}

/* A dry run, which delivers only when told to, so that a test can count the messages that wait. */
static inline segment_config dry(void) {
    return (segment_config){.size = sizeof(segment_config), .flags = SEGMENT_DRY_RUN, .write_key = "KEY",
                            .flush_at = UINT32_MAX, .flush_interval_ms = UINT32_MAX, .shutdown_ms = PATIENCE};
}

static inline void begin(segment_config config) {
    client = segment_new(&config);
    CHECK(client != NULL);
    if (!client) abort();
}

static inline void end(void) {
    CHECK(adds_up());
    segment_free(client);
    client = NULL;
}

/* Whether a client can be made with the settings. */
static inline bool makes(const segment_config *config) {
    segment_client *made = segment_new(config);
    segment_free(made);
    return made != NULL;
}

/* What main returns. */
static inline int sum(void) {
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}

/* The setter marks the object: the call that uses it fails for this reason. Then the object is cleared. */
#define MARKS(object, setter, status, word) \
    (forget(), (setter), REFUSED(segment_error_status(), (status), (word)), \
     REFUSED(segment_track(client, "u", "E", (object), NULL), (status), (word)), \
     segment_object_clear(object), ACCEPTED(segment_track(client, "u", "E", (object), NULL)))

#define CLOSED_PORT "http://127.0.0.1:9" /* no server is there */

/* Delivers to a closed port. */
static inline segment_config lost(segment_config config) {
    config.size = sizeof config;
    config.write_key = "KEY";
    config.endpoint = CLOSED_PORT;
    config.shutdown_ms = 1;
    return config;
}

#endif
