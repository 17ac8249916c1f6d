// segment.hpp - Segment analytics for C++17: one header over segment.h. Link with libsegment.
//
//     segment::Config config;
//     config.write_key = "WRITE_KEY";
//     segment::Client client(config);
//     client.track("u-42", "Order Completed", {{"price", 19.99}, {"tags", segment::List{"new", "sale"}}});
//                                                    // leaving the scope delivers what is queued
//
// Braces:  {{"name", value}, ...} is always an object, at every depth: {{"a", "b"}} is {"a":"b"}, and {} is empty.
//          A list is always List{...}, objects in it Object{...}. What could be taken for either does not compile.
// Errors:  calls return a Result; an Object that was given something bad makes the call that uses it say so.
// Throws:  nothing of its own. Works with -fno-exceptions and -fno-rtti.
// Threads: const member functions may be called from any thread at any time; others need the object for themselves.
#ifndef SEGMENT_HPP
#define SEGMENT_HPP

#include "segment.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace segment {

/// What a call reports: SEGMENT_OK, ... of segment.h, where they are explained.
enum class Status : std::int32_t {
    ok, invalid, too_large, queue_full, closed, timeout, network, rejected, storage, internal, opted_out
};
static_assert(std::int32_t(Status::opted_out) == SEGMENT_OPTED_OUT);

/// What became of a call: `if (!result) puts(result.message().c_str());`
class Result {
public:
    Result(Status status, std::string message) : status_(status), message_(std::move(message)) {}
    /// Of the C call just made: the sentence is copied at once, since this thread's next failing call changes it.
    explicit Result(segment_status status) : Result(Status(status), status == SEGMENT_OK ? "" : segment_error()) {}

    explicit operator bool() const noexcept { return status_ == Status::ok; }
    [[nodiscard]] Status status() const noexcept { return status_; }
    [[nodiscard]] const std::string& message() const noexcept { return message_; }  ///< a sentence; "" on success

private:
    Status status_;
    std::string message_;
};

/// A text parameter: const char* and std::string pass as they are, std::string_view is copied (C wants a NUL at the
/// end), nullptr is none. For use within the expression. A NUL inside is an error, never a silent cut.
class Text {
public:
    Text(const char* text = nullptr) noexcept : data_(text) {}
    template <class T, std::enable_if_t<std::is_convertible_v<const T&, std::string_view> &&
                                            !std::is_convertible_v<const T&, const char*>, int> = 0>
    Text(const T& text) {
        const std::string_view view(text);
        has_nul_ = view.find('\0') != view.npos;
        data_ = std::is_same_v<T, std::string> ? view.data() : copy_.assign(view).c_str();
    }
    Text(const Text&) = delete;
    Text& operator=(const Text&) = delete;

    const char* c_str() const noexcept { return data_; }
    bool has_nul() const noexcept { return has_nul_; }

private:
    const char* data_;
    bool has_nul_ = false;
    std::string copy_;
};

/// JSON as it is, for what has no type here: `{"sizes", segment::Json{"[38, 40]"}}`. It is checked.
struct Json {
    Text text;
};

class Object;
struct Member;
template <class... T> class List;

namespace detail {

// The first flaw is the one that is told.
inline void note(std::string& flaw, std::string_view subject, std::string_view what) {
    if (flaw.empty()) flaw.append(subject).append(what);
}
inline constexpr char has_nul[] = " has a NUL character in it";
inline const char* checked(const Text& text, const char* name, std::string& flaw) {
    if (text.has_nul()) note(flaw, name, has_nul);
    return text.c_str();
}
inline const char* optional(const std::string& text, const char* name, std::string& flaw) {
    return text.empty() ? nullptr : checked(text, name, flaw);
}
inline std::uint32_t to_ms(std::chrono::milliseconds time) noexcept {
    return time.count() < 0 ? 0 : time.count() < UINT32_MAX ? static_cast<std::uint32_t>(time.count()) : UINT32_MAX;
}
template <class Time> std::int64_t to_unix_ms(Time time) noexcept {
    return std::chrono::floor<std::chrono::milliseconds>(time).time_since_epoch().count();
}

template <class T, class... U> inline constexpr bool is_any = (std::is_same_v<T, U> || ...);
template <class T> inline constexpr bool is_signed = is_any<T, signed char, short, int, long, long long>;
template <class T> inline constexpr bool is_unsigned =
    is_any<T, unsigned char, unsigned short, unsigned, unsigned long, unsigned long long>;
template <class T> inline constexpr bool is_time = false;
template <class D> inline constexpr bool is_time<std::chrono::time_point<std::chrono::system_clock, D>> = true;
template <class T> inline constexpr bool is_text = std::is_constructible_v<Text, const T&>;
// A char is left out: neither a number nor a text would be a safe guess.
template <class T> inline constexpr bool is_value = is_signed<T> || is_unsigned<T> || std::is_floating_point_v<T> ||
    is_time<T> || is_text<T> || is_any<T, bool, std::nullptr_t, Json, Object>;

struct Anything { template <class T> Anything(const T&) noexcept {} };

}  // namespace detail

/// The value of a member: nullptr, bool, an integer (exact), a floating-point number (finite), a text, a
/// std::chrono::system_clock time (becomes ISO 8601, in milliseconds), Json, an Object or its braces, or a List.
/// Refers to what it was made from: for use within the expression, and as a parameter of functions of your own.
class Value {
public:
    Value(std::initializer_list<Member> members = {}) noexcept : count_(members.size()), set_(set_members) {
        at_ = members.begin();
    }
    Value(std::initializer_list<detail::Anything>) = delete;  // {"a", "b"} is no list: write List{"a", "b"}
    Value(const char* const& text) noexcept : at_(&text), set_(set_one<const char*>) {}
    template <class T, std::enable_if_t<detail::is_value<T> && !std::is_array_v<T>, int> = 0>
    Value(const T& value) noexcept : at_(&value), set_(set_one<T>) {}
    template <class... T> Value(List<T...>&& list) noexcept : at_(&list), set_(set_list<T...>) {}
    template <class... T> Value(const List<T...>&) = delete;  // what a named List refers to may be gone: Object::push

private:
    friend class Object;
    static void set_members(Object& object, const Text& name, const Value& value);
    template <class T> static void set_one(Object& object, const Text& name, const Value& value);
    template <class... T> static void set_list(Object& object, const Text& name, const Value& value);

    const void* at_;
    std::size_t count_ = 0;
    void (*set_)(Object& object, const Text& name, const Value& value);
};

/// One member of an object in braces.
struct Member {
    Member(const Text& its_name, const Value& its_value) noexcept : name(its_name), value(its_value) {}
    const Text& name;
    const Value& value;
};

/// A list of texts or Objects: `{"tags", segment::List{"a", "b"}}`. For use within the expression.
/// Its type tells its items' types, because some compilers take X{X{...}} for X{...}: that must not go unseen.
template <class... T> class List {
    static_assert(((detail::is_text<std::decay_t<T>> || std::is_same_v<std::decay_t<T>, Object>) && ...),
                  "a List holds texts and Objects; pass any other list as Json");

public:
    explicit List(T&&... items) noexcept : items_(std::forward<T>(items)...) {}
    List(const List&) = delete;
    List& operator=(const List&) = delete;

private:
    friend class Value;
    std::tuple<T&&...> items_;
};
template <class... T> List(T&&...) -> List<T...>;
template <class... T> List(List<T...>&&) -> List<List<T...>>;

/// A JSON object: properties, traits, context. What cannot be set (NaN, a text that is not UTF-8 or has a NUL in it,
/// bad JSON, more than 32 KB) marks the object, and the call that uses it says why. Moved from, it is empty.
class Object {
public:
    Object() noexcept = default;
    Object(std::initializer_list<Member> members) {
        for (const Member& member : members) set(member.name, member.value);
    }
    /// From JSON text, `{"plan": "pro"}`.
    [[nodiscard]] static Object parse(const Text& json) {
        Object object;
        object.object_.reset(segment_object_parse(detail::checked(json, "the JSON", object.flaw_)));
        return object;
    }

    /// Sets a member, or replaces its value.
    Object& set(const Text& name, const Value& value) {
        if (name.has_nul()) return mark(name, detail::has_nul);
        value.set_(*this, name, value);
        return *this;
    }
    /// Appends to the list of this name, making the list where there is none.
    Object& push(const Text& list, const Text& item) { return put(list, item, segment_object_push_str); }
    Object& push(const Text& list, const Object& item) { return put(list, item, segment_object_push_object); }
    /// Forgets all members, and what marked the object.
    void clear() noexcept {
        segment_object_clear(object_.get());
        flaw_.clear();
    }

private:
    friend class Client;
    friend class Value;
    struct Free {
        void operator()(segment_object* object) const noexcept { segment_object_free(object); }
    };
    template <class T> using Put = void (*)(segment_object*, const char* name, T);

    // Without members there is no handle, and no allocation.
    segment_object* handle() {
        if (!object_) object_.reset(segment_object_new());
        if (!object_) detail::note(flaw_, "the object", " finds no memory");
        return object_.get();
    }
    const segment_object* checked(const char* argument, std::string& flaw) const {
        if (!flaw_.empty()) detail::note(flaw, argument, ": " + flaw_);
        return object_.get();
    }
    Object& mark(const Text& name, std::string_view what) {
        detail::note(flaw_, '"' + std::string(name.c_str() ? name.c_str() : "") + '"', what);
        return *this;
    }
    Object& put(const Text& name, const Text& text, Put<const char*> place) {
        if (name.has_nul() || text.has_nul()) return mark(name, detail::has_nul);
        place(handle(), name.c_str(), text.c_str());
        return *this;
    }
    Object& put(const Text& name, const Object& child, Put<const segment_object*> place) {
        if (name.has_nul()) return mark(name, detail::has_nul);
        if (!child.flaw_.empty()) return mark(name, ": " + child.flaw_);
        Object empty;
        place(handle(), name.c_str(), child.object_ ? child.object_.get() : empty.handle());
        return *this;
    }

    std::unique_ptr<segment_object, Free> object_;
    std::string flaw_;  // what C does not get to see: a NUL inside a text
};

inline void Value::set_members(Object& object, const Text& name, const Value& value) {
    Object child;
    const Member* const members = static_cast<const Member*>(value.at_);
    for (std::size_t i = 0; i < value.count_; ++i) child.set(members[i].name, members[i].value);
    object.put(name, child, segment_object_set_object);
}

template <class T> void Value::set_one(Object& object, const Text& name, const Value& value) {
    [[maybe_unused]] const T& it = *static_cast<const T*>(value.at_);
    const auto put_number = [&](auto place, auto number) { place(object.handle(), name.c_str(), number); };
    if constexpr (std::is_same_v<T, std::nullptr_t>) segment_object_set_null(object.handle(), name.c_str());
    else if constexpr (std::is_same_v<T, bool>) put_number(segment_object_set_bool, it);
    else if constexpr (detail::is_signed<T>) put_number(segment_object_set_int, std::int64_t{it});
    else if constexpr (std::is_floating_point_v<T>) put_number(segment_object_set_double, static_cast<double>(it));
    else if constexpr (detail::is_time<T>) put_number(segment_object_set_time, detail::to_unix_ms(it));
    else if constexpr (std::is_same_v<T, Json>) object.put(name, it.text, segment_object_set_json);
    else if constexpr (std::is_same_v<T, Object>) object.put(name, it, segment_object_set_object);
    else if constexpr (!detail::is_unsigned<T>) object.put(name, it, segment_object_set_str);
    else if (std::uint64_t{it} <= INT64_MAX) put_number(segment_object_set_int, static_cast<std::int64_t>(it));
    else object.put(name, std::to_string(it), segment_object_set_json);
}

template <class... T> void Value::set_list(Object& object, const Text& name, const Value& value) {
    // An earlier list is replaced, and no items make an empty one.
    segment_object_set_json(object.handle(), name.c_str(), "[]");
    std::apply([&](const auto&... item) { (object.push(name, item), ...); },
               static_cast<const List<T...>*>(value.at_)->items_);
}

/// The optional fields of a message; empty means none.
struct Options {
    std::optional<std::chrono::system_clock::time_point> timestamp{};  ///< when it happened: now
    std::string timestamp_iso{};                                       ///< ISO 8601, instead of timestamp
    std::string anonymous_id{};                                        ///< who, when there is no user id
    std::string message_id{};                                          ///< for deduplication: a new UUID
    Object context{};                                                  ///< merged over the client's
    Object integrations{};                                             ///< which destinations receive it
    std::string category{};                                            ///< of a page or screen
};

/// What became of some messages. Valid during the callback.
struct Delivery {
    struct Ids {
        const char* const* begin() const noexcept { return first; }
        const char* const* end() const noexcept { return last; }
        const char *const *first, *const *last;
    };
    Status status;           ///< ok: Segment acknowledged them
    int http_status;         ///< 0: there was no response
    std::uint32_t attempts, body_bytes;
    Ids message_ids;         ///< one const char* for each message
    std::string_view error;  ///< a sentence; "" on success
};

enum class Level : std::int32_t { error, warning, info, debug };

/// How a client works. Zero and "" mean the default; only write_key has none.
struct Config {
    std::string write_key{};                     ///< your source's write key
    std::string endpoint{};                      ///< "https://api.segment.io"; "eu" is short for the EU host
    std::string spool_dir{};                     ///< accepted messages survive the process here; "": in memory only
    bool sync = false;                           ///< with spool_dir: survive a loss of power too
    bool gzip = true;                            ///< compress bodies
    bool dry_run = false;                        ///< all but send: what would be sent counts as delivered
    bool drop_oldest = false;                    ///< a full queue makes room by dropping its oldest messages
    std::uint64_t queue_max_bytes{};             ///< then Status::queue_full: 64 MiB
    std::uint32_t flush_at{};                    ///< send when this many messages wait: 100
    std::chrono::milliseconds flush_interval{};  ///< send what waits this often: 5 s
    std::uint32_t retry_max{};                   ///< attempts after the first, without spool_dir: 10; UINT32_MAX: none
    std::chrono::milliseconds timeout{};         ///< for one whole HTTP request: 15 s
    std::chrono::milliseconds shutdown{};        ///< how long ~Client may deliver: 2 s (not at all: shutdown({}) first)
    Object context{};                            ///< part of every message's context
    Object integrations{};                       ///< every message's integrations
    /// Callbacks, on the delivery thread. In them flush and shutdown return Status::invalid, and the client must not be
    /// destroyed: it would leak. An exception thrown in one ends there.
    std::function<void(const Delivery&)> on_delivery{};
    std::function<void(Level, const char* message)> on_log{};
};

/// accepted == delivered + failed + dropped + queued, always. What is refused for a NUL never reaches C to be counted.
using Stats = segment_stats;

/// A queue, and the thread that delivers it. Check it once made: `if (!client) puts(client.error().c_str());`
/// The calls queue and return. user_id may be nullptr where Options::anonymous_id is given. Without a client (it could
/// not be made, or was moved from) they return Status::invalid.
class Client {
public:
    Client() noexcept = default;
    explicit Client(const Config& config);
    Client(Client&& other) noexcept { swap(other); }
    Client& operator=(Client&& other) noexcept {
        Client(std::move(other)).swap(*this);
        return *this;
    }
    /// Delivers what is queued, for Config::shutdown at most. No callback runs after it.
    ~Client() {
        // Inside a callback, C frees nothing and goes on calling us: what it calls must live on.
        if (callbacks_ && running() == callbacks_.get()) static_cast<void>(callbacks_.release());
        else segment_free(client_);
    }

    explicit operator bool() const noexcept { return client_ != nullptr; }
    [[nodiscard]] const std::string& error() const noexcept { return error_; }  ///< why the client could not be made

    Result identify(const Text& user_id, const Object& traits = {}, const Options& options = {}) const {
        return send("", "traits", user_id, {}, traits, options,
                    [](auto client, auto user, auto, auto... rest) { return segment_identify(client, user, rest...); });
    }
    Result track(const Text& user_id, const Text& event, const Object& properties = {},
                 const Options& options = {}) const {
        return send("event", "properties", user_id, event, properties, options, segment_track);
    }
    Result page(const Text& user_id, const Text& name = {}, const Object& properties = {},
                const Options& options = {}) const {
        return send("name", "properties", user_id, name, properties, options, segment_page);
    }
    Result screen(const Text& user_id, const Text& name = {}, const Object& properties = {},
                  const Options& options = {}) const {
        return send("name", "properties", user_id, name, properties, options, segment_screen);
    }
    Result group(const Text& user_id, const Text& group_id, const Object& traits = {},
                 const Options& options = {}) const {
        return send("group_id", "traits", user_id, group_id, traits, options, segment_group);
    }
    Result alias(const Text& user_id, const Text& previous_id, const Options& options = {}) const {
        return send("previous_id", "", user_id, previous_id, {}, options,
                    [](auto client, auto user, auto previous, auto, auto rest) {
                        return segment_alias(client, user, previous, rest);
                    });
    }
    /// A whole message as JSON, {"type":"track",...}. What it lacks (messageId, timestamp, context) is added.
    Result enqueue(std::string_view json) const { return Result(segment_enqueue(client_, json.data(), json.size())); }

    /// ok once all that was accepted before is settled and on_delivery has run, else timeout. Zero starts it, no more.
    Result flush(std::chrono::milliseconds limit) const { return Result(segment_flush(client_, detail::to_ms(limit))); }
    /// No more messages are taken; ok when nothing is queued. Zero: do not wait. May be repeated.
    Result shutdown(std::chrono::milliseconds limit) const {
        return Result(segment_shutdown(client_, detail::to_ms(limit)));
    }
    /// All zero without a client.
    [[nodiscard]] Stats stats() const noexcept {
        Stats stats{};
        stats.size = static_cast<std::uint32_t>(sizeof stats);
        segment_get_stats(client_, &stats);
        return stats;
    }
    /// For what segment.h offers and this header does not.
    [[nodiscard]] const segment_client* get() const noexcept { return client_; }

private:
    struct Callbacks {
        std::function<void(const Delivery&)> on_delivery;
        std::function<void(Level, const char*)> on_log;
    };

    void swap(Client& other) noexcept {
        callbacks_.swap(other.callbacks_);
        std::swap(client_, other.client_);
        error_.swap(other.error_);
    }
    static const void*& running() noexcept {
        thread_local const void* callbacks = nullptr;
        return callbacks;
    }
    template <class F> static void run(void* userdata, F callback) noexcept;
    template <class Call>
    Result send(const char* subject_name, const char* payload_name, const Text& user_id, const Text& subject,
                const Object& payload, const Options& options, Call call) const;

    std::unique_ptr<Callbacks> callbacks_;  // C holds its address, which stays when the client moves
    segment_client* client_ = nullptr;
    std::string error_;
};

template <class Call>
Result Client::send(const char* subject_name, const char* payload_name, const Text& user_id, const Text& subject,
                    const Object& payload, const Options& options, Call call) const {
    std::string flaw;
    const char* const user = detail::checked(user_id, "user_id", flaw);
    const char* const other = detail::checked(subject, subject_name, flaw);
    const segment_object* const object = payload.checked(payload_name, flaw);

    segment_options rest{};
    rest.size = static_cast<std::uint32_t>(sizeof rest);
    rest.timestamp = detail::optional(options.timestamp_iso, "timestamp_iso", flaw);
    if (options.timestamp) rest.timestamp_ms = detail::to_unix_ms(*options.timestamp);
    if (options.timestamp && rest.timestamp_ms == 0) rest.timestamp = "1970-01-01T00:00:00.000Z";  // to C, 0 is now
    rest.anonymous_id = detail::optional(options.anonymous_id, "anonymous_id", flaw);
    rest.message_id = detail::optional(options.message_id, "message_id", flaw);
    rest.context = options.context.checked("context", flaw);
    rest.integrations = options.integrations.checked("integrations", flaw);
    rest.category = detail::optional(options.category, "category", flaw);

    if (!flaw.empty()) return Result(Status::invalid, std::move(flaw));
    return Result(call(get(), user, other, object, &std::as_const(rest)));
}

inline Client::Client(const Config& config) {
    segment_config c{};
    c.size = static_cast<std::uint32_t>(sizeof c);
    c.flags = (config.gzip ? 0u : SEGMENT_NO_GZIP) | (config.dry_run ? SEGMENT_DRY_RUN : 0u) |
              (config.drop_oldest ? SEGMENT_DROP_OLDEST : 0u) | (config.sync ? SEGMENT_SYNC : 0u);
    c.queue_max_bytes = config.queue_max_bytes;
    c.write_key = detail::optional(config.write_key, "write_key", error_);
    c.endpoint = detail::optional(config.endpoint, "endpoint", error_);
    c.spool_dir = detail::optional(config.spool_dir, "spool_dir", error_);
    c.flush_at = config.flush_at;
    c.flush_interval_ms = detail::to_ms(config.flush_interval);
    c.retry_max = config.retry_max;
    c.timeout_ms = detail::to_ms(config.timeout);
    c.shutdown_ms = detail::to_ms(config.shutdown);
    c.context = config.context.checked("context", error_);
    c.integrations = config.integrations.checked("integrations", error_);
    if (!error_.empty()) return;

    callbacks_.reset(new Callbacks{config.on_delivery, config.on_log});
    c.userdata = callbacks_.get();
    if (config.on_delivery) {
        c.on_delivery = [](void* userdata, const segment_delivery* delivery) {
            run(userdata, [&d = *delivery](const Callbacks& callbacks) {
                callbacks.on_delivery({Status(d.status), d.http_status, d.attempts, d.body_bytes,
                                       {d.message_ids, d.message_ids + d.message_count}, d.error ? d.error : ""});
            });
        };
    }
    if (config.on_log) {
        c.on_log = [](void* userdata, std::int32_t level, const char* message) {
            run(userdata, [=](const Callbacks& callbacks) { callbacks.on_log(Level(level), message); });
        };
    }
    client_ = segment_new(&c);
    if (!client_) error_ = segment_error();
}

template <class F> void Client::run(void* userdata, F callback) noexcept {
    const void* const outer = std::exchange(running(), userdata);
#if defined(__cpp_exceptions)
    try { callback(*static_cast<const Callbacks*>(userdata)); } catch (...) {}  // it could not pass through C
#else
    callback(*static_cast<const Callbacks*>(userdata));
#endif
    running() = outer;
}

}  // namespace segment

#endif  // SEGMENT_HPP
