/* What the host is told of: messages that a full queue drops, calls that fail although it ignores what they return, and
 * damaged lines of the spool. */
#define _XOPEN_SOURCE 700 /* mkdtemp and nftw, which a strict compiler leaves out */
#include "check.h"

#include <ftw.h>
#include <pthread.h>
#include <unistd.h>

#define MESSAGES 40

/* How often each message was told of, and by which thread. */
static struct told {
    int delivered[MESSAGES], dropped[MESSAGES];
    bool wrong;
    pthread_t host;
} told;

static void on_delivery(void *userdata, const segment_delivery *d) {
    struct told *t = userdata;
    t->wrong |= t != &told || pthread_equal(pthread_self(), t->host) || d->size != sizeof *d || d->message_count == 0;
    if (d->status == SEGMENT_QUEUE_FULL) {
        t->wrong |= !d->error || !strstr(d->error, "full") || d->attempts || d->http_status || d->body_bytes;
    } else {
        t->wrong |= d->status != SEGMENT_OK;
    }
    for (uint32_t n = 0; n < d->message_count; n++) {
        long id = strtol(d->message_ids[n], NULL, 10);
        if (id < 0 || id >= MESSAGES) abort();
        (d->status == SEGMENT_OK ? t->delivered : t->dropped)[id]++;
    }
}

static void drops_of_a_full_queue_are_reported_with_their_ids(const char *folder) {
    static char pad[10001];
    memset(pad, 'x', sizeof pad - 1);
    segment_object *object = segment_object_new();
    segment_object_set_str(object, "p", pad);
    memset(&told, 0, sizeof told);
    told.host = pthread_self();
    segment_config config = dry();
    config.flags |= SEGMENT_DROP_OLDEST;
    config.queue_max_bytes = 130000;
    config.spool_dir = folder;
    config.on_delivery = on_delivery;
    config.userdata = &told;
    begin(config);
    ACCEPTED(segment_pause(client)); /* nothing is sent, but the host is told */
    for (int n = 0; n < MESSAGES; n++) {
        char id[8];
        snprintf(id, sizeof id, "%d", n);
        segment_options options = {.size = sizeof options, .message_id = id};
        ACCEPTED(segment_track(client, "u", "E", object, &options));
    }
    uint64_t dropped = counts().dropped;
    CHECK(dropped > MESSAGES / 2 && dropped < MESSAGES);
    ACCEPTED(segment_resume(client));
    ACCEPTED(segment_flush(client, PATIENCE)); /* which waits for the host to be told */
    CHECK(counts().dropped == dropped && counts().delivered == MESSAGES - dropped);
    CHECK(!told.wrong);
    for (int n = 0; n < MESSAGES; n++) {
        bool is_old = (uint64_t)n < dropped;
        CHECK(told.dropped[n] == is_old && told.delivered[n] == !is_old);
    }
    segment_object_free(object);
    end();
}

/* What was logged about calls that fail. */
struct lines {
    int count;
    char line[32][200];
};

static void on_log(void *userdata, int32_t level, const char *message) {
    struct lines *lines = userdata;
    if (strncmp(message, "a call failed", 13) || lines->count == COUNT(lines->line)) return;
    snprintf(lines->line[lines->count++], sizeof lines->line[0], "%d %s", (int)level, message);
}

static int said(const struct lines *lines, const char *word) {
    int count = 0;
    for (int n = 0; n < lines->count; n++) count += strstr(lines->line[n], word) != NULL;
    return count;
}

static void a_call_that_fails_is_logged_once_for_each_kind_of_error(void) {
    static char pad[40001];
    struct lines lines = {.count = 0};
    memset(pad, 'x', sizeof pad - 1);
    segment_object *object = segment_object_new();
    segment_object_set_str(object, "p", pad);
    segment_config config = dry();
    config.on_log = on_log;
    config.userdata = &lines;
    config.queue_max_bytes = 100;
    begin(config);
    for (int n = 0; n < 100; n++) {
        char json[40];
        segment_options newer = {.size = 4};
        segment_track(client, "u", NULL, NULL, NULL);
        segment_track(client, "u", BAD, NULL, NULL);
        segment_track(client, NULL, "E", NULL, NULL);
        segment_track(client, "u", "E", NULL, &newer);
        segment_track(client, "u", "E", object, NULL);
        segment_enqueue(client, json, (size_t)snprintf(json, sizeof json, "{\"type\":\"%d\"}", n));
        segment_reset(client);
        segment_track(client, "u", "E", NULL, NULL); /* a full queue has its own log line */
    }
    CHECK(counts().refused == 800 && counts().accepted == 0);
    ACCEPTED(segment_shutdown(client, 0));
    for (size_t n = 0; n < 3; n++) segment_page(client, "u", NULL, NULL, NULL); /* it is closed */
    end();
    CHECK(lines.count == 7);
    static const char *const words[] = {
        "event must be given", "event must be UTF-8", "user_id or anonymous_id must", "sizeof(segment_options)",
        "is larger than 32,000 bytes", "type must be", "reset needs a client",
    };
    for (size_t n = 0; n < COUNT(words); n++) CHECK(said(&lines, words[n]) == 1);
    CHECK(said(&lines, "1 a call failed: ") == lines.count && said(&lines, "(logged once)") == lines.count);
    for (int n = 0; failed && n < lines.count; n++) printf("%s\n", lines.line[n]);
    segment_object_free(object);
}

static bool is_spoilt;

/* Changes a letter in the first line of a chunk. */
static int spoil(const char *path, const struct stat *status, int kind, struct FTW *place) {
    (void)status, (void)place;
    if (kind != FTW_F || is_spoilt || !strstr(path, ".v1.jsonl")) return 0;
    FILE *file = fopen(path, "r+");
    if (!file) abort();
    is_spoilt = fseek(file, 20, SEEK_SET) == 0 && fputc('#', file) == '#';
    return fclose(file);
}

static int delete_one(const char *path, const struct stat *status, int kind, struct FTW *place) {
    (void)status, (void)kind, (void)place;
    return remove(path);
}

static void damaged_lines_are_counted(void) {
    char folder[] = "/tmp/segment-told-XXXXXX";
    if (!mkdtemp(folder)) abort();
    segment_config config = dry();
    config.spool_dir = folder;
    spooling = true;
    begin(config);
    ACCEPTED(segment_pause(client));
    for (int n = 0; n < 3; n++) ACCEPTED(segment_track(client, "u", "E", NULL, NULL));
    REFUSED(segment_shutdown(client, 0), SEGMENT_TIMEOUT, "");
    CHECK(counts().damaged == 0);
    end();
    nftw(folder, spoil, 8, FTW_PHYS);
    CHECK(is_spoilt);
    begin(config);
    ACCEPTED(segment_flush(client, PATIENCE));
    CHECK(counts().recovered == 3 && counts().delivered == 2 && counts().failed == 1 && counts().damaged == 1);
    end();
    spooling = false;
    nftw(folder, delete_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void) {
    char folder[] = "/tmp/segment-told-XXXXXX";
    drops_of_a_full_queue_are_reported_with_their_ids(NULL);
    if (!mkdtemp(folder)) abort();
    spooling = true;
    drops_of_a_full_queue_are_reported_with_their_ids(folder);
    spooling = false;
    nftw(folder, delete_one, 8, FTW_DEPTH | FTW_PHYS);
    a_call_that_fails_is_logged_once_for_each_kind_of_error();
    damaged_lines_are_counted();
    return sum();
}
