// Every method of segment.hpp once, and every misuse once. Needs no server: dry runs deliver, a closed port does not.
#include <segment.hpp>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using segment::Client;
using segment::Config;
using segment::Delivery;
using segment::Level;
using segment::List;
using segment::Object;
using segment::Options;
using segment::Result;
using segment::Stats;
using segment::Status;

segment::Status track_from_second(const Client& client);                     // abi_second.cc
std::vector<std::pair<std::string, std::string>> seen_and_expected();        // abi_second.cc

static int passed = 0;

#define CHECK(condition) check(static_cast<bool>(condition), #condition, __LINE__)
static void check(bool holds, const char* condition, int line) {
    if (!holds) {
        std::fprintf(stderr, "%s:%d: %s\n", __FILE__, line, condition);
        std::exit(1);
    }
    ++passed;
}

// The sentences of C are free to change, but must name what they are about.
#define REFUSED(result, word) refused((result), (word), __LINE__)
static void refused(const Result& result, const char* word, int line) {
    const bool is_named = result.message().find(word) != std::string::npos;
    const bool holds = !result && result.status() == Status::invalid && is_named && !result.message().empty();
    if (!holds) std::fprintf(stderr, "status %d: %s\n", int(result.status()), result.message().c_str());
    check(holds, word, line);
}

// What could be taken for an object or for a list does not compile.
#define COMPILES(name, ...)                                                \
    template <class Object, class = void> constexpr bool name = false; \
    template <class Object> constexpr bool name<Object, std::void_t<decltype(__VA_ARGS__)>> = true;
COMPILES(object_in_braces, Object{{"o", {{"a", "b"}}}})
COMPILES(two_texts_in_braces, Object{{"l", {"a", "b"}}})
COMPILES(one_text_in_braces, Object{{"l", {"a"}}})
COMPILES(numbers_in_braces, Object{{"l", {1, 2}}})
COMPILES(objects_in_braces, Object{{"l", {Object{}, Object{}}}})
COMPILES(member_and_text_in_braces, Object{{"l", {{"a", "b"}, "c"}}})
COMPILES(lists_in_braces, Object{{"l", {{"a", "b", "c"}, {"d", "e", "f"}}}})
COMPILES(one_pair_of_braces, Object{"a", "b"})
COMPILES(no_value, Object{{"a"}})
COMPILES(two_values, Object{{"a", "b", "c"}})
COMPILES(a_character, Object{{"c", 'c'}})
COMPILES(a_pointer, Object{{"p", static_cast<const Object*>(nullptr)}})
COMPILES(a_list, Object{{"l", List{"a", "b"}}})
COMPILES(a_named_list, Object{{"l", std::declval<List<const char*>&>()}})
static_assert(object_in_braces<Object> && a_list<Object>);
static_assert(!two_texts_in_braces<Object> && !one_text_in_braces<Object> && !numbers_in_braces<Object>);
static_assert(!objects_in_braces<Object> && !member_and_text_in_braces<Object> && !lists_in_braces<Object>);
static_assert(!one_pair_of_braces<Object> && !no_value<Object> && !two_values<Object>);
static_assert(!a_character<Object> && !a_pointer<Object> && !a_named_list<Object>);
static_assert(!std::is_copy_constructible_v<Client> && std::is_nothrow_move_constructible_v<Client>);
static_assert(!std::is_copy_constructible_v<Object> && std::is_nothrow_move_constructible_v<Object>);

static Config dry_run() {
    Config config;
    config.write_key = "WRITE_KEY";
    config.dry_run = true;
    return config;
}

static bool balances(const Stats& stats) {
    return stats.accepted == stats.delivered + stats.failed + stats.dropped + stats.queued;
}

static void every_expression_comes_to_the_json_it_looks_like() {
    for (const auto& [seen, expected] : seen_and_expected()) {
        if (seen != expected) std::fprintf(stderr, "%s is not %s\n", seen.c_str(), expected.c_str());
        CHECK(seen == expected);
    }
}

static void every_call_is_accepted_and_delivered() {
    const Client client(dry_run());
    CHECK(client && client.error().empty() && client.get());
    const std::string id = "u-42";
    Options options;
    options.timestamp = std::chrono::system_clock::now();
    options.anonymous_id = "a-1";
    options.context = {{"ip", "203.0.113.7"}};
    options.integrations = {{"All", false}, {"Amplitude", {{"session_id", 1}}}};
    options.category = "Docs";

    CHECK(client.identify("u-42"));
    CHECK(client.identify(id, {{"plan", "pro"}, {"address", {{"city", "Oslo"}}}}, options));
    CHECK(client.track("u-42", "Order Completed"));
    CHECK(client.track(id, "Order Completed", {{"price", 19.99}, {"quantity", 2}, {"tags", List{"a", "b"}},
                                               {"shipping", {{"city", "Oslo"}}}}, options));
    CHECK(client.track(std::string_view("u-42 and more").substr(0, 4), std::string("Made ") + "here"));
    CHECK(client.track(nullptr, "Anonymous", {}, options));
    CHECK(client.page("u-42"));
    CHECK(client.page("u-42", "Home", {{"url", "https://example.com/"}}, options));
    CHECK(client.screen("u-42"));
    CHECK(client.screen("u-42", "Home", {}, options));
    CHECK(client.group("u-42", "g-1"));
    CHECK(client.group("u-42", "g-1", {{"employees", 11u}}, options));
    CHECK(client.alias("u-42", "a-1"));
    CHECK(client.alias("u-42", "a-1", options));
    CHECK(client.enqueue(R"({"type":"track","userId":"u-42","event":"Whole"})"));
    const Object traits = Object::parse(R"({"plan": "pro", "seats": [1, 2]})");
    CHECK(client.identify("u-42", traits) && client.identify("u-43", traits));
    CHECK(track_from_second(client) == Status::ok);

    options = Options{};
    options.timestamp = std::chrono::system_clock::time_point{};  // 1970, which is 0 in C, where 0 is now
    options.message_id = "m-1";
    CHECK(client.track("u-42", "Old", {}, options));
    options.timestamp.reset();
    options.timestamp_iso = "2026-01-02T03:04:05.678Z";
    CHECK(client.track("u-42", "Old", {}, options));

    CHECK(client.flush(10s));
    const Stats stats = client.stats();
    CHECK(stats.accepted == 20 && stats.delivered == 20 && stats.refused == 0 && balances(stats));
}

static void results_tell_what_was_wrong() {
    const Client client(dry_run());
    const Result fine = client.track("u-42", "Fine");
    CHECK(fine.status() == Status::ok && fine.message().empty());
    const Result first = client.track(nullptr, "No User");
    const Result second = client.track("u-42", nullptr);
    REFUSED(first, "user_id");  // still its own sentence, though another call failed since
    REFUSED(second, "event");
    REFUSED(client.identify(nullptr), "user_id");
    REFUSED(client.track("", "Empty Id"), "user_id");
    REFUSED(client.track("u-42", ""), "event");
    REFUSED(client.page(nullptr), "user_id");
    REFUSED(client.screen(nullptr, "Home"), "user_id");
    REFUSED(client.group("u-42", nullptr), "group_id");
    REFUSED(client.group(nullptr, "g-1"), "user_id");
    REFUSED(client.alias(nullptr, "a-1"), "user_id");
    REFUSED(client.alias("u-42", nullptr), "previous_id");
    REFUSED(client.track("u-\xff", "Not UTF-8"), "user_id");
    REFUSED(client.enqueue("{"), "");
    REFUSED(client.enqueue({}), "");
    REFUSED(client.enqueue(R"({"type":"track"})"), "");
    CHECK(client.track("u-42", "Large", {{"text", std::string(40'000, 'x')}}).status() == Status::too_large);
    CHECK(client.stats().refused == 16);

    Options options;
    options.timestamp_iso = "yesterday";
    REFUSED(client.track("u-42", "E", {}, options), "timestamp");
    options.timestamp = std::chrono::system_clock::now();
    REFUSED(client.track("u-42", "E", {}, options), "timestamp");
    options = Options{};
    options.context.set("n", NAN);
    REFUSED(client.track("u-42", "E", {}, options), "\"n\"");
    options = Options{};
    options.integrations.set("All", segment::Json{"yes"});
    REFUSED(client.alias("u-42", "a-1", options), "\"All\"");
    CHECK(client.stats().accepted == 1);
}

static void a_nul_inside_a_text_is_refused() {
    const Client client(dry_run());
    const std::string_view bad = "cut\0here"sv;
    const std::string owned(bad);
    const auto with = [](std::string Options::* field) {
        Options options;
        options.*field = "cut\0here"sv;
        return options;
    };
    REFUSED(client.track(bad, "E"), "user_id has a NUL");
    REFUSED(client.track(owned, "E"), "user_id has a NUL");
    REFUSED(client.track("u-42", bad), "event has a NUL");
    REFUSED(client.page("u-42", bad), "name has a NUL");
    REFUSED(client.screen("u-42", owned), "name has a NUL");
    REFUSED(client.group("u-42", bad), "group_id has a NUL");
    REFUSED(client.alias("u-42", bad), "previous_id has a NUL");
    REFUSED(client.enqueue("{\"type\":\"page\",\"userId\":\"u\0\"}"sv), "");
    REFUSED(client.track("u-42", "E", {}, with(&Options::anonymous_id)), "anonymous_id has a NUL");
    REFUSED(client.track("u-42", "E", {}, with(&Options::message_id)), "message_id has a NUL");
    REFUSED(client.track("u-42", "E", {}, with(&Options::timestamp_iso)), "timestamp_iso has a NUL");
    REFUSED(client.page("u-42", "E", {}, with(&Options::category)), "category has a NUL");

    REFUSED(client.identify("u-42", {{"plan", bad}}), "traits: \"plan\" has a NUL");
    REFUSED(client.identify("u-42", {{"plan", owned}}), "traits: \"plan\" has a NUL");
    REFUSED(client.track("u-42", "E", {{bad, 1}}), "properties: \"cut\" has a NUL");
    REFUSED(client.track("u-42", "E", {{"shipping", {{"city", bad}}}}), "\"shipping\": \"city\" has a NUL");
    REFUSED(client.track("u-42", "E", {{"tags", List{"a", bad}}}), "\"tags\" has a NUL");
    REFUSED(client.track("u-42", "E", {{"items", List{Object{{"sku", bad}}}}}), "\"items\": \"sku\" has a NUL");
    REFUSED(client.track("u-42", "E", {{"json", segment::Json{"{}\0"sv}}}), "\"json\" has a NUL");
    REFUSED(client.track("u-42", "E", {{bad, {{"city", "Oslo"}}}}), "\"cut\" has a NUL");
    REFUSED(client.track("u-42", "E", Object::parse("{}\0"sv)), "the JSON has a NUL");
    REFUSED(client.track("u-42", "E", Object().push(bad, "a")), "\"cut\" has a NUL");
    REFUSED(client.track("u-42", "E", Object().push(bad, Object())), "\"cut\" has a NUL");
    REFUSED(client.track("u-42", "E", Object().push(nullptr, bad)), "\"\" has a NUL");
    Options options;
    options.context = {{"device", {{"name", bad}}}};
    REFUSED(client.track("u-42", "E", {}, options), "context: \"device\": \"name\" has a NUL");
    options = Options{};
    options.integrations = {{bad, true}};
    REFUSED(client.track("u-42", "E", {}, options), "integrations: \"cut\" has a NUL");
    CHECK(client.stats().accepted == 0);
}

static void an_object_keeps_its_first_flaw_until_cleared() {
    const Client client(dry_run());
    const auto refuse = [&client](const Object& properties) { return client.track("u-42", "E", properties); };
    const char* const none = nullptr;
    const std::chrono::time_point<std::chrono::system_clock, std::chrono::seconds> year_11476(300'000'000'000s);
    REFUSED(refuse({{"ratio", NAN}}), "\"ratio\"");
    REFUSED(refuse({{"ratio", -std::numeric_limits<float>::infinity()}}), "\"ratio\"");
    REFUSED(refuse({{"shipping", {{"city", NAN}}}}), "\"city\"");
    REFUSED(refuse({{"shipping", {{"city", NAN}}}}), "\"shipping\"");
    REFUSED(refuse({{"items", List{Object{{"price", NAN}}}}}), "\"price\"");
    REFUSED(refuse({{"tags", segment::Json{"[1,"}}}), "\"tags\"");
    REFUSED(refuse({{"tags", segment::Json{none}}}), "");
    REFUSED(refuse({{"name", none}}), "");
    REFUSED(refuse({{none, 1}}), "");
    REFUSED(refuse({{"name", "\xc3("}}), "");
    REFUSED(refuse({{"tags", List{"a", none}}}), "");
    REFUSED(refuse({{"at", year_11476}}), "\"at\"");
    REFUSED(refuse(Object::parse("[1]")), "");
    REFUSED(refuse(Object::parse(nullptr)), "");
    REFUSED(refuse(Object().set("tags", "a").push("tags", "b")), "\"tags\"");

    Object object{{"a", 1}};
    CHECK(refuse(object.set("me", object).push("all", object)));  // copies
    object.set("name", "cut\0here"sv).set("ratio", NAN).set("name", "whole");
    REFUSED(refuse(object), "properties: \"name\" has a NUL");
    REFUSED(refuse({{"inner", object}}), "properties: \"inner\": \"name\" has a NUL");
    object.clear();
    CHECK(refuse(object.set("b", 2)));
    Object taken = std::move(object);
    CHECK(refuse(taken));
    CHECK(refuse(object));  // empty now, and of use again
    CHECK(refuse(object.set("c", 3)));
    Object().clear();
}

static void without_a_client_every_call_is_invalid() {
    Client made(dry_run());
    const Client taken(std::move(made));
    CHECK(taken && taken.track("u-42", "E"));
    const Client never;
    for (const Client* client : std::vector<const Client*>{&made, &never}) {
        CHECK(!*client && client->error().empty() && !client->get());
        REFUSED(client->identify("u-42"), "");
        REFUSED(client->track("u-42", "E", {{"a", 1}}), "");
        REFUSED(client->page("u-42"), "");
        REFUSED(client->screen("u-42"), "");
        REFUSED(client->group("u-42", "g-1"), "");
        REFUSED(client->alias("u-42", "a-1"), "");
        REFUSED(client->enqueue("{}"), "");
        REFUSED(client->flush(0ms), "");
        REFUSED(client->shutdown(0ms), "");
        CHECK(client->stats().accepted == 0 && client->stats().refused == 0);
    }
}

static void a_bad_config_makes_no_client() {
    const auto error = [](void (*spoil)(Config&), const char* word) {
        Config config = dry_run();
        spoil(config);
        const Client client(config);
        const bool is_named = client.error().find(word) != std::string::npos;
        if (!is_named) std::fprintf(stderr, "%s\n", client.error().c_str());
        return !client && is_named && !client.track("u-42", "E");
    };
    CHECK(error([](Config& config) { config.write_key.clear(); }, "write_key"));
    CHECK(error([](Config& config) { config.write_key = "cut\0here"sv; }, "write_key has a NUL"));
    CHECK(error([](Config& config) { config.endpoint = "cut\0here"sv; }, "endpoint has a NUL"));
    CHECK(error([](Config& config) { config.endpoint = "no endpoint"; }, "endpoint"));
    CHECK(error([](Config& config) { config.context.set("n", NAN); }, "\"n\""));
    CHECK(error([](Config& config) { config.context.set("n", "cut\0here"sv); }, "context: \"n\" has a NUL"));
    CHECK(error([](Config& config) { config.integrations.set("n", "cut\0here"sv); }, "integrations: \"n\" has a NUL"));
}

static void every_field_of_a_config_is_taken() {
    Config config = dry_run();
    config.endpoint = "https://127.0.0.1:9";
    config.gzip = false;
    config.drop_oldest = true;
    config.queue_max_bytes = 1 << 20;
    config.flush_at = 2;
    config.flush_interval = 1h;
    config.retry_max = 3;
    config.timeout = 2s;
    config.shutdown = 1min;
    config.context = {{"app", {{"name", "abi"}}}};
    config.integrations = {{"All", true}};
    const Client client(config);
    CHECK(client);
    CHECK(client.track("u-42", "One") && client.track("u-42", "Two") && client.flush(10s));
    CHECK(client.stats().delivered == 2);
}

static void deliveries_are_reported_wherever_the_client_moves() {
    struct Report {
        std::multiset<std::string> ids;
        std::atomic<int> calls{0}, bad{0};
    } report;
    Config config = dry_run();
    config.on_log = [](Level, const char*) {};
    config.on_delivery = [&report](const Delivery& delivery) {
        ++report.calls;
        report.bad += delivery.status != Status::ok || !delivery.error.empty();
        for (const char* id : delivery.message_ids) report.ids.insert(id);
    };
    Client first(config);
    config.on_delivery = nullptr;  // the client has its own copy
    Options options;
    options.message_id = "m-1";
    CHECK(first.track("u-42", "E", {}, options) && first.flush(10s));
    CHECK(report.calls == 1 && report.bad == 0 && report.ids == std::multiset<std::string>{"m-1"});

    Client second(std::move(first));
    options.message_id = "m-2";
    CHECK(second.track("u-42", "E", {}, options));
    Client& itself = second;
    second = std::move(itself);
    Client third(dry_run());
    CHECK(third.track("u-42", "E"));
    third = std::move(second);
    options.message_id = "m-3";
    CHECK(third.track("u-42", "E", {}, options) && third.flush(10s));
    CHECK((report.bad == 0 && report.ids == std::multiset<std::string>{"m-1", "m-2", "m-3"}));
    options.message_id = "m-4";
    CHECK(third.track("u-42", "E", {}, options));
    third = Client();  // delivers first
    CHECK(report.ids.count("m-4") == 1 && report.bad == 0);
}

static void inside_a_callback_the_client_refuses_to_wait() {
    Client client;
    std::atomic<int> calls{0}, refused{0};
    Config config = dry_run();
    config.on_delivery = [&](const Delivery&) {
        ++calls;
        refused += client.flush(1s).status() == Status::invalid;
        refused += client.flush(0ms).status() == Status::invalid;
        refused += client.shutdown(1s).status() == Status::invalid;
        segment_free(const_cast<segment_client*>(client.get()));  // does nothing here
    };
    client = Client(config);
    CHECK(client.track("u-42", "E") && client.flush(10s));
    CHECK(calls == 1 && refused == 3 && client.stats().delivered == 1);
}

static void a_client_destroyed_inside_its_callback_lives_on() {
    struct {
        std::unique_ptr<Client> client;
        std::atomic<int> calls{0};
    } shared;
    static std::atomic<const void*> leaked{nullptr};  // on purpose; this keeps it in sight of leak checkers
    Config config = dry_run();
    config.on_delivery = [&shared, here = 0](const Delivery&) {
        ++shared.calls;
        leaked = &here;
        shared.client.reset();
    };
    shared.client = std::make_unique<Client>(config);
    const segment_client* const raw = shared.client->get();
    CHECK(shared.client->track("u-42", "E"));
    CHECK(segment_flush(raw, 10'000) == SEGMENT_OK && shared.calls == 1 && !shared.client);
    CHECK(segment_track(raw, "u-42", "E", nullptr, nullptr) == SEGMENT_OK && segment_flush(raw, 10'000) == SEGMENT_OK);
    CHECK(shared.calls == 2 && leaked != nullptr);
    segment_free(const_cast<segment_client*>(raw));
}

#if defined(__cpp_exceptions)
static void an_exception_ends_at_the_callback() {
    std::atomic<int> calls{0};
    Config config = dry_run();
    config.on_log = [](Level, const char*) { throw 1; };
    config.on_delivery = [&calls](const Delivery&) {
        ++calls;
        throw std::string("thrown");
    };
    const Client client(config);
    CHECK(client.track("u-42", "E") && client.flush(10s) && client.track("u-42", "E") && client.flush(10s));
    CHECK(calls == 2 && client.stats().delivered == 2);
}
#endif

static void a_client_may_be_shut_down_twice_and_is_closed_then() {
    const Client client(dry_run());
    CHECK(client.track("u-42", "E"));
    CHECK(client.shutdown(10s) && client.shutdown(10s) && client.shutdown(0ms));
    const Result closed = client.track("u-42", "E");
    CHECK(!closed && closed.status() == Status::closed && !closed.message().empty());
    CHECK(client.stats().accepted == 1 && client.stats().refused == 1 && balances(client.stats()));
}

static void what_cannot_be_delivered_is_reported() {
    std::atomic<std::size_t> failed{0}, wrong{0};
    Config config;
    config.write_key = "WRITE_KEY";
    config.endpoint = "http://127.0.0.1:1";
    config.on_delivery = [&](const Delivery& delivery) {
        wrong += delivery.status == Status::ok || delivery.http_status != 0 || delivery.error.empty();
        for ([[maybe_unused]] std::string_view id : delivery.message_ids) ++failed;
    };
    {
        const Client client(config);
        CHECK(client.track("u-42", "E") && client.track("u-42", "E"));
        CHECK(client.flush(0ms).status() == Status::timeout);
        CHECK(client.flush(-1ms).status() == Status::timeout);  // as zero
        CHECK(client.shutdown(0ms).status() == Status::timeout);
        const Stats stats = client.stats();
        CHECK(stats.accepted == 2 && stats.delivered == 0 && balances(stats));
    }
    CHECK(failed == 2 && wrong == 0);
}

static void many_threads_share_a_client() {
    const Client client(dry_run());
    std::atomic<int> accepted{0};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&, thread] {
            for (int n = 0; n < 250; ++n) {
                accepted += bool(client.track("u-42", "E", {{"thread", thread}, {"n", n}, {"l", List{"a", "b"}}}));
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(client.flush(30s) && accepted == 1000 && client.stats().delivered == 1000 && balances(client.stats()));
}

#if __cplusplus >= 202002L
static void designated_initializers_work() {
    const Client client({.write_key = "WRITE_KEY", .dry_run = true, .flush_interval = 1s, .context = {{"a", 1}}});
    CHECK(client.track(nullptr, "E", {{"a", 1}}, {.anonymous_id = "a-1", .context = {{"ip", "0.0.0.0"}}}));
}
#endif

int main() {
    every_expression_comes_to_the_json_it_looks_like();
    every_call_is_accepted_and_delivered();
    results_tell_what_was_wrong();
    a_nul_inside_a_text_is_refused();
    an_object_keeps_its_first_flaw_until_cleared();
    without_a_client_every_call_is_invalid();
    a_bad_config_makes_no_client();
    every_field_of_a_config_is_taken();
    deliveries_are_reported_wherever_the_client_moves();
    inside_a_callback_the_client_refuses_to_wait();
    a_client_destroyed_inside_its_callback_lives_on();
#if defined(__cpp_exceptions)
    an_exception_ends_at_the_callback();
#endif
    a_client_may_be_shut_down_twice_and_is_closed_then();
    what_cannot_be_delivered_is_reported();
    many_threads_share_a_client();
#if __cplusplus >= 202002L
    designated_initializers_work();
#endif
    std::printf("%d passed, 0 failed\n", passed);
}
