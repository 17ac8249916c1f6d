// Two processes on one folder: a child goes on with the client that its parent has made. Start the program as often as
// you like, also at the same time: all may share the folder.
#include <segment.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

// Each process counts its own messages, and delivers them.
static void end(const segment::Client& client, const char* who) {
    client.shutdown(std::chrono::seconds(5));
    std::printf("%s: %llu delivered\n", who, static_cast<unsigned long long>(client.stats().delivered));
}

int main(int argc, char** argv) {
    if (argc < 3) return std::fprintf(stderr, "usage: processes ENDPOINT FOLDER\n"), 2;
    segment::Config config;
    config.write_key = "WRITE_KEY";
    config.endpoint = argv[1];
    config.spool_dir = argv[2];
    segment::Client client(config);
    if (!client) return std::fprintf(stderr, "%s\n", client.error().c_str()), 1;

    client.track("render-farm", "Job Started");
    const pid_t child = fork();
    if (child == 0) {  // begins with an empty queue of its own
        client.track("render-farm", "Frame Rendered");
        end(client, "child");
        return 0;
    }
    int status = 0;
    waitpid(child, &status, 0);
    client.track("render-farm", "Job Completed");
    end(client, "parent");
    return status == 0 ? 0 : 1;
}
