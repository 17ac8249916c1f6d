// HTTP of your own. This one prints each request and answers it as Segment does: so a test sees what a program tracks.
// A host that has HTTP (an engine, a browser, an updater) makes the request here instead.
#include <segment.hpp>

#include <cstdio>

// On the delivery thread, for request.timeout at most. std::nullopt: there was no answer, so it is tried again.
static std::optional<segment::HttpAnswer> transport(const segment::HttpRequest& request) {
    std::printf("%s %s\n", request.method.data(), request.url.data());
    for (const char* header : request.headers) std::printf("%s\n", header);
    std::printf("\n%s\n", std::string(request.body).c_str());

    return segment::HttpAnswer{200, R"({"success": true})", {{"Content-Type", "application/json"}}};
}

int main() {
    segment::Config config;
    config.write_key = "WRITE_KEY";
    config.gzip = false;  // a body to read
    config.transport = transport;
    segment::Client client(config);
    if (!client) return std::fprintf(stderr, "%s\n", client.error().c_str()), 1;

    client.track("u-42", "Plan Upgraded");
}
