// Every method of segment.hpp once, and every misuse once. Needs no server: dry runs deliver, a closed port does not.
#include <segment.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace std::string_view_literals;
using segment::Api;
using segment::Client;
using segment::Config;
using segment::Delivery;
using segment::Edit;
using segment::GroupTraits;
using segment::HttpAnswer;
using segment::HttpRequest;
using segment::Level;
using segment::List;
using segment::Object;
using segment::Options;
using segment::Request;
using segment::Response;
using segment::Result;
using segment::Revenue;
using segment::Stats;
using segment::Status;
using segment::Traits;

segment::Status track_from_second(const Client& client);                     // abi_second.cc
std::vector<std::pair<std::string, std::string>> seen_and_expected();        // abi_second.cc

static int passed = 0;

// Longer than anything but a hang takes.
static std::chrono::milliseconds patience() {
    const char* factor = std::getenv("SEGMENT_TEST_PATIENCE");
    return std::chrono::milliseconds(static_cast<long>(120'000 * (factor ? std::atof(factor) : 1)));
}

#define CHECK(condition) check(static_cast<bool>(condition), #condition, __LINE__)
static void check(bool holds, const char* condition, int line) {
    if (!holds) {
        std::fprintf(stderr, "%s:%d: %s\n", __FILE__, line, condition);
        std::exit(1);
    }
    ++passed;
}

// The wording of C's errors may change, but must name the argument.
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
static_assert(!std::is_copy_constructible_v<Response> && std::is_nothrow_move_constructible_v<Response>);
COMPILES(pages, std::declval<Object>().pages(Request{}))
static_assert(pages<const Client&> && !pages<Client>);  // a client that ends before the loop begins

static Config dry_run() {
    Config config;
    config.write_key = "WRITE_KEY";
    config.dry_run = true;
    return config;
}

static bool has(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

// In place of the network: stores the requests, and answers.
struct Network {
    struct Asked {
        std::string method, url, headers, body;
        std::chrono::milliseconds timeout;
    };
    std::mutex mutex;
    std::vector<Asked> asked;
    std::function<std::optional<HttpAnswer>(const Asked&)> answer = [](auto&) { return HttpAnswer{200, "", {}}; };

    Config config() {
        Config config;
        config.write_key = "WRITE_KEY";
        config.gzip = false;
        config.transport = [this](const HttpRequest& request) {
            Asked now{std::string(request.method), std::string(request.url), "", std::string(request.body),
                      request.timeout};
            for (const char* header : request.headers) now.headers.append(header) += '\n';
            const std::lock_guard lock(mutex);
            return answer(asked.emplace_back(std::move(now)));
        };
        return config;
    }
    std::string bodies() {
        const std::lock_guard lock(mutex);
        std::string all;
        for (const Asked& one : asked) all += one.body;
        return all;
    }
};

static bool balances(const Stats& stats) {
    return stats.accepted == stats.delivered + stats.failed + stats.dropped + stats.queued;
}

static void every_expression_becomes_the_json_it_looks_like() {
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

    CHECK(client.flush(patience()));
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
    CHECK(refuse(object));  // empty now, and usable again
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
        REFUSED(client->call(Request{}).result(), "client");
        int pages = 0;
        for (const Response& page : client->pages(Request{})) pages += page ? 2 : 1;
        CHECK(pages == 1 && client->anonymous_id().empty() && client->user_id().empty());
        REFUSED(client->reset(), "client");
        REFUSED(client->set_consent({{"Analytics", true}}), "client");
        REFUSED(client->forget_consent(), "client");
        REFUSED(client->set_context("level", 1), "client");
        REFUSED(client->forget_context("level"), "client");
        REFUSED(client->opt_out(), "client");
        REFUSED(client->opt_in(), "client");
        CHECK(client->opt_state() == segment::Choice::none);
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
    CHECK(error([](Config& config) { config.sync = true; }, "spool_dir"));
    CHECK(error([](Config& config) { config.lifecycle = true; }, "STATEFUL"));
    CHECK(error([](Config& config) { config.proxy = "cut\0here"sv; }, "proxy has a NUL"));
    CHECK(error([](Config& config) { config.proxy = "no proxy"; }, "proxy"));
    CHECK(error([](Config& config) { config.ca_file = "cut\0here"sv; }, "ca_file has a NUL"));
    CHECK(error([](Config& config) { config.ca_file = "/no/such/file"; }, "ca_file"));
    CHECK(error([](Config& config) { config.headers = {{"X-A", "cut\0here"s}}; }, "headers has a NUL"));
    CHECK(error([](Config& config) { config.headers = {{"X-A: b", "c"}}; }, "\"X-A: b\" is not the name"));
    CHECK(error([](Config& config) { config.headers = {{"Content-Length", "1"}}; }, "Content-Length"));
    CHECK(error([](Config& config) { config.access_token = "cut\0here"sv; }, "access_token has a NUL"));
    CHECK(error([](Config& config) { config.profile_token = "cut\0here"sv; }, "profile_token has a NUL"));
    CHECK(error([](Config& config) { config.public_endpoint = "no endpoint"; }, "public_endpoint"));
    CHECK(error([](Config& config) { config.profile_endpoint = "no endpoint"; }, "profile_endpoint"));
    CHECK(error([](Config& config) { config.former_write_key = "cut\0here"sv; }, "former_write_key has a NUL"));
    CHECK(error([](Config& config) { config.former_endpoint = "eu"; }, "former_endpoint needs a spool_dir"));
    const auto oauth_error = [&error](void (*spoil)(segment::OAuth&), const char* word) {
        static void (*spoil_oauth)(segment::OAuth&);
        spoil_oauth = spoil;
        return error([](Config& config) {
            config.oauth = segment::OAuth{"client", "key", "PEM", "scope", "https://127.0.0.1:9"};
            spoil_oauth(*config.oauth);
        }, word);
    };
    CHECK(oauth_error([](segment::OAuth& oauth) { oauth.client_id.clear(); }, "oauth: client_id"));
    CHECK(oauth_error([](segment::OAuth& oauth) { oauth.key_id.clear(); }, "oauth: key_id"));
    CHECK(oauth_error([](segment::OAuth& oauth) { oauth.private_key.clear(); }, "oauth: private_key"));
    CHECK(oauth_error([](segment::OAuth& oauth) { oauth.private_key = "no PEM"; }, "private_key"));
    CHECK(oauth_error([](segment::OAuth& oauth) { oauth.scope = "cut\0here"sv; }, "oauth: scope has a NUL"));
    CHECK(oauth_error([](segment::OAuth& oauth) { oauth.endpoint = "no endpoint"; }, "endpoint"));
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
    config.stateful = true;
    config.lifecycle = true;
    config.device_context = true;
    config.proxy = "http://user:password@127.0.0.1:9";
    config.headers = {{"X-Gateway", "key"}};
    config.access_token = "ACCESS";
    config.profile_token = "PROFILE";
    config.public_endpoint = "https://127.0.0.1:9";
    config.profile_endpoint = "https://127.0.0.1:9";
    std::string opened;
    config.before_send = [&opened](std::string_view json) {
        if (opened.empty()) opened = json;
        return Edit::keep();
    };
    const Client client(config);
    CHECK(client && has(opened, "Application Opened") && has(opened, "\"timezone\":") && has(opened, "\"All\":true"));
    CHECK(client.track("u-42", "One") && client.track("u-42", "Two") && client.flush(patience()));
    CHECK(client.stats().delivered == 3);

    config = dry_run();
    config.strict = true;
    REFUSED(Client(config).identify("ada@example.com"), "userId");
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
    CHECK(first.track("u-42", "E", {}, options) && first.flush(patience()));
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
    CHECK(third.track("u-42", "E", {}, options) && third.flush(patience()));
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
    CHECK(client.track("u-42", "E") && client.flush(patience()));
    CHECK(calls == 1 && refused == 3 && client.stats().delivered == 1);
}

static void a_client_destroyed_inside_its_callback_lives_on() {
    struct {
        std::unique_ptr<Client> client;
        std::atomic<int> calls{0};
    } shared;
    static std::atomic<const void*> leaked{nullptr};  // on purpose; still reachable for leak checkers
    Config config = dry_run();
    config.on_delivery = [&shared, here = 0](const Delivery&) {
        ++shared.calls;
        leaked = &here;
        shared.client.reset();
    };
    shared.client = std::make_unique<Client>(config);
    const segment_client* const raw = shared.client->get();
    const auto ms = static_cast<std::uint32_t>(patience().count());
    CHECK(shared.client->track("u-42", "E"));
    CHECK(segment_flush(raw, ms) == SEGMENT_OK && shared.calls == 1 && !shared.client);
    CHECK(segment_track(raw, "u-42", "E", nullptr, nullptr) == SEGMENT_OK && segment_flush(raw, ms) == SEGMENT_OK);
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
    for (int n = 0; n < 2; ++n) CHECK(client.track("u-42", "E") && client.flush(patience()));
    CHECK(calls == 2 && client.stats().delivered == 2);

    config = dry_run();
    config.before_send = [](std::string_view json) -> Edit {
        if (has(json, "Fine")) return Edit::keep();
        throw std::string("thrown");
    };
    const Client careful(config);
    REFUSED(careful.track("u-42", "Secret"), "before_send");
    CHECK(careful.track("u-42", "Fine") && careful.flush(patience()));
    CHECK(careful.stats().accepted == 1 && careful.stats().delivered == 1 && careful.stats().refused == 1);

    config = dry_run();
    config.dry_run = false;
    config.transport = [](const HttpRequest&) -> std::optional<HttpAnswer> { throw 1; };
    const Client unreachable(config);
    Request request;
    request.path = "/v1/group/";
    const Response response = unreachable.call(request);
    CHECK(!response && response.result().status() == Status::network);
    CHECK(unreachable.track("u-42", "E") && unreachable.flush(0ms).status() == Status::timeout);
    CHECK(unreachable.shutdown(0ms).status() == Status::timeout);
}
#endif

static void a_client_may_be_shut_down_twice_and_is_closed_then() {
    const Client client(dry_run());
    CHECK(client.track("u-42", "E"));
    CHECK(client.shutdown(patience()) && client.shutdown(patience()) && client.shutdown(0ms));
    const Result closed = client.track("u-42", "E");
    CHECK(!closed && closed.status() == Status::closed && !closed.message().empty());
    CHECK(client.stats().accepted == 1 && client.stats().refused == 1 && balances(client.stats()));
}

static void a_paused_client_sends_nothing_and_says_so() {
    Config config = dry_run();
    config.uploads = 4;
    const Client client(config);
    CHECK(client.last_problem().empty());
    CHECK(client.pause() && client.track("u-42", "E"));
    CHECK(client.flush(patience()).status() == Status::timeout);
    CHECK(client.last_problem() == "the client is paused; 1 message waits");
    CHECK(client.resume() && client.flush(patience()) && client.last_problem().empty());
    const Stats stats = client.stats();
    CHECK(stats.delivered == 1 && stats.last_http_status == 200 && stats.last_success_ms > 0);
    config.uploads = 65;
    CHECK(Client(config).error().find("uploads") != std::string::npos);
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

static void traits_and_products_go_wherever_objects_go() {
    const Client client(dry_run());
    segment::Address address;
    address.city = "Oslo";
    segment::Product product;
    product.sku = "G-32";
    CHECK(client.identify("u-42", Traits().email("a@b.c").address(address).set("plan", "pro")));
    CHECK(client.group("u-42", "g-7", GroupTraits().name("Initech").employees(329)));
    CHECK(client.track("u-42", "Product Viewed", product));
    CHECK(client.track("u-42", "Order Completed", Revenue{19.99, "USD"}));
    CHECK(client.track("u-42", "Order Completed", Object{{"products", List{product}}}.set(Revenue{19.99, "USD"})));
    Options options;
    options.context = {{"traits", Traits().name("Ada")}};
    CHECK(client.track("u-42", "E", {}, options));
    CHECK(client.flush(patience()) && client.stats().delivered == 6);

    REFUSED(client.identify("u-42", Traits().birthday(1990, 2, 29)), "traits: \"birthday\" is not a date");
    for (const auto& [year, month, day] : {std::tuple{0, 1, 1}, {10'000, 1, 1}, {1990, 0, 1}, {1990, 13, 1},
                                           {1990, 1, 0}, {1990, 4, 31}, {1900, 2, 29}}) {
        REFUSED(client.identify("u-42", Traits().birthday(year, month, day)), "\"birthday\" is not a date");
    }
    address.street = "cut\0here"sv;
    REFUSED(client.identify("u-42", Traits().address(address)), "traits: \"address\": \"street\" has a NUL");
    REFUSED(client.identify("u-42", Traits().email("cut\0here"sv)), "\"email\" has a NUL");
    REFUSED(client.identify("u-42", Traits().name(nullptr)), "");
    REFUSED(client.track("u-42", "E", Revenue{NAN, "USD"}), "\"revenue\"");
}

static void a_stateful_client_knows_its_user() {
    Network network;
    Config config = network.config();
    config.stateful = true;
    config.lifecycle = true;
    config.context = {{"app", {{"version", "1.2"}}}};
    const Client client(config);
    const std::string first = client.anonymous_id();
    CHECK(client && first.size() == 36 && client.user_id().empty());
    CHECK(client.track(nullptr, "Before"));
    CHECK(client.alias("u-1"));
    CHECK(client.user_id() == "u-1");
    const std::string long_id(200, 'u');
    CHECK(client.identify(long_id, {{"plan", "pro"}}) && client.user_id() == long_id);
    CHECK(client.identify(nullptr, {{"seats", 2}}));
    CHECK(client.reset() && client.user_id().empty());
    const std::string second = client.anonymous_id();
    CHECK(second.size() == 36 && second != first);
    CHECK(client.page(nullptr, "Home") && client.flush(patience()));
    const std::string sent = network.bodies();
    CHECK(has(sent, "Application Opened") && has(sent, "\"previousId\":\"" + first) && has(sent, second));
    CHECK(has(sent, R"("traits":{"plan":"pro","seats":2})"));

    const Client without(dry_run());
    CHECK(without.anonymous_id().empty() && without.user_id().empty());
    REFUSED(without.reset(), "stateful");
    REFUSED(without.alias("u-1"), "previous_id");
}

static void messages_say_what_the_user_agreed_to() {
    std::vector<std::string> seen;
    Config config = dry_run();
    config.stateful = true;
    config.before_send = [&seen](std::string_view json) {
        seen.emplace_back(json);
        return Edit::keep();
    };
    const Client client(config);
    CHECK(client.track("u-42", "Silent") && client.set_consent({{"Advertising", true}, {"Analytics", false}}));
    CHECK(client.track("u-42", "Stamped") && client.forget_consent() && client.track("u-42", "Silent"));
    const auto stamp = R"("consent":{"categoryPreferences":{"Advertising":true,"Analytics":false}})";
    CHECK(seen.size() == 4 && has(seen[1], "Segment Consent Preference Updated"));
    CHECK(!has(seen[0], "consent") && has(seen[1], stamp) && has(seen[2], stamp) && !has(seen[3], "consent"));
    REFUSED(client.set_consent({}), "categories");
    REFUSED(client.set_consent({{"Analytics", "yes"}}), "\"Analytics\"");
    REFUSED(client.set_consent({{"cut\0here"sv, true}}), "categories: \"cut\" has a NUL");
}

static void after_an_opt_out_nothing_is_sent() {
    Network network;
    Config config = network.config();
    config.flush_interval = 1h;
    config.stateful = true;
    const Client client(config);
    CHECK(client.track("u-42", "Waiting") && client.opt_out());
    const Result refused = client.track("u-42", "E");
    CHECK(refused.status() == Status::opted_out && !refused.message().empty());
    CHECK(client.identify("u-42").status() == Status::opted_out && client.anonymous_id().empty());
    CHECK(client.flush(patience()) && client.stats().dropped == 1 && balances(client.stats()) && network.asked.empty());
    CHECK(client.opt_in() && client.track("u-42", "Known again") && client.flush(patience()));
    CHECK(client.anonymous_id().size() == 36 && client.stats().delivered == 1 && !has(network.bodies(), "Waiting"));
}

static void ask_first_holds_messages_until_the_answer() {
    Network network;
    Config config = network.config();
    config.ask_first = true;
    config.stateful = true;
    config.shutdown = 168h;
    Request request;
    request.path = "/v1/track";
    for (const bool yes : {true, false}) {
        const Client client(config);
        CHECK(client.opt_state() == segment::Choice::none && client.track(nullptr, "Held"));
        CHECK(client.flush(168h).status() == Status::timeout && client.stats().held == 1 && balances(client.stats()));
        CHECK(client.call(request).result().status() == Status::opted_out && network.asked.empty());
        if (!yes) break;  // the end of the client does not wait either
        CHECK(client.opt_in() && client.opt_state() == segment::Choice::in && client.flush(patience()));
        CHECK(client.stats().held == 0 && client.stats().delivered == 1 && has(network.bodies(), "Held"));
        CHECK(client.opt_out() && client.opt_state() == segment::Choice::out);
        network.asked.clear();
    }
    CHECK(network.asked.empty());
}

static void before_send_keeps_replaces_or_drops() {
    Network network;
    Config config = network.config();
    config.before_send = [](std::string_view json) {
        if (has(json, "Drop")) return Edit::drop();
        if (has(json, "Replace")) return Edit::replace(R"({"type":"track","userId":"u","event":"New"})");
        if (has(json, "Broken")) return Edit::replace("{");
        if (has(json, "Cut")) return Edit::replace("{\"type\":\"track\",\"userId\":\"u\",\"event\":\"E\"}\0{}"s);
        return Edit::keep();
    };
    const Client client(config);
    CHECK(client.track("u-42", "Keep") && client.track("u-42", "Drop") && client.track("u-42", "Replace"));
    REFUSED(client.track("u-42", "Broken"), "before_send");
    REFUSED(client.track("u-42", "Cut"), "before_send");
    CHECK(client.enqueue(R"({"type":"track","userId":"u-42","event":"Keep too"})") && client.flush(patience()));
    const std::string sent = network.bodies();
    CHECK(has(sent, "\"Keep\"") && has(sent, "\"Keep too\"") && has(sent, "\"New\"") && !has(sent, "Drop"));
    const Stats stats = client.stats();
    CHECK(stats.accepted == 4 && stats.delivered == 3 && stats.dropped == 1 && stats.refused == 2 && balances(stats));
}

static void a_transport_of_the_hosts_own_delivers() {
    Network network;
    Config config = network.config();
    config.endpoint = "https://tracking.example";
    config.headers = {{"X-Gateway", "key: 1"}, {"X-Empty", ""}};
    config.timeout = 3s;
    config.proxy = "";
    std::vector<Status> reports;
    config.on_delivery = [&reports](const Delivery& delivery) { reports.push_back(delivery.status); };
    const auto answers = [&network](std::optional<HttpAnswer> answer) {
        network.answer = [answer](const Network::Asked&) { return answer; };
    };
    config.retry_max = UINT32_MAX;  // none
    const Client client(config);
    CHECK(client.track("u-42", "E") && client.flush(patience()));
    const Network::Asked asked = network.asked.at(0);
    CHECK(asked.method == "POST" && asked.url == "https://tracking.example/v1/batch" && has(asked.body, "\"u-42\""));
    CHECK(has(asked.headers, "X-Gateway: key: 1\n") && has(asked.headers, "X-Empty: \n"));
    CHECK(has(asked.headers, "uthorization: Basic ") && asked.timeout > 0ms && asked.timeout <= 3s);

    answers(HttpAnswer{400, "bad", {}});
    CHECK(client.track("u-42", "E") && client.flush(patience()));
    answers(std::nullopt);
    CHECK(client.track("u-42", "E") && client.flush(patience()));
    answers(HttpAnswer{0, "", {}});
    CHECK(client.track("u-42", "E") && client.flush(patience()));
    answers(HttpAnswer{200, "", {{"X", "cut\0here"s}}});
    CHECK(client.track("u-42", "E") && client.flush(patience()));
    CHECK((reports == std::vector{Status::ok, Status::rejected, Status::network, Status::network, Status::network}));
    CHECK(client.stats().requests == 5 && balances(client.stats()));
}

static void an_endpoint_may_be_the_whole_url_of_batches() {
    Network network;
    Config config = network.config();
    config.endpoint = "https://tracking.example/collect/b?tenant=7";
    std::vector<std::string> warnings;
    config.on_log = [&warnings](Level level, const char* line) {
        if (level == Level::warning) warnings.emplace_back(line);
    };
    network.answer = [](const Network::Asked&) { return HttpAnswer{200, R"({"ok":false,"error":"quota"})", {}}; };
    const Client client(config);
    CHECK(client.track("u-42", "E") && client.flush(patience()));
    CHECK(network.asked.at(0).url == "https://tracking.example/collect/b?tenant=7");
    CHECK(client.stats().delivered == 1 && warnings.size() == 1 && has(warnings.at(0), R"("error":"quota")"));
    Request request;
    request.path = "/v1/track";
    CHECK(client.call(request).status() == 200);
    CHECK(network.asked.at(1).url == "https://tracking.example/collect/v1/track");
}

static void a_call_is_answered_whatever_the_status() {
    Network network;
    Config config = network.config();
    config.endpoint = "https://tracking.example";
    config.public_endpoint = "https://public.example";
    config.profile_endpoint = "https://profile.example";
    config.access_token = "ACCESS";
    config.profile_token = "PROFILE";
    const Client client(config);
    network.answer = [](const Network::Asked&) {
        return HttpAnswer{429, "bi\0nary"s, {{"Retry-After", "7"}, {"X-Two", "first"}, {"X-Two", "second"}}};
    };
    Request request;
    request.path = "/v1/group/";
    request.body = "{\"userId\":\"u-42\",\"groupId\":\"g-7\"}\0"s;
    Response response = client.call(request);
    CHECK(response && response.result() && response.result().message().empty() && response.status() == 429);
    CHECK(response.body() == "bi\0nary"sv && response.body().data()[response.body().size()] == '\0');
    CHECK(response.header("retry-AFTER") == "7" && response.header(std::string("X-Two")) == "first");
    CHECK(!response.header("X-Three") && !response.header(nullptr) && !response.header("X-Two\0"sv));
    const Network::Asked asked = network.asked.at(0);
    CHECK(asked.method == "POST" && asked.url == "https://tracking.example/v1/group/" && asked.body == request.body);
    CHECK(has(asked.headers, "uthorization: Basic ") && has(asked.headers, "application/json"));

    const Response moved = std::move(response);
    CHECK(moved.status() == 429 && moved.body().size() == 7);
    CHECK(!response && response.status() == 0 && response.body().empty() && !response.header("X-Two"));

    request.api = Api::public_api;
    request.method = "patch";
    request.path = "sources/1";
    request.query = "a=1&b=2";
    request.headers = {{"content-type", "text/plain"}};
    request.timeout = 2s;
    CHECK(client.call(request).status() == 429);
    const Network::Asked patched = network.asked.at(1);
    CHECK(patched.method == "PATCH" && patched.url == "https://public.example/sources/1?a=1&b=2");
    CHECK(has(patched.headers, "Bearer ACCESS\n") && has(patched.headers, "text/plain\n") && patched.timeout <= 2s);
    request = Request{};
    request.api = Api::profile;
    request.method = "GET";
    request.path = "/v1/spaces/s/collections/users/profiles/user_id:u-42/traits";
    CHECK(client.call(request).status() == 429);
    CHECK(has(network.asked.at(2).url, "https://profile.example/v1/spaces/") && network.asked.at(2).body.empty());

    const auto refuse = [&](auto spoil, const char* word) {
        Request bad;
        bad.path = "/v1/group/";
        spoil(bad);
        const Response none = client.call(bad);
        CHECK(!none && none.status() == 0 && none.body().empty());
        REFUSED(none.result(), word);
    };
    refuse([](Request& bad) { bad.path.clear(); }, "path");
    refuse([](Request& bad) { bad.path = "https://elsewhere.example/"; }, "path");
    refuse([](Request& bad) { bad.path = "/\0"s; }, "path has a NUL");
    refuse([](Request& bad) { bad.query = "\0"s; }, "query has a NUL");
    refuse([](Request& bad) { bad.method = "\0"s; }, "method has a NUL");
    refuse([](Request& bad) { bad.method = "BREW"; }, "method");
    refuse([](Request& bad) { bad.api = Api(9); }, "api");
    refuse([](Request& bad) { bad.headers = {{"X-A", "\0"s}}; }, "headers has a NUL");
    refuse([](Request& bad) { bad.headers = {{"X-A: b\r\nX-B", "c"}}; }, "\"X-A: b\r\nX-B\" is not the name");
    refuse([](Request& bad) { bad.headers = {{"X-A", "b\r\nX-B: c"}}; }, "X-A");
    refuse([](Request& bad) { bad.headers = {{"", "v"}}; }, "headers");
    REFUSED(Client().call(request).result(), "client");
    const Client bare(dry_run());
    REFUSED(bare.call(request).result(), "profile_token");
    network.answer = [](const Network::Asked&) { return std::nullopt; };
    const Response none = client.call(request);
    CHECK(!none && none.result().status() == Status::network && !none.result().message().empty());
    CHECK(network.asked.size() == 4);
}

static void all_pages_of_a_list_are_read() {
    Network network;
    Config config = network.config();
    config.public_endpoint = "https://public.example";
    config.access_token = "ACCESS";
    config.profile_token = "PROFILE";
    const Client client(config);
    Request request;
    request.api = Api::public_api;
    request.method = "GET";
    request.path = "/sources";
    // The queries of the requests for pages, when they get these answers, and then none.
    const auto queries = [&](const std::vector<HttpAnswer>& answers) {
        network.asked.clear();
        network.answer = [&](const Network::Asked&) -> std::optional<HttpAnswer> {
            if (network.asked.size() > answers.size()) return std::nullopt;
            return answers[network.asked.size() - 1];
        };
        std::size_t turned = 0;
        std::string all;
        for (const Response& page : client.pages(request)) {
            if (turned == answers.size()) CHECK(!page && page.result().status() == Status::network);
            else CHECK(page.status() == answers[turned].status && page.body() == answers[turned].body);
            const std::string& url = network.asked.at(turned++).url;
            all += url.substr(std::min(url.find('?'), url.size())) + ' ';
        }
        CHECK(turned == network.asked.size());
        return all;
    };
    const auto page = [](const std::string& cursor) {
        return HttpAnswer{200, R"({"data":{"sources":[],"pagination":{"current":"c","next":")" + cursor + "\"}}}", {}};
    };
    const HttpAnswer last{200, R"({"data":{"sources":[],"pagination":{"current":"c"}}})", {}};
    CHECK(queries({last}) == " ");
    CHECK(queries({page("a"), page("b="), last}) == " ?pagination.cursor=a ?pagination.cursor=b%3D ");
    CHECK(queries({page("a"), page("b")}) == " ?pagination.cursor=a ?pagination.cursor=b ");  // then no answer
    CHECK(queries({page("a"), page("a"), page("b")}) == " ?pagination.cursor=a ");
    HttpAnswer limited = page("b");
    limited.status = 429;
    CHECK(queries({page("a"), limited, last}) == " ?pagination.cursor=a ");
    request.query = "pagination.count=2&pagination.cursor=x&&q=1&pagination[cursor]=y&pagination%5Bcursor%5D";
    CHECK(queries({page("a"), last}) == '?' + request.query + " ?pagination.count=2&q=1&pagination.cursor=a ");
    request.query = "pagination[count]=2";
    CHECK(queries({page("a"), page("b"), last}) ==
          "?pagination[count]=2 ?pagination[count]=2&pagination[cursor]=a ?pagination[count]=2&pagination[cursor]=b ");
    request.query.clear();
    request.cursor = "x";
    CHECK(queries({page("a"), last}) == "?pagination.cursor=x ?pagination.cursor=a ");
    CHECK(queries({page("x"), last}) == "?pagination.cursor=x ");
    network.answer = [&](const Network::Asked&) { return page("b="); };
    CHECK(client.call(request).cursor() == "b=");
    network.answer = [&](const Network::Asked&) { return last; };
    CHECK(!client.call(request).cursor());
    request.cursor = "a\0b"s;
    REFUSED(client.call(request).result(), "cursor");

    request.cursor.clear();
    request.api = Api::profile;
    CHECK(queries({{200, R"({"traits":{},"cursor":{"has_more":true,"next":"age"}})", {}},
                   {200, R"({"traits":{},"cursor":{"has_more":false,"next":""}})", {}}}) == " ?next=age ");
    request.api = Api::tracking;
    CHECK(queries({{200, R"({"success":true})", {}}}) == " ");
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
    CHECK(client.flush(patience()) && accepted == 1000 && client.stats().delivered == 1000 && balances(client.stats()));
}

static void a_running_program_sets_its_context() {
    std::string seen;
    Config config = dry_run();
    config.context = {{"app", {{"name", "abi"}}}, {"level", 0}};
    config.before_send = [&seen](std::string_view json) {
        seen = json;
        return Edit::keep();
    };
    const Client client(config);
    CHECK(client.set_context("level", "E1M1 \"Hangar\"") && client.set_context("app", {{"build", 512}}));
    CHECK(client.set_context("tags", List{"a", "b"}) && client.set_context("session"sv, Object{{"id", "s"}}));
    CHECK(client.set_context("none", nullptr) && client.set_context("json", segment::Json{"[1, 2]"}));
    CHECK(client.track("u-42", "E"));
    CHECK(has(seen, R"("level":"E1M1 \"Hangar\"","tags":["a","b"],"session":{"id":"s"},"none":null,"json":[1,2]})"));
    CHECK(has(seen, R"("app":{"name":"abi","build":512})"));
    const std::string large(10'000, 'x');
    CHECK(client.set_context("large", large) && client.track("u-42", "E") && has(seen, large));
    CHECK(client.set_context("more", large).status() == segment::Status::too_large);
    for (const char* key : {"large", "level", "app", "tags", "session", "none", "json", "never set"}) {
        CHECK(client.forget_context(key));
    }
    CHECK(client.track("u-42", "E") && has(seen, R"("app":{"name":"abi"},"level":0})"));
    REFUSED(client.set_context("consent", true), "consent");
    REFUSED(client.set_context("level", std::nan("")), "\"level\" is not a finite number");
    REFUSED(client.set_context("level", segment::Json{"{"}), "\"level\" is not JSON");
    REFUSED(client.set_context("level", "cut\0here"sv), "value: \"level\" has a NUL");
    REFUSED(client.set_context("cut\0here"sv, 1), "key has a NUL");
    REFUSED(client.set_context(nullptr, 1), "key");
    REFUSED(client.forget_context(nullptr), "key");
    REFUSED(client.forget_context("cut\0here"sv), "key has a NUL");
    CHECK(client.track("u-42", "E") && has(seen, R"("level":0)"));
}

static void what_waits_for_a_former_source_is_sent_to_this_one() {
    char folder[] = "/tmp/segment-abi++-XXXXXX";
    CHECK(mkdtemp(folder) != nullptr);
    Network network;
    Config before = network.config();
    before.write_key = "OLD";
    before.endpoint = "https://before.example";
    before.spool_dir = folder;
    before.shutdown = 1ms;
    Options options;
    options.message_id = "kept";
    {
        Client client(before);
        client.pause();
        CHECK(client.track("u-42", "E", {}, options));
    }
    Config now = network.config();
    now.endpoint = "https://now.example";
    now.spool_dir = folder;
    now.former_write_key = before.write_key;
    now.former_endpoint = before.endpoint;
    {
        const Client client(now);
        CHECK(client.flush(patience()) && client.stats().recovered == 1 && client.stats().delivered == 1);
        CHECK(network.asked.size() == 1 && network.asked.at(0).url == "https://now.example/v1/batch");
        CHECK(has(network.bodies(), "\"kept\"") && has(network.bodies(), "\"writeKey\":\"WRITE_KEY\""));
    }
    std::error_code error;
    CHECK(std::filesystem::remove_all(folder, error) > 0);
}

#if __cplusplus >= 202002L
static void designated_initializers_work() {
    const Client client({.write_key = "WRITE_KEY", .dry_run = true, .flush_interval = 1s, .context = {{"a", 1}}});
    CHECK(client.track(nullptr, "E", {{"a", 1}}, {.anonymous_id = "a-1", .context = {{"ip", "0.0.0.0"}}}));
    CHECK(client.call({.path = "/v1/group/", .headers = {{"X-A", "b"}}, .body = "{}"}).status() == 200);
    CHECK(client.identify("u-42", Traits().address({.city = "Oslo"}).company({.employee_count = 329})));
    CHECK(client.track("u-42", "E", segment::Product{.sku = "G-32", .price = 19}));
}
#endif

static void drops_are_reported_and_failing_calls_logged() {
    std::mutex lock;
    std::multiset<std::string> delivered, dropped;
    std::vector<std::string> lines;
    Config config = dry_run();
    config.drop_oldest = true;
    config.queue_max_bytes = 130'000;
    config.shutdown = patience();
    config.on_delivery = [&](const Delivery& delivery) {
        const std::lock_guard<std::mutex> guard(lock);
        auto& told = delivery.status == Status::queue_full ? dropped : delivered;
        for (const auto& id : delivery.message_ids) told.insert(std::string(id));
        if (delivery.status == Status::queue_full) CHECK(delivery.error.find("full") != std::string::npos);
    };
    config.on_log = [&](Level, const char* line) {
        const std::lock_guard<std::mutex> guard(lock);
        if (std::string_view(line).substr(0, 13) == "a call failed") lines.emplace_back(line);
    };
    Client client(config);
    CHECK(client && client.pause());
    Options options;
    for (int n = 0; n < 40; ++n) {
        options.message_id = std::to_string(n);
        CHECK(client.track("u", "E", {{"p", std::string(10'000, 'x')}}, options));
        static_cast<void>(client.track("u", ""));
        static_cast<void>(client.track(nullptr, "E"));
    }
    const Stats stats = client.stats();
    CHECK(stats.dropped > 20 && stats.refused == 80 && stats.damaged == 0);
    CHECK(client.resume() && client.flush(patience()));
    client = Client();  // no callback runs any more
    CHECK(dropped.size() == stats.dropped && delivered.size() == 40 - stats.dropped);
    for (int n = 0; n < 40; ++n) CHECK(dropped.count(std::to_string(n)) + delivered.count(std::to_string(n)) == 1);
    CHECK(dropped.count("0") == 1 && delivered.count("39") == 1);
    CHECK(lines.size() == 2 && lines[0].find("event") != std::string::npos);
}

int main() {
    every_expression_becomes_the_json_it_looks_like();
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
    a_paused_client_sends_nothing_and_says_so();
    what_cannot_be_delivered_is_reported();
    traits_and_products_go_wherever_objects_go();
    a_stateful_client_knows_its_user();
    messages_say_what_the_user_agreed_to();
    after_an_opt_out_nothing_is_sent();
    ask_first_holds_messages_until_the_answer();
    before_send_keeps_replaces_or_drops();
    a_transport_of_the_hosts_own_delivers();
    an_endpoint_may_be_the_whole_url_of_batches();
    a_call_is_answered_whatever_the_status();
    all_pages_of_a_list_are_read();
    many_threads_share_a_client();
    a_running_program_sets_its_context();
    drops_are_reported_and_failing_calls_logged();
    what_waits_for_a_former_source_is_sent_to_this_one();
#if __cplusplus >= 202002L
    designated_initializers_work();
#endif
    std::printf("%d passed, 0 failed\n", passed);
}
