/* What segment.h has besides functions, in every version of C and C++ that can read it. Needs no server. */
#ifdef __cplusplus
extern "C" { /* as some C++ programs include every header of C's */
#endif
#include <segment.h>
#ifdef __cplusplus
}
#endif

#include <stddef.h>
#include <stdint.h>

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

/* Static data, for programs that keep their settings there. */
static segment_config config = SEGMENT_CONFIG_INIT;
static const segment_options options = SEGMENT_OPTIONS_INIT;
static const segment_request request = SEGMENT_REQUEST_INIT;
static const segment_oauth oauth = SEGMENT_OAUTH_INIT;
static const segment_member level[] = {
    SEGMENT_STR("name", "Caves"),
    SEGMENT_INT("depth", 7),
    SEGMENT_DOUBLE("score", 0.5),
    SEGMENT_BOOL("won", true),
    SEGMENT_TIME("began", 1700000000000),
    SEGMENT_NULL("guild"),
    SEGMENT_JSON("loot", "[1, 2]"),
};

static const segment_member none[] = {SEGMENT_STR("name", NULL), SEGMENT_JSON("loot", NULL)};

#if SEGMENT_VERSION_NUMBER < 1000 || SEGMENT_VERSION_NUMBER >= 2000000000
#error "a version is a number"
#endif

int main(void) {
    segment_stats stats = SEGMENT_STATS_INIT;
    const int64_t big = INT64_MAX, now = 1700000000000;
    const double score = 1;
    const char *name = "plan";
    segment_object *object = segment_object_new();
    segment_object *properties = segment_object_new();
    const segment_member members[] = {
        SEGMENT_STR(name, name),     SEGMENT_INT("big", big),      SEGMENT_DOUBLE("score", score),
        SEGMENT_BOOL("new", name),   SEGMENT_OBJECT("o", object),  SEGMENT_TIME("time", now),
    };
    segment_client *client;
    segment_status status;

    config.oauth = &oauth;
    if (segment_new(&config)) return 1; /* nothing is set in any of them */
    config.oauth = NULL;
    config.write_key = "KEY";
    config.endpoint = "http://127.0.0.1:9";
    config.flags = SEGMENT_DRY_RUN;
    client = segment_new(&config);
    /* No value is an error when it is used, not when it is compiled. */
    segment_object_set_members(object, none, COUNT(none));
    segment_object_clear(object);
    segment_object_set_members(properties, level, COUNT(level));
    segment_object_set_members(properties, members, COUNT(members));
    status = segment_track(client, "u-42", "Level Completed", properties, &options);
    segment_object_free(object);
    segment_object_free(properties);
    segment_response_free(segment_call(client, &request));
    segment_get_stats(client, &stats);
    segment_free(client);
    return status == SEGMENT_OK && segment_version_number() == SEGMENT_VERSION_NUMBER ? 0 : 1;
}
