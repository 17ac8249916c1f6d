/* A client: its settings, its life, its counts, and its folder. */
#define _XOPEN_SOURCE 700 /* mkdtemp and nftw, which a strict compiler leaves out */
#include "host.h"

#include <dirent.h>

static void null_never_crashes(void) {
    segment_stats stats = {.size = sizeof stats};
    char sentence[4] = "old";
    NO_CLIENT(NULL, "config");
    INVALID(segment_flush(NULL, 0), "client");
    INVALID(segment_shutdown(NULL, 0), "client");
    INVALID(segment_get_stats(NULL, &stats), "client");
    INVALID(segment_pause(NULL), "client");
    INVALID(segment_resume(NULL), "client");
    FAILS((void)segment_last_problem(NULL, sentence, sizeof sentence), "client");
    CHECK(!*sentence);
    segment_free(NULL);
    begin(dry());
    INVALID(segment_get_stats(client, NULL), "stats");
    end();
}

/* Each struct with sizes that no header ever had, with a newer header's, with an older one's, and at any address. */
static void structs_may_be_older_newer_and_anywhere(void) {
    static const uint32_t wrong[] = {0, 4, 7, 9, 4097, 8192, UINT32_MAX};
    segment_config config;
    segment_options options = {.size = 0};
    segment_stats stats;
    begin(dry());
    for (size_t n = 0; n < COUNT(wrong); n++) {
        config = dry();
        config.size = options.size = stats.size = wrong[n];
        NO_CLIENT(&config, "sizeof(segment_config)");
        INVALID(segment_track(client, "u", "E", NULL, &options), "sizeof(segment_options)");
        INVALID(segment_get_stats(client, &stats), "sizeof(segment_stats)");
    }
    if (sizeof(void *) == 8) { /* 12 would cut a field in two */
        options.size = 12;
        INVALID(segment_track(client, "u", "E", NULL, &options), "sizeof(segment_options)");
    }

    struct { segment_config known; uint64_t later[2]; } newer_config = {dry(), {0, 0}};
    struct { segment_options known; uint64_t later[2]; } newer_options = {{.message_id = "m"}, {0, 0}};
    struct { segment_stats known; uint64_t later[2]; } newer_stats;
    memset(&newer_stats, 0xee, sizeof newer_stats);
    newer_config.known.size = sizeof newer_config;
    newer_options.known.size = sizeof newer_options;
    newer_stats.known.size = sizeof newer_stats;
    CHECK(makes(&newer_config.known));
    ACCEPTED(segment_track(client, "u", "E", NULL, &newer_options.known));
    ACCEPTED(segment_get_stats(client, &newer_stats.known));
    CHECK(newer_stats.known.size == sizeof newer_stats && newer_stats.known.accepted == 1);
    CHECK(newer_stats.later[0] == 0 && newer_stats.later[1] == 0); /* unknown counts are zero */
    newer_config.later[1] = newer_options.later[1] = UINT64_C(1) << 63; /* a later version's setting: its last byte */
    NO_CLIENT(&newer_config.known, "segment_config");
    INVALID(segment_track(client, "u", "E", NULL, &newer_options.known), "segment_options");

    config = dry(); /* what lies beyond an older struct is not read, though it would be refused */
    config.size = offsetof(segment_config, spool_dir);
    config.spool_dir = config.proxy = BAD;
    config.uploads = 99;
    CHECK(makes(&config));
    memset(&options, 0xee, sizeof options);
    options.size = offsetof(segment_options, timestamp_ms);
    options.flags = 0;
    ACCEPTED(segment_track(client, "u", "E", NULL, &options));
    memset(&stats, 0xee, sizeof stats);
    stats.size = offsetof(segment_stats, delivered);
    ACCEPTED(segment_get_stats(client, &stats));
    CHECK(stats.accepted == 2 && stats.delivered == UINT64_C(0xeeeeeeeeeeeeeeee));

    char *odd = calloc(1, sizeof config + 1); /* exactly as long as may be read, and not aligned */
    config = dry();
    CHECK(makes(memcpy(odd + 1, &config, sizeof config)));
    options = (segment_options){.size = sizeof options, .anonymous_id = "a", .message_id = ""};
    INVALID(segment_track(client, NULL, "E", NULL, memcpy(odd + 1, &options, sizeof options)), "message_id");
    stats.size = sizeof stats;
    ACCEPTED(segment_get_stats(client, memcpy(odd + 1, &stats, sizeof stats)));
    memcpy(&stats, odd + 1, sizeof stats);
    CHECK(stats.accepted == 2 && stats.queued == 2 && stats.flags == 0 && stats.size == sizeof stats);
    free(odd);
    end();
}

static void settings_are_honoured_or_refused_by_name(void) {
    static const char *const no_colon[] = {"A", NULL}, *const ours[] = {"Content-Length: 1", NULL};
    static const char *const split[] = {"A: b\r\nC: d", NULL}, *const no_text[] = {"A: " BAD, NULL};
    static const struct { const char *name; segment_config config; } refused[] = {
        {"spool_dir", {.flags = SEGMENT_SYNC}}, {"SEGMENT_STATEFUL", {.flags = SEGMENT_LIFECYCLE}},
        {"spool_dir", {.spool_dir = ""}}, {"uploads", {.uploads = 65}},
        {"proxy", {.proxy = "host:8080 or so"}}, {"proxy", {.proxy = "ftp://host"}}, {"proxy", {.proxy = BAD}},
        {"ca_file", {.ca_file = __FILE__}}, /* there is no certificate in it */ {"ca_file", {.ca_file = ""}},
        {"public_endpoint", {.public_endpoint = ""}},
        {"profile_endpoint", {.profile_endpoint = ""}},
        {"headers", {.headers = no_colon}}, {"headers", {.headers = ours}}, {"headers", {.headers = split}},
        {"headers", {.headers = no_text}}, {"access_token", {.access_token = ""}},
        {"access_token", {.access_token = "a b"}}, {"access_token", {.access_token = BAD}},
        {"profile_token", {.profile_token = ""}}, {"profile_token", {.profile_token = "a:b"}},
        {"profile_token", {.profile_token = BAD}}, {"public_endpoint", {.public_endpoint = "host"}},
        {"public_endpoint", {.public_endpoint = BAD}}, {"profile_endpoint", {.profile_endpoint = "https://h?a=1"}},
        {"profile_endpoint", {.profile_endpoint = BAD}},
        {"flags", {.flags = 512}}, {"flags", {.flags = UINT32_C(1) << 31 | SEGMENT_DRY_RUN}},
        {"write_key", {.write_key = BAD}}, {"write_key", {.write_key = ""}}, {"write_key", {.write_key = "a:b"}},
        {"endpoint", {.endpoint = BAD}}, {"endpoint", {.endpoint = ""}},
        {"endpoint", {.endpoint = "ftp://host"}}, {"endpoint", {.endpoint = "https://me:pw@host"}},
    };
    segment_config config = {.size = sizeof config};
    NO_CLIENT(&config, "write_key");
    for (size_t n = 0; n < COUNT(refused); n++) {
        config = refused[n].config;
        config.size = sizeof config;
        if (!config.write_key) config.write_key = "KEY";
        NO_CLIENT(&config, refused[n].name);
    }
    config = dry();
    config.uploads = 64;
    config.endpoint = "eu";
    config.retry_max = config.timeout_ms = UINT32_MAX;
    CHECK(makes(&config));
    config = dry();
    config.ca_file = "/nowhere/ca.pem";
    forget();
    CHECK(!makes(&config) && is_refused(segment_error_status(), SEGMENT_STORAGE, "ca_file"));
    segment_object *marked = segment_object_parse("[]");
    config = dry();
    config.context = marked;
    NO_CLIENT(&config, "context");
    config = dry();
    config.integrations = marked;
    NO_CLIENT(&config, "integrations");
    segment_object_free(marked);
}



static void oauth_and_the_way_out_are_checked(void) {
    static const struct { const char *name; segment_oauth oauth; } refused[] = {
        {"oauth: client_id", {.client_id = NULL}}, {"oauth: client_id", {.client_id = BAD}},
        {"oauth: client_id", {.client_id = "", .key_id = "k", .private_key = "p"}},
        {"oauth: key_id", {.client_id = "c"}}, {"oauth: key_id", {.client_id = "c", .key_id = "", .private_key = "p"}},
        {"oauth: private_key", {.client_id = "c", .key_id = "k"}},
        {"oauth: private_key", {.client_id = "c", .key_id = "k", .private_key = ""}},
        {"oauth: private_key",
         {.client_id = "c", .key_id = "k",
          .private_key = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----"}},
        {"oauth: scope", {.client_id = "c", .key_id = "k", .private_key = "p", .scope = BAD}},
        {"oauth: scope", {.client_id = "c", .key_id = "k", .private_key = "p", .scope = ""}},
        {"oauth: endpoint", {.client_id = "c", .key_id = "k", .private_key = "p", .endpoint = BAD}},
        {"oauth: endpoint", {.client_id = "c", .key_id = "k", .private_key = "p", .endpoint = "host"}},
        {"oauth: endpoint", {.client_id = "c", .key_id = "k", .private_key = "p", .endpoint = ""}},
        {"oauth: flags", {.client_id = "c", .key_id = "k", .private_key = "p", .flags = 1}},
    };
    static const char *const proxies[] = {"host", "ftp://host", "http://", "socks5://", "http://a b", BAD};
    segment_config config = by_host();
    for (size_t n = 0; n < COUNT(refused); n++) {
        segment_oauth oauth = refused[n].oauth;
        oauth.size = sizeof oauth;
        config.oauth = &oauth;
        NO_CLIENT(&config, refused[n].name);
    }
    config = dry();
    for (size_t n = 0; n < COUNT(proxies); n++) {
        config.proxy = proxies[n];
        NO_CLIENT(&config, "proxy");
        CHECK(!strstr(segment_error(), "pw"));
    }
    config.proxy = "http://me:pw@host";
    CHECK(makes(&config));
    config.proxy = "";
    CHECK(makes(&config));
    config.ca_file = "/nowhere/ca.pem";
    forget();
    CHECK(!makes(&config) && is_refused(segment_error_status(), SEGMENT_STORAGE, "ca_file"));
    config.ca_file = __FILE__; /* there is no certificate in it */
    NO_CLIENT(&config, "ca_file");
    CHECK(net.asked == 0);
}

static void a_closed_client_has_nothing_to_do(void) {
    begin(dry());
    ACCEPTED(segment_flush(client, 0)); /* nothing waits */
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    ACCEPTED(segment_shutdown(client, PATIENCE));
    ACCEPTED(segment_shutdown(client, 0)); /* again */
    ACCEPTED(segment_flush(client, 0));
    CHECK(counts().delivered == 1);
    end();
}

static void a_paused_client_sends_nothing_and_says_so(void) {
    char sentence[64], cut[12];
    begin(dry());
    CHECK(segment_last_problem(client, sentence, sizeof sentence) == 0 && !*sentence);
    ACCEPTED(segment_pause(client));
    ACCEPTED(segment_flush(client, PATIENCE)); /* nothing waits */
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    REFUSED(segment_flush(client, PATIENCE), SEGMENT_TIMEOUT, "paused");
    CHECK(counts().queued == 1 && counts().last_success_ms == 0 && counts().paused_until_ms == 0);
    size_t length = segment_last_problem(client, sentence, sizeof sentence);
    CHECK(length == strlen(sentence) && !strcmp(sentence, "the client is paused; 1 message waits"));
    CHECK(segment_last_problem(client, NULL, 0) == length);
    CHECK(segment_last_problem(client, cut, sizeof cut) == length && !strcmp(cut, "the client "));
    ACCEPTED(segment_resume(client));
    ACCEPTED(segment_flush(client, PATIENCE));
    CHECK(counts().delivered == 1 && counts().last_http_status == 200 && counts().uploads == 0);
    CHECK(counts().last_success_ms > INT64_C(1700000000000) && segment_last_problem(client, cut, sizeof cut) == 0);
    end();
}

static void the_last_problem_says_why_nothing_arrives(void) {
    char sentence[400];
    begin(lost((segment_config){.flush_at = 1}));
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    time_t start = time(NULL);
    do segment_flush(client, 10);
    while (!segment_last_problem(client, sentence, sizeof sentence) && difftime(time(NULL), start) < PATIENCE / 1000);
    CHECK(segment_last_problem(client, sentence, sizeof sentence) == strlen(sentence));
    CHECK(strstr(sentence, "Segment could not be reached") && strstr(sentence, " UTC; 1 message waits"));
    end();
}

/* How many messages on_delivery was told of, by what became of them. */
struct told {
    uint64_t failed, lost, other;
};

static void on_delivery(void *userdata, const segment_delivery *delivery) {
    struct told *told = userdata;
    if (delivery->status == SEGMENT_NETWORK) told->failed += delivery->message_count;
    else if (delivery->status == SEGMENT_TIMEOUT) told->lost += delivery->message_count;
    else told->other += delivery->message_count;
}

static void what_cannot_be_delivered_is_reported(void) {
    struct told told = {0, 0, 0};
    segment_config config = lost((segment_config){
        .retry_max = UINT32_MAX, .on_delivery = on_delivery, .userdata = &told});
    begin(config); /* one attempt only */
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    ACCEPTED(segment_flush(client, PATIENCE));
    CHECK(counts().failed == 1 && told.failed == 1);
    end();

    config.retry_max = 0; /* ten more attempts, but no time for them */
    begin(config);
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    REFUSED(segment_flush(client, 1), SEGMENT_TIMEOUT, "time");
    REFUSED(segment_flush(client, 0), SEGMENT_TIMEOUT, "time");
    REFUSED(segment_shutdown(client, 0), SEGMENT_TIMEOUT, "time");
    REFUSED(segment_shutdown(client, 1), SEGMENT_TIMEOUT, "time");
    CHECK(counts().queued == 1 && counts().delivered == 0);
    end();
    CHECK(told.lost == 1 && told.failed == 1 && told.other == 0);
}

static void a_full_queue_refuses_or_drops_the_oldest(void) {
    static char pad[30001];
    struct told told = {0, 0, 0};
    memset(pad, 'x', 30000);
    segment_object *object = segment_object_new();
    segment_object_set_str(object, "p", pad);
    segment_config config =
        lost((segment_config){.queue_max_bytes = 100000, .on_delivery = on_delivery, .userdata = &told});
    begin(config);
    for (int n = 0; n < 3; n++) ACCEPTED(segment_track(client, "u", "E", object, NULL));
    REFUSED(segment_track(client, "u", "E", object, NULL), SEGMENT_QUEUE_FULL, "queue_max_bytes");
    ACCEPTED(segment_track(client, "u", "Small", NULL, NULL));
    CHECK(counts().accepted == 4 && counts().refused == 1 && counts().queued_bytes <= 100000);
    end();
    CHECK(told.lost == 4);

    config.flags = SEGMENT_DROP_OLDEST;
    begin(config);
    for (int n = 0; n < 20; n++) ACCEPTED(segment_track(client, "u", "E", object, NULL));
    CHECK(counts().dropped == 17 && counts().queued == 3 && counts().queued_bytes <= 100000);
    end();
    CHECK(told.lost == 7 && told.failed == 0);
    config.queue_max_bytes = 1000;
    begin(config);
    REFUSED(segment_track(client, "u", "E", object, NULL), SEGMENT_QUEUE_FULL, "queue_max_bytes"); /* it never fits */
    end();
    segment_object_free(object);
}

/* Deletes the folder; returns whether the library left only its mark and an empty folder for the queue. */
static bool was_empty(void) {
    char home[256], mark[512], queue[512] = "";
    snprintf(home, sizeof home, "%s/segment-native", folder);
    snprintf(mark, sizeof mark, "%s/mark", home);
    if (remove(mark) != 0) return false;
    DIR *listing = opendir(home);
    if (!listing) return false;
    for (struct dirent *entry; (entry = readdir(listing));)
        if (entry->d_name[0] != '.') snprintf(queue, sizeof queue, "%s/%.200s", home, entry->d_name);
    closedir(listing);
    return rmdir(queue) == 0 && rmdir(home) == 0 && rmdir(folder) == 0;
}

static void what_is_spooled_survives(void) {
    segment_config config = lost((segment_config){.spool_dir = new_folder(), .flags = SEGMENT_SYNC});
    spooling = true;
    begin(config);
    for (int n = 0; n < 3; n++) ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    REFUSED(segment_shutdown(client, 0), SEGMENT_TIMEOUT, "");
    CHECK(counts().queued == 3 && counts().failed == 0);
    end();
    config.flags = SEGMENT_DRY_RUN;
    begin(config);
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    ACCEPTED(segment_flush(client, PATIENCE));
    CHECK(counts().recovered == 3 && counts().accepted == 4 && counts().delivered == 4);
    end();
    spooling = false;
    CHECK(was_empty());
}

static int warnings;

static void count_warnings(void *userdata, int32_t level, const char *message) {
    net.wrong |= userdata != &net || message[0] == '\0';
    warnings += level == 1;
}

/* A strict client refuses what other clients warn of. */
static void a_strict_client_refuses_what_others_warn_of(void) {
    static const char *const messages[] = {
        ("{\"type\":\"track\",\"userId\":\"u\",\"event\":\"Order Completed\","
         "\"properties\":{\"revenue\":1.5,\"currency\":\"EUR\"}}"),
        "{\"type\":\"track\",\"userId\":\"u\",\"event\":\"Order Completed\",\"properties\":{\"revenue\":\"1.5\"}}",
        "{\"type\":\"track\",\"userId\":\"u\",\"event\":\"Order Completed\",\"properties\":{\"currency\":\"euros\"}}",
        "{\"type\":\"identify\",\"userId\":\"u\",\"traits\":{\"age\":\"many\"}}",
        "{\"type\":\"identify\",\"userId\":\"null\",\"traits\":{\"name\":\"A\"}}",
        "{\"type\":\"identify\",\"userId\":\"u\",\"traits\":{\"first_name\":\"A\",\"firstName\":\"B\"}}",
        "{\"type\":\"page\",\"userId\":\"u\",\"timestamp\":\"2999-01-02T03:04:05Z\"}",
    };
    for (size_t n = 0; n < COUNT(messages); n++) {
        size_t length = strlen(messages[n]);
        segment_config config = by_host();
        config.on_log = count_warnings;
        warnings = 0;
        begin(config);
        ACCEPTED(segment_enqueue(client, messages[n], length));
        sent();
        end();
        config.on_log = NULL;
        config.flags |= SEGMENT_STRICT;
        begin(config);
        forget();
        segment_status status = segment_enqueue(client, messages[n], length);
        CHECK(status == (warnings ? SEGMENT_INVALID : SEGMENT_OK));
        CHECK(n > 0 || status == SEGMENT_OK);
        CHECK(counts().refused == (warnings ? 1 : 0));
        end();
    }
}

static void the_machine_is_described_if_that_is_wanted(void) {
    segment_config config = by_host();
    segment_object *context = segment_object_parse("{\"device\": {\"id\": \"d\"}, \"timezone\": \"Europe/Vienna\"}");
    config.context = context;
    for (int wanted = 0; wanted < 2; wanted++) {
        config.flags = SEGMENT_NO_GZIP | (wanted ? SEGMENT_DEVICE_CONTEXT : 0);
        begin(config);
        ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
        sent();
        SAYS("\"timezone\":\"Europe/Vienna\""); /* the host's own value counts */
        CHECK((strstr(net.body, "\"os\":{\"name\":\"") != NULL) == wanted);
        CHECK((strstr(net.body, "\"device\":{\"type\":\"linux\",\"id\":\"d\"}") != NULL) == wanted);
        end();
    }
    segment_object_free(context);
    config.context = NULL;
    begin(config);
    ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    sent();
    SAYS("\"os\":{\"name\":\"");
    SAYS("\"device\":{\"type\":\"linux\"}");
    FILE *zone = fopen("/etc/timezone", "r"); /* if the system knows it, we send it */
    if (zone) SAYS("\"timezone\":\""), fclose(zone);
    end();
}

static void the_life_of_an_app_is_tracked(void) {
    static const char *const runs[][3] = {
        {"{\"app\": {\"version\": \"1.0\", \"build\": \"7\"}}", "Application Installed",
         "\"properties\":{\"version\":\"1.0\",\"build\":\"7\"}"},
        {"{\"app\": {\"version\": \"1.0\", \"build\": \"7\"}}", NULL, ""},
        {"{\"app\": {\"version\": \"1.1\", \"build\": \"8\"}}", "Application Updated",
         "\"previous_version\":\"1.0\",\"previous_build\":\"7\""},
    };
    static const char *const events[] = {"Application Installed", "Application Updated"};
    segment_config config = by_host();
    config.flags |= SEGMENT_LIFECYCLE;
    NO_CLIENT(&config, "SEGMENT_STATEFUL");
    config.flags |= SEGMENT_STATEFUL;
    begin(config);
    CHECK(counts().accepted == 1); /* without a folder it is not known whether the app ran before */
    sent();
    SAYS("\"event\":\"Application Opened\",\"properties\":{\"from_background\":false}");
    end();

    config.spool_dir = new_folder();
    spooling = true;
    for (size_t n = 0; n < COUNT(runs); n++) {
        segment_object *context = segment_object_parse(runs[n][0]);
        config.context = context;
        begin(config);
        CHECK(counts().accepted == (runs[n][1] ? 2 : 1));
        sent();
        SAYS("\"event\":\"Application Opened\"");
        SAYS(runs[n][2]);
        for (size_t e = 0; e < COUNT(events); e++)
            CHECK((strstr(net.body, events[e]) != NULL) == (runs[n][1] && strcmp(events[e], runs[n][1]) == 0));
        segment_object_free(context);
        end();
    }
    spooling = false;
    delete_folder();
}

int main(void) {
    null_never_crashes();
    structs_may_be_older_newer_and_anywhere();
    settings_are_honoured_or_refused_by_name();
    oauth_and_the_way_out_are_checked();
    a_closed_client_has_nothing_to_do();
    a_paused_client_sends_nothing_and_says_so();
    the_last_problem_says_why_nothing_arrives();
    what_cannot_be_delivered_is_reported();
    a_full_queue_refuses_or_drops_the_oldest();
    what_is_spooled_survives();
    a_strict_client_refuses_what_others_warn_of();
    the_machine_is_described_if_that_is_wanted();
    the_life_of_an_app_is_tracked();
    return sum();
}
