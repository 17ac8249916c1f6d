/* segment.h 0.1.0 - Segment analytics for C, and for everything that can call C.
 * Written by `cargo test -p segment-header`, from src/ and tools/header/segment.h.in.
 *
 *     segment_config config = SEGMENT_CONFIG_INIT;
 *     config.write_key = "WRITE_KEY";
 *     segment_client *client = segment_new(&config);
 *     segment_track(client, "u-42", "Level Completed", NULL, NULL);
 *     segment_free(client);                      // delivers what is queued, then frees
 *
 *  1. Start here    what holds for every function; SEGMENT_API, the types, segment_status
 *  2. Client        settings; new, flush, shutdown, free, pause; counts, and why nothing arrives
 *  3. Messages      identify, track, page, screen, group, alias; a message in JSON
 *  4. Objects       properties, traits, context: members one by one, or many in one call
 *  5. The user      who they are and what they agreed to
 *  6. Single calls  one request to one of Segment's APIs, and its answer
 *  7. Callbacks     what becomes of messages; HTTP of your own
 *  8. Errors        this thread's last one, as a sentence
 *  9. Versions      of the header and of the library
 */
#ifndef SEGMENT_H
#define SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- 1. Start here -----------------------------------------------------------------------------
 *
 * Memory:  what you pass in is copied before the call returns. What a _new, _parse or _call gives
 *          you, you give to the matching _free, once. Strings you get belong to what they came
 *          from.
 * Text:    UTF-8, NUL-terminated.
 * NULL:    never crashes. As an optional argument it means "none"; elsewhere the call fails.
 * Structs: begin with their size: SEGMENT_CONFIG_INIT and the like set it, and all else to zero,
 *          the default.
 * Errors:  calls return SEGMENT_OK or a reason; calls that create return NULL. segment_error()
 *          explains.
 * Threads: what takes a const handle may be called from any thread at any time; what takes a
 *          non-const handle needs exclusive use of it. A fork()ed child may go on using a client.
 *          Nothing here is for signal handlers: no function is async-signal-safe.
 * Waiting: a function waits for network, disk or other processes only where its section says so.
 * Needs:   C99 or C++11, or a later version.
 * Since:   0.1.0, unless stated otherwise.
 * Change:  within a major version functions are only added and structs only grow at the end. Fields
 *          and flags that this version does not know how to honour are refused by name, never
 *          ignored.
 */

// Windows: define SEGMENT_DLL where you link the DLL. Static linking needs nothing.
#if defined(_WIN32) && defined(SEGMENT_DLL)
#define SEGMENT_API __declspec(dllimport)
#elif defined(__GNUC__) && !defined(_WIN32)
#define SEGMENT_API __attribute__((visibility("default")))
#else
#define SEGMENT_API
#endif

// An enum of 32 bits, whatever the compiler's default.
#if defined(__cplusplus) || (defined(__STDC_VERSION__) && __STDC_VERSION__ >= 202311L)
#define SEGMENT_ENUM(name) enum name : int32_t; typedef enum name name; enum name : int32_t
#else
#define SEGMENT_ENUM(name) typedef int32_t name; enum name
#endif

// A struct that knows its size. In C it serves for static data too.
#ifdef __cplusplus
extern "C++" {
template <class T> inline T segment_sized() {
    T it = T();
    it.size = static_cast<uint32_t>(sizeof(T));
    return it;
}
}
#define SEGMENT_INIT(type) segment_sized<type>()
#else
#define SEGMENT_INIT(type) {.size = sizeof(type)}
#endif

#ifdef __cplusplus
extern "C" {
#endif

// A queue, and the thread that delivers it.
typedef struct segment_client segment_client;

// A JSON object: properties, traits, context. A setter that fails marks the object, and the call
// that uses it reports why. Setting a key again replaces its value. An object may be used in any
// number of calls; it is for one thread at a time.
typedef struct segment_object segment_object;

// The answer to a request.
typedef struct segment_response segment_response;

typedef union segment_value segment_value;
typedef struct segment_member segment_member;
typedef struct segment_delivery segment_delivery;
typedef struct segment_oauth segment_oauth;
typedef struct segment_config segment_config;
typedef struct segment_stats segment_stats;
typedef struct segment_options segment_options;
typedef struct segment_request segment_request;
typedef struct segment_http segment_http;

// What a call reports. The values never change their meaning.
SEGMENT_ENUM(segment_status) {
    SEGMENT_OK = 0,                     // It worked.
    SEGMENT_INVALID = 1,                // An argument is NULL, not UTF-8, or against the rules.
    SEGMENT_TOO_LARGE = 2,              // The message is over Segment's limit of 32 KB.
    SEGMENT_QUEUE_FULL = 3,             // The message was not taken: the queue is full.
    SEGMENT_CLOSED = 4,                 // The client was shut down.
    SEGMENT_TIMEOUT = 5,                // The time ran out first.
    SEGMENT_NETWORK = 6,                // Segment could not be reached.
    SEGMENT_REJECTED = 7,               // Segment answered with an error.
    SEGMENT_STORAGE = 8,                // The spool could not be read or written.
    SEGMENT_INTERNAL = 9,               // A bug in the library, contained; please report it.
    SEGMENT_OPTED_OUT = 10,             // The user opted out: nothing was stored.
};

/* ---- 2. Client ---------------------------------------------------------------------------------
 *
 * Waiting: segment_flush, _shutdown and _free may wait for the network, within their limits;
 *          segment_new with SEGMENT_STATEFUL and a spool_dir until the disk holds a small file, and
 *          for other processes that write theirs. The others do not wait.
 */

// The settings of a client. Zero means the default; only write_key has none.
struct segment_config {
    uint32_t size;                      // sizeof(segment_config): which fields you know.
    uint32_t flags;                     // Any of these, added up.
#define SEGMENT_NO_GZIP 1               // Send bodies uncompressed.

    // Do everything but send; what would be sent counts as delivered.
#define SEGMENT_DRY_RUN 2

    // A full queue makes room by dropping its oldest sealed chunks, never one that is just being
    // sent; if there is none, SEGMENT_QUEUE_FULL. on_delivery is told of what is dropped, with
    // SEGMENT_QUEUE_FULL. What an earlier run or another process had left in spool_dir is only
    // counted.
#define SEGMENT_DROP_OLDEST 4

    // The client remembers who the user is, in spool_dir if there is one: see segment_reset.
    // Without it, nothing is remembered and both ids are yours.
#define SEGMENT_STATEFUL 8

    // Refuse what is only doubtful, not just what Segment would discard: reserved traits and
    // e-commerce properties of the wrong type, custom traits that are reserved ones in another
    // spelling, amounts that are not numbers, currencies that are not ISO 4217, times in the
    // future, e-mail addresses as user ids. Without this flag on_log warns of it, once for each
    // kind and name.
#define SEGMENT_STRICT 16

    // With spool_dir, survive power loss too, by syncing in the background ten times a second.
#define SEGMENT_SYNC 32

    // Add os, device, runtime (Wine, sandbox, container, emulation), locale and timezone to
    // context; docs/device.md lists them. From the environment it reads the locale, and signs of
    // Steam, snaps and containers.
#define SEGMENT_DEVICE_CONTEXT 64

    // With SEGMENT_STATEFUL, track Application Installed, Updated (both only with a spool_dir that
    // can be written) and Opened when a client is made, by the version and build of app in context.
#define SEGMENT_LIFECYCLE 128

    // Nothing is stored or sent before the user has answered. Until segment_opt_in or
    // segment_opt_out was called once, in this run or an earlier one with this spool_dir, messages,
    // ids and a consent are held in memory, within queue_max_bytes (segment_stats.held counts the
    // messages); nothing is written below spool_dir, and nothing is sent, not even what waits there
    // from earlier. segment_flush and segment_shutdown return SEGMENT_TIMEOUT at once, segment_free
    // is quick, segment_call to the Tracking API returns SEGMENT_OPTED_OUT. A yes releases what is
    // held, a no erases it; what is still held at the end counts as dropped. Another process with
    // this spool_dir follows the answer within 30 s. A spool_dir that cannot be read in segment_new
    // counts as a no until it can be; so does DO_NOT_TRACK in the environment, unless it is empty
    // or 0, until the user says yes. A forked child starts in its parent's state; what is held
    // stays with the parent. See segment_opt_state.
#define SEGMENT_ASK_FIRST 256

    // How many bytes of messages may wait, in memory or in spool_dir; beyond that calls return
    // SEGMENT_QUEUE_FULL. Default: 64 MiB.
    uint64_t queue_max_bytes;
    const char *write_key;              // Your source's write key.

    // "https://api.segment.io"; "eu" is short for the EU host. A URL whose path ends in /batch or
    // /b is the whole URL of batches, and may have a query: "https://api.segment.io/v1/b" is where
    // Segment's libraries for devices send. segment_call then goes below what is left without
    // that last part and a /v1 before it.
    const char *endpoint;

    // Accepted messages are kept in this folder until delivered, and survive the end of the
    // process, however it ends. It is created if missing, and should be used by the library alone.
    // Several processes may share it. A relative path counts from the working directory at the
    // time of segment_new. On Unix any bytes, elsewhere UTF-8. NULL: in memory only.
    const char *spool_dir;
    uint32_t flush_at;                  // Send when this many messages wait. Default: 100.
    uint32_t flush_interval_ms;         // Send what waits this often. Default: 5000.

    // Without spool_dir: how often a failed request is tried again, within 12 hours, before its
    // messages are given up. Default: 10; UINT32_MAX: not at all.
    uint32_t retry_max;

    // For one whole HTTP request, the name look-up included. Default: 15000.
    uint32_t timeout_ms;

    // How long segment_free may deliver. Default: 2000. To deliver nothing, call
    // segment_shutdown(client, 0) first.
    uint32_t shutdown_ms;

    // How many batches may be on their way at once, 64 at most, for servers that are far away.
    // Default: one at first, up to 16 while more waits than one carries and the server keeps up;
    // with a transport, 1. Together they carry a quarter of queue_max_bytes at most, and arrive in
    // any order: 1 keeps it, which alias and identify may need. Segment recommends at most 1,000
    // events a second for a workspace.
    uint32_t uploads;
    const segment_object *context;      // Part of every message's context.
    const segment_object *integrations; // Every message's integrations.

    // "http://[user:password@]host:port", "https://..." or "socks5://..." ("socks5h://...": the
    // proxy looks names up); "": none. NULL: what the environment says: https_proxy for https,
    // http_proxy for http, all_proxy for the rest, in lower or upper case, except for the hosts,
    // domains, addresses and networks (10.0.0.0/8) in no_proxy, each with an optional port. An
    // empty variable means no proxy; one that is not the URL of a proxy is ignored. HTTP_PROXY
    // does not count where REQUEST_METHOD is set: in a CGI program any visitor can set it.
    const char *proxy;

    // A file with PEM certificates to trust besides the system's. On Unix any bytes, elsewhere
    // UTF-8.
    const char *ca_file;

    // "Name: value", ..., NULL, on every request to the Tracking API: for gateways of your own.
    const char *const *headers;
    const segment_oauth *oauth;         // OAuth 2.0 instead of Basic authentication.
    const char *access_token;           // For segment_call to the Public API.
    const char *profile_token;          // For segment_call to the Profile API.

    // Default: "https://api.segmentapis.com", or the EU's if endpoint is there.
    const char *public_endpoint;

    // Default: "https://profiles.segment.com", or the EU's if endpoint is there.
    const char *profile_endpoint;

    // Told what became of messages: delivered, given up, or dropped by SEGMENT_DROP_OLDEST (status
    // SEGMENT_QUEUE_FULL), on the delivery thread. At most 4 MiB of dropped messages wait to be
    // reported; on_log says how many more, or how many in files that cannot be read, are not.
    // Inside any of the callbacks segment_flush and segment_shutdown return SEGMENT_INVALID, and
    // segment_free does nothing.
    void (*on_delivery)(void *userdata, const segment_delivery *delivery);

    // Told what a person may want to read, on the delivery thread. Level: 0 error, 1 warning, 2
    // info, 3 debug. This includes calls that fail, once for each kind of error, except for
    // SEGMENT_QUEUE_FULL, SEGMENT_CLOSED and SEGMENT_OPTED_OUT.
    void (*on_log)(void *userdata, int32_t level, const char *message);

    // Sees each message on the calling thread, before it is stored: returns json itself, a
    // replacement (copied at once, it stays yours), or NULL to drop it: the call then returns
    // SEGMENT_OK and counts as accepted and dropped. What it returns is checked like any message.
    // It must not call this client, nor wait for a thread that does.
    const char *(*before_send)(void *userdata, const char *json);

    // HTTP by the host: makes one exchange, fills in the response, and returns 0, or anything else
    // if there was no answer. On the delivery thread, and on the caller's for segment_call;
    // possibly on both at once; with uploads above 1, on as many threads at once. It may finish an
    // exchange that it had begun when segment_opt_out was called.
    int32_t (*transport)(void *userdata, const segment_http *request, segment_response *response);
    void *userdata;                     // Passed to all four callbacks.

    // The write key that your program had before this one, after an update that has left its
    // source: with spool_dir, what waits there for it is delivered too, with write_key to
    // endpoint, with the same message ids, and counted as recovered. NULL: it goes on waiting for
    // a client with that key, and on_log says so. A process that still runs with the former key
    // keeps what is its own until it ends. The value of write_key itself has no effect.
    const char *former_write_key;

    // The same for the endpoint that your program had before, say in another region; "eu" is
    // short for the EU host. What waits for it is sent to endpoint and nowhere else. With both,
    // what waits for either key at either endpoint is delivered.
    const char *former_endpoint;
};

#define SEGMENT_CONFIG_INIT SEGMENT_INIT(segment_config)

// OAuth 2.0 instead of Basic authentication.
struct segment_oauth {
    uint32_t size;                      // sizeof(segment_oauth)
    uint32_t flags;                     // None yet: 0.
    const char *client_id;              // The id of the OAuth application.
    const char *key_id;                 // The id of its key.
    const char *private_key;            // PEM, PKCS#8 or PKCS#1.
    const char *scope;                  // Default: "tracking_api:write".

    // Default: "https://oauth2.segment.io", or the EU's if the client's endpoint is there.
    const char *endpoint;
};

#define SEGMENT_OAUTH_INIT SEGMENT_INIT(segment_oauth)

// A new client, or NULL: segment_error() says why. Without spool_dir nothing is sent and no thread
// started before the first message. Free it with segment_free.
//   config  Copied: it may go when the call returns.
SEGMENT_API segment_client *segment_new(const segment_config *config);

// Sends what waits. SEGMENT_OK when every message accepted before the call is settled (delivered,
// failed or dropped) and its on_delivery has run, SEGMENT_TIMEOUT otherwise. It cuts a wait after
// a failure short, at most twice a second, and never a Retry-After.
//   timeout_ms  0 starts it and does not wait.
SEGMENT_API segment_status segment_flush(const segment_client *client, uint32_t timeout_ms);

// Takes no more messages, and goes on delivering for this long: SEGMENT_OK when nothing is queued,
// else SEGMENT_TIMEOUT. May be repeated.
//   timeout_ms  0 does not wait.
SEGMENT_API segment_status segment_shutdown(const segment_client *client, uint32_t timeout_ms);

// Shuts down with the config's shutdown_ms, unless segment_shutdown was called before, then frees.
// What could not be delivered is kept by the spool or, without one, reported to on_delivery as
// SEGMENT_TIMEOUT; it then counts as failed. It waits for a callback that is already running, the
// one exception to its deadline; no callback runs after it. NULL is fine.
SEGMENT_API void segment_free(segment_client *client);

// Sends nothing from now on, until segment_resume: in a match, say, or on a metered connection.
// All messages are kept, and more are taken while there is room; a request that is under way may
// end. segment_flush and segment_shutdown return SEGMENT_TIMEOUT at once while anything waits. The
// pause ends with the client; a forked child starts in its parent's state.
SEGMENT_API segment_status segment_pause(const segment_client *client);

// Ends the pause: what waits is sent.
SEGMENT_API segment_status segment_resume(const segment_client *client);

// Why nothing arrives: what stands in the way right now, as a sentence for people ("Segment
// answered with status 403 at 12:03:05 UTC; 210 messages wait; next try in 40 s"). Returns its
// length without the NUL; 0: no known problem, or an error.
//   buffer    For a copy with a NUL, cut if it is longer. May be NULL with a capacity of 0.
//   capacity  How many bytes may be written there.
SEGMENT_API size_t segment_last_problem(const segment_client *client, char *buffer,
                                        size_t capacity);

// Counts of messages since the client was made. accepted == delivered + failed + dropped + queued,
// always: nothing disappears uncounted.
struct segment_stats {
    uint32_t size;                      // sizeof(segment_stats), set by you.
    uint32_t flags;                     // None yet: written as 0, and not read.

    // Calls that returned SEGMENT_OK, and messages found in the spool.
    uint64_t accepted;
    uint64_t delivered;                 // Acknowledged by Segment.
    uint64_t failed;                    // Refused for good, or given up.

    // Oldest dropped for room, dropped by before_send, thrown away because the user opted out, or
    // held (SEGMENT_ASK_FIRST) when the client ended.
    uint64_t dropped;
    uint64_t queued;                    // Waiting now.
    uint64_t queued_bytes;              // The size of what is waiting.
    uint64_t refused;                   // Calls that did not return SEGMENT_OK.
    uint64_t recovered;                 // Of accepted: found in the spool.
    uint64_t requests;                  // HTTP requests.
    uint64_t retries;                   // HTTP requests that repeated an earlier one.
    uint64_t in_memory;                 // Of queued: would not survive a kill.

    // When a batch was acknowledged last, in milliseconds since 1970; 0: none was.
    int64_t last_success_ms;

    // Until when nothing is sent because the server demanded a pause, in milliseconds since 1970;
    // 0: there is none.
    int64_t paused_until_ms;

    // The HTTP status of the last answer to a batch; 0: there was none.
    uint32_t last_http_status;
    uint32_t uploads;                   // How many requests for messages are under way.

    // Of queued: held until the user has answered, with SEGMENT_ASK_FIRST.
    uint64_t held;
    uint64_t damaged;                   // Of failed: those whose lines in spool_dir were damaged.
};

#define SEGMENT_STATS_INIT SEGMENT_INIT(segment_stats)

// Writes the counts, as many as the size of the struct says.
//   stats  SEGMENT_STATS_INIT, or one that was filled before.
SEGMENT_API segment_status segment_get_stats(const segment_client *client, segment_stats *stats);

/* ---- 3. Messages -------------------------------------------------------------------------------
 *
 * They queue a message and return; SEGMENT_OK means that it was accepted.
 *   user_id  Who it is. NULL needs options->anonymous_id, or SEGMENT_STATEFUL.
 *   options  The optional fields of a message; NULL: none.
 * Waiting: segment_identify and _alias with SEGMENT_STATEFUL and a spool_dir until the disk holds a
 *          small file, and for other processes that write theirs. The others do not, except for a
 *          moment when the disk is slow and no file is ready (README, "Limits").
 */

// The optional fields of a message. Zero means none.
struct segment_options {
    uint32_t size;                      // sizeof(segment_options)
    uint32_t flags;                     // None yet: 0.

    // When it happened, milliseconds since 1970. Default: now. (For 1970 itself use timestamp.
    // Both: SEGMENT_INVALID.)
    int64_t timestamp_ms;
    const char *timestamp;              // ISO 8601 with a zone, instead of timestamp_ms.
    const char *anonymous_id;           // Who, when there is no user id.

    // For deduplication, at most 99 characters. Default: a new UUID.
    const char *message_id;
    const segment_object *context;      // Merged over the client's.
    const segment_object *integrations; // Which destinations receive it; merged over the client's.
    const char *category;               // Of a page or screen.
};

#define SEGMENT_OPTIONS_INIT SEGMENT_INIT(segment_options)

// Says who the user is, and records traits about them. With SEGMENT_STATEFUL the user id is
// remembered, and the traits for as long as all of them together have at most 8192 bytes of JSON;
// traits beyond that are sent but not remembered, and those known before stay.
//   traits  "email", "plan", ...; NULL: none.
SEGMENT_API segment_status segment_identify(const segment_client *client, const char *user_id,
                                            const segment_object *traits,
                                            const segment_options *options);

// Says what the user did.
//   event       What it is called: "Level Completed". Required.
//   properties  Of the event; NULL: none.
SEGMENT_API segment_status segment_track(const segment_client *client, const char *user_id,
                                         const char *event, const segment_object *properties,
                                         const segment_options *options);

// Says which web page the user saw.
//   name        May be NULL.
//   properties  "url", "path", "referrer", ...; NULL: none.
SEGMENT_API segment_status segment_page(const segment_client *client, const char *user_id,
                                        const char *name, const segment_object *properties,
                                        const segment_options *options);

// Says which screen of an app the user saw.
//   name        May be NULL.
//   properties  Of the screen; NULL: none.
SEGMENT_API segment_status segment_screen(const segment_client *client, const char *user_id,
                                          const char *name, const segment_object *properties,
                                          const segment_options *options);

// Says which company, team or account the user belongs to, and records traits about it.
//   group_id  Its id in your database. Required.
//   traits    Of the group; NULL: none.
SEGMENT_API segment_status segment_group(const segment_client *client, const char *user_id,
                                         const char *group_id, const segment_object *traits,
                                         const segment_options *options);

// Says that the user was known by another id before.
//   user_id      The id from now on.
//   previous_id  The one before; NULL with SEGMENT_STATEFUL: the one that is remembered.
SEGMENT_API segment_status segment_alias(const segment_client *client, const char *user_id,
                                         const char *previous_id, const segment_options *options);

// Queues a whole message in JSON, {"type":"track",...}: for bindings, imports, and what the calls
// above lack. What it lacks (messageId, timestamp, context; with SEGMENT_STATEFUL the ids) is
// added as for the calls above; what it says of the user is not remembered.
//   json    The message. It needs no NUL at its end.
//   length  How many bytes it has.
SEGMENT_API segment_status segment_enqueue(const segment_client *client, const char *json,
                                           size_t length);

// Sets one member of the context of every later message: a level, a build, an experiment. From any
// thread; it waits for nothing, and nothing waits for it. `json` is the value, "\"E1M1\"" or "7"
// or "{\"name\": \"E1M1\"}"; NULL removes what was set. The member goes over config.context (two
// objects of the same name are merged) and under options->context. "consent", "traits" and
// "library" are refused: they are set in other ways. SEGMENT_TOO_LARGE, with nothing changed, if
// all that is set here would have more than 16,000 bytes of JSON together, or would leave no room
// for a message. It lasts as long as the client, also when the user changes; a forked child starts
// with its parent's.
SEGMENT_API segment_status segment_set_context(const segment_client *client, const char *key,
                                               const char *json);

/* ---- 4. Objects --------------------------------------------------------------------------------
 *
 * For one thread at a time. Nothing waits. A setter that fails marks the object and sets
 * segment_error(); the call that uses the object then fails for the same reason.
 */

// A new, empty object. Free it with segment_object_free.
SEGMENT_API segment_object *segment_object_new(void);

// An object from JSON text. If the text is not a JSON object, the object returned is marked: the
// call that uses it says why.
SEGMENT_API segment_object *segment_object_parse(const char *json);

// Sets a text.
SEGMENT_API void segment_object_set_str(segment_object *object, const char *key, const char *value);

// Sets an integer; it stays exact to 64 bits.
SEGMENT_API void segment_object_set_int(segment_object *object, const char *key, int64_t value);

// Sets a number, written as the shortest text that reads back the same. NaN and the infinities
// mark the object.
SEGMENT_API void segment_object_set_double(segment_object *object, const char *key, double value);

// Sets true or false.
SEGMENT_API void segment_object_set_bool(segment_object *object, const char *key, bool value);

// Sets null. As a trait it overwrites what Segment has stored.
SEGMENT_API void segment_object_set_null(segment_object *object, const char *key);

// Sets a time, milliseconds since 1970, written as ISO 8601 in UTC.
SEGMENT_API void segment_object_set_time(segment_object *object, const char *key, int64_t unix_ms);

// Sets any JSON value. It is checked, and stored as it is except for the white space between its
// parts.
SEGMENT_API void segment_object_set_json(segment_object *object, const char *key, const char *json);

// Sets a copy of another object, or of the object itself.
SEGMENT_API void segment_object_set_object(segment_object *object, const char *key,
                                           const segment_object *value);

// Appends a text to the list of this name, which is created if missing; if the value is not a
// list, the object is marked.
SEGMENT_API void segment_object_push_str(segment_object *object, const char *list,
                                         const char *item);

// Appends a copy of an object to the list of this name, which is created if missing; if the value
// is not a list, the object is marked.
SEGMENT_API void segment_object_push_object(segment_object *object, const char *list,
                                            const segment_object *item);

// Appends any JSON value, as segment_object_set_json sets it, to the list of this name, which is
// created if missing; if the value is not a list, the object is marked.
SEGMENT_API void segment_object_push_json(segment_object *object, const char *list,
                                          const char *json);

// The JSON of a member, for segment_set_context, say; with a NULL key that of the whole object.
// Returns its length without the NUL (0: there is no such member, or an error: the object is
// marked) and writes a copy with a NUL if it fits into `capacity` bytes; else the buffer becomes
// "".
SEGMENT_API size_t segment_object_get_json(const segment_object *object, const char *key,
                                           char *buffer, size_t capacity);

// Empties an object for reuse; marks are forgotten, memory is kept.
SEGMENT_API void segment_object_clear(segment_object *object);

// Frees an object; NULL is fine.
SEGMENT_API void segment_object_free(segment_object *object);

// The value of a member: what its kind says.
union segment_value {
    const char *str;                    // A text, or JSON.
    int64_t integer;                    // An integer.
    double number;                      // A number.
    int64_t unix_ms;                    // Milliseconds since 1970.
    uint8_t boolean;                    // 0: false.
    const segment_object *object;       // An object.
};

// One member of an object, for segment_object_set_members.
struct segment_member {
    segment_value value;                // Its value.
    const char *key;                    // Its name.
    size_t key_length;                  // How many bytes the key has; 0: it ends with a NUL.
    size_t length;                      // How many bytes value.str has; 0: it ends with a NUL.
    size_t kind;                        // What the value is. An unknown kind marks the object.
#define SEGMENT_KIND_STR 1              // A text, in `str`.
#define SEGMENT_KIND_INT 2              // An integer; it stays exact to 64 bits.
#define SEGMENT_KIND_DOUBLE 3           // A finite number.
#define SEGMENT_KIND_BOOL 4             // True or false, in `boolean`.
#define SEGMENT_KIND_TIME 5             // A time, in `unix_ms`.
#define SEGMENT_KIND_NULL 6             // Null; the value is ignored.

    // A copy of an object, which may be the one that is changed.
#define SEGMENT_KIND_OBJECT 7
#define SEGMENT_KIND_JSON 8             // Any JSON value, in `str`.
};

// For an array: segment_member level[] = {SEGMENT_STR("name", "Caves"), SEGMENT_INT("depth", 7)};
#define SEGMENT_STR(key, value)    SEGMENT_MEMBER(SEGMENT_KIND_STR, str, key, SEGMENT_TEXT(value))
#define SEGMENT_INT(key, value)    SEGMENT_MEMBER(SEGMENT_KIND_INT, integer, key, value)
#define SEGMENT_DOUBLE(key, value) SEGMENT_MEMBER(SEGMENT_KIND_DOUBLE, number, key, value)
#define SEGMENT_BOOL(key, value)   SEGMENT_MEMBER(SEGMENT_KIND_BOOL, boolean, key, \
                                                  (value) ? true : false)
#define SEGMENT_TIME(key, value)   SEGMENT_MEMBER(SEGMENT_KIND_TIME, unix_ms, key, value)
#define SEGMENT_NULL(key)          SEGMENT_MEMBER(SEGMENT_KIND_NULL, integer, key, 0)
#define SEGMENT_OBJECT(key, value) SEGMENT_MEMBER(SEGMENT_KIND_OBJECT, object, key, value)
#define SEGMENT_JSON(key, value)   SEGMENT_MEMBER(SEGMENT_KIND_JSON, str, key, SEGMENT_TEXT(value))

#ifdef __cplusplus
#define SEGMENT_TEXT(value) static_cast<const char *>(value)
#define SEGMENT_MEMBER(kind, field, key, value) \
    segment_member_of(kind, &segment_value::field, key, value)
extern "C++" {
template <class Field, class Given>
inline segment_member segment_member_of(size_t kind, Field segment_value::*field, const char *key,
                                        Given value) {
    segment_member it = segment_member();
    it.value.*field = value;
    it.key = key;
    it.kind = kind;
    return it;
}
}
#else
#define SEGMENT_TEXT(value) value
#define SEGMENT_MEMBER(kind_, field, key_, value_) \
    {.value = {.field = value_}, .key = key_, .kind = kind_}
#endif

// Sets many members in one call, as the functions above do one by one: the later of two with the
// same key counts, and one that fails marks the object while the others are set.
SEGMENT_API void segment_object_set_members(segment_object *object, const segment_member *members,
                                            size_t count);

/* ---- 5. The user -------------------------------------------------------------------------------
 *
 * Who they are, with SEGMENT_STATEFUL, and what they agreed to. With spool_dir both are stored
 * there, for the next start and for other processes.
 * Waiting: what changes something may wait, where there is a spool_dir, until the disk holds a
 *          small file, and for other processes that write theirs.
 */

// With SEGMENT_STATEFUL, the anonymous id: made once, and again by segment_reset. Returns its
// length without the NUL; 0: there is none, or an error.
//   buffer    For a copy with a NUL; "" if it does not fit. May be NULL with a capacity of 0.
//   capacity  How many bytes may be written there.
SEGMENT_API size_t segment_anonymous_id(const segment_client *client, char *buffer,
                                        size_t capacity);

// With SEGMENT_STATEFUL, the user id that segment_identify or segment_alias was given last. Buffer,
// capacity and what is returned are those of segment_anonymous_id.
SEGMENT_API size_t segment_user_id(const segment_client *client, char *buffer, size_t capacity);

// Forgets the user and their traits, at a logout for example, and makes a new anonymous id. Needs
// SEGMENT_STATEFUL.
SEGMENT_API segment_status segment_reset(const segment_client *client);

// From now on every message says what the user agreed to, in context.consent.categoryPreferences.
// With SEGMENT_STATEFUL a new choice is tracked as "Segment Consent Preference Updated"; if that
// message is refused, nothing changes. Another process with this spool_dir follows from its next
// request on.
//   categories  A boolean for each category; NULL: messages no longer say anything about it.
SEGMENT_API segment_status segment_set_consent(const segment_client *client,
                                               const segment_object *categories);

// The user does not want to be tracked: calls return SEGMENT_OPTED_OUT, nothing more is sent, what
// waits is thrown away (by other processes with this spool_dir before they send anything more),
// and who the user was is forgotten. This lasts, also after a restart, until segment_opt_in. The
// call waits up to a second for what was thrown away to be gone from the disk. SEGMENT_STORAGE:
// the choice could not be stored, and holds in this process only.
SEGMENT_API segment_status segment_opt_out(const segment_client *client);

// The user agrees to be tracked, for the first time or again. What is held (SEGMENT_ASK_FIRST) is
// released: with spool_dir it is there when the call returns, unless that takes more than a second
// or the disk fails (segment_stats.in_memory counts the rest). What was thrown away stays so.
// While the choice in spool_dir cannot be read, or is damaged, other calls return SEGMENT_STORAGE
// (with SEGMENT_ASK_FIRST: SEGMENT_OPTED_OUT), and nothing is sent or thrown away; after damage
// this lasts until segment_opt_in or segment_opt_out. A yes then erases what waited in spool_dir,
// uncounted, and the ids: the answer that was lost may have been a no. SEGMENT_STORAGE from
// segment_opt_in itself: the yes could not be stored, and holds in this process only.
SEGMENT_API segment_status segment_opt_in(const segment_client *client);

#define SEGMENT_CHOICE_NONE 0           // The user has not answered yet.
#define SEGMENT_CHOICE_IN 1             // The user has said yes.
#define SEGMENT_CHOICE_OUT 2            // The user has said no.

// What the user has answered, in this run or an earlier one with this spool_dir, with or without
// SEGMENT_ASK_FIRST: SEGMENT_CHOICE_NONE, _IN or _OUT. _OUT is also returned for what counts as a
// no: the answer in spool_dir cannot be read, or DO_NOT_TRACK is set (see SEGMENT_ASK_FIRST).
// Without a client: SEGMENT_CHOICE_NONE, and segment_error() says so.
SEGMENT_API int32_t segment_opt_state(const segment_client *client);

/* ---- 6. Single calls ---------------------------------------------------------------------------
 *
 * Waiting: segment_call waits for the network, within its timeout; the others do not wait.
 */

// One request to one of Segment's HTTP APIs.
struct segment_request {
    uint32_t size;                      // sizeof(segment_request)
    uint32_t flags;                     // None yet: 0.
    uint32_t api;                       // Which of Segment's APIs.

    // The Tracking API at `endpoint`, with the write key or OAuth.
#define SEGMENT_TRACKING_API 0

    // The Public API at `public_endpoint`, with the access token.
#define SEGMENT_PUBLIC_API 1

    // The Profile API at `profile_endpoint`, with the profile token.
#define SEGMENT_PROFILE_API 2
    uint32_t timeout_ms;                // For the whole request. Default: the client's timeout_ms.
    const char *method;                 // GET, POST, PUT, PATCH, DELETE. Default: "POST".

    // Relative to the API: "/v1/group/". A URL of another host is refused.
    const char *path;
    const char *query;                  // "a=1&b=2" or NULL

    // "Name: value", ..., NULL; they replace ours, in any letter case. Authorization and
    // Content-Type are added.
    const char *const *headers;
    const char *body;                   // Sent as it is; usually JSON.
    size_t body_length;                 // Its length in bytes.

    // Of a list of the Public API or of the Profile API: the page that segment_response_cursor
    // named, in place of a cursor in query. NULL: the first.
    const char *cursor;
};

#define SEGMENT_REQUEST_INIT SEGMENT_INIT(segment_request)

// One request now, on this thread; the host name is looked up on another, which may be started for
// that. Any HTTP status is an answer, 429 and redirects included; nothing is tried again. NULL:
// there is no answer, and segment_error() says why. One of more than 16 MiB counts as none. Free
// it with segment_response_free.
SEGMENT_API segment_response *segment_call(const segment_client *client,
                                           const segment_request *request);

// The HTTP status; 0 for NULL.
SEGMENT_API int32_t segment_response_status(const segment_response *response);

// The body, with a NUL at its end; NULL for NULL. It belongs to the response.
//   length_or_null  Set to its length without that NUL.
SEGMENT_API const char *segment_response_body(const segment_response *response,
                                              size_t *length_or_null);

// The value of a header, by its name in any letter case; of several the first. NULL: absent. It
// belongs to the response.
SEGMENT_API const char *segment_response_header(const segment_response *response, const char *name);

// The cursor of the next page, for segment_request.cursor, if this is a page of a list of the
// Public API or of the Profile API. NULL: it is the last page, or not a page. It belongs to the
// response.
SEGMENT_API const char *segment_response_cursor(const segment_response *response);

// Frees a response. NULL is fine.
SEGMENT_API void segment_response_free(segment_response *response);

/* ---- 7. Callbacks ------------------------------------------------------------------------------
 *
 * What the callbacks of segment_config are given. It belongs to the library, and is gone when the
 * callback returns. A callback must not throw or longjmp.
 */

// What became of some messages.
struct segment_delivery {
    uint32_t size;                      // sizeof(segment_delivery)

    // SEGMENT_OK: Segment acknowledged them. SEGMENT_QUEUE_FULL: they were dropped for room.
    segment_status status;
    int32_t http_status;                // Of the last answer; 0: there was none.
    uint32_t attempts;                  // How many requests were made for them.
    uint32_t message_count;             // How many messages.

    // The size of the last request's body, as sent; 0 if no longer known.
    uint32_t body_bytes;
    const char *const *message_ids;     // message_count of them.
    const char *error;                  // A sentence; NULL on success.
};

// One HTTP exchange, for a transport of your own. It must not follow redirects.
struct segment_http {
    uint32_t size;                      // sizeof(segment_http)
    uint32_t timeout_ms;                // For the whole exchange; never 0.
    const char *method;                 // "POST", ...
    const char *url;                    // Where to.

    // "Name: value", ..., NULL. Host and Content-Length are yours.
    const char *const *headers;
    const char *body;                   // What to send, without a NUL at its end.
    size_t body_length;                 // Its length in bytes.
};

// For a transport of your own: the status and the body of the answer, into the response it was
// given. The body is copied.
SEGMENT_API void segment_response_set(segment_response *response, int32_t status, const char *body,
                                      size_t length);

// For a transport of your own: one header of the answer, into the response it was given.
SEGMENT_API void segment_response_add_header(segment_response *response, const char *name,
                                             const char *value);

/* ---- 8. Errors --------------------------------------------------------------------------------*/

// Why this thread's last failing call failed: a sentence that names the argument. "" if none
// failed. Valid until this thread's next failing call.
SEGMENT_API const char *segment_error(void);

// The status of this thread's last call that failed; SEGMENT_OK if none did.
SEGMENT_API segment_status segment_error_status(void);

// What a status means, in general. Never NULL.
SEGMENT_API const char *segment_strerror(int32_t status);

/* ---- 9. Versions ------------------------------------------------------------------------------*/

// Of this header. Compare with segment_version(), which is the library's.
#define SEGMENT_VERSION "0.1.0"
// The same as a number: major * 1,000,000 + minor * 1,000 + patch.
#define SEGMENT_VERSION_NUMBER 1000

// The version of the library, like "0.1.0".
SEGMENT_API const char *segment_version(void);

// The same as a number, to compare with SEGMENT_VERSION_NUMBER.
SEGMENT_API uint32_t segment_version_number(void);

// What this library was built as, in JSON, for bug reports and for bindings that check themselves:
// its version; "abi", the number in the name that programs load it by; "target"; and its features:
// "http" (its own HTTP; without it the host brings a transport) and "oauth".
SEGMENT_API const char *segment_build_info(void);

#ifdef __cplusplus
}
#endif

#endif
