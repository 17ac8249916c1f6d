// A service that runs for months: SIGTERM ends it cleanly, SIGUSR1 makes it report its counts.
//   ./daemon FOLDER [ENDPOINT]
#include <segment.hpp>

#include <signal.h>

#include <cstdio>

// systemd reads the priority in front of a line; for syslog(3) it is the first argument.
static void log(segment::Level level, const char* message) {
    static constexpr int priorities[] = {3, 4, 6, 7};  // LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG
    std::fprintf(stderr, "<%d>segment: %s\n", priorities[static_cast<int>(level)], message);
}

static void report(const segment::Client& client) {
    const segment::Stats stats = client.stats();
    const std::string problem = client.last_problem();
    const auto count = [](std::uint64_t number) { return static_cast<unsigned long long>(number); };
    std::fprintf(stderr, "<6>%llu accepted, %llu delivered, %llu failed, %llu wait; %s\n", count(stats.accepted),
                 count(stats.delivered), count(stats.failed), count(stats.queued),
                 problem.empty() ? "no problem" : problem.c_str());
}

int main(int argc, char** argv) {
    if (argc < 2) return std::fprintf(stderr, "usage: daemon FOLDER [ENDPOINT]\n"), 2;
    sigset_t signals;  // waited for: no function of ours may be called in a handler
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&signals, signal);
    sigprocmask(SIG_BLOCK, &signals, nullptr);

    segment::Config config;
    config.write_key = "WRITE_KEY";
    config.spool_dir = argv[1];  // a crash or a restart loses nothing
    config.endpoint = argc > 2 ? argv[2] : "https://api.segment.io";
    config.on_log = log;
    segment::Client client(config);
    if (!client) return std::fprintf(stderr, "<3>%s\n", client.error().c_str()), 1;

    client.track("node-7", "Service Started");
    constexpr timespec minute{60, 0};
    int signal;
    do {
        signal = sigtimedwait(&signals, nullptr, &minute);
        if (signal == SIGUSR1) report(client);
        else if (signal < 0) client.track("node-7", "Service Alive");  // a minute has passed
    } while (signal != SIGTERM && signal != SIGINT);
    client.track("node-7", "Service Stopped");
    client.shutdown(std::chrono::seconds(3));  // what is left waits in the folder for the next start
    report(client);
}
