/* The user that a client remembers, and what they agreed to. */
#define _XOPEN_SOURCE 700 /* mkdtemp and nftw, which a strict compiler leaves out */
#include "host.h"

static void null_never_crashes(void) {
    segment_object *categories = segment_object_parse("{\"ads\": true}");
    char id[64] = "x";
    INVALID(segment_reset(NULL), "client");
    INVALID(segment_set_consent(NULL, categories), "client");
    INVALID(segment_opt_out(NULL), "client");
    INVALID(segment_opt_in(NULL), "client");
    FAILS(CHECK(segment_anonymous_id(NULL, id, sizeof id) == 0 && id[0] == '\0'), "client");
    FAILS(CHECK(segment_user_id(NULL, NULL, 0) == 0), "client");
    begin(by_host());
    FAILS(CHECK(segment_user_id(client, NULL, 1) == 0), "buffer");
    segment_object_free(categories);
    end();
}

static void a_client_that_is_not_stateful_has_no_user(void) {
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
    ACCEPTED(segment_group(client, "other", "g", NULL, &options)); /* explicit ids win */
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
    INVALID(segment_identify(client, "", NULL, NULL), "user_id"); /* a refused id is not remembered */
    CHECK(segment_user_id(client, id, sizeof id) == 3 && is(id, "u-2"));

    ACCEPTED(segment_reset(client));
    CHECK(segment_user_id(client, id, sizeof id) == 0);
    CHECK(segment_anonymous_id(client, again, sizeof again) == 36 && !is(again, anonymous));
    ACCEPTED(segment_track(client, NULL, "F", NULL, NULL));
    sent();
    SAYS(again);
    SILENT(anonymous);
    SILENT("plan");
    ACCEPTED(segment_alias(client, "u-3", NULL, NULL)); /* the previous id is the anonymous one */
    sent();
    snprintf(expected, sizeof expected, "\"previousId\":\"%s\"", again);
    SAYS(expected);
    segment_object_free(traits);
    end();
}

/* On Unix a path is bytes: a folder with a Latin-1 name works as well. */
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
        CHECK(counts().accepted == (stateful ? 1 : 0)); /* a new choice is tracked, and only a new one */
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
        ACCEPTED(segment_track(client, "u", "F", NULL, NULL)); /* the refused change had no effect */
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

static void after_an_opt_out_nothing_is_sent(void) {
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
    request.api = SEGMENT_PUBLIC_API; /* it is not about a user */
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

static void an_opt_out_outlives_the_client(void) {
    segment_config config = by_host();
    config.spool_dir = new_folder();
    spooling = true;
    begin(config);
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    ACCEPTED(segment_opt_out(client));
    CHECK(counts().dropped == 1);
    segment_client *first = client;
    begin(config); /* a second client, at the same time */
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

int main(void) {
    null_never_crashes();
    a_client_that_is_not_stateful_has_no_user();
    a_stateful_client_knows_its_user();
    the_user_is_known_after_a_restart("");
    the_user_is_known_after_a_restart("/Andr\xe9");
    consent_is_stamped_on_every_message();
    after_an_opt_out_nothing_is_sent();
    an_opt_out_outlives_the_client();
    return sum();
}
