// SPDX-License-Identifier: MIT OR Apache-2.0
// On any Linux, C++17: handles with owners, errors as exceptions. The argument is the command
// dm-restrict.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>
#include <xen_restrict.h>

namespace {

struct Close {
    template <typename Handle> void operator()(Handle *handle) const { xr_close(handle); }
};
template <typename Handle> using Owned = std::unique_ptr<Handle, Close>;

int must(int result) {
    if (result < 0) {
        throw std::runtime_error(xr_error());
    }
    return result;
}

Owned<xr_program> launch(const char *helper, const std::vector<const char *> &arguments) {
    xr_launch_options options{};
    options.size = sizeof options;
    options.flags = XR_LAUNCH_LINKED | XR_LAUNCH_DEV;
    options.user = "games";
    const std::string instance = "cpp-" + std::to_string(std::rand());
    options.instance = instance.c_str();
    options.helper = helper;
    const char *without[] = {"cgroup", nullptr}; // A machine may have it or not.
    options.without = without;
    options.program = "sh";
    options.arguments = arguments.data();
    xr_program *program = nullptr;
    must(xr_launch(&options, &program));
    return Owned<xr_program>(program);
}

} // namespace

int main(int argc, char **argv) {
    if (argc != 2) {
        return 2;
    }
    std::srand(static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(&argc) >> 4));
    xr_ended ended{};
    {
        auto program = launch(argv[1], {"-c", "test -c /dev/null && exit 3", nullptr});
        must(xr_program_wait(program.get(), 1, &ended));
    }
    if (ended.status != 3) {
        std::fprintf(stderr, "it ended with %d\n", ended.status);
        return 1;
    }
    try {
        xr_privcmd *privcmd = nullptr;
        must(xr_privcmd_open(&privcmd));
    } catch (const std::runtime_error &error) {
        std::printf("refused: %s\n", error.what());
        return 0;
    }
    return 1;
}
