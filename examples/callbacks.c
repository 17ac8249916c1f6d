/* What a client tells you, and what you may change: a log, what became of messages, and a secret that never leaves. */
#include <segment.h>
#include <stdio.h>
#include <string.h>

/* On the delivery thread, like on_delivery. */
static void on_log(void *userdata, int32_t level, const char *message) {
    static const char *const names[] = {"error", "warning", "info", "debug"};
    (void)userdata;
    if (level <= 1) printf("%s: %s\n", names[level], message);
}

static void on_delivery(void *userdata, const segment_delivery *delivery) {
    uint64_t *delivered = userdata;                     /* config.userdata */
    if (delivery->status == SEGMENT_OK) *delivered += delivery->message_count;
    else printf("%u messages are lost: %s\n", (unsigned)delivery->message_count, delivery->error);
}

/* On the thread that tracks. One thread does so here, so one copy is enough. */
static const char *before_send(void *userdata, const char *json) {
    static char copy[32768];
    static const char secret[] = "\"token\":\"";
    (void)userdata;
    if (!strstr(json, secret)) return json;             /* goes as it is */
    if (strlen(json) >= sizeof copy) return NULL;       /* is dropped */
    strcpy(copy, json);
    for (char *at = copy; (at = strstr(at, secret)) != NULL;)
        for (at += sizeof secret - 1; *at != '"'; at++) {
            if (*at == '\\') *at++ = '*';               /* an escaped quote does not end the text */
            *at = '*';
        }
    return copy;                                        /* is copied at once */
}

int main(int argc, char **argv) {
    uint64_t delivered = 0;
    segment_config config = SEGMENT_CONFIG_INIT;
    config.write_key = "WRITE_KEY";
    if (argc > 1) config.endpoint = argv[1];            /* Segment's own, unless one is given */
    config.on_log = on_log;
    config.on_delivery = on_delivery;
    config.before_send = before_send;
    config.userdata = &delivered;
    segment_client *client = segment_new(&config);
    if (!client) return fprintf(stderr, "%s\n", segment_error()), 1;

    segment_object *properties = segment_object_new();
    segment_object_set_str(properties, "token", "s3cr\"et");
    segment_object_set_str(properties, "revenue", "19.99");     /* should be a number: the log warns of it */
    segment_track(client, "u-42", "Order Completed", properties, NULL);
    segment_track(client, "u-42", "Signed Out", NULL, NULL);
    segment_object_free(properties);
    segment_free(client);                               /* after it no callback runs */
    printf("%llu delivered\n", (unsigned long long)delivered);
}
