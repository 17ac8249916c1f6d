// segment.hpp - Segment analytics for C++17: one header over segment.h. Link with libsegment.
//
//     segment::Config config;
//     config.write_key = "WRITE_KEY";
//     segment::Client client(config);
//     client.track("u-42", "Order Completed",
//                  {{"price", 19.99}, {"tags", segment::List{"new", "sale"}}});
//                                                    // leaving the scope delivers what is queued
//
// Result                             what a call returns
// Object, Value, List, Json          properties, traits, context
// Traits, GroupTraits, Address, Company, Product, Revenue
//                                    what Segment has a name for
// Options                            a message's time, ids, context
// Delivery, Edit, HttpRequest, ...   what callbacks are given, and return
// Config, OAuth                      the settings of a client
// Request, Response, Pages           single calls to Segment's APIs
// Stats                              counts of messages
// Client                             the calls
//
// Braces:  {{"name", value}, ...} is always an object, at every depth: {{"a", "b"}} is {"a":"b"},
//          and {} is empty. A list is always List{...}, objects in it Object{...}. What could be
//          taken for either does not compile.
// Errors:  calls return a Result; the call that uses an Object says what was wrong with it.
// Throws:  nothing of its own. Works with -fno-exceptions and -fno-rtti.
// Threads: const member functions may be called from any thread at any time; others need exclusive
//          use of the object.
// Macros:  what X11/Xlib.h and windows.h define may come before it or after it. Where Status is a
//          macro (X11's), segment::Status is called segment::Result::Code.
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
#include <vector>

// X11 defines it as int.
#pragma push_macro("Status")
#undef Status

namespace segment {

/// What a call reports: SEGMENT_OK, ... of segment.h, where they are explained.
enum class Status : std::int32_t {
    ok, invalid, too_large, queue_full, closed, timeout, network, rejected, storage, internal,
    opted_out
};
static_assert(std::int32_t(Status::opted_out) == SEGMENT_OPTED_OUT);

/// What the user has answered when they were asked: see Client::opt_state.
enum class Choice : std::int32_t {
    none = SEGMENT_CHOICE_NONE,
    in = SEGMENT_CHOICE_IN,
    out = SEGMENT_CHOICE_OUT
};

/// What became of a call: `if (!result) puts(result.message().c_str());`
class Result {
public:
    using Code = Status;

    Result(Status status, std::string message) : status_(status), message_(std::move(message)) {}
    /// Of the C call just made: the sentence is copied at once, since this thread's next failing
    /// call changes it.
    explicit Result(segment_status status)
        : Result(Status(status), status == SEGMENT_OK ? "" : segment_error()) {}

    explicit operator bool() const noexcept { return status_ == Status::ok; }
    [[nodiscard]] Status status() const noexcept { return status_; }
    /// A sentence; "" on success.
    [[nodiscard]] const std::string& message() const noexcept { return message_; }

private:
    Status status_;
    std::string message_;
};

/// A text parameter: const char* and std::string pass as they are, std::string_view is copied (C
/// wants a NUL at the end), nullptr is none. For use within the expression. A NUL inside is an
/// error, never a silent cut.
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

class Client;
class Object;
struct Member;
struct Revenue;
template <class... T> class List;

namespace detail {

// The first flaw is the one that is reported.
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
    if (time.count() < 0) return 0;
    return time.count() < UINT32_MAX ? static_cast<std::uint32_t>(time.count()) : UINT32_MAX;
}
template <class Time> std::int64_t to_unix_ms(Time time) noexcept {
    return std::chrono::floor<std::chrono::milliseconds>(time).time_since_epoch().count();
}

// A text that C copies into a buffer, returning its length.
template <class Copy> std::string copied(const Copy& copy) {
    std::string text(64, '\0');
    for (;;) {
        const std::size_t length = copy(text.data(), text.size());
        const bool fits = length < text.size();
        text.resize(fits ? length : length + 1);
        if (fits) return text;
    }
}

template <class T, class... U> inline constexpr bool is_any = (std::is_same_v<T, U> || ...);
template <class T> inline constexpr bool is_signed =
    is_any<T, signed char, short, int, long, long long>;
template <class T> inline constexpr bool is_unsigned =
    is_any<T, unsigned char, unsigned short, unsigned, unsigned long, unsigned long long>;
template <class T> inline constexpr bool is_time = false;
template <class D>
inline constexpr bool is_time<std::chrono::time_point<std::chrono::system_clock, D>> = true;
template <class T> inline constexpr bool is_text = std::is_constructible_v<Text, const T&>;
template <class T> inline constexpr bool is_object = std::is_convertible_v<const T&, const Object&>;
// A char is left out: neither a number nor a text would be a safe guess.
template <class T> inline constexpr bool is_value =
    is_signed<T> || is_unsigned<T> || std::is_floating_point_v<T> || is_time<T> || is_text<T> ||
    is_object<T> || is_any<T, bool, std::nullptr_t, Json>;

struct Anything { template <class T> Anything(const T&) noexcept {} };

// Members to set in an object, gathered so that it takes one call.
class Members {
public:
    explicit Members(Object& object) noexcept : object_(object) {}
    Members(const Members&) = delete;
    Members& operator=(const Members&) = delete;
    ~Members() { set(); }

    template <class Field, class Given>
    segment_member& add(const Text& name, std::size_t kind, Field segment_value::*field,
                        Given value) {
        if (count_ == max) set();
        return members_[count_++] = segment_member_of(kind, field, name.c_str(), value);
    }
    // The text itself must stay until it is set: a view is not copied.
    template <class T> void add_text(const Text& name, std::size_t kind, const T& text);
    // Sets what was gathered; returns the object, for what takes a call of its own.
    Object& set();

private:
    static constexpr std::size_t max = 16;
    Object& object_;
    segment_member members_[max];
    std::size_t count_ = 0;
};

}  // namespace detail

/// The value of a member: nullptr, bool, an integer (exact), a floating-point number (finite), a
/// text, a std::chrono::system_clock time (becomes ISO 8601, in milliseconds), Json, an Object (or
/// its braces, or what converts to one), or a List. Refers to what it was made from: for use within
/// the expression, and as a parameter of functions of your own.
class Value {
public:
    Value(std::initializer_list<Member> members = {}) noexcept
        : count_(members.size()), set_(set_members) {
        at_ = members.begin();
    }
    // {"a", "b"} is not a list: write List{"a", "b"}.
    Value(std::initializer_list<detail::Anything>) = delete;
    Value(const char* const& text) noexcept : at_(&text), set_(set_one<const char*>) {}
    template <class T, std::enable_if_t<detail::is_value<T> && !std::is_array_v<T>, int> = 0>
    Value(const T& value) noexcept : at_(&value), set_(set_one<T>) {}
    template <class... T> Value(List<T...>&& list) noexcept : at_(&list), set_(set_list<T...>) {}
    // What a named List refers to may be gone: Object::push.
    template <class... T> Value(const List<T...>&) = delete;

private:
    friend class Object;
    using Set = void (*)(detail::Members& members, const Text& name, const Value& value);
    static void set_members(detail::Members& members, const Text& name, const Value& value);
    template <class T>
    static void set_one(detail::Members& members, const Text& name, const Value& value);
    template <class... T>
    static void set_list(detail::Members& members, const Text& name, const Value& value);

    const void* at_;
    std::size_t count_ = 0;
    Set set_;
};

/// One member of an object in braces.
struct Member {
    Member(const Text& its_name, const Value& its_value) noexcept
        : name(its_name), value(its_value) {}
    const Text& name;
    const Value& value;
};

/// A list of texts or Objects: `{"tags", segment::List{"a", "b"}}`. For use within the expression.
/// Its type tells its items' types, because some compilers take X{X{...}} for X{...}: that must not
/// go unnoticed.
template <class... T> class List {
    static_assert(((detail::is_text<std::decay_t<T>> || detail::is_object<std::decay_t<T>>) && ...),
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

/// A JSON object: properties, traits, context. What cannot be set (NaN, a text that is not UTF-8 or
/// has a NUL in it, bad JSON, more than 32 KB) marks the object, and the call that uses it says
/// why. Moved from, it is empty.
class Object {
public:
    Object() noexcept = default;
    Object(std::initializer_list<Member> members) {
        set_all(members.begin(), members.size());
    }
    /// From JSON text, `{"plan": "pro"}`.
    [[nodiscard]] static Object parse(const Text& json) {
        Object object;
        object.object_.reset(segment_object_parse(detail::checked(json, "the JSON", object.flaw_)));
        return object;
    }

    /// Sets a member, or replaces its value.
    Object& set(const Text& name, const Value& value) {
        const Member member(name, value);
        return set_all(&member, 1);
    }
    Object& set(const Revenue& revenue);
    /// Appends to the list of this name, making the list where there is none.
    Object& push(const Text& list, const Text& item) {
        return put(list, item, segment_object_push_str);
    }
    Object& push(const Text& list, const Object& item) {
        return put(list, item, segment_object_push_object);
    }
    /// Forgets all members, and what marked the object.
    void clear() noexcept {
        segment_object_clear(object_.get());
        flaw_.clear();
    }

protected:
    template <class T> using Put = void (*)(segment_object*, const char* name, T);

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
    // An object without members is not set, but what marked it is passed on.
    void put_unless_empty(const Text& name, const Object& child) {
        if (child.object_ || !child.flaw_.empty()) put(name, child, segment_object_set_object);
    }

private:
    friend class Client;
    friend class Value;
    friend class detail::Members;
    struct Free {
        void operator()(segment_object* object) const noexcept { segment_object_free(object); }
    };

    Object& set_all(const Member* members, std::size_t count) {
        detail::Members gathered(*this);
        for (; count > 0; ++members, --count) {
            const Text& name = members->name;
            if (name.has_nul()) {
                mark(name, detail::has_nul);
            } else {
                members->value.set_(gathered, name, members->value);
            }
        }
        return *this;
    }
    // Without members there is no handle, and no allocation.
    segment_object* handle() {
        if (!object_) object_.reset(segment_object_new());
        if (!object_) detail::note(flaw_, "the object", " could not be made");
        return object_.get();
    }
    const segment_object* checked(const char* argument, std::string& flaw) const {
        if (!flaw_.empty()) detail::note(flaw, argument, ": " + flaw_);
        return object_.get();
    }
    // "": there is none, or C has marked the object.
    std::string json_of(const char* key) const {
        return detail::copied([&](char* buffer, std::size_t capacity) {
            return segment_object_get_json(object_.get(), key, buffer, capacity);
        });
    }

    std::unique_ptr<segment_object, Free> object_;
    std::string flaw_;  // what C does not get to see: a NUL inside a text
};

inline Object& detail::Members::set() {
    if (count_ > 0) segment_object_set_members(object_.handle(), members_, count_);
    count_ = 0;
    return object_;
}

template <class T>
void detail::Members::add_text(const Text& name, std::size_t kind, const T& text) {
    if constexpr (std::is_convertible_v<const T&, const char*>) {
        add(name, kind, &segment_value::str, static_cast<const char*>(text));
    } else {
        const std::string_view view(text);
        if (view.find('\0') != view.npos) {
            object_.mark(name, has_nul);
        } else {
            add(name, kind, &segment_value::str, view.empty() ? "" : view.data()).length =
                view.size();
        }
    }
}

inline void Value::set_members(detail::Members& members, const Text& name, const Value& value) {
    Object child;
    child.set_all(static_cast<const Member*>(value.at_), value.count_);
    members.set().put(name, child, segment_object_set_object);
}

template <class T>
void Value::set_one(detail::Members& members, const Text& name, const Value& value) {
    [[maybe_unused]] const T& it = *static_cast<const T*>(value.at_);
    if constexpr (std::is_same_v<T, std::nullptr_t>) {
        members.add(name, SEGMENT_KIND_NULL, &segment_value::integer, 0);
    } else if constexpr (std::is_same_v<T, bool>) {
        members.add(name, SEGMENT_KIND_BOOL, &segment_value::boolean, it);
    } else if constexpr (detail::is_signed<T>) {
        members.add(name, SEGMENT_KIND_INT, &segment_value::integer, it);
    } else if constexpr (std::is_floating_point_v<T>) {
        members.add(name, SEGMENT_KIND_DOUBLE, &segment_value::number, static_cast<double>(it));
    } else if constexpr (detail::is_time<T>) {
        members.add(name, SEGMENT_KIND_TIME, &segment_value::unix_ms, detail::to_unix_ms(it));
    } else if constexpr (std::is_same_v<T, Json>) {
        if (it.text.has_nul()) {
            members.set().mark(name, detail::has_nul);
        } else {
            members.add_text(name, SEGMENT_KIND_JSON, it.text.c_str());
        }
    } else if constexpr (detail::is_object<T>) {
        members.set().put(name, it, segment_object_set_object);
    } else if constexpr (!detail::is_unsigned<T>) {
        members.add_text(name, SEGMENT_KIND_STR, it);
    } else if (std::uint64_t{it} <= INT64_MAX) {
        members.add(name, SEGMENT_KIND_INT, &segment_value::integer,
                    static_cast<std::int64_t>(it));
    } else {
        members.set().put(name, std::to_string(it), segment_object_set_json);
    }
}

template <class... T>
void Value::set_list(detail::Members& members, const Text& name, const Value& value) {
    // An earlier list is replaced, and no items make an empty one.
    members.add_text(name, SEGMENT_KIND_JSON, "[]");
    Object& object = members.set();
    std::apply([&](const auto&... item) { (object.push(name, item), ...); },
               static_cast<const List<T...>*>(value.at_)->items_);
}

namespace detail {

inline void put_given(Object& object, const char* name, const std::string& text) {
    if (!text.empty()) object.set(name, text);
}
template <class T>
void put_given(Object& object, const char* name, const std::optional<T>& number) {
    if (number) object.set(name, *number);
}

}  // namespace detail

// The types below use Segment's own names, and can be passed wherever an Object can. "" and nullopt
// are not written.

/// What an event earned: its properties revenue and currency.
/// `Object().set(segment::Revenue{19.99, "USD"})`
struct Revenue {
    double amount{};         ///< with decimals
    std::string currency{};  ///< as ISO 4217 writes it: "USD"

    operator Object() const {
        Object object;
        object.set(*this);
        return object;
    }
};

inline Object& Object::set(const Revenue& revenue) {
    return set("revenue", revenue.amount).set("currency", revenue.currency);
}

/// A product: the properties of "Product Viewed", or one of the products of "Order Completed".
struct Product {
    std::string product_id{};  ///< in your database
    std::string sku{};
    std::string category{};
    std::string name{};
    std::string brand{};
    std::string variant{};
    std::optional<double> price{};  ///< of one
    std::optional<std::uint64_t> quantity{};
    std::optional<std::uint64_t> position{};  ///< in the list it was shown in
    std::string coupon{};
    std::string url{};
    std::string image_url{};

    operator Object() const {
        Object object;
        detail::put_given(object, "product_id", product_id);
        detail::put_given(object, "sku", sku);
        detail::put_given(object, "category", category);
        detail::put_given(object, "name", name);
        detail::put_given(object, "brand", brand);
        detail::put_given(object, "variant", variant);
        detail::put_given(object, "price", price);
        detail::put_given(object, "quantity", quantity);
        detail::put_given(object, "position", position);
        detail::put_given(object, "coupon", coupon);
        detail::put_given(object, "url", url);
        detail::put_given(object, "image_url", image_url);
        return object;
    }
};

/// A postal address, for Traits::address and GroupTraits::address.
struct Address {
    std::string street{};  ///< and number
    std::string city{};
    std::string state{};
    std::string postal_code{};
    std::string country{};

    operator Object() const {
        Object object;
        detail::put_given(object, "street", street);
        detail::put_given(object, "city", city);
        detail::put_given(object, "state", state);
        detail::put_given(object, "postalCode", postal_code);
        detail::put_given(object, "country", country);
        return object;
    }
};

/// Where a user works, for Traits::company.
struct Company {
    std::string name{};
    std::string id{};  ///< in your database
    std::string industry{};
    std::optional<std::uint64_t> employee_count{};
    std::string plan{};

    operator Object() const {
        Object object;
        detail::put_given(object, "name", name);
        detail::put_given(object, "id", id);
        detail::put_given(object, "industry", industry);
        detail::put_given(object, "employee_count", employee_count);
        detail::put_given(object, "plan", plan);
        return object;
    }
};

namespace detail {

// What users and groups have in common.
template <class Self> class NamedTraits : public Object {
public:
    using Object::Object;

    /// A trait of your own.
    Self& set(const Text& name, const Value& value) { return self(Object::set(name, value)); }
    Self& push(const Text& list, const Text& item) { return self(Object::push(list, item)); }
    Self& push(const Text& list, const Object& item) { return self(Object::push(list, item)); }

    /// Without a single field it is not set.
    Self& address(const Address& address) { return put_object("address", address); }
    Self& avatar(const Text& url) { return put_text("avatar", url); }
    /// When it was made, the account or the group.
    template <class Duration>
    Self& created_at(std::chrono::time_point<std::chrono::system_clock, Duration> time) {
        return set("createdAt", time);
    }
    Self& description(const Text& text) { return put_text("description", text); }
    Self& email(const Text& email) { return put_text("email", email); }
    /// In your database, if it is not the user id or the group id.
    Self& id(const Text& id) { return put_text("id", id); }
    Self& name(const Text& name) { return put_text("name", name); }
    Self& phone(const Text& phone) { return put_text("phone", phone); }
    Self& website(const Text& url) { return put_text("website", url); }

protected:
    Self& self(Object&) noexcept { return static_cast<Self&>(*this); }
    Self& put_text(const char* name, const Text& text) {
        return self(put(name, text, segment_object_set_str));
    }
    Self& put_object(const char* name, const Object& object) {
        put_unless_empty(name, object);
        return self(*this);
    }
};

}  // namespace detail

/// What is known about a user:
/// `client.identify("u-42", Traits().email("ada@example.com").set("plan", "pro"))`
class Traits : public detail::NamedTraits<Traits> {
public:
    using NamedTraits::NamedTraits;

    Traits& age(std::uint32_t years) { return set("age", years); }
    /// A day, without time or zone: an instant would be another day elsewhere. An invalid date
    /// marks the traits.
    Traits& birthday(int year, int month, int day);
    /// Without a single field it is not set.
    Traits& company(const Company& company) { return put_object("company", company); }
    Traits& first_name(const Text& name) { return put_text("firstName", name); }
    Traits& gender(const Text& gender) { return put_text("gender", gender); }
    Traits& last_name(const Text& name) { return put_text("lastName", name); }
    /// "VP of Engineering"
    Traits& title(const Text& title) { return put_text("title", title); }
    Traits& username(const Text& name) { return put_text("username", name); }
};

/// What is known about a group:
/// `client.group("u-42", "g-7", GroupTraits().name("Initech").employees(329))`
class GroupTraits : public detail::NamedTraits<GroupTraits> {
public:
    using NamedTraits::NamedTraits;

    GroupTraits& employees(std::uint64_t count) { return set("employees", count); }
    GroupTraits& industry(const Text& industry) { return put_text("industry", industry); }
    GroupTraits& plan(const Text& plan) { return put_text("plan", plan); }
};

inline Traits& Traits::birthday(int year, int month, int day) {
    constexpr int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    const bool is_date = year >= 1 && year <= 9999 && month >= 1 && month <= 12 && day >= 1 &&
                         day <= days[month - 1] + (month == 2 && is_leap);
    if (!is_date) return self(mark("birthday", " is not a date"));
    const auto digits = [](int number, int zeros) {
        return std::to_string(zeros + number).substr(1);
    };
    return set("birthday",
               digits(year, 10'000) + '-' + digits(month, 100) + '-' + digits(day, 100));
}

/// The optional fields of a message; empty means none.
struct Options {
    /// When it happened: now.
    std::optional<std::chrono::system_clock::time_point> timestamp{};
    std::string timestamp_iso{};  ///< ISO 8601, instead of timestamp
    std::string anonymous_id{};   ///< who, when there is no user id
    std::string message_id{};     ///< for deduplication: a new UUID
    Object context{};             ///< merged over the client's
    Object integrations{};        ///< which destinations receive it
    std::string category{};       ///< of a page or screen
};

/// Texts that C gave, each with a NUL at its end: `for (const char* text : texts)`
struct Texts {
    const char* const* begin() const noexcept { return first; }
    const char* const* end() const noexcept { return last; }
    const char *const *first, *const *last;
};

/// What became of some messages. Valid during the callback.
struct Delivery {
    Status status;           ///< ok: Segment acknowledged them
    int http_status;         ///< 0: there was no response
    std::uint32_t attempts, body_bytes;
    Texts message_ids;       ///< one for each message
    std::string_view error;  ///< a sentence; "" on success
};

enum class Level : std::int32_t { error, warning, info, debug };

/// What Config::before_send makes of a message.
class Edit {
public:
    static Edit keep() noexcept { return Edit(true, {}); }
    /// The call returns Status::ok; the message counts as accepted and dropped.
    static Edit drop() noexcept { return Edit(false, {}); }
    /// It is checked like any message.
    static Edit replace(std::string json) noexcept { return Edit(false, std::move(json)); }

private:
    friend class Client;
    Edit(bool keeps, std::optional<std::string> json) noexcept
        : keeps_(keeps), json_(std::move(json)) {}
    bool keeps_;
    std::optional<std::string> json_;
};

/// Of an HTTP request or its answer.
struct Header {
    std::string name{}, value{};
};

/// One HTTP exchange, for a transport of your own. Valid during the callback.
struct HttpRequest {
    std::string_view method, url;  ///< with a NUL at the end
    Texts headers;                 ///< "Name: value" each; Host and Content-Length are yours
    std::string_view body;
    std::chrono::milliseconds timeout;  ///< for the whole exchange
};

/// The answer that a transport of your own got, whatever its status.
struct HttpAnswer {
    int status{};
    std::string body{};
    std::vector<Header> headers{};
};

/// OAuth 2.0, for Config::oauth.
struct OAuth {
    std::string client_id{};    ///< of the OAuth application
    std::string key_id{};       ///< of its key
    std::string private_key{};  ///< PEM, PKCS#8 or PKCS#1
    std::string scope{};        ///< "tracking_api:write"
    std::string endpoint{};     ///< "https://oauth2.segment.io", or the EU's if the client's
                                ///< endpoint is there
};

/// How a client works. Zero and "" mean the default; only write_key has none.
struct Config {
    std::string write_key{};                     ///< your source's write key
    std::string endpoint{};                      ///< "https://api.segment.io"; "eu" is short for
                                                 ///< the EU host; a URL whose path ends in /batch
                                                 ///< or /b is the whole URL of batches
    std::string spool_dir{};                     ///< accepted messages survive the process here;
                                                 ///< "": in memory only
    bool sync = false;                           ///< with spool_dir: survive a loss of power too
    bool stateful = false;                       ///< remember who the user is, in spool_dir if
                                                 ///< there is one
    bool ask_first = false;                      ///< store and send nothing before the user has
                                                 ///< answered: see Client::opt_state
    bool lifecycle = false;                      ///< with stateful: track Application Installed,
                                                 ///< Updated, Opened
    bool device_context = false;                 ///< add what docs/device.md lists to context
    bool strict = false;                         ///< refuse what is only doubtful; else on_log
                                                 ///< warns of it
    bool gzip = true;                            ///< compress bodies
    bool dry_run = false;                        ///< do all but send: what would be sent counts
                                                 ///< as delivered
    bool drop_oldest = false;                    ///< a full queue makes room by dropping its oldest
                                                 ///< messages
    std::uint64_t queue_max_bytes{};             ///< then Status::queue_full: 64 MiB
    std::uint32_t flush_at{};                    ///< send when this many messages wait: 100
    std::chrono::milliseconds flush_interval{};  ///< send what waits this often: 5 s
    std::uint32_t uploads{};                     ///< batches on their way at once: 1, and up to 16
                                                 ///< while that helps; 1 keeps their order
    std::uint32_t retry_max{};                   ///< attempts after the first, without spool_dir:
                                                 ///< 10; UINT32_MAX: none
    std::chrono::milliseconds timeout{};         ///< for one whole HTTP request: 15 s
    std::chrono::milliseconds shutdown{};        ///< how long ~Client may deliver: 2 s (not at all:
                                                 ///< shutdown({}) first)
    Object context{};                            ///< part of every message's context
    Object integrations{};                       ///< every message's integrations
    std::optional<std::string> proxy{};          ///< "http://host:port"; "": none; nullopt:
                                                 ///< HTTPS_PROXY and its like
    std::string ca_file{};                       ///< PEM certificates to trust besides the system's
    std::vector<Header> headers{};               ///< on every request to the Tracking API: for
                                                 ///< gateways of your own
    std::optional<OAuth> oauth{};                ///< instead of Basic authentication
    std::string access_token{};                  ///< for calls to the Public API
    std::string profile_token{};                 ///< for calls to the Profile API
    std::string public_endpoint{};               ///< "https://api.segmentapis.com", or the EU's if
                                                 ///< endpoint is there
    std::string profile_endpoint{};              ///< "https://profiles.segment.com", or the EU's
    std::string former_write_key{};              ///< before an update: with spool_dir, what waits
                                                 ///< for it is sent with write_key to endpoint
    std::string former_endpoint{};               ///< the same for an endpoint
    /// Callbacks, on the delivery thread. In them flush and shutdown return Status::invalid, and
    /// the client must not be destroyed: it would leak. An exception thrown in one is caught.
    /// on_delivery is told of messages that were delivered (Status::ok), given up, or dropped by
    /// drop_oldest (Status::queue_full).
    std::function<void(const Delivery&)> on_delivery{};
    /// Also told of calls that fail, once for each kind of error.
    std::function<void(Level, const char* message)> on_log{};
    /// Sees each message on the calling thread, before it is stored. It must not call this client.
    /// If it throws, the message is not stored, and the call returns Status::invalid.
    std::function<Edit(std::string_view json)> before_send{};
    /// HTTP by the host: makes one exchange, without following redirects. nullopt, or an exception:
    /// there was no answer. On the delivery thread, and on the caller's for Client::call; possibly
    /// on both at once.
    std::function<std::optional<HttpAnswer>(const HttpRequest&)> transport{};
};

/// One of Segment's HTTP APIs.
enum class Api : std::uint32_t {
    tracking,    ///< at Config::endpoint, with the write key or OAuth
    public_api,  ///< at Config::public_endpoint, with the access token
    profile,     ///< at Config::profile_endpoint, with the profile token
};
static_assert(std::uint32_t(Api::profile) == SEGMENT_PROFILE_API);

/// One request to one of Segment's HTTP APIs.
struct Request {
    Api api = Api::tracking;
    std::string method{};                 ///< GET, POST, PUT, PATCH, DELETE: "POST"
    std::string path{};                   ///< relative to the API: "/v1/group/"
    std::string query{};                  ///< "a=1&b=2"
    std::vector<Header> headers{};        ///< they replace ours; Authorization and Content-Type
                                          ///< are added
    std::string body{};                   ///< sent as it is; usually JSON
    std::chrono::milliseconds timeout{};  ///< Config::timeout
    std::string cursor{};                 ///< of a list, the page that Response::cursor named
};

/// The answer to a Request, whatever its HTTP status:
/// `if (!response) puts(response.result().message().c_str());`
class Response {
public:
    explicit operator bool() const noexcept { return response_ != nullptr; }
    /// Why there is no answer.
    [[nodiscard]] const Result& result() const noexcept { return result_; }

    /// 0: no answer.
    [[nodiscard]] int status() const noexcept { return segment_response_status(response_.get()); }
    /// With a NUL at its end. It belongs to the response, as the headers do.
    [[nodiscard]] std::string_view body() const noexcept {
        std::size_t length = 0;
        const char* const body = segment_response_body(response_.get(), &length);
        return {body, length};
    }
    /// By its name in any letter case; of several the first.
    [[nodiscard]] std::optional<std::string_view> header(const Text& name) const noexcept {
        if (!response_ || !name.c_str() || name.has_nul()) return {};
        const char* const value = segment_response_header(response_.get(), name.c_str());
        return value ? std::optional<std::string_view>(value) : std::nullopt;
    }
    /// Of the next page, for Request::cursor, if this is a page of a list and not the last.
    [[nodiscard]] std::optional<std::string_view> cursor() const noexcept {
        const char* const next = segment_response_cursor(response_.get());
        return next ? std::optional<std::string_view>(next) : std::nullopt;
    }

private:
    friend class Client;
    friend class Pages;
    struct Free {
        void operator()(segment_response* response) const noexcept {
            segment_response_free(response);
        }
    };
    explicit Response(Result result) noexcept : result_(std::move(result)) {}
    explicit Response(segment_response* response)
        : response_(response), result_(response ? SEGMENT_OK : segment_error_status()) {}

    std::unique_ptr<segment_response, Free> response_;
    Result result_;
};

/// All pages of a list, for one loop: see Client::pages.
class Pages {
public:
    class iterator {
    public:
        explicit iterator(Pages* pages) noexcept : pages_(pages) {}
        Response& operator*() const noexcept { return pages_->page_; }
        Response* operator->() const noexcept { return &pages_->page_; }
        iterator& operator++() {
            if (!pages_->turn()) pages_ = nullptr;
            return *this;
        }
        bool operator==(const iterator& other) const noexcept { return pages_ == other.pages_; }
        bool operator!=(const iterator& other) const noexcept { return pages_ != other.pages_; }

    private:
        Pages* pages_;
    };
    iterator begin() { return ++iterator(this); }
    iterator end() noexcept { return iterator(nullptr); }

private:
    friend class Client;
    Pages(const Client& client, Request request) : client_(&client), request_(std::move(request)) {}
    bool turn();

    const Client* client_;
    Request request_;
    Response page_{Result(Status::ok, "")};
    int left_ = 100'000;
};

/// accepted == delivered + failed + dropped + queued, always. Calls refused for a NUL never reach
/// C, and so are neither counted nor logged.
using Stats = segment_stats;

/// A queue, and the thread that delivers it. Check it once made:
/// `if (!client) puts(client.error().c_str());`
/// The calls queue and return. user_id may be nullptr where Options::anonymous_id is given, and in
/// a stateful client. Without a client (it could not be made, or was moved from) they return
/// Status::invalid.
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
        // Inside a callback, C frees nothing and goes on calling us: what it calls must stay.
        if (callbacks_ && running() == callbacks_.get()) static_cast<void>(callbacks_.release());
        else segment_free(client_);
    }

    explicit operator bool() const noexcept { return client_ != nullptr; }
    /// Why the client could not be made.
    [[nodiscard]] const std::string& error() const noexcept { return error_; }

    Result identify(const Text& user_id, const Object& traits = {},
                    const Options& options = {}) const {
        return send("", "traits", user_id, {}, traits, options,
                    [](auto client, auto user, auto, auto... rest) {
                        return segment_identify(client, user, rest...);
                    });
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
    /// In a stateful client, previous_id is by default the one that is known.
    Result alias(const Text& user_id, const Text& previous_id = {},
                 const Options& options = {}) const {
        return send("previous_id", "", user_id, previous_id, {}, options,
                    [](auto client, auto user, auto previous, auto, auto rest) {
                        return segment_alias(client, user, previous, rest);
                    });
    }
    /// A whole message as JSON, {"type":"track",...}. What it lacks (messageId, timestamp, context)
    /// is added.
    Result enqueue(std::string_view json) const {
        return Result(segment_enqueue(client_, json.data(), json.size()));
    }

    /// One request now, on this thread. Any HTTP status is an answer, 429 and redirects included;
    /// nothing is repeated.
    [[nodiscard]] Response call(const Request& request) const;
    /// `for (const Response& page : client.pages(request))`, of a list of the Public API or of the
    /// Profile API: repeats the request with the cursor that each answer names, until one names
    /// none. An answer that is not a success, or a missing one, is the last page.
    [[nodiscard]] Pages pages(Request request) const& { return Pages(*this, std::move(request)); }
    Pages pages(Request) const&& = delete;  // the client must outlive the loop

    /// Of a stateful client: made once, and again by reset. "": there is none.
    [[nodiscard]] std::string anonymous_id() const { return copied(segment_anonymous_id); }
    /// Of a stateful client: what identify or alias was given last. "": there is none.
    [[nodiscard]] std::string user_id() const { return copied(segment_user_id); }
    /// Forgets the user and their traits, at a logout for example, and makes a new anonymous id.
    /// Needs Config::stateful.
    Result reset() const { return Result(segment_reset(client_)); }

    /// Sets one member of the context of every later message: a level, a build, an experiment. From
    /// any thread; it waits for nothing. It goes over Config::context (two objects of the same name
    /// are merged) and under Options::context. "consent", "traits" and "library" are refused, and
    /// more than 16,000 bytes of JSON in all that is set here.
    Result set_context(const Text& key, const Value& value) const;
    /// Removes what set_context has set.
    Result forget_context(const Text& key) const;

    /// From now on every message says what the user agreed to: a bool for each category. A stateful
    /// client tracks a new choice as "Segment Consent Preference Updated".
    Result set_consent(const Object& categories) const;
    /// Messages no longer say anything about it.
    Result forget_consent() const { return Result(segment_set_consent(client_, nullptr)); }
    /// The user does not want to be tracked: until opt_in, and after a restart too, calls return
    /// Status::opted_out and nothing is sent; what waits is thrown away. Status::storage: the
    /// choice could not be stored, and holds in this process only.
    Result opt_out() const { return Result(segment_opt_out(client_)); }
    /// The user agrees to be tracked, for the first time or again: what is held is released.
    Result opt_in() const { return Result(segment_opt_in(client_)); }
    /// What the user has answered, with or without Config::ask_first. With it, as long as that is
    /// Choice::none, messages are held in memory (Stats::held), and nothing is written or sent;
    /// opt_in releases them, opt_out or the end of the client drops them. A spool_dir that cannot
    /// be read is Choice::out; so is DO_NOT_TRACK in the environment, until the user opts in.
    [[nodiscard]] Choice opt_state() const noexcept {
        return static_cast<Choice>(segment_opt_state(client_));
    }

    /// ok once all that was accepted before is settled and on_delivery has run, else timeout. Zero
    /// only starts the sending.
    Result flush(std::chrono::milliseconds limit) const {
        return Result(segment_flush(client_, detail::to_ms(limit)));
    }
    /// Sends nothing until resume, and keeps all messages: in a match, say, or on a metered
    /// connection. Meanwhile flush and shutdown return Status::timeout at once while anything
    /// waits.
    Result pause() const { return Result(segment_pause(client_)); }
    Result resume() const { return Result(segment_resume(client_)); }
    /// Why nothing arrives: what stands in the way right now, as a sentence. "": no known problem.
    [[nodiscard]] std::string last_problem() const { return copied(segment_last_problem); }
    /// No more messages are taken; ok when nothing is queued. Zero: do not wait. May be repeated.
    Result shutdown(std::chrono::milliseconds limit) const {
        return Result(segment_shutdown(client_, detail::to_ms(limit)));
    }
    /// All zero without a client.
    [[nodiscard]] Stats stats() const noexcept {
        Stats stats = SEGMENT_STATS_INIT;
        segment_get_stats(client_, &stats);
        return stats;
    }
    /// For what segment.h offers and this header does not.
    [[nodiscard]] const segment_client* get() const noexcept { return client_; }

private:
    struct Callbacks {
        std::function<void(const Delivery&)> on_delivery;
        std::function<void(Level, const char*)> on_log;
        std::function<Edit(std::string_view)> before_send;
        std::function<std::optional<HttpAnswer>(const HttpRequest&)> transport;
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
    static void set_callbacks(segment_config& c, const Callbacks& callbacks) noexcept;
    static bool fill(segment_response* response, const HttpAnswer& answer);
    std::string copied(std::size_t (*copy)(const segment_client*, char*, std::size_t)) const;
    template <class Queue>
    Result send(const char* subject_name, const char* payload_name, const Text& user_id,
                const Text& subject, const Object& payload, const Options& options,
                Queue queue) const;

    // C holds its address, which stays when the client moves.
    std::unique_ptr<Callbacks> callbacks_;
    segment_client* client_ = nullptr;
    std::string error_;
};

namespace detail {

// "Name: value", ..., NULL.
class Lines {
public:
    Lines(const std::vector<Header>& headers, std::string& flaw) {
        for (const auto& [name, value] : headers) {
            if (name.find(':') != name.npos) {
                note(flaw, "headers: \"" + name, "\" is not the name of a header");
            }
            checked(lines_.emplace_back(name + ": " + value), "headers", flaw);
        }
        for (const std::string& line : lines_) pointers_.push_back(line.c_str());
        pointers_.push_back(nullptr);
    }
    const char* const* get() const noexcept { return pointers_.data(); }

private:
    std::vector<std::string> lines_;
    std::vector<const char*> pointers_;
};

}  // namespace detail

inline bool Pages::turn() {
    if (left_ == 0) return false;
    page_ = client_->call(request_);
    const std::optional<std::string_view> next = page_.cursor();
    // The same cursor again would be the same page, forever.
    left_ = next && *next != request_.cursor ? left_ - 1 : 0;
    request_.cursor = next.value_or("");
    return true;
}

inline Response Client::call(const Request& request) const {
    std::string flaw;
    const detail::Lines headers(request.headers, flaw);
    segment_request r = SEGMENT_REQUEST_INIT;
    r.api = static_cast<std::uint32_t>(request.api);
    r.timeout_ms = detail::to_ms(request.timeout);
    r.method = detail::optional(request.method, "method", flaw);
    r.path = detail::optional(request.path, "path", flaw);
    r.query = detail::optional(request.query, "query", flaw);
    r.cursor = detail::optional(request.cursor, "cursor", flaw);
    r.headers = headers.get();
    r.body = request.body.data();
    r.body_length = request.body.size();
    if (!flaw.empty()) return Response(Result(Status::invalid, std::move(flaw)));
    return Response(segment_call(client_, &r));
}

inline Result Client::set_consent(const Object& categories) const {
    std::string flaw;
    Object none;  // not NULL, which would remove the consent
    const segment_object* const object = categories.checked("categories", flaw);
    if (!flaw.empty()) return Result(Status::invalid, std::move(flaw));
    return Result(segment_set_consent(client_, object ? object : none.handle()));
}

inline std::string Client::copied(
    std::size_t (*copy)(const segment_client*, char*, std::size_t)) const {
    return detail::copied(
        [&](char* buffer, std::size_t capacity) { return copy(client_, buffer, capacity); });
}

inline Result Client::set_context(const Text& key, const Value& value) const {
    std::string flaw;
    const char* const name = detail::checked(key, "key", flaw);
    Object member;
    if (flaw.empty() && name) member.set(key, value);
    member.checked("value", flaw);
    if (!flaw.empty()) return Result(Status::invalid, std::move(flaw));
    // Without a client or a key, C says so.
    if (!client_ || !name) return Result(segment_set_context(client_, name, "null"));
    const std::string json = member.json_of(name);
    if (json.empty()) return Result(segment_error_status());
    return Result(segment_set_context(client_, name, json.c_str()));
}

inline Result Client::forget_context(const Text& key) const {
    std::string flaw;
    const char* const name = detail::checked(key, "key", flaw);
    if (!flaw.empty()) return Result(Status::invalid, std::move(flaw));
    return Result(segment_set_context(client_, name, nullptr));
}

template <class Queue>
Result Client::send(const char* subject_name, const char* payload_name, const Text& user_id,
                    const Text& subject, const Object& payload, const Options& options,
                    Queue queue) const {
    std::string flaw;
    const char* const user = detail::checked(user_id, "user_id", flaw);
    const char* const other = detail::checked(subject, subject_name, flaw);
    const segment_object* const object = payload.checked(payload_name, flaw);

    segment_options rest = SEGMENT_OPTIONS_INIT;
    rest.timestamp = detail::optional(options.timestamp_iso, "timestamp_iso", flaw);
    if (options.timestamp) rest.timestamp_ms = detail::to_unix_ms(*options.timestamp);
    // To C, 0 is now.
    if (options.timestamp && rest.timestamp_ms == 0) rest.timestamp = "1970-01-01T00:00:00.000Z";
    rest.anonymous_id = detail::optional(options.anonymous_id, "anonymous_id", flaw);
    rest.message_id = detail::optional(options.message_id, "message_id", flaw);
    rest.context = options.context.checked("context", flaw);
    rest.integrations = options.integrations.checked("integrations", flaw);
    rest.category = detail::optional(options.category, "category", flaw);

    if (!flaw.empty()) return Result(Status::invalid, std::move(flaw));
    return Result(queue(get(), user, other, object, &std::as_const(rest)));
}

inline Client::Client(const Config& config) {
    segment_config c = SEGMENT_CONFIG_INIT;
    const auto flag = [&c](bool is_set, std::uint32_t bit) { c.flags |= is_set ? bit : 0; };
    flag(!config.gzip, SEGMENT_NO_GZIP);
    flag(config.dry_run, SEGMENT_DRY_RUN);
    flag(config.drop_oldest, SEGMENT_DROP_OLDEST);
    flag(config.stateful, SEGMENT_STATEFUL);
    flag(config.strict, SEGMENT_STRICT);
    flag(config.sync, SEGMENT_SYNC);
    flag(config.device_context, SEGMENT_DEVICE_CONTEXT);
    flag(config.lifecycle, SEGMENT_LIFECYCLE);
    flag(config.ask_first, SEGMENT_ASK_FIRST);
    c.queue_max_bytes = config.queue_max_bytes;
    c.write_key = detail::optional(config.write_key, "write_key", error_);
    c.endpoint = detail::optional(config.endpoint, "endpoint", error_);
    c.spool_dir = detail::optional(config.spool_dir, "spool_dir", error_);
    c.flush_at = config.flush_at;
    c.flush_interval_ms = detail::to_ms(config.flush_interval);
    c.uploads = config.uploads;
    c.retry_max = config.retry_max;
    c.timeout_ms = detail::to_ms(config.timeout);
    c.shutdown_ms = detail::to_ms(config.shutdown);
    c.context = config.context.checked("context", error_);
    c.integrations = config.integrations.checked("integrations", error_);
    if (config.proxy) c.proxy = detail::checked(*config.proxy, "proxy", error_);
    c.ca_file = detail::optional(config.ca_file, "ca_file", error_);
    const detail::Lines headers(config.headers, error_);
    c.headers = headers.get();
    segment_oauth oauth = SEGMENT_OAUTH_INIT;
    if (config.oauth) {
        const OAuth& given = *config.oauth;
        oauth.client_id = detail::optional(given.client_id, "oauth: client_id", error_);
        oauth.key_id = detail::optional(given.key_id, "oauth: key_id", error_);
        oauth.private_key = detail::optional(given.private_key, "oauth: private_key", error_);
        oauth.scope = detail::optional(given.scope, "oauth: scope", error_);
        oauth.endpoint = detail::optional(given.endpoint, "oauth: endpoint", error_);
        c.oauth = &oauth;
    }
    c.access_token = detail::optional(config.access_token, "access_token", error_);
    c.profile_token = detail::optional(config.profile_token, "profile_token", error_);
    c.public_endpoint = detail::optional(config.public_endpoint, "public_endpoint", error_);
    c.profile_endpoint = detail::optional(config.profile_endpoint, "profile_endpoint", error_);
    c.former_write_key = detail::optional(config.former_write_key, "former_write_key", error_);
    c.former_endpoint = detail::optional(config.former_endpoint, "former_endpoint", error_);
    if (!error_.empty()) return;

    callbacks_.reset(
        new Callbacks{config.on_delivery, config.on_log, config.before_send, config.transport});
    c.userdata = callbacks_.get();
    set_callbacks(c, *callbacks_);
    client_ = segment_new(&c);
    if (!client_) error_ = segment_error();
}

inline void Client::set_callbacks(segment_config& c, const Callbacks& given) noexcept {
    if (given.on_delivery) {
        c.on_delivery = [](void* userdata, const segment_delivery* delivery) {
            run(userdata, [&d = *delivery](const Callbacks& callbacks) {
                callbacks.on_delivery({Status(d.status), d.http_status, d.attempts, d.body_bytes,
                                       {d.message_ids, d.message_ids + d.message_count},
                                       d.error ? d.error : ""});
            });
        };
    }
    if (given.on_log) {
        c.on_log = [](void* userdata, std::int32_t level, const char* message) {
            run(userdata,
                [=](const Callbacks& callbacks) { callbacks.on_log(Level(level), message); });
        };
    }
    if (given.before_send) {
        c.before_send = [](void* userdata, const char* json) {
            thread_local std::string replacement;  // C copies it at once
            const char* passes = "";               // not a message: refused
            run(userdata, [&](const Callbacks& callbacks) {
                Edit edit = callbacks.before_send(json);
                if (edit.keeps_) {
                    passes = json;
                } else if (!edit.json_) {
                    passes = nullptr;
                } else if (!Text(*edit.json_).has_nul()) {
                    replacement = *std::move(edit.json_);
                    passes = replacement.c_str();
                }
            });
            return passes;
        };
    }
    if (given.transport) {
        c.transport = [](void* userdata, const segment_http* http,
                         segment_response* response) -> std::int32_t {
            bool is_answered = false;
            run(userdata, [&](const Callbacks& callbacks) {
                const char* const* end = http->headers;
                while (*end) ++end;
                const auto answered =
                    callbacks.transport({http->method, http->url, {http->headers, end},
                                         {http->body, http->body_length},
                                         std::chrono::milliseconds(http->timeout_ms)});
                is_answered = answered && fill(response, *answered);
            });
            return is_answered ? 0 : 1;
        };
    }
}

inline bool Client::fill(segment_response* response, const HttpAnswer& answer) {
    segment_response_set(response, answer.status, answer.body.data(), answer.body.size());
    std::string flaw;
    for (const auto& [name, value] : answer.headers) {
        segment_response_add_header(response, detail::checked(name, "", flaw),
                                    detail::checked(value, "", flaw));
    }
    return flaw.empty();
}

template <class F> void Client::run(void* userdata, F callback) noexcept {
    const void* const outer = std::exchange(running(), userdata);
#if defined(__cpp_exceptions)
    // An exception must not pass through C.
    try { callback(*static_cast<const Callbacks*>(userdata)); } catch (...) {}
#else
    callback(*static_cast<const Callbacks*>(userdata));
#endif
    running() = outer;
}

}  // namespace segment

#pragma pop_macro("Status")

#endif  // SEGMENT_HPP
