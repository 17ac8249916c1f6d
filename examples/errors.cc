// Every way in which you are told that something is wrong. Nothing is thrown.
#include <segment.hpp>

#include <cmath>
#include <cstdio>

int main(int argc, char** argv) {
    segment::Config config;
    config.write_key = "WRITE_KEY";
    config.endpoint = "https://api.segment.io:port";
    segment::Client client(config);
    if (!client) std::printf("no client: %s\n", client.error().c_str());

    config.endpoint = argc > 1 ? argv[1] : "https://api.segment.io";
    client = segment::Client(config);
    if (!client) return std::fprintf(stderr, "%s\n", client.error().c_str()), 1;

    segment::Result result = client.track(nullptr, "Order Completed");
    if (!result) std::printf("status %d: %s\n", static_cast<int>(result.status()), result.message().c_str());

    segment::Object properties{{"price", std::nan("")}};  // marked, so that its use fails
    result = client.track("u-42", "Order Completed", properties);
    if (result.status() == segment::Status::invalid) std::printf("invalid: %s\n", result.message().c_str());

    properties.clear();  // takes the mark away
    if (client.track("u-42", "Order Completed", properties.set("price", 19.99))) std::printf("accepted\n");

    result = client.flush(std::chrono::seconds(5));  // what goes wrong later is no error of a call
    const std::string problem = client.last_problem();
    if (!problem.empty()) std::printf("not delivered: %s\n", problem.c_str());
    else std::printf("%s\n", result ? "delivered" : result.message().c_str());
}
