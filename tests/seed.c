/* What users of another tool fill in when they send to Segment: the forms of its three modules, field by field, and
 * exactly what is sent for them. (core/tests/it/seed.rs is the same over a real connection.) */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#define WRITE_KEY "your_Write_Key"
#define BASIC "Basic eW91cl9Xcml0ZV9LZXk6" /* base64("your_Write_Key:") */

static char url[256], method[16], headers[1024], body[65536];
static size_t body_length;

static int32_t transport(void *userdata, const segment_http *request, segment_response *response) {
    (void)userdata;
    if (request->body_length >= sizeof body) return 1;
    snprintf(url, sizeof url, "%s", request->url);
    snprintf(method, sizeof method, "%s", request->method);
    memcpy(body, request->body, body_length = request->body_length);
    body[body_length] = '\0';
    headers[0] = '\0';
    for (size_t n = 0; request->headers[n]; n++) {
        size_t end = strlen(headers);
        snprintf(headers + end, sizeof headers - end, "%s\n", request->headers[n]);
    }
    segment_response_set(response, 200, "{\"success\": true}", 17);
    segment_response_add_header(response, "content-type", "application/json");
    return 0;
}

static void start(void) {
    segment_config config = dry();
    config.flags = SEGMENT_NO_GZIP;
    config.write_key = WRITE_KEY;
    config.transport = transport;
    begin(config);
}

/* Sends what waits, which must be exactly this message, with our context; only the time of sending cannot be known. */
static bool sends(const char *message) {
    char head[4096];
    static const char tail[] = "],\"sentAt\":\"####-##-##T##:##:##.###Z\",\"writeKey\":\"" WRITE_KEY "\"}";
    int length = snprintf(head, sizeof head,
                          "{\"batch\":[%s,\"context\":{\"library\":{\"name\":\"segment-native\",\"version\":\"%s\"}}}",
                          message, segment_version());
    ACCEPTED(segment_flush(client, PATIENCE));
    if (strcmp(url, "https://api.segment.io/v1/batch") != 0 || strcmp(method, "POST") != 0) return false;
    if (strcmp(headers, "content-type: application/json\nauthorization: " BASIC "\n") != 0) return false;
    bool same = body_length == (size_t)length + sizeof tail - 1 && strncmp(body, head, (size_t)length) == 0;
    for (size_t n = 0; same && tail[n]; n++) {
        char byte = body[(size_t)length + n];
        same = tail[n] == '#' ? byte >= '0' && byte <= '9' : byte == tail[n];
    }
    if (!same) printf("sent:     %s\nexpected: %s%s\n", body, head, tail);
    return same;
}

/* Connection, User ID, Anonymous ID, Timestamp, Traits, Custom Traits. */
static void identify(void) {
    start();
    segment_object *address = segment_object_new(), *company = segment_object_new(), *traits = segment_object_new();
    segment_object_set_str(address, "street", "12 St James's Square");
    segment_object_set_str(address, "city", "London");
    segment_object_set_str(address, "state", "Greater London");
    segment_object_set_str(address, "postalCode", "SW1Y 4JH");
    segment_object_set_str(address, "country", "United Kingdom");
    segment_object_set_str(company, "name", "Analytical Engines");
    segment_object_set_str(company, "id", "c-1");
    segment_object_set_str(company, "industry", "Technology");
    segment_object_set_int(company, "employee_count", 2);
    segment_object_set_str(company, "plan", "enterprise");
    segment_object_set_object(traits, "address", address);
    segment_object_set_int(traits, "age", 36);
    segment_object_set_str(traits, "avatar", "https://example.com/ada.png");
    segment_object_set_str(traits, "birthday", "1815-12-10");
    segment_object_set_object(traits, "company", company);
    segment_object_set_time(traits, "createdAt", 1767323045678);
    segment_object_set_str(traits, "description", "Said \"note G\"");
    segment_object_set_str(traits, "email", "ada@example.com");
    segment_object_set_str(traits, "firstName", "Ada");
    segment_object_set_str(traits, "gender", "female");
    segment_object_set_str(traits, "id", "7");
    segment_object_set_str(traits, "lastName", "Lovelace");
    segment_object_set_str(traits, "name", "Ada Lovelace");
    segment_object_set_str(traits, "phone", "+44 20 7946 0000");
    segment_object_set_str(traits, "title", "Countess");
    segment_object_set_str(traits, "username", "ada");
    segment_object_set_str(traits, "website", "https://example.com");
    segment_object_set_str(traits, "favourite machine", "the \xc3\xa9ngine"); /* custom ones, of every type */
    segment_object_set_bool(traits, "newsletter", true);
    segment_object_set_double(traits, "score", 0.1);
    segment_object_set_null(traits, "rival");
    segment_object_push_str(traits, "tags", "math");
    segment_options options = {.size = sizeof options, .timestamp = "2012-12-02T00:30:08.276+01:00",
                               .anonymous_id = "507f191e810c19729de860ea", .message_id = "m-1"};
    ACCEPTED(segment_identify(client, "97980cfea0067", traits, &options));
    CHECK(sends("{\"messageId\":\"m-1\",\"type\":\"identify\",\"timestamp\":\"2012-12-01T23:30:08.276Z\","
                "\"userId\":\"97980cfea0067\",\"anonymousId\":\"507f191e810c19729de860ea\",\"traits\":{"
                "\"address\":{\"street\":\"12 St James's Square\",\"city\":\"London\",\"state\":\"Greater London\","
                "\"postalCode\":\"SW1Y 4JH\",\"country\":\"United Kingdom\"},\"age\":36,"
                "\"avatar\":\"https://example.com/ada.png\",\"birthday\":\"1815-12-10\","
                "\"company\":{\"name\":\"Analytical Engines\",\"id\":\"c-1\",\"industry\":\"Technology\","
                "\"employee_count\":2,\"plan\":\"enterprise\"},\"createdAt\":\"2026-01-02T03:04:05.678Z\","
                "\"description\":\"Said \\\"note G\\\"\",\"email\":\"ada@example.com\",\"firstName\":\"Ada\","
                "\"gender\":\"female\",\"id\":\"7\",\"lastName\":\"Lovelace\",\"name\":\"Ada Lovelace\","
                "\"phone\":\"+44 20 7946 0000\",\"title\":\"Countess\",\"username\":\"ada\","
                "\"website\":\"https://example.com\",\"favourite machine\":\"the \xc3\xa9ngine\",\"newsletter\":true,"
                "\"score\":0.1,\"rival\":null,\"tags\":[\"math\"]}"));

    /* With one id and nothing else; a name that is set twice is sent once. */
    options.anonymous_id = NULL;
    ACCEPTED(segment_identify(client, "97980cfea0067", NULL, &options));
    CHECK(sends("{\"messageId\":\"m-1\",\"type\":\"identify\",\"timestamp\":\"2012-12-01T23:30:08.276Z\","
                "\"userId\":\"97980cfea0067\""));
    options.anonymous_id = "507f191e810c19729de860ea";
    segment_object_clear(traits);
    segment_object_set_str(traits, "email", "old@example.com");
    segment_object_set_str(traits, "plan", "pro");
    segment_object_set_str(traits, "email", "new@example.com");
    ACCEPTED(segment_identify(client, NULL, traits, &options));
    CHECK(sends("{\"messageId\":\"m-1\",\"type\":\"identify\",\"timestamp\":\"2012-12-01T23:30:08.276Z\","
                "\"anonymousId\":\"507f191e810c19729de860ea\","
                "\"traits\":{\"email\":\"new@example.com\",\"plan\":\"pro\"}"));
    segment_object_free(address);
    segment_object_free(company);
    segment_object_free(traits);
    end();
}

/* Connection, Event Name, User ID, Anonymous ID, Timestamp, Currency, Revenue, Value, Custom Properties. */
static void track(void) {
    start();
    segment_object *properties = segment_object_new();
    segment_options options = {.size = sizeof options, .timestamp_ms = 1354404608276,
                               .anonymous_id = "507f191e810c19729de860ea", .message_id = "m-2"};
    segment_object_set_str(properties, "currency", "EUR");
    segment_object_set_double(properties, "revenue", 19.99);
    segment_object_set_int(properties, "value", 5);
    segment_object_set_str(properties, "size", "XL"); /* custom ones */
    segment_object_set_int(properties, "quantity", 1);
    ACCEPTED(segment_track(client, "97980cfea0067", "Shirt Bought", properties, &options));
    CHECK(sends("{\"messageId\":\"m-2\",\"type\":\"track\",\"timestamp\":\"2012-12-01T23:30:08.276Z\","
                "\"userId\":\"97980cfea0067\",\"anonymousId\":\"507f191e810c19729de860ea\",\"event\":\"Shirt Bought\","
                "\"properties\":{\"currency\":\"EUR\",\"revenue\":19.99,\"value\":5,\"size\":\"XL\",\"quantity\":1}"));

    /* Without a currency none is sent: Segment takes it for US dollars. */
    segment_object_clear(properties);
    segment_object_set_double(properties, "revenue", 19.99);
    ACCEPTED(segment_track(client, "97980cfea0067", "Shirt Bought", properties, &options));
    CHECK(sends("{\"messageId\":\"m-2\",\"type\":\"track\",\"timestamp\":\"2012-12-01T23:30:08.276Z\","
                "\"userId\":\"97980cfea0067\",\"anonymousId\":\"507f191e810c19729de860ea\",\"event\":\"Shirt Bought\","
                "\"properties\":{\"revenue\":19.99}"));
    INVALID(segment_track(client, "97980cfea0067", NULL, properties, &options), "event");
    INVALID(segment_track(client, NULL, "Shirt Bought", properties, NULL), "user_id");
    segment_object_free(properties);
    end();
}

/* URL, Method, Headers, Query String, Body; and what the output has as Body. */
static void api_call(void) {
    static const char *const own[] = {"Content-Type: application/json", "authorization: " BASIC, NULL};
    static const char text[] =
        "{\"userId\":\"User_id_of_the_user_you_want_to_associate_to_group\",\"groupId\":\"target_Group_id\"}";
    segment_request request = {.size = sizeof request, .path = "/v1/group/", .method = "POST", .headers = own,
                               .body = text, .body_length = sizeof text - 1};
    start();
    for (int given = 1; given >= 0; given--) { /* "You don't have to add authorization headers" */
        if (!given) request.headers = NULL;
        segment_response *response = segment_call(client, &request);
        size_t length = 0;
        const char *answer = segment_response_body(response, &length);
        CHECK(strcmp(url, "https://api.segment.io/v1/group/") == 0 && strcmp(method, "POST") == 0);
        CHECK(strcmp(headers, given ? "Content-Type: application/json\nauthorization: " BASIC "\n"
                                    : "authorization: " BASIC "\ncontent-type: application/json\n") == 0);
        CHECK(body_length == sizeof text - 1 && memcmp(body, text, sizeof text - 1) == 0);
        CHECK(segment_response_status(response) == 200);
        CHECK(answer && length == 17 && strcmp(answer, "{\"success\": true}") == 0);
        CHECK(strcmp(segment_response_header(response, "Content-Type"), "application/json") == 0);
        segment_response_free(response);
    }
    request.query = "delay=1&name=a b";
    segment_response_free(segment_call(client, &request));
    CHECK(strcmp(url, "https://api.segment.io/v1/group/?delay=1&name=a%20b") == 0);
    static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
    for (size_t n = 0; n < COUNT(methods); n++) {
        request.method = methods[n];
        segment_response_free(segment_call(client, &request));
        CHECK(strcmp(method, methods[n]) == 0);
    }
    end();
}

int main(void) {
    identify();
    track();
    api_call();
    return sum();
}
