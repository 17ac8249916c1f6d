// OAuth 2.0 in place of the write key's password, with the key in a file that only this user can read.
//   ./oauth KEY_FILE [ENDPOINT TOKEN_ENDPOINT]
#include <segment.hpp>

#include <cstdio>
#include <fstream>
#include <iterator>

int main(int argc, char** argv) {
    if (argc < 2) return std::fprintf(stderr, "usage: oauth KEY_FILE [ENDPOINT TOKEN_ENDPOINT]\n"), 2;
    std::ifstream file(argv[1]);
    segment::OAuth oauth;
    oauth.client_id = "CLIENT_ID";  // of the application
    oauth.key_id = "KEY_ID";        // of the key, where its public half was uploaded
    oauth.private_key.assign(std::istreambuf_iterator<char>(file), {});

    segment::Config config;
    config.write_key = "WRITE_KEY";
    if (argc > 3) config.endpoint = argv[2], oauth.endpoint = argv[3];  // Segment's own, unless they are given
    config.oauth = oauth;
    segment::Client client(config);
    if (!client) return std::fprintf(stderr, "%s\n", client.error().c_str()), 1;

    client.track("u-42", "Plan Upgraded");  // fetches a token when it needs one
    client.flush(std::chrono::seconds(5));
    const std::string problem = client.last_problem();
    if (!problem.empty()) std::fprintf(stderr, "%s\n", problem.c_str());  // no token was given, say
    return problem.empty() ? 0 : 1;
}
