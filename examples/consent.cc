// A consent dialog, and what each of its buttons does. The choice is kept in FOLDER, for every later start.
//   ./consent ENDPOINT FOLDER [accept | necessary | refuse]
#include <segment.hpp>

#include <cstdio>

static segment::Result agree(const segment::Client& client, bool analytics, bool advertising) {
    const segment::Result result = client.opt_in();  // they may have refused before
    if (!result) return result;
    return client.set_consent({{"Necessary", true}, {"Analytics", analytics}, {"Advertising", advertising}});
}

static segment::Result press(const segment::Client& client, std::string_view button) {
    if (button == "accept") return agree(client, true, true);
    if (button == "necessary") return agree(client, false, false);
    return client.opt_out();  // deletes what waits, and forgets who the user is
}

int main(int argc, char** argv) {
    if (argc < 3) return std::fprintf(stderr, "usage: consent ENDPOINT FOLDER [BUTTON]\n"), 2;
    segment::Config config;
    config.write_key = "WRITE_KEY";
    config.endpoint = argv[1];
    config.spool_dir = argv[2];
    config.stateful = true;  // makes an anonymous id, and forgets it on refusal
    segment::Client client(config);
    if (!client) return std::fprintf(stderr, "%s\n", client.error().c_str()), 1;

    if (argc > 3) {
        if (const auto pressed = press(client, argv[3]); !pressed) {
            std::fprintf(stderr, "%s\n", pressed.message().c_str());
        }
    }
    const auto result = client.track(nullptr, "Level Completed");
    std::printf("%s\n", result ? "tracked" : result.message().c_str());
}
