/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A device model in C. Its device has one register, at I/O port 0x500: the guest reads the
 * complement of what it wrote last.
 *
 *     launcher DOMID device_model    the handles were restricted before it started
 *     device_model DOMID             it opens them, and restricts itself
 */
#include <stdio.h>
#include <stdlib.h>
#include <xen_restrict.h>

enum { FIRST_PORT = 0x500, LAST_PORT = 0x503, A_SECOND = 1000 };

/* The page through which the lab's guest is told what to do (lab/guest). */
static const uint64_t STATUS = 0x200;
enum { DOMID = 0x08, COMMAND = 0x10, ARGUMENT = 0x18, DONE = 0x20, ERRORS = 0x30 };

struct device {
    uint32_t last;
    unsigned answered;
};

/* Whatever fails, nothing that is not restricted is left: so end, and say why. */
static int must(int result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "device_model: %s: %s\n", what, xr_error());
        exit(2);
    }
    return result;
}

static uint64_t answer(const struct xr_io_request *request, void *context) {
    struct device *device = context;
    device->answered++;
    if (!(request->flags & XR_IO_READ))
        device->last = (uint32_t)request->data;
    return (uint32_t)~device->last;
}

static uint64_t get(struct xr_memory *status, size_t field) {
    uint64_t value;
    must(xr_memory_read(status, field, &value, sizeof value), "read the guest's page");
    return value;
}

static void set(struct xr_memory *status, size_t field, uint64_t value) {
    must(xr_memory_write(status, field, &value, sizeof value), "write the guest's page");
}

static void open_restricted(struct xr_handover *handles, uint16_t domid) {
    must(xr_privcmd_open(&handles->privcmd), "open privcmd");
    must(xr_evtchn_open(&handles->evtchn), "open evtchn");
    must(xr_restrict_all(domid), "restrict the process");
    must(xr_privcmd_restrict(handles->privcmd, domid), "restrict privcmd");
    must(xr_evtchn_restrict(handles->evtchn, domid), "restrict evtchn");
    handles->domid = domid;
}

int main(int argc, char **argv) {
    struct xr_handover handles = {0};
    struct device device = {0};
    int launched = argc < 2;
    if (launched)
        must(xr_handover_receive(&handles), "receive handles");
    else
        open_restricted(&handles, (uint16_t)strtoul(argv[1], NULL, 10));

    struct xr_guest *guest;
    struct xr_memory *status;
    must(xr_privcmd_guest(handles.privcmd, 0, &guest), "take the guest");
    must(xr_guest_map(guest, &STATUS, 1, 1, &status), "map the guest's page");

    struct xr_ioreq_server *server;
    struct xr_requests *requests;
    struct xr_io_range range = {.kind = XR_RANGE_PORTS, .first = FIRST_PORT, .last = LAST_PORT};
    must(xr_guest_create_ioreq_server(guest, 0, &server), "create a server");
    must(xr_ioreq_server_map_range(server, &range), "claim the port");
    must(xr_ioreq_server_start(server, handles.evtchn, 1, &requests), "start the server");
    if (launched)
        must(xr_seal(NULL), "seal");

    uint64_t done = get(status, DONE), errors = get(status, ERRORS);
    set(status, ARGUMENT, 1024);
    set(status, COMMAND, 1);
    while (get(status, DONE) == done) {
        uint32_t queue[16];
        struct xr_served served;
        must(xr_requests_serve(requests, handles.evtchn, A_SECOND, queue, 16, answer,
                               &device, &served),
             "serve");
        must(xr_evtchn_unmask(handles.evtchn, queue, served.others), "unmask");
    }
    uint64_t wrong = get(status, ERRORS) - errors, domid = get(status, DOMID);
    printf("answered %u I/O requests of domain %u\n", device.answered, handles.domid);
    printf("the guest found %llu answers wrong\n", (unsigned long long)wrong);

    must(xr_close(requests), "close the requests");
    must(xr_close(server), "destroy the server");
    must(xr_close(status), "unmap");
    must(xr_close(guest), "close the guest");
    must(xr_close(handles.evtchn), "close evtchn");
    must(xr_close(handles.privcmd), "close privcmd");
    must(xr_close(handles.gntdev), "close gntdev");
    return device.answered == 2048 && wrong == 0 && domid == handles.domid ? 0 : 1;
}
