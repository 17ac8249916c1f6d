/* Objects: their members, one by one and many in one call, and what goes wrong with them. */
#include "check.h"

#include <math.h>

/* The setters under one signature, with a valid value, and what they write. */
static const char *const WRITTEN[] = {
    "\"k0\":\"a\\\"b\"", "\"k1\":-9223372036854775808", "\"k2\":19.99", "\"k3\":true", "\"k4\":null",
    "\"k5\":\"2026-01-02T03:04:05.678Z\"", "\"k6\":[1,2]", "\"k7\":{\"x\":1}", "\"k8\":[{\"x\":1}]", "\"k9\":[\"i\"]",
    "\"ka\":[null]"};
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
    case 9: segment_object_push_str(object, key, "i"); break;
    default: segment_object_push_json(object, key, "null"); break;
    }
    segment_object_free(inner);
}

static char written[4096]; /* the properties of the last message */

static const char *before_send(void *userdata, const char *json) {
    const char *properties = strstr(json, "\"properties\":");
    (void)userdata;
    snprintf(written, sizeof written, "%s", properties ? properties + strlen("\"properties\":") : json);
    return json;
}

/* Whether the object is written like this. */
static bool is(const segment_object *object, const char *expected) {
    written[0] = '\0';
    return segment_track(client, "u", "E", object, NULL) == SEGMENT_OK &&
           strncmp(written, expected, strlen(expected)) == 0;
}

static void what_is_set_is_written(void) {
    segment_object *object = segment_object_new();
    char expected[1024] = "{";
    for (int setter = 0; setter < SETTERS; setter++) {
        const char key[] = {'k', "0123456789a"[setter], '\0'};
        set(setter, object, key);
        if (setter > 0) strcat(expected, ",");
        strcat(expected, WRITTEN[setter]);
    }
    CHECK(is(object, strcat(expected, "}")));
    segment_object_set_str(object, "k0", "again"); /* replaces the first */
    CHECK(strstr(written, "\"k0\":\"a\\\"b\"") && is(object, "{") && strstr(written, "\"k0\":\"again\""));
    segment_object_clear(object);
    CHECK(is(object, "{}"));
    segment_object_free(object);
}

static void null_and_what_is_not_utf8_mark_the_object(void) {
    segment_object *object = segment_object_new();
    segment_object_free(NULL);
    FAILS(segment_object_clear(NULL), "object");
    for (int setter = 0; setter < SETTERS; setter++) {
        FAILS(set(setter, NULL, "k"), "object");
        MARKS(object, set(setter, object, NULL), SEGMENT_INVALID, setter < 8 ? "key" : "list");
        MARKS(object, set(setter, object, BAD), SEGMENT_INVALID, setter < 8 ? "key" : "list");
    }
    for (int given = 0; given < 2; given++) {
        const char *bad = given ? BAD : NULL;
        MARKS(object, segment_object_set_str(object, "plan", bad), SEGMENT_INVALID, "plan");
        MARKS(object, segment_object_set_json(object, "plan", bad), SEGMENT_INVALID, "plan");
        MARKS(object, segment_object_push_str(object, "plan", bad), SEGMENT_INVALID, "plan");
        MARKS(object, segment_object_push_json(object, "plan", bad), SEGMENT_INVALID, "plan");
        segment_object *parsed = segment_object_parse(bad);
        INVALID(segment_identify(client, "u", parsed, NULL), "json");
        segment_object_free(parsed);
    }
    MARKS(object, segment_object_set_object(object, "plan", NULL), SEGMENT_INVALID, "plan");
    MARKS(object, segment_object_push_object(object, "plan", NULL), SEGMENT_INVALID, "plan");
    segment_object_free(object);
}

static void objects_remember_what_went_wrong(void) {
    static const char *const no_objects[] = {
        "", "{", "{}}", "[]", "1", "{'a':1}", "{\"a\":01}", "{\"a\":NaN}", "{\"a\":\"\\ud800\"}"};
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
}

static void set_all(segment_object *object, const segment_member *members, size_t count) {
    segment_object_clear(object);
    segment_object_set_members(object, members, count);
}

#define SET(object, ...) \
    do { \
        const segment_member given[] = {__VA_ARGS__}; \
        set_all(object, given, COUNT(given)); \
    } while (0)
#define MEMBERS_MARK(object, status, word, ...) \
    do { \
        forget(); \
        SET(object, __VA_ARGS__); \
        REFUSED(segment_error_status(), (status), (word)); \
        REFUSED(segment_track(client, "u", "E", (object), NULL), (status), (word)); \
    } while (0)

static void every_kind_is_written_as_its_setter_writes_it(segment_object *object, segment_object *child) {
    segment_object_set_int(child, "a", 1);
    SET(object, SEGMENT_STR("s", "t\n"), SEGMENT_INT("i", INT64_MIN), SEGMENT_DOUBLE("d", 0.1), SEGMENT_BOOL("y", 7),
        SEGMENT_BOOL("n", false), SEGMENT_TIME("t", 0), SEGMENT_NULL("z"), SEGMENT_OBJECT("o", child),
        SEGMENT_JSON("j", " [1, 2]"));
    CHECK(is(object, "{\"s\":\"t\\n\",\"i\":-9223372036854775808,\"d\":0.1,\"y\":true,\"n\":false,"
                     "\"t\":\"1970-01-01T00:00:00.000Z\",\"z\":null,\"o\":{\"a\":1},\"j\":[1,2]}"));
    segment_object_set_members(object, NULL, 0);
    CHECK(is(object, "{\"s\":\"t\\n\","));
    segment_object_clear(object);
    segment_object_set_members(object, NULL, 0);
    CHECK(is(object, "{}"));
    /* The later of two with the same name counts, and replaces what was there. */
    segment_object_set_str(object, "plan", "free");
    {
        const segment_member members[] = {SEGMENT_INT("n", 1), SEGMENT_STR("plan", "pro"), SEGMENT_INT("n", 2)};
        segment_object_set_members(object, members, COUNT(members));
    }
    CHECK(is(object, "{\"plan\":\"pro\",\"n\":2}"));
}

static void lengths_count_and_need_no_nul(segment_object *object) {
    const char text[] = {'k', 'e', 'y', 'v', 'a', 'l', '[', '1', ']', '!'};
    segment_member members[] = {SEGMENT_STR(text, text + 3), SEGMENT_JSON(text, text + 6), SEGMENT_STR("", "")};
    members[0].key_length = 3;
    members[0].length = 3;
    members[1].key_length = 2;
    members[1].length = 3;
    set_all(object, members, COUNT(members));
    CHECK(is(object, "{\"key\":\"val\",\"ke\":[1],\"\":\"\"}"));
    members[0].length = 1; /* a NUL inside is a character like any other */
    members[0].value.str = "";
    set_all(object, members, 1);
    CHECK(is(object, "{\"key\":\"\\u0000\"}"));
}

static void members_may_lie_anywhere(segment_object *object) {
    const segment_member members[] = {SEGMENT_INT("a", 1), SEGMENT_INT("b", 2)};
    char *place = malloc(sizeof members + 1);
    if (!place) abort();
    memcpy(place + 1, members, sizeof members);
    segment_object_clear(object);
    segment_object_set_members(object, (const segment_member *)(const void *)(place + 1), 2);
    free(place);
    CHECK(is(object, "{\"a\":1,\"b\":2}"));
}

static void an_object_may_be_its_own_member(segment_object *object) {
    segment_object_clear(object);
    segment_object_set_int(object, "a", 1);
    {
        const segment_member members[] = {SEGMENT_OBJECT("b", object), SEGMENT_OBJECT("c", object)};
        segment_object_set_members(object, members, COUNT(members));
    }
    CHECK(is(object, "{\"a\":1,\"b\":{\"a\":1},\"c\":{\"a\":1,\"b\":{\"a\":1}}}"));
}

static void what_is_wrong_marks_the_object_and_the_rest_is_set(segment_object *object) {
    const segment_object *none = NULL;
    segment_member unknown[] = {SEGMENT_INT("a", 1), SEGMENT_INT("b", 2)};
    MEMBERS_MARK(object, SEGMENT_INVALID, "key", SEGMENT_INT(NULL, 1), SEGMENT_INT("b", 2));
    MEMBERS_MARK(object, SEGMENT_INVALID, "key", SEGMENT_INT(BAD, 1));
    MEMBERS_MARK(object, SEGMENT_INVALID, "plan", SEGMENT_STR("plan", NULL));
    MEMBERS_MARK(object, SEGMENT_INVALID, "plan", SEGMENT_STR("plan", BAD));
    MEMBERS_MARK(object, SEGMENT_INVALID, "plan", SEGMENT_JSON("plan", NULL));
    MEMBERS_MARK(object, SEGMENT_INVALID, "plan", SEGMENT_JSON("plan", "{"));
    MEMBERS_MARK(object, SEGMENT_INVALID, "plan", SEGMENT_OBJECT("plan", none));
    MEMBERS_MARK(object, SEGMENT_INVALID, "price", SEGMENT_INT("a", 1), SEGMENT_DOUBLE("price", strtod("nan", NULL)));
    unknown[1].kind = 0;
    forget();
    set_all(object, unknown, COUNT(unknown));
    INVALID(segment_error_status(), "the kind of \"b\" is unknown: 0");
    unknown[1].kind = 9;
    set_all(object, unknown, COUNT(unknown));
    INVALID(segment_track(client, "u", "E", object, NULL), "unknown: 9");
    unknown[1].length = unknown[1].key_length = (size_t)-1;
    set_all(object, unknown, COUNT(unknown));
    INVALID(segment_track(client, "u", "E", object, NULL), "the length of key");
    segment_object_clear(object);
    FAILS(segment_object_set_members(object, NULL, 1), "members");
    segment_object_clear(object);
    FAILS(segment_object_set_members(object, unknown, (size_t)-1), "count");
    FAILS(segment_object_set_members(NULL, unknown, 1), "object");
    segment_object_clear(object);
}

static void json_is_pushed_to_lists(segment_object *object) {
    segment_object_clear(object);
    segment_object_push_json(object, "sizes", "38");
    segment_object_push_json(object, "sizes", " {\"eu\": 40} ");
    segment_object_push_str(object, "sizes", "L");
    CHECK(is(object, "{\"sizes\":[38,{\"eu\":40},\"L\"]}"));
    FAILS(segment_object_push_json(object, "sizes", "["), "sizes");
    segment_object_clear(object);
    FAILS(segment_object_push_json(object, "sizes", NULL), "sizes");
    segment_object_clear(object);
    FAILS(segment_object_push_json(object, NULL, "1"), "list");
    segment_object_clear(object);
    segment_object_set_int(object, "n", 1);
    FAILS(segment_object_push_json(object, "n", "1"), "not a list");
    FAILS(segment_object_push_json(NULL, "n", "1"), "object");
}

int main(void) {
    segment_object *object = segment_object_new(), *child = segment_object_new();
    segment_config config = dry();
    config.before_send = before_send;
    begin(config);
    what_is_set_is_written();
    null_and_what_is_not_utf8_mark_the_object();
    objects_remember_what_went_wrong();
    every_kind_is_written_as_its_setter_writes_it(object, child);
    lengths_count_and_need_no_nul(object);
    members_may_lie_anywhere(object);
    an_object_may_be_its_own_member(object);
    what_is_wrong_marks_the_object_and_the_rest_is_set(object);
    json_is_pushed_to_lists(object);
    end();
    segment_object_free(object);
    segment_object_free(child);
    return sum();
}
