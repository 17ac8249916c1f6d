#include <segment.hpp>

#include <cstdio>

int main(int argc, char** argv) {
    segment::Config config;
    config.write_key = "WRITE_KEY";
    config.endpoint = argc > 1 ? argv[1] : "https://api.segment.io";
    segment::Client client(config);
    if (!client) return std::fprintf(stderr, "%s\n", client.error().c_str()), 1;

    client.identify("u-42", {{"plan", "pro"}, {"address", {{"city", "Oslo"}}}});
    auto result = client.track("u-42", "Order Completed", {{"price", 19.99}, {"tags", segment::List{"new", "gift"}}});
    if (result) result = client.shutdown(std::chrono::seconds(5));  // delivers; ~Client would too, for 2 s and silently
    if (!result) std::fprintf(stderr, "%s\n", result.message().c_str());
    return result ? 0 : 1;
}
