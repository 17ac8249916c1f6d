/* Context that a running program sets for every later message: segment_set_context, and the JSON it takes. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <sys/wait.h>
#include <unistd.h>

static char seen[40000]; /* the last message */

static const char *look(void *userdata, const char *json) {
    (void)userdata;
    snprintf(seen, sizeof seen, "%s", json);
    return json;
}

/* The last message ends like this, from the member `level` of its context on. */
static bool ends(const char *end) {
    size_t length = strlen(seen), expected = strlen(end);
    return length > expected && strcmp(seen + length - expected, end) == 0;
}

static void begin_watched(segment_object *context) {
    segment_config config = dry();
    config.before_send = look;
    config.context = context;
    begin(config);
}

#define TRACKS(end) (ACCEPTED(segment_track(client, "u", "E", NULL, NULL)), CHECK(ends(end)))

static void a_member_goes_over_the_settings_and_under_the_message(void) {
    segment_object *context = segment_object_parse("{\"app\": {\"name\": \"game\"}, \"level\": 0}");
    segment_object *own = segment_object_parse("{\"level\": \"own\"}");
    segment_options options = {.size = sizeof options, .context = own};
    begin_watched(context);
    TRACKS("\"app\":{\"name\":\"game\"},\"level\":0}}");
    ACCEPTED(segment_set_context(client, "level", " \"E1M1\" "));
    ACCEPTED(segment_set_context(client, "app", "{\"build\": 512}"));
    TRACKS("\"app\":{\"name\":\"game\",\"build\":512},\"level\":\"E1M1\"}}");
    ACCEPTED(segment_track(client, "u", "E", NULL, &options));
    CHECK(ends("\"app\":{\"name\":\"game\",\"build\":512},\"level\":\"own\"}}"));
    static const char message[] = "{\"type\":\"page\",\"userId\":\"u\"}";
    ACCEPTED(segment_enqueue(client, message, sizeof message - 1));
    CHECK(ends("\"app\":{\"name\":\"game\",\"build\":512},\"level\":\"E1M1\"}}"));
    ACCEPTED(segment_set_context(client, "level", "null"));
    TRACKS("\"level\":null}}");
    ACCEPTED(segment_set_context(client, "level", NULL));
    ACCEPTED(segment_set_context(client, "app", NULL));
    ACCEPTED(segment_set_context(client, "never set", NULL));
    TRACKS("\"app\":{\"name\":\"game\"},\"level\":0}}");
    end();
    segment_object_free(own);
    segment_object_free(context);
}

static void what_is_wrong_is_named_and_changes_nothing(void) {
    static char large[16001];
    static const struct { const char *key, *json, *word; } wrong[] = {
        {NULL, "1", "key must not be NULL"}, {BAD, "1", "key must be UTF-8"},
        {"level", BAD, "json must be UTF-8"}, {"level", "", "\"level\" is not JSON"},
        {"level", "{\"a\":}", "\"level\" is not JSON"}, {"level", "E1M1", "\"level\" is not JSON"},
        {"level", "1 2", "\"level\" is not JSON"}, {"consent", "{}", "\"consent\""},
        {"traits", NULL, "\"traits\""}, {"library", "{}", "\"library\""},
    };
    INVALID(segment_set_context(NULL, "level", "1"), "client");
    begin_watched(NULL);
    ACCEPTED(segment_set_context(client, "level", "7"));
    for (size_t n = 0; n < COUNT(wrong); n++) {
        INVALID(segment_set_context(client, wrong[n].key, wrong[n].json), wrong[n].word);
        CHECK(counts().refused == n + 1);
    }
    memset(large, 'x', sizeof large - 1);
    large[0] = large[sizeof large - 2] = '"';
    REFUSED(segment_set_context(client, "large", large), SEGMENT_TOO_LARGE, "\"large\"");
    TRACKS("\"level\":7}}");
    ACCEPTED(segment_shutdown(client, PATIENCE));
    ACCEPTED(segment_set_context(client, "level", "8"));
    end();
}

static void a_forked_child_has_its_parents_and_changes_its_own(void) {
    int status = 0;
    begin_watched(NULL);
    ACCEPTED(segment_set_context(client, "level", "1"));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        bool good = segment_track(client, "u", "E", NULL, NULL) == SEGMENT_OK && ends("\"level\":1}}");
        good = good && segment_set_context(client, "level", "2") == SEGMENT_OK;
        good = good && segment_track(client, "u", "E", NULL, NULL) == SEGMENT_OK && ends("\"level\":2}}");
        /* Not _exit: the child leaves its parent's things where they are, and valgrind would call that a leak. */
        execl("/bin/sh", "sh", "-c", good ? "exit 0" : "exit 1", (char *)NULL);
        _exit(2);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    TRACKS("\"level\":1}}");
    end();
}

static void the_json_of_a_member_is_returned(void) {
    char json[16] = "before";
    segment_object *object = segment_object_new();
    segment_object_set_str(object, "title", "say \"A\"");
    segment_object_set_int(object, "n", 7);
    CHECK(segment_object_get_json(object, "title", json, sizeof json) == 11 && strcmp(json, "\"say \\\"A\\\"\"") == 0);
    CHECK(segment_object_get_json(object, "n", json, 2) == 1 && strcmp(json, "7") == 0);
    CHECK(segment_object_get_json(object, "title", json, 11) == 11 && strcmp(json, "") == 0);
    CHECK(segment_object_get_json(object, "n", NULL, 0) == 1);
    CHECK(segment_object_get_json(object, "none", json, sizeof json) == 0 && strcmp(json, "") == 0);
    CHECK(segment_object_get_json(object, NULL, NULL, 0) == strlen("{\"title\":\"say \\\"A\\\"\",\"n\":7}"));
    segment_object_clear(object);
    CHECK(segment_object_get_json(object, NULL, json, sizeof json) == 2 && strcmp(json, "{}") == 0);
    FAILS(segment_object_get_json(object, BAD, json, sizeof json), "key must be UTF-8");
    FAILS(segment_object_get_json(object, "n", NULL, 1), "buffer");
    FAILS(segment_object_get_json(NULL, "n", json, sizeof json), "object");
    segment_object_set_json(object, "n", "{");
    FAILS(segment_object_get_json(object, NULL, json, sizeof json), "\"n\" is not JSON");
    FAILS(segment_object_get_json(object, "n", json, sizeof json), "\"n\" is not JSON");
    segment_object_free(object);
}

int main(void) {
    a_member_goes_over_the_settings_and_under_the_message();
    what_is_wrong_is_named_and_changes_nothing();
    a_forked_child_has_its_parents_and_changes_its_own();
    the_json_of_a_member_is_returned();
    return sum();
}
