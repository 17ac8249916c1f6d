// Nothing is stored or sent before the user has answered. The answer is kept in FOLDER, for every later start.
//   ./ask_first ENDPOINT FOLDER [yes | no]
#include <segment.hpp>

#include <cstdio>
#include <string_view>

static const char* answer(const segment::Client& client) {
    switch (client.opt_state()) {
        case segment::Choice::in: return "yes";
        case segment::Choice::out: return "no";
        default: return "no answer yet";
    }
}

int main(int argc, char** argv) {
    if (argc < 3) return std::fprintf(stderr, "usage: ask_first ENDPOINT FOLDER [yes | no]\n"), 2;
    segment::Config config;
    config.write_key = "WRITE_KEY";
    config.endpoint = argv[1];
    config.spool_dir = argv[2];
    config.ask_first = true;
    config.stateful = true;
    segment::Client client(config);
    if (!client) return std::fprintf(stderr, "%s\n", client.error().c_str()), 1;

    client.track(nullptr, "Game Started");  // held in memory until there is an answer
    if (argc > 3 && client.opt_state() == segment::Choice::none) {  // asked once
        const auto answered = std::string_view(argv[3]) == "yes" ? client.opt_in() : client.opt_out();
        if (!answered) std::fprintf(stderr, "%s\n", answered.message().c_str());
    }
    std::printf("%s: %llu held\n", answer(client), static_cast<unsigned long long>(client.stats().held));
}  // a held message is dropped, any other is delivered
