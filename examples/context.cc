// What the program is doing, on every message from now on: the level, the build, an experiment.
#include <segment.hpp>

#include <cstdio>

static void check(const segment::Result& result) {
    if (!result) std::fprintf(stderr, "%s\n", result.message().c_str());
}

int main(int argc, char** argv) {
    segment::Config config;
    config.write_key = "WRITE_KEY";
    if (argc > 1) config.endpoint = argv[1];  // Segment's own, unless one is given
    segment::Client client(config);
    if (!client) return std::fprintf(stderr, "%s\n", client.error().c_str()), 1;

    check(client.set_context("experiment", {{"name", "short-intro"}, {"variant", "B"}}));  // from any thread
    check(client.set_context("level", "the-docks"));
    client.track("u-42", "Level Started");
    check(client.forget_context("level"));  // later messages are in no level
    client.track("u-42", "Menu Opened");
}
