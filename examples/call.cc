#include <segment.hpp>

#include <cstdio>

int main(int argc, char** argv) {
    segment::Config config;
    config.write_key = "WRITE_KEY";
    config.endpoint = argc > 1 ? argv[1] : "https://api.segment.io";
    segment::Client client(config);
    if (!client) return std::fprintf(stderr, "%s\n", client.error().c_str()), 1;

    segment::Request request;
    request.path = "/v1/group/";
    request.body = R"({"userId":"u-42","groupId":"g-7"})";
    const segment::Response response = client.call(request);
    if (!response) return std::fprintf(stderr, "%s\n", response.result().message().c_str()), 1;

    std::printf("%d %s\n", response.status(), response.body().data());  // any status is an answer
    return response.status() == 200 ? 0 : 1;
}
