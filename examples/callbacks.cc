// What a client tells you, and what you may change: a log, what became of messages, and a secret that never leaves.
#include <segment.hpp>

#include <cstdio>

static segment::Edit without_token(std::string_view json) {
    constexpr std::string_view secret = R"("token":")";
    std::string text(json);
    for (auto at = text.find(secret); at != text.npos; at = text.find(secret, at)) {
        for (at += secret.size(); text[at] != '"'; ++at) {
            if (text[at] == '\\') text[at++] = '*';  // an escaped quote does not end the text
            text[at] = '*';
        }
    }
    return segment::Edit::replace(text);
}

int main(int argc, char** argv) {
    std::size_t delivered = 0;
    segment::Config config;
    config.write_key = "WRITE_KEY";
    config.endpoint = argc > 1 ? argv[1] : "https://api.segment.io";
    config.before_send = without_token;  // on the thread that tracks; the others on the delivery thread
    config.on_log = [](segment::Level level, const char* message) {
        if (level == segment::Level::error) std::printf("error: %s\n", message);
        if (level == segment::Level::warning) std::printf("warning: %s\n", message);
    };
    config.on_delivery = [&delivered](const segment::Delivery& delivery) {
        const auto count = static_cast<std::size_t>(delivery.message_ids.end() - delivery.message_ids.begin());
        if (delivery.status == segment::Status::ok) delivered += count;
        else std::printf("%zu messages are lost: %s\n", count, delivery.error.data());
    };
    {
        segment::Client client(config);
        if (!client) return std::fprintf(stderr, "%s\n", client.error().c_str()), 1;
        client.track("u-42", "Order Completed", {{"token", "s3cr\"et"}, {"revenue", "19.99"}});  // the log warns
        client.track("u-42", "Signed Out");
    }  // after it no callback runs
    std::printf("%zu delivered\n", delivered);
}
