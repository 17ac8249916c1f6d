// segment.hpp after the macros that the headers of X11 and Windows define, and the same macros after segment.hpp.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

// libstdc++ undefines min and max where it is included: that has happened by now.

#ifdef MACROS_FIRST
#include "macros.h"
#endif
#include <segment.hpp>
#ifndef MACROS_FIRST
#include "macros.h"
#endif

// segment.hpp has not changed them.
static_assert(std::is_same_v<Status, int> && std::is_same_v<Bool, int>);
static_assert(True == 1 && False == 0 && None == 0L && Always == 2 && Success == 0 && Unsorted == 0);
static_assert(min(1, 2) == 1 && max(1, 2) == 2);

int main() {
    segment::Config config;
    config.write_key = "KEY";
    config.dry_run = true;
    config.before_send = [](std::string_view) { return segment::Edit::drop(); };
    const segment::Client client(config);
    const segment::Result taken =
        client.track("u-42", "Level Completed", {{"level", 7}, {"tags", segment::List{"a", "b"}}});
    const segment::Result refused = client.track("", "Level Completed");
    const bool good = taken.status() == segment::Result::Code::ok && refused.status() == segment::Result::Code::invalid;
    std::printf("%d passed, %d failed\n", good ? 1 : 0, good ? 0 : 1);
    return good ? 0 : 1;
}
