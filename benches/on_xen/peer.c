/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The peers of `cargo lab bench`: Xen's own libraries, used as their users do. */

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <libxenvchan.h>
#include <xengnttab.h>
#include <xen/xen.h>
#include <xen/grant_table.h>

#define PAGE 4096
#define MOST 512

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

static void copy(xengnttab_handle *xgt, uint32_t domid, uint32_t first, char *into, size_t size)
{
    xengnttab_grant_copy_segment_t segments[16];
    uint32_t count = size / PAGE;
    memset(segments, 0, sizeof segments);
    for (uint32_t i = 0; i < count; i++) {
        segments[i].source.foreign.ref = first + i;
        segments[i].source.foreign.domid = domid;
        segments[i].dest.virt = into + i * PAGE;
        segments[i].len = PAGE;
        segments[i].flags = GNTCOPY_source_gref;
    }
    need(xengnttab_grant_copy(xgt, count, segments) == 0, "copy");
    for (uint32_t i = 0; i < count; i++)
        need(segments[i].status == GNTST_okay, "copied");
}

static void grants(uint32_t domid, uint32_t first)
{
    uint32_t refs[MOST];
    static char into[16 * PAGE];
    xengnttab_handle *xgt = xengnttab_open(NULL, 0);
    char verb[8];
    unsigned size, times;

    need(xgt != NULL, "gntdev");
    for (uint32_t i = 0; i < MOST; i++)
        refs[i] = first + i;
    while (scanf("%7s %u %u", verb, &size, &times) == 3) {
        void *mapped = NULL;
        char page[PAGE];
        if (!strcmp(verb, "read"))
            mapped = xengnttab_map_domain_grant_refs(xgt, size, domid, refs,
                                                     PROT_READ | PROT_WRITE);
        double begin = now();
        for (unsigned i = 0; i < times; i++) {
            if (!strcmp(verb, "map")) {
                void *at = xengnttab_map_domain_grant_refs(xgt, size, domid, refs,
                                                           PROT_READ | PROT_WRITE);
                need(at != NULL, "map");
                need(xengnttab_unmap(xgt, at, size) == 0, "unmap");
            } else if (!strcmp(verb, "copy")) {
                copy(xgt, domid, first, into, size);
            } else {
                for (unsigned p = 0; p < size; p++) {
                    memcpy(page, (char *)mapped + p * PAGE, PAGE);
                    __asm__ volatile("" : : "r"(page) : "memory");
                }
            }
        }
        printf("%f\n", (now() - begin) / times);
        fflush(stdout);
        if (mapped)
            need(xengnttab_unmap(xgt, mapped, size) == 0, "unmap");
    }
}

static void vchan(int domid, const char *path, unsigned mebibytes)
{
    static unsigned char pattern[1 << 16], inverted[1 << 16], back[1 << 16];
    const unsigned period = 251;
    size_t total = (size_t)mebibytes << 20, sent = 0, received = 0;
    struct libxenvchan *chan = libxenvchan_client_init(NULL, domid, path);

    need(chan != NULL, "connect");
    chan->blocking = 0;
    for (size_t i = 0; i < sizeof pattern; i++)
        inverted[i] = ~(pattern[i] = i % period);
    double begin = now();
    while (received < total) {
        size_t room = sizeof pattern - period;
        int written = 0, got;
        if (total - sent < room)
            room = total - sent;
        if (room)
            written = libxenvchan_write(chan, pattern + sent % period, room);
        need(written >= 0, "write");
        sent += written;
        got = libxenvchan_read(chan, back, sizeof back);
        need(got >= 0, "read");
        for (int checked = 0; checked < got;) {
            size_t from = (received + checked) % period, left = got - checked;
            if (left > sizeof inverted - from)
                left = sizeof inverted - from;
            need(!memcmp(back + checked, inverted + from, left), "not what was sent");
            checked += left;
        }
        received += got;
        if (!written && !got)
            libxenvchan_wait(chan);
    }
    printf("%.1f MiB/s\n", mebibytes / ((now() - begin) / 1e6));
    libxenvchan_close(chan);
}

int main(int count, char **words)
{
    if (count == 4 && !strcmp(words[1], "grants"))
        grants(atoi(words[2]), atoi(words[3]));
    else if (count == 5 && !strcmp(words[1], "vchan"))
        vchan(atoi(words[2]), words[3], atoi(words[4]));
    else
        return 2;
    return 0;
}
