/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * In dom0 of the lab, with the domids of guests A and B: handles that are live, what they do,
 * and how they refuse. examples/device_model.c serves requests.
 */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

/* The page of the lab's guests (lab/guest/src/layout.rs). */
enum { STATUS = 0x200, DOMID = 0x08, RW_REF = 0x48, RW_FRAME = 0x68, PORT0 = 0x38, EVENTS0 = 0x40 };
enum { COMMAND = 0x10, ARGUMENT = 0x18, DONE = 0x20, ERRORS = 0x30 };
enum { PORT1 = 0x80, NOBODY = 32000, PAGE = 4096 };
/* A page that the guest granted, and does not use itself; one that it does not know; none. */
enum { OURS = 0x217, UNUSED = 0x390, HOLE = 0x2000 };
/* Milliseconds: emulated guests are slow where the machine is busy. */
enum { LONG = 100000 };

static uint16_t a, b;

static uint64_t word(struct xr_memory *memory, size_t offset) {
    uint64_t value = 0;
    CHECK(xr_memory_read(memory, offset, &value, sizeof value) == 0);
    return value;
}

static struct xr_guest *guest_of(struct xr_privcmd *privcmd, uint16_t domid) {
    struct xr_guest *guest;
    CHECK(xr_privcmd_guest(privcmd, domid, &guest) == 0);
    CHECK(xr_guest_domid(guest) == (domid ? domid : a));
    return guest;
}

static struct xr_memory *page_of(struct xr_guest *guest, uint64_t gfn, int writable) {
    struct xr_memory *memory;
    CHECK(xr_guest_map(guest, &gfn, 1, writable, &memory) == 0);
    CHECK(xr_memory_missing(memory, NULL, 0) == 0);
    return memory;
}

static struct xr_privcmd *restricted_privcmd(void) {
    struct xr_privcmd *privcmd;
    CHECK(xr_privcmd_open(&privcmd) == 0 && xr_privcmd_domid(privcmd) == 0);
    CHECK(xr_privcmd_restrict(privcmd, a) == 0 && xr_privcmd_domid(privcmd) == a);
    return privcmd;
}

static struct xr_evtchn *restricted_evtchn(void) {
    struct xr_evtchn *evtchn;
    CHECK(xr_evtchn_open(&evtchn) == 0 && xr_evtchn_domid(evtchn) == 0);
    CHECK(xr_evtchn_restrict(evtchn, a) == 0 && xr_evtchn_domid(evtchn) == a);
    return evtchn;
}

static void restriction(void) {
    struct xr_privcmd *privcmd = restricted_privcmd(), *other;
    struct xr_guest *guest;
    CHECK(xr_privcmd_restrict(privcmd, a) == 0);
    REFUSED(EPERM, xr_privcmd_restrict(privcmd, b));
    REFUSED(EINVAL, xr_privcmd_restrict(privcmd, 0));
    REFUSED(EPERM, xr_privcmd_guest(privcmd, b, &guest));
    CHECK(guest == NULL);
    CHECK(xr_close(guest_of(privcmd, 0)) == 0 && xr_close(guest_of(privcmd, a)) == 0);
    CHECK(xr_privcmd_kernel_holes(privcmd) >= 0);

    /* Somebody else's handle is taken if it is restricted. */
    int fd = fcntl(xr_privcmd_fd(privcmd), F_DUPFD_CLOEXEC, 10);
    REFUSED(EPERM, xr_privcmd_adopt(fd, b, &other));
    CHECK(other == NULL && fcntl(fd, F_GETFD) == -1);
    fd = fcntl(xr_privcmd_fd(privcmd), F_DUPFD_CLOEXEC, 10);
    CHECK(xr_privcmd_adopt(fd, a, &other) == 0 && xr_privcmd_domid(other) == a);
    CHECK(xr_close(other) == 0 && xr_close(privcmd) == 0);
    every_function_refuses(EBADF, privcmd);

    CHECK(xr_privcmd_open(&privcmd) == 0);
    fd = fcntl(xr_privcmd_fd(privcmd), F_DUPFD_CLOEXEC, 10);
    REFUSED(EPERM, xr_privcmd_adopt(fd, a, &other));

    /* With another domain's memory it is not restricted, and of no use any more. */
    struct xr_guest *victim = guest_of(privcmd, b);
    struct xr_memory *memory = page_of(victim, STATUS, 0);
    CHECK(word(memory, DOMID) == b);
    REFUSED(EBUSY, xr_privcmd_restrict(privcmd, a));
    REFUSED(ENXIO, xr_guest_exists(victim));
    CHECK(xr_close(memory) == 0 && xr_close(victim) == 0 && xr_close(privcmd) == 0);
}

/* A page that the guest gets while its place is mapped. */
static void missing_pages(struct xr_guest *guest, struct xr_memory *never) {
    uint64_t gfns[2] = {STATUS, HOLE};
    struct xr_memory *before, *after, *none;
    CHECK(xr_memory_retry(never, &after) == 1 && word(after, DOMID) != 0);
    REFUSED(EROFS, xr_memory_fetch_or(after, 0, 1));
    CHECK(xr_close(after) == 0);
    REFUSED(EINVAL, xr_memory_retry(never, NULL));

    CHECK(xr_guest_map(guest, gfns, 2, 1, &before) == 0);
    CHECK(xr_memory_missing(before, NULL, 0) == 1);
    CHECK(xr_guest_relocate_memory(guest, UNUSED, HOLE, 1) == 0);
    CHECK(xr_memory_retry(before, &after) == 0 && xr_memory_missing(after, NULL, 0) == 0);
    CHECK(xr_memory_fetch_or(after, PAGE, 1) >= 0);
    REFUSED(EFAULT, xr_memory_fetch_or(before, PAGE, 1));
    REFUSED(EINVAL, xr_memory_retry(after, &none));
    CHECK(none == NULL && word(before, DOMID) == word(after, DOMID));
    CHECK(xr_close(before) == 0 && xr_close(after) == 0);
    CHECK(xr_guest_relocate_memory(guest, HOLE, UNUSED, 1) == 0);
    CHECK(xr_guest_map_resource(guest, XR_RESOURCE_GRANT_TABLE, 0, 0, 1, 0, &after) == 0);
    REFUSED(EINVAL, xr_memory_retry(after, &none));
    CHECK(xr_close(after) == 0);
}

static void memory(void) {
    struct xr_privcmd *privcmd = restricted_privcmd();
    struct xr_guest *guest = guest_of(privcmd, 0);
    struct xr_memory *page = page_of(guest, OURS, 1), *other;
    uint64_t gfns[3] = {OURS, 0xfffff000, STATUS}, value, old = word(page, 16);
    struct xr_missing_page missing[2];
    size_t size;
    CHECK(xr_memory_size(page, &size) == 0 && size == PAGE);
    value = 0x1122334455667788;
    CHECK(xr_memory_write(page, 16, &value, 8) == 0 && word(page, 16) == value);
    CHECK(xr_memory_fetch_or(page, 16, 0x77) == 0x88 && word(page, 16) == (value | 0x77));
    CHECK(xr_memory_fetch_and(page, 16, 0x0f) == 0xff && (word(page, 16) & 0xff) == 0x0f);
    CHECK(xr_memory_read(page, PAGE, NULL, 0) == 0);
    REFUSED(EINVAL, xr_memory_read(page, 0, NULL, 8));
    REFUSED(EINVAL, xr_memory_read(page, 0, &value, SIZE_MAX));
    REFUSED(EINVAL, xr_memory_write(page, 0, &value, (size_t)PTRDIFF_MAX + 1));
    REFUSED(ERANGE, xr_memory_read(page, PAGE - 7, &value, 8));
    REFUSED(ERANGE, xr_memory_read(page, SIZE_MAX - 3, &value, 8));
    REFUSED(ERANGE, xr_memory_fetch_or(page, PAGE, 1));
    REFUSED(EINVAL, xr_memory_notify_on_unmap(page, 0, NULL));
    REFUSED(EINVAL, xr_guest_map(guest, gfns, 0, 0, &other));
    REFUSED(EINVAL, xr_guest_map(guest, gfns, SIZE_MAX, 0, &other));
    /* Told by the length, without a look at what is not there. */
    REFUSED(E2BIG, xr_guest_map(guest, gfns, (size_t)1 << 40, 0, &other));
    REFUSED(EINVAL, xr_guest_map(guest, NULL, 1, 0, &other));
    REFUSED(EINVAL, xr_guest_map(guest, gfns, 1, 0, NULL));

    CHECK(xr_guest_map(guest, gfns, 3, 0, &other) == 0);
    CHECK(xr_memory_missing(other, missing, 2) == 1 && missing[0].page == 1);
    CHECK(missing[0].errnum > 0 && missing[0].reserved == 0);
    CHECK(word(other, 16) == word(page, 16));
    REFUSED(EFAULT, xr_memory_read(other, PAGE, &value, 8));
    REFUSED(EROFS, xr_memory_write(other, 0, &value, 8));
    missing_pages(guest, other);

    /* A child has no mapping, and does not undo the parent's. */
    pid_t child = fork();
    if (child == 0) {
        CHECK(xr_memory_read(page, 0, &value, 8) == -ECHILD);
        CHECK(xr_close(page) == 0 && xr_close(other) == 0);
        struct xr_memory *own = page_of(guest, STATUS, 0);
        CHECK(word(own, DOMID) == a && xr_close(own) == 0);
        CHECK(xr_close(guest) == 0 && xr_close(privcmd) == 0);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(xr_memory_write(page, 16, &old, 8) == 0);

    /* What was made of a handle outlives it. */
    CHECK(xr_close(privcmd) == 0 && xr_close(guest) == 0);
    CHECK(word(page, 16) == old);
    CHECK(xr_close(other) == 0 && xr_close(page) == 0);
    REFUSED(EBADF, xr_close(page));
}

static void operations(void) {
    struct xr_privcmd *privcmd, *own = restricted_privcmd();
    CHECK(xr_privcmd_open(&privcmd) == 0);
    struct xr_guest *guest = guest_of(own, a), *nobody = guest_of(privcmd, NOBODY);
    struct xr_extent extents[257];
    struct xr_event event = {1, 0, 0, 0, 0, {0}};
    uint8_t bits[1];
    uint64_t frames;
    memset(extents, 0, sizeof extents);
    extents[0].first = 0x300;
    extents[0].count = 1;
    CHECK(xr_guest_exists(guest) == 1 && xr_guest_exists(nobody) == 0);
    int vcpus = xr_guest_nr_vcpus(guest);
    CHECK(vcpus == 1 || vcpus == -EOPNOTSUPP);
    CHECK(xr_guest_set_mem_type(guest, 0x300, 1, XR_MEM_RAM_RW) == 0);
    CHECK(xr_guest_modified_memory(guest, extents, 1) == 0);
    CHECK(xr_guest_modified_memory(guest, NULL, 0) == 0);
    CHECK(xr_guest_resource_frames(guest, XR_RESOURCE_GRANT_TABLE, 0, &frames) == 0);
    CHECK(frames > 0);
    REFUSED(E2BIG, xr_guest_modified_memory(guest, extents, 257));
    REFUSED(E2BIG, xr_guest_modified_memory(guest, extents, (size_t)1 << 40));
    REFUSED(EINVAL, xr_guest_modified_memory(guest, extents, SIZE_MAX));
    REFUSED(EINVAL, xr_guest_track_dirty_vram(guest, 0, 9, bits, 1));
    REFUSED(EINVAL, xr_guest_set_mem_type(guest, 0x300, 1, 99));
    REFUSED(EINVAL, xr_guest_pin_memory_cacheattr(guest, 0, 1, 99));
    REFUSED(EINVAL, xr_guest_remote_shutdown(guest, 99));
    REFUSED(EINVAL, xr_guest_inject_event(guest, 0, &event));
    REFUSED(EINVAL, xr_guest_inject_event(guest, 0, NULL));
    REFUSED(EINVAL, xr_guest_resource_frames(guest, 9, 0, &frames));
    REFUSED(EINVAL, xr_guest_resource_frames(guest, XR_RESOURCE_IOREQ_SERVER, 65536, &frames));
    REFUSED(ESRCH, xr_guest_set_mem_type(nobody, 0x300, 1, XR_MEM_RAM_RW));
    CHECK(xr_close(nobody) == 0 && xr_close(guest) == 0);
    CHECK(xr_close(privcmd) == 0 && xr_close(own) == 0);
}

/* As Xen's public/hvm/dm_op.h has it. */
struct operation {
    uint32_t number, zero;
    union {
        struct {
            uint32_t pages;
            uint16_t mem_type, zero;
            uint64_t first;
        } set_mem_type;
        struct {
            uint16_t id, flags;
            uint32_t port;
            uint64_t unused[2];
        } server_info;
        struct {
            uint32_t count, zero;
        } modified_memory;
    } of;
};
enum { SERVER_INFO = 2, MODIFIED_MEMORY = 11, SET_MEM_TYPE = 12, NO_GFNS = 1 };

static void raw_operations(struct xr_guest *guest) {
    struct operation operation;
    struct xr_extent extent = {0x300, 1, 0};
    struct xr_buffer buffers[17] = {{&operation, sizeof operation}, {&extent, sizeof extent}};
    struct xr_ioreq_server *server;
    memset(&operation, 0, sizeof operation);
    operation.number = SET_MEM_TYPE;
    operation.of.set_mem_type.mem_type = XR_MEM_RAM_RW;
    operation.of.set_mem_type.pages = 1;
    operation.of.set_mem_type.first = 0x300;
    CHECK(xr_guest_dm_op(guest, buffers, 1) == 0);
    CHECK(xr_guest_dm_op(guest, NULL, 0) == 0);
    memset(&operation, 0, sizeof operation);
    operation.number = MODIFIED_MEMORY;
    operation.of.modified_memory.count = 1;
    CHECK(xr_guest_dm_op(guest, buffers, 2) == 0);

    /* What Xen answers is in the buffer. */
    CHECK(xr_guest_create_ioreq_server(guest, 1, &server) == 0);
    memset(&operation, 0, sizeof operation);
    operation.number = SERVER_INFO;
    operation.of.server_info.id = (uint16_t)xr_ioreq_server_id(server);
    operation.of.server_info.flags = NO_GFNS;
    CHECK(xr_guest_dm_op(guest, buffers, 1) == 0 && operation.of.server_info.port != 0);
    CHECK(xr_close(server) == 0);
    REFUSED(ENOENT, xr_guest_dm_op(guest, buffers, 1));

    operation.number = UINT32_MAX;
    REFUSED(EOPNOTSUPP, xr_guest_dm_op(guest, buffers, 1));
    buffers[0].size = 3;
    REFUSED(EFAULT, xr_guest_dm_op(guest, buffers, 1));
    REFUSED(EINVAL, xr_guest_dm_op(guest, NULL, 1));
    /* Told by the length, without a look at what is not there. */
    REFUSED(E2BIG, xr_guest_dm_op(guest, buffers, 17));
    REFUSED(E2BIG, xr_guest_dm_op(guest, buffers, (size_t)1 << 40));
    REFUSED(EINVAL, xr_guest_dm_op(guest, buffers, SIZE_MAX / 2));
    buffers[2] = buffers[1];
    REFUSED(EINVAL, xr_guest_dm_op(guest, buffers, 3));
    buffers[1].data = NULL;
    REFUSED(EINVAL, xr_guest_dm_op(guest, buffers, 2));
    buffers[1].size = 0;
    REFUSED(E2BIG, xr_guest_dm_op(guest, buffers, 3));
    buffers[0].size = SIZE_MAX;
    REFUSED(EINVAL, xr_guest_dm_op(guest, buffers, 1));
}

static void events(struct xr_memory *status) {
    struct xr_evtchn *evtchn = restricted_evtchn(), *free_one;
    struct xr_port *port, *second, *none;
    uint32_t number, ports[8], remote = (uint32_t)word(status, PORT0);
    CHECK(xr_evtchn_bind_interdomain(evtchn, 0, remote, &port) == 0);
    CHECK(xr_port_number(port, &number) == 0);
    CHECK(xr_evtchn_wait(evtchn, LONG) == 1);
    CHECK(xr_evtchn_pending(evtchn, ports, 8) == 1 && ports[0] == number);
    CHECK(xr_evtchn_unmask(evtchn, ports, 1) == 0);
    for (int i = 0; i < 3; i++) {
        uint64_t before = word(status, EVENTS0);
        CHECK(xr_port_notify(port) == 0 && xr_evtchn_wait(evtchn, LONG) == 1);
        CHECK(xr_evtchn_pending(evtchn, ports, 8) == 1 && ports[0] == number);
        CHECK(xr_evtchn_unmask(evtchn, ports, 1) == 0);
        CHECK(word(status, EVENTS0) == before + 1);
    }
    CHECK(xr_evtchn_set_nonblocking(evtchn, 1) == 0);
    CHECK(xr_evtchn_pending(evtchn, ports, 8) == 0 && xr_evtchn_wait(evtchn, 0) == 0);
    /* Two at once. */
    remote = (uint32_t)word(status, PORT1);
    CHECK(xr_evtchn_bind_interdomain(evtchn, a, remote, &second) == 0);
    CHECK(xr_port_notify(port) == 0);
    for (int i = 0; i < 2000 && xr_evtchn_wait(evtchn, 10) == 1; i++) {
        int got = xr_evtchn_pending(evtchn, ports, 1);
        CHECK(got == 1 && xr_evtchn_unmask(evtchn, ports, 1) == 0);
    }
    CHECK(xr_evtchn_reset(evtchn) == 0);
    REFUSED(EINVAL, xr_evtchn_pending(evtchn, NULL, 1));
    REFUSED(EINVAL, xr_evtchn_pending(evtchn, ports, SIZE_MAX));
    REFUSED(EINVAL, xr_evtchn_unmask(evtchn, ports, SIZE_MAX / 2));
    REFUSED(EINVAL, xr_evtchn_unmask(evtchn, (uint32_t *)((char *)ports + 1), 1));
    REFUSED(EPERM, xr_evtchn_bind_interdomain(evtchn, b, 1, &none));
    REFUSED(EPERM, xr_evtchn_bind_virq(evtchn, 0, &none));
    REFUSED(EPERM, xr_evtchn_bind_unbound(evtchn, a, &none));
    CHECK(none == NULL);
    REFUSED(EBADF, xr_evtchn_fd((struct xr_evtchn *)port));
    CHECK(xr_evtchn_fd(evtchn) > 2 && xr_evtchn_kernel_holes(evtchn) >= 0);
    CHECK(xr_close(evtchn) == 0 && xr_port_notify(port) == 0);
    CHECK(xr_close(port) == 0 && xr_close(second) == 0);

    /* A port of another domain keeps a handle from being restricted. */
    CHECK(xr_evtchn_open(&free_one) == 0);
    CHECK(xr_evtchn_bind_unbound(free_one, b, &port) == 0);
    REFUSED(EBUSY, xr_evtchn_restrict(free_one, a));
    REFUSED(ENXIO, xr_evtchn_wait(free_one, 0));
    CHECK(xr_close(free_one) == 0);
    /* The port went with the revoked handle. */
    CHECK(xr_close(port) == -ENXIO);
}

static void grants(struct xr_guest *guest, struct xr_memory *status) {
    struct xr_gntdev *gntdev;
    struct xr_gntalloc *gntalloc;
    struct xr_memory *pages, *own, *none;
    struct xr_grant_copy copies[3];
    uint32_t refs[8], given[2], first = (uint32_t)word(status, RW_REF);
    uint64_t pattern = (uint64_t)a << 48, back[2] = {0, 0};
    for (uint32_t i = 0; i < 8; i++)
        refs[i] = first + i;
    CHECK(xr_gntdev_open(&gntdev) == 0 && xr_gntdev_quota(gntdev) == 0);
    CHECK(xr_gntdev_map(gntdev, a, refs, 8, 1, &pages) == 0);
    CHECK(word(pages, 3 * PAGE + 16) == (pattern | (uint64_t)3 << 32 | 16));
    struct xr_memory *frame = page_of(guest, word(status, RW_FRAME), 0);
    CHECK(xr_memory_notify_on_unmap(pages, XR_NO_BYTE, NULL) == 0);
    REFUSED(ERANGE, xr_memory_notify_on_unmap(pages, (size_t)8 * PAGE, NULL));

    memset(copies, 0, sizeof copies);
    for (int i = 0; i < 2; i++) {
        copies[i].way = XR_COPY_READ;
        copies[i].domid = a;
        copies[i].grant = i ? 400 : first + 1;
        copies[i].offset = 24;
        copies[i].local = &back[i];
        copies[i].length = sizeof back[i];
    }
    CHECK(xr_gntdev_copy(gntdev, copies, 2) == 1);
    CHECK(copies[0].status == 0 && back[0] == (pattern | (uint64_t)1 << 32 | 24));
    CHECK(copies[1].status < 0);
    copies[0].way = XR_COPY_BETWEEN;
    copies[0].to_domid = a;
    copies[0].to_grant = first + 1;
    copies[0].to_offset = 24;
    copies[0].local = NULL;
    CHECK(xr_gntdev_copy(gntdev, copies, 1) == 0);
    copies[0].offset = 4090;
    REFUSED(ERANGE, xr_gntdev_copy(gntdev, copies, 1));
    copies[0].way = 9;
    REFUSED(EINVAL, xr_gntdev_copy(gntdev, copies, 1));
    copies[0].way = XR_COPY_READ;
    REFUSED(EINVAL, xr_gntdev_copy(gntdev, copies, 1));
    REFUSED(EINVAL, xr_gntdev_copy(gntdev, copies, SIZE_MAX / sizeof copies[0]));
    REFUSED(EINVAL, xr_gntdev_map(gntdev, 0, refs, 8, 1, &none));
    REFUSED(EINVAL, xr_gntdev_map(gntdev, a, refs, 0, 1, &none));
    CHECK(none == NULL);
    CHECK(xr_gntdev_restrict(gntdev, a) == 0);
    REFUSED(ENXIO, xr_gntdev_map(gntdev, a, refs, 8, 1, &none));
    CHECK(word(pages, 16) == (pattern | 16));
    CHECK(xr_close(pages) == 0 && xr_close(gntdev) == 0 && xr_close(frame) == 0);

    CHECK(xr_gntalloc_open(&gntalloc) == 0);
    CHECK(xr_gntalloc_grant(gntalloc, a, 2, 1, given, &own) == 0);
    CHECK(given[0] != given[1] && word(own, PAGE) == 0);
    REFUSED(EINVAL, xr_gntalloc_grant(gntalloc, a, 0, 1, given, &none));
    REFUSED(EINVAL, xr_gntalloc_grant(gntalloc, a, SIZE_MAX, 1, given, &none));
    CHECK(xr_close(own) == 0 && xr_close(gntalloc) == 0);
}

struct reentry {
    struct xr_requests *requests;
    unsigned busy;
};

static uint64_t reenters(const struct xr_io_request *request, void *context) {
    struct reentry *reentry = (struct reentry *)context;
    reentry->busy += xr_requests_ports(reentry->requests, NULL, 0) == -EBUSY;
    CHECK(request->kind == XR_IO_PORT && request->size == 4 && request->count == 1);
    /* Closed while it is in use. */
    if (reentry->busy == 1)
        CHECK(xr_close(reentry->requests) == 0);
    return UINT32_MAX;
}

static void servers(struct xr_guest *guest, struct xr_memory *status) {
    struct xr_evtchn *evtchn = restricted_evtchn();
    struct xr_ioreq_server *server, *plain;
    struct xr_requests *requests, *again;
    struct xr_buffered *buffered, *none;
    struct xr_io_range range = {XR_RANGE_PORTS, 0, 0x500, 0x503}, wrong = {9, 0, 0, 0};
    struct xr_served served;
    uint32_t queue[4], number;
    uint64_t order[2] = {1, 1}, idle = 0;
    CHECK(xr_guest_create_ioreq_server(guest, 1, &server) == 0);
    CHECK(xr_guest_create_ioreq_server(guest, 0, &plain) == 0);
    CHECK(xr_ioreq_server_id(server) != xr_ioreq_server_id(plain));
    REFUSED(EINVAL, xr_ioreq_server_set_enabled(server, 1));
    REFUSED(EINVAL, xr_ioreq_server_map_range(server, &wrong));
    REFUSED(EINVAL, xr_ioreq_server_map_range(server, NULL));
    REFUSED(ENOENT, xr_ioreq_server_unmap_range(server, &range));
    CHECK(xr_ioreq_server_map_range(server, &range) == 0);
    REFUSED(EEXIST, xr_ioreq_server_map_range(server, &range));
    REFUSED(E2BIG, xr_ioreq_server_start(server, evtchn, 0, &requests));
    CHECK(xr_ioreq_server_start(server, evtchn, 1, &requests) == 0);
    REFUSED(EINVAL, xr_ioreq_server_start(server, evtchn, 1, &again));
    REFUSED(EINVAL, xr_ioreq_server_buffered(plain, evtchn, &none));
    CHECK(xr_ioreq_server_buffered(server, evtchn, &buffered) == 0);
    CHECK(xr_buffered_port(buffered, &number) == 0 && number != 0);
    REFUSED(EINVAL, xr_buffered_drain(buffered, NULL, NULL));
    CHECK(xr_buffered_drain(buffered, reenters, NULL) == 0);
    CHECK(xr_requests_ports(requests, queue, 4) == 1);
    REFUSED(EINVAL, xr_requests_serve(requests, evtchn, 0, queue, 0, reenters, NULL, &served));
    REFUSED(EINVAL, xr_requests_serve(requests, evtchn, 0, queue, 4, NULL, NULL, &served));
    REFUSED(EINVAL, xr_requests_serve(requests, evtchn, 0, NULL, 4, reenters, NULL, &served));

    /* The guest waits for its answer; the callback tries what it must not. */
    struct reentry reentry = {requests, 0};
    CHECK(xr_memory_write(status, ARGUMENT, &order[1], 8) == 0);
    CHECK(xr_memory_write(status, COMMAND, &order[0], 8) == 0);
    do {
        CHECK(xr_requests_serve(requests, evtchn, LONG, queue, 4, reenters, &reentry,
                                &served) == 0);
        CHECK(xr_evtchn_unmask(evtchn, queue, served.others) == 0);
    } while (served.answered == 0 && served.others > 0);
    CHECK(served.answered == 1 && reentry.busy == 1);
    REFUSED(EBADF, xr_requests_ports(requests, queue, 4));
    CHECK(xr_memory_write(status, COMMAND, &idle, 8) == 0);
    CHECK(xr_close(buffered) == 0 && xr_close(server) == 0 && xr_close(plain) == 0);
    CHECK(xr_close(evtchn) == 0);
}

struct serving {
    struct xr_requests *requests;
    struct xr_evtchn *evtchn;
    struct xr_memory *status;
    uint64_t done;
    size_t answered;
};

/* A device that the guest's order 1 asks: it reads the complement of what it wrote. */
static uint64_t complement(const struct xr_io_request *request, void *context) {
    uint32_t *last = (uint32_t *)context;
    pthread_testcancel();
    if (!(request->flags & XR_IO_READ))
        *last = (uint32_t)request->data;
    return (uint32_t)~*last;
}

/* Starts a server, has the guest ask it, and is killed before it answers; tells its id. */
static void left_behind(struct xr_guest *guest, int tell) {
    struct xr_evtchn *evtchn = restricted_evtchn();
    struct xr_memory *status = page_of(guest, STATUS, 1);
    struct xr_ioreq_server *server;
    struct xr_requests *requests;
    struct xr_io_range range = {XR_RANGE_PORTS, 0, 0x500, 0x503};
    uint64_t order = 1, times = 10;
    CHECK(xr_guest_create_ioreq_server(guest, 0, &server) == 0);
    CHECK(xr_ioreq_server_map_range(server, &range) == 0);
    CHECK(xr_ioreq_server_start(server, evtchn, 1, &requests) == 0);
    CHECK(xr_memory_write(status, ARGUMENT, &times, 8) == 0);
    CHECK(xr_memory_write(status, COMMAND, &order, 8) == 0);
    CHECK(xr_evtchn_wait(evtchn, LONG) == 1);
    uint16_t id = (uint16_t)xr_ioreq_server_id(server);
    CHECK(write(tell, &id, sizeof id) == sizeof id);
    raise(SIGKILL);
}

/* A thread that is cancelled ends after the library's calls, and not in a callback. */
static void *serves(void *context) {
    struct serving *serving = (struct serving *)context;
    struct xr_served served;
    uint32_t queue[4], last = 0;
    CHECK(pthread_cancel(pthread_self()) == 0);
    while (word(serving->status, DONE) == serving->done) {
        CHECK(xr_requests_serve(serving->requests, serving->evtchn, 100, queue, 4, complement,
                                &last, &served) == 0);
        CHECK(xr_evtchn_unmask(serving->evtchn, queue, served.others) == 0);
        serving->answered += served.answered;
    }
    pthread_testcancel();
    return NULL;
}

static void take_over(struct xr_guest *guest, struct xr_memory *status) {
    struct xr_evtchn *evtchn = restricted_evtchn(), *other = restricted_evtchn();
    struct xr_ioreq_server *server, *none;
    struct xr_requests *requests, *nothing;
    uint64_t done = word(status, DONE), errors = word(status, ERRORS), idle = 0;
    pthread_t thread;
    void *result;
    uint16_t id;
    int tell[2], ended;
    CHECK(pipe(tell) == 0);
    pid_t child = fork();
    if (child == 0)
        left_behind(guest, tell[1]);
    CHECK(waitpid(child, &ended, 0) == child && WIFSIGNALED(ended));
    CHECK(read(tell[0], &id, sizeof id) == sizeof id);

    REFUSED(ENOENT, xr_guest_take_over_ioreq_server(guest, 7, evtchn, 1, &none, &nothing));
    REFUSED(E2BIG, xr_guest_take_over_ioreq_server(guest, id, evtchn, 0, &none, &nothing));
    CHECK(none == NULL && nothing == NULL);
    REFUSED(EINVAL, xr_guest_take_over_ioreq_server(guest, id, evtchn, 1, NULL, &nothing));
    REFUSED(EINVAL, xr_guest_take_over_ioreq_server(guest, id, evtchn, 1, &none, NULL));
    REFUSED(EINVAL, xr_guest_take_over_ioreq_server(guest, id, evtchn, 1, &none,
                                                    (struct xr_requests **)&none));
    CHECK(xr_guest_take_over_ioreq_server(guest, id, evtchn, 1, &server, &requests) == 0);
    CHECK(xr_ioreq_server_id(server) == id);
    REFUSED(EINVAL, xr_guest_take_over_ioreq_server(guest, id, other, 1, &none, &nothing));
    struct serving serving = {requests, evtchn, status, done, 0};
    CHECK(pthread_create(&thread, NULL, serves, &serving) == 0);
    CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
    CHECK(serving.answered == 20 && word(status, ERRORS) == errors);
    CHECK(xr_memory_write(status, COMMAND, &idle, 8) == 0);
    CHECK(xr_close(requests) == 0 && xr_close(server) == 0);
    CHECK(xr_close(evtchn) == 0 && xr_close(other) == 0);
    CHECK(close(tell[0]) == 0 && close(tell[1]) == 0);
}

static void everything_at_once(void) {
    struct xr_privcmd *privcmd, *late;
    struct xr_gntdev *gntdev;
    struct xr_guest *guest;
    struct xr_memory *none;
    uint32_t ref = 8;
    CHECK(xr_privcmd_open(&privcmd) == 0 && xr_gntdev_open(&gntdev) == 0);
    CHECK(xr_restrict_all(a) == 0);
    CHECK(xr_restrict_all(a) == 0);
    REFUSED(EPERM, xr_restrict_all(b));
    REFUSED(EPERM, xr_privcmd_open(&late));
    CHECK(late == NULL);
    CHECK(xr_privcmd_restrict(privcmd, a) == 0);
    CHECK(xr_privcmd_guest(privcmd, 0, &guest) == 0 && xr_guest_exists(guest) == 1);
    REFUSED(ENXIO, xr_gntdev_map(gntdev, a, &ref, 1, 0, &none));
    CHECK(xr_close(guest) == 0 && xr_close(gntdev) == 0 && xr_close(privcmd) == 0);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    a = (uint16_t)atoi(argv[1]);
    b = (uint16_t)atoi(argv[2]);
    restriction();
    memory();
    operations();
    struct xr_privcmd *privcmd = restricted_privcmd();
    struct xr_guest *guest = guest_of(privcmd, 0);
    struct xr_memory *status = page_of(guest, STATUS, 1);
    events(status);
    grants(guest, status);
    raw_operations(guest);
    servers(guest, status);
    take_over(guest, status);
    CHECK(xr_close(status) == 0 && xr_close(guest) == 0 && xr_close(privcmd) == 0);
    everything_at_once();
    puts("all as it should be");
    return 0;
}
