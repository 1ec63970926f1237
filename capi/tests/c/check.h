/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the test programs share: C11 and C++17. */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xen_restrict.h>

/* Ends the program where something does not hold. */
#define CHECK(holds)                                                                         \
    do {                                                                                     \
        if (!(holds)) {                                                                      \
            fprintf(stderr, "%s:%d: %s; the last error: %s\n", __FILE__, __LINE__, #holds,   \
                    xr_error());                                                             \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

/* A call that is refused with one number of errno, and says why. */
#define REFUSED(number, call)                                                                \
    do {                                                                                     \
        int result_ = (call);                                                                \
        if (result_ != -(number) || strlen(xr_error()) == 0) {                               \
            fprintf(stderr, "%s:%d: %s: %d, not %d; %s\n", __FILE__, __LINE__, #call,        \
                    result_, -(number), xr_error());                                         \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

/* Every function that takes a handle, with one that is refused. */
static inline void every_function_refuses(int number, void *handle) {
    struct xr_privcmd *privcmd = (struct xr_privcmd *)handle;
    struct xr_guest *guest = (struct xr_guest *)handle, *new_guest;
    struct xr_evtchn *evtchn = (struct xr_evtchn *)handle;
    struct xr_port *port = (struct xr_port *)handle, *new_port;
    struct xr_gntdev *gntdev = (struct xr_gntdev *)handle;
    struct xr_gntalloc *gntalloc = (struct xr_gntalloc *)handle;
    struct xr_memory *memory = (struct xr_memory *)handle, *new_memory;
    struct xr_ioreq_server *server = (struct xr_ioreq_server *)handle, *new_server;
    struct xr_requests *requests = (struct xr_requests *)handle, *new_requests;
    struct xr_buffered *buffered = (struct xr_buffered *)handle, *new_buffered;
    struct xr_program *program = (struct xr_program *)handle;
    struct xr_event event = {0, 0, 0, 0, 0, {0}};
    struct xr_extent extent = {0, 1, 0};
    struct xr_buffer buffer = {NULL, 0};
    struct xr_io_range range = {XR_RANGE_PORTS, 0, 1, 2};
    struct xr_missing_page missing;
    struct xr_served served;
    struct xr_ended ended;
    struct xr_grant_copy copy;
    uint64_t numbers[2] = {0, 0};
    uint32_t ports[2] = {0, 0};
    uint8_t bytes[8];
    size_t size;
    memset(&copy, 0, sizeof copy);

    REFUSED(number, xr_privcmd_restrict(privcmd, 7));
    REFUSED(number, xr_privcmd_domid(privcmd));
    REFUSED(number, xr_privcmd_fd(privcmd));
    REFUSED(number, xr_privcmd_kernel_holes(privcmd));
    REFUSED(number, xr_privcmd_guest(privcmd, 7, &new_guest));
    CHECK(new_guest == NULL);
    REFUSED(number, xr_guest_domid(guest));
    REFUSED(number, xr_guest_map(guest, numbers, 1, 0, &new_memory));
    CHECK(new_memory == NULL);
    REFUSED(number, xr_guest_resource_frames(guest, 1, 0, numbers));
    REFUSED(number, xr_guest_map_resource(guest, 1, 0, 0, 1, 0, &new_memory));
    REFUSED(number, xr_guest_set_pci_intx_level(guest, 0, 0, 1, 0, 1));
    REFUSED(number, xr_guest_set_isa_irq_level(guest, 1, 1));
    REFUSED(number, xr_guest_set_pci_link_route(guest, 0, 5));
    REFUSED(number, xr_guest_set_irq_level(guest, 1, 1));
    REFUSED(number, xr_guest_inject_msi(guest, 1, 1));
    REFUSED(number, xr_guest_inject_event(guest, 0, &event));
    REFUSED(number, xr_guest_track_dirty_vram(guest, 0, 8, bytes, 8));
    REFUSED(number, xr_guest_modified_memory(guest, &extent, 1));
    REFUSED(number, xr_guest_set_mem_type(guest, 0, 1, XR_MEM_RAM_RW));
    REFUSED(number, xr_guest_relocate_memory(guest, 0, 1, 1));
    REFUSED(number, xr_guest_pin_memory_cacheattr(guest, 0, 1, XR_CACHE_DELETE));
    REFUSED(number, xr_guest_remote_shutdown(guest, XR_SHUTDOWN_CRASH));
    REFUSED(number, xr_guest_nr_vcpus(guest));
    REFUSED(number, xr_guest_exists(guest));
    REFUSED(number, xr_guest_dm_op(guest, &buffer, 1));
    REFUSED(number, xr_guest_create_ioreq_server(guest, 0, &new_server));
    CHECK(new_server == NULL);
    REFUSED(number, xr_guest_take_over_ioreq_server(guest, 0, evtchn, 1, &new_server,
                                                    &new_requests));
    CHECK(new_server == NULL && new_requests == NULL);
    REFUSED(number, xr_memory_size(memory, &size));
    REFUSED(number, xr_memory_missing(memory, &missing, 1));
    REFUSED(number, xr_memory_retry(memory, &new_memory));
    CHECK(new_memory == NULL);
    REFUSED(number, xr_memory_read(memory, 0, bytes, 8));
    REFUSED(number, xr_memory_write(memory, 0, bytes, 8));
    REFUSED(number, xr_memory_fetch_or(memory, 0, 1));
    REFUSED(number, xr_memory_fetch_and(memory, 0, 1));
    REFUSED(number, xr_memory_notify_on_unmap(memory, XR_NO_BYTE, NULL));
    REFUSED(number, xr_evtchn_restrict(evtchn, 7));
    REFUSED(number, xr_evtchn_domid(evtchn));
    REFUSED(number, xr_evtchn_fd(evtchn));
    REFUSED(number, xr_evtchn_kernel_holes(evtchn));
    REFUSED(number, xr_evtchn_bind_interdomain(evtchn, 7, 1, &new_port));
    CHECK(new_port == NULL);
    REFUSED(number, xr_evtchn_bind_unbound(evtchn, 7, &new_port));
    REFUSED(number, xr_evtchn_bind_virq(evtchn, 1, &new_port));
    REFUSED(number, xr_evtchn_pending(evtchn, ports, 2));
    REFUSED(number, xr_evtchn_unmask(evtchn, ports, 2));
    REFUSED(number, xr_evtchn_wait(evtchn, 0));
    REFUSED(number, xr_evtchn_reset(evtchn));
    REFUSED(number, xr_evtchn_set_nonblocking(evtchn, 1));
    REFUSED(number, xr_port_number(port, ports));
    REFUSED(number, xr_port_notify(port));
    REFUSED(number, xr_ioreq_server_id(server));
    REFUSED(number, xr_ioreq_server_map_range(server, &range));
    REFUSED(number, xr_ioreq_server_unmap_range(server, &range));
    REFUSED(number, xr_ioreq_server_map_mem_type(server, XR_MEM_IOREQ_SERVER, 1));
    REFUSED(number, xr_ioreq_server_set_enabled(server, 0));
    REFUSED(number, xr_ioreq_server_start(server, evtchn, 1, &new_requests));
    CHECK(new_requests == NULL);
    REFUSED(number, xr_ioreq_server_buffered(server, evtchn, &new_buffered));
    CHECK(new_buffered == NULL);
    REFUSED(number, xr_requests_ports(requests, ports, 2));
    REFUSED(number, xr_requests_serve(requests, evtchn, 0, ports, 2, NULL, NULL, &served));
    REFUSED(number, xr_requests_answer(requests, ports, 2, NULL, NULL));
    REFUSED(number, xr_buffered_port(buffered, ports));
    REFUSED(number, xr_buffered_drain(buffered, NULL, NULL));
    REFUSED(number, xr_gntdev_restrict(gntdev, 7));
    REFUSED(number, xr_gntdev_quota(gntdev));
    REFUSED(number, xr_gntdev_map(gntdev, 7, ports, 1, 0, &new_memory));
    CHECK(new_memory == NULL);
    REFUSED(number, xr_gntdev_copy(gntdev, &copy, 1));
    REFUSED(number, xr_gntalloc_grant(gntalloc, 7, 1, 0, ports, &new_memory));
    REFUSED(number, xr_program_pid(program));
    REFUSED(number, xr_program_supervisor_pid(program));
    REFUSED(number, xr_program_signal(program, 0));
    REFUSED(number, xr_program_wait(program, 0, &ended));
}

#endif
