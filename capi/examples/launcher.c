/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Starts a device model confined to one guest, and returns its status. */
#include <stdio.h>
#include <stdlib.h>
#include <xen_restrict.h>

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: launcher DOMID PROGRAM [ARGUMENT...]\n");
        return 125;
    }
    struct xr_launch_options options = {
        .size = sizeof options,
        .domid = (uint32_t)strtoul(argv[1], NULL, 10),
        .flags = XR_LAUNCH_LINKED,
        .program = argv[2],
        .arguments = (const char *const *)&argv[3],
    };
    struct xr_program *program;
    struct xr_ended ended;
    if (xr_launch(&options, &program) < 0 || xr_program_wait(program, 1, &ended) < 0) {
        fprintf(stderr, "launcher: %s\n", xr_error());
        return 125;
    }
    xr_close(program);
    return ended.signal ? 128 + ended.signal : ended.status;
}
