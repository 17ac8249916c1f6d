// segment.hpp in a second translation unit; and once more over object functions that keep readable JSON, so that abi.cc
// can compare what an expression became. The real ones are tested in the core.
#include <segment.hpp>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

segment::Status track_from_second(const segment::Client& client) {
    return client.track("u-42", "Second", {{"file", "abi_second.cc"}, {"tags", segment::List{"a", "b"}}}).status();
}

struct segment_object {
    std::vector<std::pair<std::string, std::string>> members;

    std::string& operator[](const char* name) {
        const auto is_it = [name](const auto& member) { return member.first == name; };
        const auto found = std::find_if(members.begin(), members.end(), is_it);
        return found != members.end() ? found->second : members.emplace_back(name, "").second;
    }
    void push(const char* list, const std::string& item) {
        std::string& json = (*this)[list];
        json = json.empty() || json == "[]" ? '[' + item + ']' : json.substr(0, json.size() - 1) + ',' + item + ']';
    }
    std::string text() const {
        std::string json;
        for (const auto& [name, value] : members) json += (json.empty() ? "" : ",") + ('"' + name + "\":") + value;
        return '{' + json + '}';
    }
};

namespace {

std::string seen_last;  // the object placed in another most recently

segment_object* seen_new() { return new segment_object; }
void seen_free(segment_object* object) { delete object; }
void seen_clear(segment_object* object) {
    if (object) object->members.clear();
}
void seen_str(segment_object* o, const char* name, const char* value) { (*o)[name] = '"' + std::string(value) + '"'; }
void seen_json(segment_object* o, const char* name, const char* json) { (*o)[name] = json; }
void seen_object(segment_object* o, const char* name, const segment_object* value) {
    (*o)[name] = seen_last = value->text();
}
std::string seen_value(const segment_member& member) {
    const segment_value& value = member.value;
    const auto text = [&] { return member.length ? std::string(value.str, member.length) : std::string(value.str); };
    switch (member.kind) {
        case SEGMENT_KIND_STR: return '"' + text() + '"';
        case SEGMENT_KIND_INT: return std::to_string(value.integer);
        case SEGMENT_KIND_DOUBLE: return std::to_string(value.number);
        case SEGMENT_KIND_BOOL: return value.boolean ? "true" : "false";
        case SEGMENT_KIND_TIME: return '@' + std::to_string(value.unix_ms);
        case SEGMENT_KIND_NULL: return "null";
        case SEGMENT_KIND_JSON: return text();
        default: return "?";
    }
}
void seen_members(segment_object* o, const segment_member* members, std::size_t count) {
    for (; count > 0; ++members, --count) (*o)[members->key] = seen_value(*members);
}
void seen_push_str(segment_object* o, const char* list, const char* item) {
    o->push(list, '"' + std::string(item) + '"');
}
void seen_push_object(segment_object* o, const char* list, const segment_object* item) { o->push(list, item->text()); }

}  // namespace

#undef SEGMENT_HPP
#define segment seen
#define segment_object_new seen_new
#define segment_object_free seen_free
#define segment_object_clear seen_clear
#define segment_object_set_str seen_str
#define segment_object_set_members seen_members
#define segment_object_set_json seen_json
#define segment_object_set_object seen_object
#define segment_object_push_str seen_push_str
#define segment_object_push_object seen_push_object
#include <segment.hpp>
#undef segment

namespace {

// Like the calls of a Client, it takes the braces as a parameter.
std::string json(const seen::Object& object) {
    seen::Object().set("it", object);
    return seen_last;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> seen_and_expected() {
    using seen::List;
    using seen::Object;
    using std::chrono::system_clock;
    const std::string owned = "owned";
    const std::string_view part = std::string_view("part of a text").substr(0, 4);
    char buffer[] = "buffer";
    Object shared{{"x", 1}};
    Object built;
    for (const char* tag : {"a", "b"}) built.push("tags", tag);
    built.push("items", shared).push("items", {{"y", 2}}).set("shared", shared);
    Object itself{{"a", 1}};
    itself.set("me", itself);

    seen::Address address;
    address.street = "6th St";
    address.city = "San Francisco";
    address.state = "CA";
    address.postal_code = "94103";
    address.country = "USA";
    seen::Company company;
    company.name = "Initech";
    company.id = "c-1";
    company.industry = "Technology";
    company.employee_count = 329;
    company.plan = "pro";
    seen::Product product;
    product.product_id = "p";
    product.sku = "G-32";
    product.category = "Games";
    product.name = "Monopoly";
    product.brand = "Hasbro";
    product.variant = "200 pieces";
    product.price = 18.5;
    product.quantity = 1;
    product.position = 3;
    product.coupon = "MAY";
    product.url = "/p";
    product.image_url = "/p.jpg";
    seen::Address home;
    home.city = "Oslo";
    seen::Company employer;
    employer.name = "Initech";
    seen::Product sample;
    sample.sku = "S";
    sample.price = 0;
    const seen::Revenue revenue{19.5, "USD"};
    const system_clock::time_point created(std::chrono::milliseconds(1500));
    const auto birthday = [](int year, int month, int day) { return json(seen::Traits().birthday(year, month, day)); };

    return {
        // Braces are objects, lists are lists.
        {json({}), "{}"},
        {json({{"a", "b"}}), R"({"a":"b"})"},
        {json({{"a", "b"}, {"c", "d"}}), R"({"a":"b","c":"d"})"},
        {json({{"o", {{"a", "b"}}}}), R"({"o":{"a":"b"}})"},
        {json({{"o", {{"a", "b"}, {"c", "d"}}}}), R"({"o":{"a":"b","c":"d"}})"},
        {json({{"o", {}}}), R"({"o":{}})"},
        {json({{"o", Object()}}), R"({"o":{}})"},
        {json({{"o", {{"p", {{"q", {{"r", "s"}}}}}}}}), R"({"o":{"p":{"q":{"r":"s"}}}})"},
        {json({{"l", List{"a", "b"}}}), R"({"l":["a","b"]})"},
        {json({{"l", List{"a"}}}), R"({"l":["a"]})"},
        {json({{"l", List{}}}), R"({"l":[]})"},
        {json({{"l", List{Object{{"a", "b"}}}}}), R"({"l":[{"a":"b"}]})"},
        {json({{"l", List{Object{{"a", "b"}, {"c", "d"}}, Object{}}}}), R"({"l":[{"a":"b","c":"d"},{}]})"},
        {json({{"l", List{"a", owned, part, buffer, Object{{"in", List{"x"}}}, shared}}}),
         R"({"l":["a","owned","part","buffer",{"in":["x"]},{"x":1}]})"},
        {json({{"price", 19.5}, {"quantity", 2}, {"tags", List{"a", "b"}}, {"shipping", {{"city", "Oslo"}}}}),
         R"({"price":19.500000,"quantity":2,"tags":["a","b"],"shipping":{"city":"Oslo"}})"},
        // Every type of value.
        {json({{"n", nullptr}, {"t", true}, {"f", false}}), R"({"n":null,"t":true,"f":false})"},
        {json({{"i", std::int8_t{-1}}, {"u", std::uint8_t{255}}}), R"({"i":-1,"u":255})"},
        {json({{"i", short{-2}}, {"u", static_cast<unsigned short>(2)}}), R"({"i":-2,"u":2})"},
        {json({{"i", -3}, {"u", 3u}, {"l", -4L}, {"ul", 4UL}, {"ll", -5LL}, {"ull", 5ULL}}),
         R"({"i":-3,"u":3,"l":-4,"ul":4,"ll":-5,"ull":5})"},
        {json({{"i", INT64_MIN}, {"u", UINT64_MAX}}), R"({"i":-9223372036854775808,"u":18446744073709551615})"},
        {json({{"u", std::uint64_t{INT64_MAX}}, {"v", std::uint64_t{INT64_MAX} + 1}}),
         R"({"u":9223372036854775807,"v":9223372036854775808})"},
        {json({{"f", 0.5f}, {"d", 0.25}, {"l", 0.125L}}), R"({"f":0.500000,"d":0.250000,"l":0.125000})"},
        {json({{"s", "text"}, {"o", owned}, {"t", std::to_string(7)}, {"v", part}, {"b", buffer}}),
         R"({"s":"text","o":"owned","t":"7","v":"part","b":"buffer"})"},
        {json({{owned, 1}, {part, 2}, {std::to_string(7), 3}}), R"({"owned":1,"part":2,"7":3})"},
        {json({{"j", seen::Json{"[1, [2]]"}}, {"k", seen::Json{owned}}, {"v", seen::Json{part}}}),
         R"({"j":[1, [2]],"k":owned,"v":part})"},
        {json({{"at", system_clock::time_point(std::chrono::milliseconds(1500))},
               {"before", system_clock::time_point(std::chrono::microseconds(-1))},
               {"coarse", std::chrono::time_point<system_clock, std::chrono::hours>(std::chrono::hours(1))}}),
         R"({"at":@1500,"before":@-1,"coarse":@3600000})"},
        // Bit by bit; a name set again is replaced, lists too.
        {json(built), R"({"tags":["a","b"],"items":[{"x":1},{"y":2}],"shared":{"x":1}})"},
        {json(itself), R"({"a":1,"me":{"a":1}})"},
        {json(Object().set("a", 1).set("a", {{"b", List{"c"}}})), R"({"a":{"b":["c"]}})"},
        {json(Object().set("a", List{"b"}).set("a", List{"c"}).push("a", "d")), R"({"a":["c","d"]})"},
        // Names that have a meaning for Segment.
        {json(address),
         R"({"street":"6th St","city":"San Francisco","state":"CA","postalCode":"94103","country":"USA"})"},
        {json(company), R"({"name":"Initech","id":"c-1","industry":"Technology","employee_count":329,"plan":"pro"})"},
        {json(product), R"({"product_id":"p","sku":"G-32","category":"Games","name":"Monopoly","brand":"Hasbro",)"
                        R"("variant":"200 pieces","price":18.500000,"quantity":1,"position":3,"coupon":"MAY",)"
                        R"("url":"/p","image_url":"/p.jpg"})"},
        {json(revenue), R"({"revenue":19.500000,"currency":"USD"})"},
        {json(Object{{"value", 3}}.set(revenue).set(seen::Revenue{5, "EUR"}).push("products", sample)),
         R"({"value":3,"revenue":5.000000,"currency":"EUR","products":[{"sku":"S","price":0.000000}]})"},
        {json({{"one", sample}, {"all", List{sample, "text", Object(sample)}}}),
         R"({"one":{"sku":"S","price":0.000000},)"
         R"("all":[{"sku":"S","price":0.000000},"text",{"sku":"S","price":0.000000}]})"},
        {json(seen::Address()) + json(seen::Company()) + json(seen::Product()), "{}{}{}"},
        {json(seen::Traits().address({}).company({})) + json(seen::GroupTraits().address({})), "{}{}"},
        {json(seen::Traits().age(32).avatar("/a.png").birthday(1990, 1, 31).created_at(created).description("d")),
         R"({"age":32,"avatar":"/a.png","birthday":"1990-01-31","createdAt":@1500,"description":"d"})"},
        {json(seen::Traits().email("a@b.c").first_name("Ada").gender("female").id("i").last_name(owned).name(part)),
         R"({"email":"a@b.c","firstName":"Ada","gender":"female","id":"i","lastName":"owned","name":"part"})"},
        {json(seen::Traits().phone("1").title("VP").username("ada").website("/").set("plan", "pro").push("t", "x")),
         R"({"phone":"1","title":"VP","username":"ada","website":"/","plan":"pro","t":["x"]})"},
        {json(seen::Traits().push("l", sample).address(home).company(employer)),
         R"({"l":[{"sku":"S","price":0.000000}],"address":{"city":"Oslo"},"company":{"name":"Initech"}})"},
        {json(seen::GroupTraits().push("l", "a").address(home)), R"({"l":["a"],"address":{"city":"Oslo"}})"},
        {json(seen::GroupTraits().avatar("/a.png").created_at(created).description("d").email("a@b.c").employees(329)),
         R"({"avatar":"/a.png","createdAt":@1500,"description":"d","email":"a@b.c","employees":329})"},
        {json(seen::GroupTraits().id("i").industry("T").name("G").phone("1").plan("pro").website("/").set("own", 1)),
         R"({"id":"i","industry":"T","name":"G","phone":"1","plan":"pro","website":"/","own":1})"},
        {json(seen::Traits{{"plan", "pro"}}.name("Ada")), R"({"plan":"pro","name":"Ada"})"},
        {json({{"traits", seen::Traits().name("Ada")}}), R"({"traits":{"name":"Ada"}})"},
        {birthday(987, 2, 3) + birthday(2000, 2, 29), R"({"birthday":"0987-02-03"}{"birthday":"2000-02-29"})"},
    };
}
