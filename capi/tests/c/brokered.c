/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * In dom0 of the lab, with the domids of guests A and B: starts itself confined, with a broker
 * for A's grants, and maps and copies them there.
 */
#include "check.h"

#include <stdint.h>
#include <unistd.h>

/* The page of the lab's guests (lab/guest/src/layout.rs). */
enum { STATUS = 0x200, RW_REF = 0x48, PAGE = 4096, QUOTA = 8 };

static uint64_t word(struct xr_memory *memory, size_t offset) {
    uint64_t value = 0;
    CHECK(xr_memory_read(memory, offset, &value, sizeof value) == 0);
    return value;
}

/* What guest A wrote into page `page` of those that it granted, at `offset`. */
static uint64_t written(uint16_t a, uint64_t page, uint64_t offset) {
    return (uint64_t)a << 48 | page << 32 | offset;
}

static int confined(uint32_t first, uint16_t b) {
    struct xr_handover given;
    struct xr_memory *pages, *none;
    struct xr_grant_copy copy;
    uint32_t refs[QUOTA + 1];
    uint64_t back[2] = {0, 0};
    CHECK(xr_handover_receive(&given) == 0 && given.gntdev && !given.privcmd);
    CHECK(xr_gntdev_quota(given.gntdev) == QUOTA);
    for (uint32_t i = 0; i <= QUOTA; i++)
        refs[i] = first + i;

    CHECK(xr_gntdev_map(given.gntdev, 0, refs, QUOTA, 1, &pages) == 0);
    CHECK(word(pages, 3 * PAGE + 16) == written(given.domid, 3, 16));
    REFUSED(EDQUOT, xr_gntdev_map(given.gntdev, 0, refs, 1, 0, &none));
    REFUSED(EPERM, xr_gntdev_map(given.gntdev, b, refs, 1, 0, &none));
    CHECK(xr_close(pages) == 0);
    CHECK(xr_gntdev_map(given.gntdev, given.domid, refs, 1, 0, &pages) == 0);
    REFUSED(EROFS, xr_memory_write(pages, 0, back, sizeof back));

    memset(&copy, 0, sizeof copy);
    copy.way = XR_COPY_READ;
    copy.grant = first + 1;
    copy.offset = 24;
    copy.local = back;
    copy.length = sizeof back;
    CHECK(xr_gntdev_copy(given.gntdev, &copy, 1) == 0 && copy.status == 0);
    CHECK(back[0] == written(given.domid, 1, 24));
    copy.domid = b;
    REFUSED(EPERM, xr_gntdev_copy(given.gntdev, &copy, 1));

    CHECK(xr_seal(NULL) >= 0);
    CHECK(word(pages, 16) == written(given.domid, 0, 16));
    CHECK(xr_close(pages) == 0 && xr_close(given.gntdev) == 0 && xr_close(given.evtchn) == 0);
    puts("mapped and copied by a broker");
    return 0;
}

static uint64_t first_reference(uint16_t a) {
    struct xr_privcmd *privcmd;
    struct xr_guest *guest;
    struct xr_memory *status;
    uint64_t gfn = STATUS;
    CHECK(xr_privcmd_open(&privcmd) == 0 && xr_privcmd_restrict(privcmd, a) == 0);
    CHECK(xr_privcmd_guest(privcmd, 0, &guest) == 0);
    CHECK(xr_guest_map(guest, &gfn, 1, 0, &status) == 0);
    uint64_t first = word(status, RW_REF);
    CHECK(xr_close(status) == 0 && xr_close(guest) == 0 && xr_close(privcmd) == 0);
    return first;
}

int main(int argc, char **argv) {
    CHECK(argc == 3 || argc == 4);
    if (argc == 4)
        return confined((uint32_t)atoi(argv[2]), (uint16_t)atoi(argv[3]));

    uint16_t a = (uint16_t)atoi(argv[1]);
    char reference[24];
    snprintf(reference, sizeof reference, "%llu", (unsigned long long)first_reference(a));
    const char *arguments[] = {"--confined", reference, argv[2], NULL};
    struct xr_launch_options options;
    struct xr_program *program;
    struct xr_ended ended;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.domid = a;
    options.devices = XR_XEN_EVTCHN | XR_XEN_GNTDEV;
    options.grant_quota = QUOTA;
    options.program = argv[0];
    options.arguments = arguments;
    CHECK(xr_launch(&options, &program) == 0);
    CHECK(xr_program_wait(program, 1, &ended) == 1 && xr_close(program) == 0);
    return ended.signal ? 128 + ended.signal : ended.status;
}
