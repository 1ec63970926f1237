/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The peers of `cargo lab bench`: a device model by Xen's own libraries, as QEMU uses them. */

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <xen/xen.h>
#include <xen/evtchn.h>
#include <xen/memory.h>
#include <xen/hvm/dm_op.h>
#include <xen/hvm/ioreq.h>
#include <xendevicemodel.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>
#include <xentoolcore.h>

#define PAGE 4096
#define MOST 4096
/* Of the guest's status page. */
#define STATUS_GFN 0x200
#define COMMAND 2
#define ARGUMENT 3
#define DONE 4
#define FIRST_GFN 24
#define PORT_IO 1
/* Of Linux's xen/privcmd.h. */
#define RESTRICT 0x00025006UL
#define MMAPBATCH_V2 0x00205004UL

static void need(int holds, const char *what)
{
    if (!holds) {
        perror(what);
        exit(1);
    }
}

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1e6 + at.tv_nsec / 1e3;
}

static void answer(double took, double times)
{
    printf("%f\n", took / times);
    fflush(stdout);
}

struct model {
    domid_t domid;
    xendevicemodel_handle *dm;
    xenforeignmemory_handle *memory;
    xenevtchn_handle *events;
    volatile uint64_t *status;
};

static void open_all(struct model *m, uint32_t domid)
{
    m->domid = domid;
    m->dm = xendevicemodel_open(NULL, 0);
    m->memory = xenforeignmemory_open(NULL, 0);
    m->events = xenevtchn_open(NULL, 0);
    need(m->dm && m->memory && m->events, "open");
    need(xentoolcore_restrict_all(domid) == 0, "restrict");
}

static void close_all(struct model *m)
{
    xenevtchn_close(m->events);
    xenforeignmemory_close(m->memory);
    xendevicemodel_close(m->dm);
}

/* The port of the next event, as the library takes it; or by the system calls that it takes. */
static int next_event(struct model *m, int bare)
{
    int fd = xenevtchn_fd(m->events);
    uint32_t port;

    if (bare) {
        need(read(fd, &port, sizeof port) == sizeof port, "read");
        need(write(fd, &port, sizeof port) == sizeof port, "write");
        return port;
    }
    struct pollfd waits = { .fd = fd, .events = POLLIN };
    need(poll(&waits, 1, 10000) == 1, "poll");
    int pending = xenevtchn_pending(m->events);
    need(pending >= 0, "pending");
    need(!xenevtchn_unmask(m->events, pending), "unmask");
    return pending;
}

/* Answers so many requests of the guest, which writes and reads in turns. */
static void serve(struct model *m, int bare, unsigned requests)
{
    ioservid_t server;
    void *address = NULL;
    uint32_t last = 0;
    uint64_t done = m->status[DONE];
    unsigned answered = 0;
    double began;

    need(!xendevicemodel_create_ioreq_server(m->dm, m->domid, 0, &server), "create");
    need(!xendevicemodel_map_io_range_to_ioreq_server(m->dm, m->domid, server, 0, 0x500, 0x503),
         "range");
    xenforeignmemory_resource_handle *resource = xenforeignmemory_map_resource(
        m->memory, m->domid, XENMEM_resource_ioreq_server, server,
        XENMEM_resource_ioreq_server_frame_ioreq(0), 1, &address, PROT_READ | PROT_WRITE, 0);
    need(resource != NULL, "page");
    need(!xendevicemodel_set_ioreq_server_state(m->dm, m->domid, server, 1), "enable");
    volatile ioreq_t *slot = &((shared_iopage_t *)address)->vcpu_ioreq[0];
    int port = xenevtchn_bind_interdomain(m->events, m->domid, slot->vp_eport);
    need(port >= 0, "bind");
    m->status[ARGUMENT] = requests / 2;
    m->status[COMMAND] = PORT_IO;

    began = now();
    while (answered < requests) {
        if (next_event(m, bare) != port || slot->state != STATE_IOREQ_READY)
            continue;
        __sync_synchronize();
        slot->state = STATE_IOREQ_INPROCESS;
        if (slot->dir == IOREQ_WRITE)
            last = slot->data;
        else
            slot->data = (uint32_t)~last;
        __sync_synchronize();
        slot->state = STATE_IORESP_READY;
        struct ioctl_evtchn_notify told = { .port = port };
        if (bare)
            need(ioctl(xenevtchn_fd(m->events), IOCTL_EVTCHN_NOTIFY, &told) == 0, "NOTIFY");
        else
            need(!xenevtchn_notify(m->events, port), "notify");
        answered++;
    }
    double took = now() - began;
    while (m->status[DONE] == done)
        usleep(1000);
    xenevtchn_unbind(m->events, port);
    xenforeignmemory_unmap_resource(m->memory, resource);
    need(!xendevicemodel_destroy_ioreq_server(m->dm, m->domid, server), "destroy");
    /* The next may be the other side's. */
    answer(took, requests);
}

/* The three system calls, and nothing else. */
static void bare_map(struct model *m, unsigned pages, unsigned times)
{
    struct { uint32_t num; uint16_t dom; uint64_t addr, arr, err; } batch;
    static uint64_t gfns[MOST];
    static int errors[MOST];
    size_t length = (size_t)pages * PAGE;
    int fd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);

    need(fd >= 0 && !ioctl(fd, RESTRICT, &m->domid), "restrict");
    for (unsigned i = 0; i < pages; i++)
        gfns[i] = m->status[FIRST_GFN] + i % 512;
    double began = now();
    for (unsigned i = 0; i < times; i++) {
        void *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        need(at != MAP_FAILED, "mmap");
        batch.num = pages;
        batch.dom = m->domid;
        batch.addr = (uintptr_t)at;
        batch.arr = (uintptr_t)gfns;
        batch.err = (uintptr_t)errors;
        need(!ioctl(fd, MMAPBATCH_V2, &batch), "map");
        need(!munmap(at, length), "unmap");
    }
    double took = now() - began;
    close(fd);
    answer(took, times);
}

static void map(struct model *m, unsigned pages, unsigned times)
{
    static xen_pfn_t gfns[MOST];
    static int errors[MOST];
    for (unsigned i = 0; i < pages; i++)
        gfns[i] = m->status[FIRST_GFN] + i % 512;
    double began = now();
    for (unsigned i = 0; i < times; i++) {
        void *at = xenforeignmemory_map(m->memory, m->domid, PROT_READ | PROT_WRITE, pages, gfns,
                                        errors);
        need(at != NULL, "map");
        need(!xenforeignmemory_unmap(m->memory, at, pages), "unmap");
    }
    answer(now() - began, times);
}

static void model(uint32_t domid)
{
    struct model m;
    xen_pfn_t status = STATUS_GFN;
    char verb[16];
    unsigned size, times;

    open_all(&m, domid);
    m.status = xenforeignmemory_map(m.memory, domid, PROT_READ | PROT_WRITE, 1, &status, NULL);
    need(m.status != NULL, "status page");
    while (scanf("%15s %u %u", verb, &size, &times) == 3) {
        if (!strcmp(verb, "serve")) {
            serve(&m, size, times);
        } else if (!strcmp(verb, "map")) {
            map(&m, size, times);
        } else if (!strcmp(verb, "bare-map")) {
            bare_map(&m, size, times);
        } else {
            double began = now();
            for (unsigned i = 0; i < times; i++)
                need(!xendevicemodel_set_isa_irq_level(m.dm, domid, 5, 0), "irq");
            answer(now() - began, times);
        }
    }
}

static void open_and_restrict(uint32_t domid)
{
    char verb[16];
    unsigned size, times;
    while (scanf("%15s %u %u", verb, &size, &times) == 3) {
        double began = now();
        for (unsigned i = 0; i < times; i++) {
            struct model m;
            open_all(&m, domid);
            close_all(&m);
        }
        answer(now() - began, times);
    }
}

/* Says its ports, and takes what was sent to them, as often as it is told. */
static void storm(unsigned ports)
{
    xenevtchn_handle *events = xenevtchn_open(NULL, 0);
    char verb[16];
    unsigned size, times;

    need(events != NULL, "open");
    for (unsigned i = 0; i < ports; i++) {
        int port = xenevtchn_bind_unbound_port(events, 0);
        need(port >= 0, "bind");
        printf("%d ", port);
    }
    printf("\n");
    fflush(stdout);
    while (scanf("%15s %u %u", verb, &size, &times) == 3) {
        double began = now();
        for (unsigned i = 0; i < size; i++) {
            struct pollfd fd = { .fd = xenevtchn_fd(events), .events = POLLIN };
            need(poll(&fd, 1, 10000) == 1, "poll");
            int pending = xenevtchn_pending(events);
            need(pending >= 0, "pending");
            need(!xenevtchn_unmask(events, pending), "unmask");
        }
        answer(now() - began, times);
    }
}

int main(int count, char **words)
{
    if (count == 3 && !strcmp(words[1], "model"))
        model(atoi(words[2]));
    else if (count == 3 && !strcmp(words[1], "restrict"))
        open_and_restrict(atoi(words[2]));
    else if (count == 3 && !strcmp(words[1], "storm"))
        storm(atoi(words[2]));
    else
        return 2;
    return 0;
}
