// The end of a program: it delivers for a limited time, and says what is left for the next start.
//   ./at_exit ENDPOINT FOLDER [SECONDS]
#include <segment.hpp>

#include <cstdio>
#include <cstdlib>

static segment::Client client;  // std::exit destroys it, but nothing that is local to main
static std::chrono::seconds limit(3);

// Runs when main returns, and wherever the program calls std::exit.
static void deliver() {
    if (!client.shutdown(limit)) {
        std::fprintf(stderr, "not all is delivered yet: %s\n", client.last_problem().c_str());
    }
    const segment::Stats stats = client.stats();
    std::printf("%llu delivered, %llu kept\n", static_cast<unsigned long long>(stats.delivered),
                static_cast<unsigned long long>(stats.queued));
}

int main(int argc, char** argv) {
    if (argc < 3) return std::fprintf(stderr, "usage: at_exit ENDPOINT FOLDER [SECONDS]\n"), 2;
    if (argc > 3) limit = std::chrono::seconds(std::atoi(argv[3]));
    segment::Config config;
    config.write_key = "WRITE_KEY";
    config.endpoint = argv[1];
    config.spool_dir = argv[2];  // without it, what is left would be lost
    client = segment::Client(config);
    if (!client) return std::fprintf(stderr, "%s\n", client.error().c_str()), 1;
    std::atexit(deliver);

    client.track("u-42", "Document Opened");
    client.track("u-42", "Document Saved");
    std::exit(0);
}
