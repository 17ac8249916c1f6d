// Properties in braces: what never changes is made once, and what is made on the spot goes on top of it.
#include <segment.hpp>

#include <cstdio>

int main(int argc, char** argv) {
    segment::Config config;
    config.write_key = "WRITE_KEY";
    config.endpoint = argc > 1 ? argv[1] : "https://api.segment.io";
    segment::Client client(config);
    if (!client) return std::fprintf(stderr, "%s\n", client.error().c_str()), 1;

    segment::Object properties{{"version", "2.1.0"}, {"build", 417}, {"beta", true}};

    const std::string_view line = "caves-7 cleared";
    const int coins = 31, seconds = 214;
    properties.set("name", line.substr(0, 5))  // a view needs no NUL behind it
        .set("coins", coins)
        .set("minutes", seconds / 60.0)
        .set("path", segment::Json{"[4, 8, 15]"})
        .set("coupon", nullptr);
    const auto result = client.track("u-42", "Level Completed", properties);
    if (!result) std::fprintf(stderr, "%s\n", result.message().c_str());
    return result ? 0 : 1;
}
