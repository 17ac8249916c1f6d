/* segment.h - Segment analytics for C, and for everything that can call C.
 * Generated from src/ by cbindgen: change it there and run `cargo test -p segment-header`.
 *
 *     segment_config config = { .size = sizeof config, .write_key = "WRITE_KEY" };
 *     segment_client *client = segment_new(&config);
 *     segment_track(client, "u-42", "Level Completed", NULL, NULL);
 *     segment_free(client);                      // delivers what is queued, then frees
 *
 * Memory:  what you pass in is copied before the call returns. What a _new, _parse or _call gives
 *          you, you give to the matching _free, once. Strings you get belong to what they came
 *          from.
 * Text:    UTF-8, NUL-terminated.
 * NULL:    never crashes. As an optional argument it means "none"; elsewhere the call fails.
 * Errors:  calls return SEGMENT_OK or a reason; calls that create return NULL. segment_error()
 *          explains.
 * Threads: what takes a const handle may be called from any thread at any time; what takes a
 *          non-const handle needs it for itself. A fork()ed child may go on using a client. Nothing
 *          here is for signal handlers: no function is async-signal-safe.
 * Waiting: segment_flush, _shutdown, _free and _call may wait for the network. What changes who the
 *          user is or what they agreed to (segment_reset, _set_consent, _opt_out, _opt_in; with
 *          SEGMENT_STATEFUL segment_new, _identify and _alias too) may wait, where there is a
 *          spool_dir, until the disk holds a small file, and for other processes that write theirs.
 * Change:  within a major version functions are only added and structs only grow at the end. Fields
 *          and flags that this version does not know how to honour are refused by name, never
 *          ignored.
 */

#ifndef SEGMENT_H
#define SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEGMENT_VERSION "0.1.0"         /* the header's; segment_version() is the library's */

// segment_config.flags: send bodies uncompressed.
#define SEGMENT_NO_GZIP 1

// segment_config.flags: do everything but send; what would be sent counts as delivered.
#define SEGMENT_DRY_RUN 2

// segment_config.flags: a full queue makes room by dropping its oldest sealed chunks, never one
// that is just being sent; if there is none, SEGMENT_QUEUE_FULL.
#define SEGMENT_DROP_OLDEST 4

// segment_config.flags: the client remembers who the user is, in spool_dir if there is one: see
// segment_reset. Without it, nothing is remembered and both ids are yours.
#define SEGMENT_STATEFUL 8

// segment_config.flags: refuse what is only doubtful, not just what Segment would discard: reserved
// traits and e-commerce properties of the wrong type, custom traits that are reserved ones in
// another spelling, amounts that are no numbers, currencies that are not ISO 4217, times in the
// future, e-mail addresses as user ids. Else on_log warns of it, once for each kind and name.
#define SEGMENT_STRICT 16

// segment_config.flags: with spool_dir, survive power loss too, by syncing in the background ten
// times a second.
#define SEGMENT_SYNC 32

// segment_config.flags: add os, device, locale, timezone to context; the locale is the
// environment's.
#define SEGMENT_DEVICE_CONTEXT 64

// segment_config.flags: with SEGMENT_STATEFUL, track Application Installed, Updated (both only
// with a spool_dir that can be written) and Opened when a client is made, by the version and build
// of app in context.
#define SEGMENT_LIFECYCLE 128

// segment_config.flags: nothing is kept or sent before the user has been asked. Until
// segment_opt_in or segment_opt_out was called once, in this run or an earlier one with this
// spool_dir, messages, ids and a consent are held in memory, within queue_max_bytes
// (segment_stats.held counts the messages); nothing is written below spool_dir, and nothing sent,
// nor what waits there from earlier.
// segment_flush and segment_shutdown return SEGMENT_TIMEOUT at once, segment_free is quick,
// segment_call to the Tracking API returns SEGMENT_OPTED_OUT. A yes lets go what is held, a no
// erases it; what is still held at the end counts as dropped. Another process with this spool_dir
// follows the answer within 30 s. A spool_dir that cannot be read in segment_new counts as a no
// until it can be; so does DO_NOT_TRACK in the environment, unless it is empty or 0, until somebody
// says yes. A forked child begins as its parent was; what is held is the parent's. See
// segment_opt_state.
#define SEGMENT_ASK_FIRST 256

// segment_opt_state: the user has not answered yet.
#define SEGMENT_CHOICE_NONE 0

// segment_opt_state: the user has said yes.
#define SEGMENT_CHOICE_IN 1

// segment_opt_state: the user has said no.
#define SEGMENT_CHOICE_OUT 2

// segment_request.api: the Tracking API at `endpoint`, with the write key or OAuth.
#define SEGMENT_TRACKING_API 0

// segment_request.api: the Public API at `public_endpoint`, with the access token.
#define SEGMENT_PUBLIC_API 1

// segment_request.api: the Profile API at `profile_endpoint`, with the profile token.
#define SEGMENT_PROFILE_API 2

// What a call reports. The values never change their meaning.
enum segment_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // It worked.
    SEGMENT_OK = 0,
    // An argument is NULL, not UTF-8, or against the rules.
    SEGMENT_INVALID = 1,
    // The message is over Segment's limit of 32 KB.
    SEGMENT_TOO_LARGE = 2,
    // The message was not taken: as much waits as may wait.
    SEGMENT_QUEUE_FULL = 3,
    // The client was shut down.
    SEGMENT_CLOSED = 4,
    // The time ran out first.
    SEGMENT_TIMEOUT = 5,
    // Segment could not be reached.
    SEGMENT_NETWORK = 6,
    // Segment answered with an error.
    SEGMENT_REJECTED = 7,
    // The spool could not be read or written.
    SEGMENT_STORAGE = 8,
    // A bug of ours, contained; please report it.
    SEGMENT_INTERNAL = 9,
    // The user opted out: nothing was kept.
    SEGMENT_OPTED_OUT = 10,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum segment_status segment_status;
#else
typedef int32_t segment_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A queue, and the thread that delivers it.
typedef struct segment_client segment_client;

// A JSON object: properties, traits, context. A setter that fails marks the object, and the call
// that uses it reports why. Setting a key again replaces its value. An object may be used in any
// number of calls; it is for one thread at a time.
typedef struct segment_object segment_object;

// The answer to a request.
typedef struct segment_response segment_response;

// OAuth 2.0 instead of Basic authentication.
typedef struct segment_oauth {
    // sizeof(segment_oauth)
    uint32_t size;
    // None yet: 0.
    uint32_t flags;
    // The id of the OAuth application.
    const char * client_id;
    // The id of its key.
    const char * key_id;
    // PEM, PKCS#8 or PKCS#1.
    const char * private_key;
    // "tracking_api:write"
    const char * scope;
    // "https://oauth2.segment.io", or the EU's if the client's endpoint is there.
    const char * endpoint;
} segment_oauth;

// What became of some messages.
typedef struct segment_delivery {
    // sizeof(segment_delivery)
    uint32_t size;
    // SEGMENT_OK: Segment acknowledged them.
    segment_status status;
    // Of the last answer; 0: there was none.
    int32_t http_status;
    // How many requests were made for them.
    uint32_t attempts;
    // How many messages.
    uint32_t message_count;
    // The size of the last request's body, as sent.
    uint32_t body_bytes;
    // message_count of them.
    const char *const *message_ids;
    // A sentence; NULL on success.
    const char *error;
} segment_delivery;

// One HTTP exchange, for a transport of your own. It must not follow redirects.
typedef struct segment_http {
    // sizeof(segment_http)
    uint32_t size;
    // For the whole exchange; never 0.
    uint32_t timeout_ms;
    // "POST", ...
    const char *method;
    // Where to.
    const char *url;
    // "Name: value", ..., NULL. Host and Content-Length are yours.
    const char *const *headers;
    // What to send. It needs no NUL at its end and has none.
    const char *body;
    // How many bytes of it.
    size_t body_length;
} segment_http;

// The settings of a client. Zero means the default; only write_key has none.
typedef struct segment_config {
    // sizeof(segment_config): which fields you know.
    uint32_t size;
    // SEGMENT_NO_GZIP, ...
    uint32_t flags;
    // How many bytes of messages may wait, in memory or in spool_dir; then SEGMENT_QUEUE_FULL:
    // 64 MiB.
    uint64_t queue_max_bytes;
    // Your source's write key.
    const char * write_key;
    // "https://api.segment.io"; "eu" is short for the EU host.
    const char * endpoint;
    // Accepted messages are kept in this folder until delivered, and survive whatever becomes of
    // the process; it is made if it is not there, and should be the library's own. Several
    // processes may share it. A relative path is taken from where the process is in segment_new,
    // and stays there. On Unix any bytes, elsewhere UTF-8. NULL: in memory only.
    const char * spool_dir;
    // Send when this many messages wait: 100.
    uint32_t flush_at;
    // Send what waits this often: 5000.
    uint32_t flush_interval_ms;
    // Counted attempts after the first, within 12 hours, without spool_dir: 10; UINT32_MAX: none.
    uint32_t retry_max;
    // For one whole HTTP request, the name look-up included: 15000.
    uint32_t timeout_ms;
    // How long segment_free may deliver: 2000 (not at all: segment_shutdown(client, 0) first).
    uint32_t shutdown_ms;
    // How many batches may be on their way at once, 64 at most, for servers that are far away. 0:
    // one at first, up to 16 while more waits than one carries and the server takes it; with a
    // transport, 1. Together they carry a quarter of queue_max_bytes at most, and arrive in any
    // order: 1 keeps it, as alias and identify may want. Segment recommends at most 1,000 events a
    // second for a workspace.
    uint32_t uploads;
    // Part of every message's context.
    const struct segment_object *context;
    // Every message's integrations.
    const struct segment_object *integrations;
    // "http://[user:password@]host:port", "https://..." or "socks5://..." ("socks5h://...": the
    // proxy looks names up); "": none. NULL: what the environment says: https_proxy for https,
    // http_proxy for http, all_proxy for what is left, in lower or upper case, but for the hosts,
    // domains, addresses and networks (10.0.0.0/8) in no_proxy, each with a port if need be. An
    // empty variable means no proxy; one that is no URL of a proxy is passed over. HTTP_PROXY does
    // not count where REQUEST_METHOD is set: in a CGI program any visitor can set it.
    const char * proxy;
    // A file with PEM certificates to trust besides the system's. On Unix any bytes, elsewhere
    // UTF-8.
    const char * ca_file;
    // "Name: value", ..., NULL, on every request to the Tracking API: for gateways of your own.
    const char *const *headers;
    // OAuth 2.0 instead of Basic authentication.
    const struct segment_oauth *oauth;
    // For segment_call to the Public API.
    const char * access_token;
    // For segment_call to the Profile API.
    const char * profile_token;
    // "https://api.segmentapis.com", or the EU's if endpoint is there.
    const char * public_endpoint;
    // "https://profiles.segment.com", or the EU's.
    const char * profile_endpoint;
    // What became of messages. Always on the delivery thread, as on_log. Callbacks must not throw
    // or longjmp; inside them segment_flush and segment_shutdown return SEGMENT_INVALID, and
    // segment_free does nothing.
    void (*on_delivery)(void *userdata, const struct segment_delivery *delivery);
    // Level 0 error, 1 warning, 2 info, 3 debug.
    void (*on_log)(void *userdata, int32_t level, const char *message);
    // Sees each message on the calling thread, before anything is kept: returns json itself, a
    // replacement (copied at once, it stays yours), or NULL to drop it: the call then returns
    // SEGMENT_OK and counts as accepted and dropped. What it returns is checked like any message.
    // It must not call this client, nor wait for a thread that does.
    const char *(*before_send)(void *userdata, const char *json);
    // HTTP by the host: makes one exchange, fills in the response, and returns 0, or anything else
    // if there was no answer. On the delivery thread, and on the caller's for segment_call;
    // possibly on both at once. With uploads above 1 on so many threads. What it has begun when
    // segment_opt_out is called it goes on with.
    int32_t (*transport)(void *userdata,
                         const struct segment_http *request,
                         struct segment_response *response);
    // Handed to all four.
    void *userdata;
} segment_config;

// Counts of messages since the client was made. accepted == delivered + failed + dropped + queued,
// always: nothing disappears uncounted.
typedef struct segment_stats {
    // sizeof(segment_stats), set by you.
    uint32_t size;
    // None yet: written as 0, and not read.
    uint32_t flags;
    // Calls that returned SEGMENT_OK, and messages found in the spool.
    uint64_t accepted;
    // Acknowledged by Segment.
    uint64_t delivered;
    // Refused for good, or given up.
    uint64_t failed;
    // Oldest dropped for room, dropped by before_send, thrown away because the user opted out, or
    // held (SEGMENT_ASK_FIRST) when the client ended.
    uint64_t dropped;
    // Waiting now.
    uint64_t queued;
    // The size of what is waiting.
    uint64_t queued_bytes;
    // Calls that did not return SEGMENT_OK.
    uint64_t refused;
    // Of accepted: found in the spool.
    uint64_t recovered;
    // HTTP requests.
    uint64_t requests;
    // HTTP requests that repeated an earlier one.
    uint64_t retries;
    // Of queued: would not survive a kill.
    uint64_t in_memory;
    // When a batch was acknowledged last, in milliseconds since 1970; 0: none was.
    int64_t last_success_ms;
    // Until when nothing is sent because the server demanded a pause, in milliseconds since 1970;
    // 0: there is none.
    int64_t paused_until_ms;
    // The HTTP status of the last answer to a batch; 0: there was none.
    uint32_t last_http_status;
    // How many requests for messages are under way.
    uint32_t uploads;
    // Of queued: held until the user has answered, with SEGMENT_ASK_FIRST.
    uint64_t held;
} segment_stats;

// The optional fields of a message. Zero means that there is none.
typedef struct segment_options {
    // sizeof(segment_options)
    uint32_t size;
    // None yet: 0.
    uint32_t flags;
    // When it happened, milliseconds since 1970: now. (0 is now; for 1970 itself use timestamp.
    // Both: SEGMENT_INVALID.)
    int64_t timestamp_ms;
    // ISO 8601 with a zone, instead of timestamp_ms.
    const char * timestamp;
    // Who, when there is no user id.
    const char * anonymous_id;
    // For deduplication, at most 99 characters: a new UUID.
    const char * message_id;
    // Merged over the client's.
    const struct segment_object *context;
    // Which destinations receive it; merged over the client's.
    const struct segment_object *integrations;
    // Of a page or screen.
    const char * category;
} segment_options;

// One request to one of Segment's HTTP APIs.
typedef struct segment_request {
    // sizeof(segment_request)
    uint32_t size;
    // None yet: 0.
    uint32_t flags;
    // SEGMENT_TRACKING_API
    uint32_t api;
    // The client's.
    uint32_t timeout_ms;
    // GET, POST, PUT, PATCH, DELETE: "POST".
    const char * method;
    // Relative to the API: "/v1/group/". A URL of another host is refused.
    const char * path;
    // "a=1&b=2" or NULL
    const char * query;
    // "Name: value", ..., NULL; they win over ours, in any letter case. Authorization and
    // Content-Type are added.
    const char *const *headers;
    // Sent as it is; usually JSON.
    const char *body;
    // How many bytes of it.
    size_t body_length;
    // Of a list of the Public API or of the Profile API: the page that segment_response_cursor
    // named, in place of a cursor in query. NULL: the first.
    const char * cursor;
} segment_request;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Why this thread's last call that failed did so: a sentence that names the argument. "" if none
// failed. Valid until this thread's next failing call.
const char *segment_error(void);

// The status of this thread's last call that failed; SEGMENT_OK if none did.
segment_status segment_error_status(void);

// What a status means, in general. Never NULL.
const char *segment_strerror(int32_t status);

// The version of the library, like "0.1.0".
const char *segment_version(void);

// A new, empty object. Free it with segment_object_free.
struct segment_object *segment_object_new(void);

// An object from JSON text. If that is no JSON object, the object returned is marked: the call
// that uses it says why.
struct segment_object *segment_object_parse(const char * json);

// Sets a text.
void segment_object_set_str(struct segment_object *object, const char * key, const char * value);

// Sets an integer; it stays exact to 64 bits.
void segment_object_set_int(struct segment_object *object, const char * key, int64_t value);

// Sets a number, written as the shortest text that reads back the same. NaN and the infinities
// mark the object.
void segment_object_set_double(struct segment_object *object, const char * key, double value);

// Sets true or false.
void segment_object_set_bool(struct segment_object *object, const char * key, bool value);

// Sets null. As a trait it overwrites what Segment has stored.
void segment_object_set_null(struct segment_object *object, const char * key);

// Sets a time, milliseconds since 1970, written as ISO 8601 in UTC.
void segment_object_set_time(struct segment_object *object, const char * key, int64_t unix_ms);

// Sets any JSON value, checked and copied as it is.
void segment_object_set_json(struct segment_object *object, const char * key, const char * json);

// Sets a copy of another object, or of the same.
void segment_object_set_object(struct segment_object *object,
                               const char * key,
                               const struct segment_object *value);

// Appends a copy of an object to the list of this name, which is made if it is not there; what is
// no list marks the object.
void segment_object_push_object(struct segment_object *object,
                                const char * list,
                                const struct segment_object *item);

// Appends a text to the list of this name, which is made if it is not there; what is no list marks
// the object.
void segment_object_push_str(struct segment_object *object, const char * list, const char * item);

// Empties an object for reuse; marks are forgotten, memory is kept.
void segment_object_clear(struct segment_object *object);

// Frees an object; NULL is fine.
void segment_object_free(struct segment_object *object);

// A new client, or NULL: segment_error() says why. Without spool_dir nothing is sent and no thread
// started before the first message.
struct segment_client *segment_new(const struct segment_config *config);

// Sends what waits. SEGMENT_OK when every message accepted before the call is settled (delivered,
// failed or dropped) and its on_delivery has run, SEGMENT_TIMEOUT otherwise. It cuts a wait after
// a failure short, at most twice a second, and never a Retry-After. 0 starts it and does not wait.
segment_status segment_flush(const struct segment_client *client, uint32_t timeout_ms);

// Takes no more messages, and goes on delivering for this long: SEGMENT_OK when nothing is queued,
// else SEGMENT_TIMEOUT. May be repeated. 0 does not wait.
segment_status segment_shutdown(const struct segment_client *client, uint32_t timeout_ms);

// Shuts down with the config's shutdown_ms, unless segment_shutdown was called before, then frees.
// What could not be delivered is kept by the spool or, without one, reported to on_delivery as
// SEGMENT_TIMEOUT; it then counts as failed. It waits for a callback that is already running, the
// one exception to its deadline; no callback runs after it. NULL is fine.
void segment_free(struct segment_client *client);

// Sends nothing from now on, until segment_resume: in a match, say, or on a metered line. All is
// kept, and more taken while there is room; a request that is under way may end. segment_flush and
// segment_shutdown return SEGMENT_TIMEOUT at once while anything waits. It does not outlive the
// client; a forked child begins as its parent was.
segment_status segment_pause(const struct segment_client *client);

// Sends again what waits.
segment_status segment_resume(const struct segment_client *client);

// Why nothing arrives: what stands in the way right now, as a sentence for a person ("Segment
// answered with status 403 at 12:03:05 UTC; 210 messages wait; next try in 40 s"). Returns its
// length without the NUL (0: nothing that is known, or an error) and writes a copy with a NUL, cut
// to `capacity` bytes if it is longer.
size_t segment_last_problem(const struct segment_client *client, char *buffer, size_t capacity);

// Writes the counts, as many as the struct's size says.
segment_status segment_get_stats(const struct segment_client *client, struct segment_stats *stats);

// Says who the user is, and records traits about them. A NULL user_id needs options->anonymous_id,
// or SEGMENT_STATEFUL. With that the user id is remembered, and the traits for as long as all of
// them together have at most 8192 bytes of JSON; traits beyond that are sent and not remembered,
// and those known before stay.
segment_status segment_identify(const struct segment_client *client,
                                const char * user_id,
                                const struct segment_object *traits,
                                const struct segment_options *options);

// Says what the user did. A NULL user_id needs options->anonymous_id, or
// SEGMENT_STATEFUL.
segment_status segment_track(const struct segment_client *client,
                             const char * user_id,
                             const char * event,
                             const struct segment_object *properties,
                             const struct segment_options *options);

// Says which web page the user saw. The name is optional. A NULL user_id needs
// options->anonymous_id, or SEGMENT_STATEFUL.
segment_status segment_page(const struct segment_client *client,
                            const char * user_id,
                            const char * name,
                            const struct segment_object *properties,
                            const struct segment_options *options);

// Says which screen of an app the user saw. The name is optional. A NULL user_id needs
// options->anonymous_id, or SEGMENT_STATEFUL.
segment_status segment_screen(const struct segment_client *client,
                              const char * user_id,
                              const char * name,
                              const struct segment_object *properties,
                              const struct segment_options *options);

// Says which company, team or account the user belongs to, and records traits about it. A NULL
// user_id needs options->anonymous_id, or SEGMENT_STATEFUL.
segment_status segment_group(const struct segment_client *client,
                             const char * user_id,
                             const char * group_id,
                             const struct segment_object *traits,
                             const struct segment_options *options);

// Says that user_id was known as previous_id before. With SEGMENT_STATEFUL a NULL previous_id is
// the one that is known.
segment_status segment_alias(const struct segment_client *client,
                             const char * user_id,
                             const char * previous_id,
                             const struct segment_options *options);

// Queues a whole message in JSON, {"type":"track",...}: for bindings, imports, and what the calls
// above lack. What it lacks (messageId, timestamp, context; with SEGMENT_STATEFUL the ids) is
// added as for the calls above; what it says of the user is not remembered. The text needs no NUL.
segment_status segment_enqueue(const struct segment_client *client,
                               const char *json,
                               size_t length);

// With SEGMENT_STATEFUL, the anonymous id: made once, and again by segment_reset. Returns its
// length without the NUL (0: there is none, or an error) and writes a copy with a NUL if it fits
// into `capacity` bytes; else the buffer becomes "".
size_t segment_anonymous_id(const struct segment_client *client, char *buffer, size_t capacity);

// With SEGMENT_STATEFUL, the user id that segment_identify or segment_alias was given last.
// Returns its length without the NUL (0: there is none, or an error) and writes a copy with a NUL
// if it fits into `capacity` bytes; else the buffer becomes "".
size_t segment_user_id(const struct segment_client *client, char *buffer, size_t capacity);

// Forgets the user and their traits, at a logout for example; there is a new anonymous id. Needs
// SEGMENT_STATEFUL.
segment_status segment_reset(const struct segment_client *client);

// From now on every message says what the user agreed to: a boolean for each category, in
// context.consent.categoryPreferences; NULL: nothing any more. With SEGMENT_STATEFUL a new choice
// is tracked as "Segment Consent Preference Updated"; where that is refused, nothing has changed.
// Another process with this spool_dir knows of it from its next request on.
segment_status segment_set_consent(const struct segment_client *client,
                                   const struct segment_object *categories);

// The user does not want to be known: calls return SEGMENT_OPTED_OUT, nothing is sent any more,
// what waits is thrown away (by other processes with this spool_dir before they send anything
// more), and who the user was is forgotten. It stays so, also after a restart, until
// segment_opt_in. It waits up to a second for what was thrown away to be gone from the disk.
// SEGMENT_STORAGE: it could not be kept, and is so in this process only.
segment_status segment_opt_out(const struct segment_client *client);

// The user wants to be known, for the first time or again. What is held (SEGMENT_ASK_FIRST) is let
// go: with spool_dir it is there when the call returns, unless that takes more than a second or the
// disk fails (segment_stats.in_memory counts the rest). What was thrown away stays so. Where nobody
// knows what the user wants, because what is kept in spool_dir cannot be read or was damaged, calls
// return SEGMENT_STORAGE (with SEGMENT_ASK_FIRST: SEGMENT_OPTED_OUT), and nothing is sent or thrown
// away; after damage until segment_opt_in or segment_opt_out. SEGMENT_STORAGE from segment_opt_in
// itself: the yes could not be kept, and is so in this process only.
segment_status segment_opt_in(const struct segment_client *client);

// What the user has answered, in this run or an earlier one with this spool_dir, with or without
// SEGMENT_ASK_FIRST: SEGMENT_CHOICE_NONE, _IN or _OUT. _OUT is also what counts as a no: what
// spool_dir keeps of it cannot be read, or DO_NOT_TRACK is set (see SEGMENT_ASK_FIRST). Without a
// client: SEGMENT_CHOICE_NONE, and segment_error() says so.
int32_t segment_opt_state(const struct segment_client *client);

// One request now, on this thread; the name of the host is looked up by another, which may be
// started for it. Any HTTP status is an answer, 429 and redirects included; nothing is tried again.
// NULL: there is none, and segment_error() says why. An answer of more than 16 MiB is none. Free it
// with segment_response_free.
struct segment_response *segment_call(const struct segment_client *client,
                                      const struct segment_request *request);

// The HTTP status; 0 for NULL.
int32_t segment_response_status(const struct segment_response *response);

// The body, with a NUL behind it; NULL for NULL. It belongs to the response.
const char *segment_response_body(const struct segment_response *response, size_t *length_or_null);

// The value of a header, by its name in any letter case; of several the first. NULL: absent. It
// belongs to the response.
const char *segment_response_header(const struct segment_response *response, const char * name);

// The cursor of the next page, for segment_request.cursor, if this is a page of a list of the
// Public API or of the Profile API. NULL: it is the last, or none. It belongs to the response.
const char *segment_response_cursor(const struct segment_response *response);

// Frees a response. NULL is fine.
void segment_response_free(struct segment_response *response);

// For a transport of your own: the status and the body of the answer, into the response it was
// given. The body is copied.
void segment_response_set(struct segment_response *response,
                          int32_t status,
                          const char *body,
                          size_t length);

// For a transport of your own: one header of the answer, into the response it was given.
void segment_response_add_header(struct segment_response *response,
                                 const char * name,
                                 const char * value);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SEGMENT_H */
