/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * libxenrestrict: handles on Xen's Linux devices that can affect one domain and no other, and
 * programs confined to it. Made of capi/src by cbindgen: change it there.
 *
 * Results     A function returns 0 or a number that its documentation names, or the negative
 *             of an errno(3): -EPERM. xr_error() has the reason in words, with a remedy.
 *             "Errors" names what to expect; -ENOTRECOVERABLE from any of them is a bug of the
 *             library that was contained. The library prints nothing and handles no signal.
 *             It ends the process by abort(3) where a filter of system calls keeps it from
 *             revoking a handle, which it has promised; and, with a line on standard error,
 *             where memory runs out.
 * Handles     A pointer to xr_privcmd and its like is a handle: a number, that leads to no
 *             memory. NULL is refused with EINVAL; a handle that is closed, of another kind,
 *             or none at all, with EBADF. That holds for each pointer that could be mistaken
 *             for one, also after other handles were opened. Close each by xr_close().
 * Ownership   What a function stores in `*out` is the caller's. What is passed in is only
 *             looked at during the call, but for descriptors that are adopted.
 * Pointers    Other pointers have to lead to what the documentation says, for the call. NULL
 *             and lengths that cannot be are refused with EINVAL; a pointer that leads
 *             nowhere, and a string without its NUL, cannot be seen to be wrong.
 * Threads     "any": also several at once, with one handle; a handle that is closed
 *             meanwhile stays usable for the calls it is in. A thread that is cancelled in the
 *             library, or in a callback (pthread_cancel(3), deferred), goes on to the end of
 *             the call, without end perhaps, and ends at its next cancellation point.
 * Fork        "usable": also in a forked child, if no other thread was in the library when it
 *             was forked, by fork(2), not by vfork(2), clone(2) or _Fork(3). "not in a
 *             child": refused there with ECHILD, for handles of the parent. Descriptors are
 *             close-on-exec.
 * Signals     No function may be called in a signal handler, but xr_version().
 */


#ifndef XEN_RESTRICT_H
#define XEN_RESTRICT_H

#include <stddef.h>
#include <stdint.h>

// For xr_memory_notify_on_unmap(): no byte becomes 0.
#define XR_NO_BYTE SIZE_MAX

// The version of the ABI: the number in the library's soname. It changes when a program
// would have to be compiled anew.
#define XR_ABI_VERSION 1

// evtchn BIND_STATIC (Linux 6.6): takes any port of the local domain.
#define XR_HOLE_BIND_STATIC 1

// privcmd IRQFD (Linux 6.6, where configured).
#define XR_HOLE_IRQFD 2

// privcmd IOEVENTFD (Linux 6.7, where configured): takes any local port.
#define XR_HOLE_IOEVENTFD 4

// privcmd PCIDEV_GET_GSI (Linux 6.12): tells the interrupt of any PCI device.
#define XR_HOLE_PCIDEV_GET_GSI 8

// privcmd MMAP_RESOURCE: its count is not compared with the mapping.
#define XR_HOLE_MMAP_RESOURCE 16

// privcmd MMAP, in a PV dom0: it does not look whose mapping it is.
#define XR_HOLE_MMAP 32

// mremap(2) of a privcmd mapping: what is mapped is freed, and stays mapped.
#define XR_HOLE_MOVED_MAPPING 64

// privcmd MMAPBATCH_V2: copies an array of any length into the kernel's memory.
#define XR_HOLE_MMAPBATCH 128

// privcmd DM_OP: pins pages without end for a buffer of size 0.
#define XR_HOLE_DM_OP 256

// A privcmd mapping that is split by munmap(2) of a part is freed twice (CVE-2026-31787).
#define XR_HOLE_SPLIT_MAPPING 512

// One that this version of the library has no bit for.
#define XR_HOLE_OTHER (1 << 30)

// Those that no filter refuses: XR_HOLE_MMAPBATCH, XR_HOLE_DM_OP, XR_HOLE_SPLIT_MAPPING.
#define XR_HOLES_OPEN 896

// An ioreq server's pages; `id` is the server's.
#define XR_RESOURCE_IOREQ_SERVER 0

// The guest's grant table; `id` is 0.
#define XR_RESOURCE_GRANT_TABLE 1

// The trace buffer of a virtual processor (Xen 4.15, Intel); `id` is its number.
#define XR_RESOURCE_VMTRACE 2

// Read and written without Xen.
#define XR_MEM_RAM_RW 0

// Read without Xen; writes are dropped.
#define XR_MEM_RAM_RO 1

// Each access is an I/O request.
#define XR_MEM_MMIO_DM 2

// Writes are I/O requests of the server that claimed the type.
#define XR_MEM_IOREQ_SERVER 4

// External interrupt.
#define XR_EVENT_EXTERNAL_INTERRUPT 0

// Non-maskable interrupt.
#define XR_EVENT_NMI 2

// Exception of the processor.
#define XR_EVENT_HARDWARE_EXCEPTION 3

// `int n`.
#define XR_EVENT_SOFTWARE_INTERRUPT 4

// `icebp`.
#define XR_EVENT_PRIVILEGED_SOFTWARE_EXCEPTION 5

// `int3`, `into`.
#define XR_EVENT_SOFTWARE_EXCEPTION 6

// Ended normally.
#define XR_SHUTDOWN_POWEROFF 0

// To be started again.
#define XR_SHUTDOWN_REBOOT 1

// Saved to disk or migrated.
#define XR_SHUTDOWN_SUSPEND 2

// Broken.
#define XR_SHUTDOWN_CRASH 3

// Uncached.
#define XR_CACHE_UNCACHED 0

// Write-combining.
#define XR_CACHE_WRITE_COMBINING 1

// Write-through.
#define XR_CACHE_WRITE_THROUGH 4

// Write-protected.
#define XR_CACHE_WRITE_PROTECTED 5

// Write-back.
#define XR_CACHE_WRITE_BACK 6

// Uncached, but the guest's MTRRs may say otherwise.
#define XR_CACHE_UNCACHED_MINUS 7

// Removes the pinning of the range.
#define XR_CACHE_DELETE UINT32_MAX



// I/O ports, `first` to `last`.
#define XR_RANGE_PORTS 0

// Guest physical addresses, `first` to `last`.
#define XR_RANGE_MEMORY 1

// The configuration space of a PCI function. Both `first` and `last` are it: segment << 16,
// bus << 8, device << 3, function.
#define XR_RANGE_PCI 2

// An I/O port.
#define XR_IO_PORT 0

// A guest physical address.
#define XR_IO_MEMORY 1

// PCI configuration space: segment, bus, device and function in the high half of the
// address, the register in the low half.
#define XR_IO_PCI_CONFIG 2

// The guest changed its clock by `data` seconds.
#define XR_IO_TIME_OFFSET 7

// Mappings of the guest's memory must be thrown away.
#define XR_IO_INVALIDATE 8

// A kind that this version does not know: Xen's number is added to it.
#define XR_IO_OTHER 256

// The guest reads, and waits for the answer.
#define XR_IO_READ 1

// `data` is a guest physical address to copy from or to, `count` times `size` bytes.
#define XR_IO_DATA_IS_POINTER 2

// Addresses go down from one access to the next.
#define XR_IO_DESCENDING 4

// Copies granted memory into local memory.
#define XR_COPY_READ 0

// Copies local memory into granted memory.
#define XR_COPY_WRITE 1

// Copies from one granted page to another.
#define XR_COPY_BETWEEN 2

// No memory of the guest can be mapped from then on; what is mapped stays.
#define XR_SEAL_MAPPING 1

// Mechanisms that are in force in every thread, for good.
#define XR_SEALED 0

// A supervisor was told of it.
#define XR_SEALED_SUPERVISOR_TOLD 1

// This machine has no Landlock, or it was left to the launcher.
#define XR_SEALED_WITHOUT_LANDLOCK 2

// /dev/xen/privcmd, restricted.
#define XR_XEN_PRIVCMD 1

// /dev/xen/evtchn, restricted.
#define XR_XEN_EVTCHN 2

// /dev/xen/gntdev: revoked, or with a broker (`grant_quota`).
#define XR_XEN_GNTDEV 4

// No handle at all.
#define XR_XEN_NONE 2147483648

// The dynamic loader and the libraries that the program is linked with are in its root.
#define XR_LAUNCH_LINKED 1

// /dev/null, zero, full, random and urandom are in its root.
#define XR_LAUNCH_DEV 2

// A /proc with its own processes only is in its root.
#define XR_LAUNCH_PROC 4

// Refused system calls are named in the supervisor's messages. Slower.
#define XR_LAUNCH_LOG_DENIED 8

// Once it is sealed it cannot map its guest's memory; what is mapped stays.
#define XR_LAUNCH_SEAL_MAPPING 16

// For `seal_after`: sealed before its first instruction, as its guest runs already.
#define XR_SEAL_AT_START -1

// The user was named by the caller.
#define XR_RULE_EXPLICIT 0

// The uid of user xen-qemuuser-range-base plus the domid.
#define XR_RULE_RANGE_BASE 1

// A user xen-qemuuser-domid<N> of its own.
#define XR_RULE_PER_DOMAIN 2

// User xen-qemuuser-shared: all guests' device models are one user, and can act on each
// other.
#define XR_RULE_SHARED 3

// A rule that this version of the library has no number for.
#define XR_RULE_OTHER 4

// Everything holds.
#define XR_HOLDS 0

// Something fails, as the report says.
#define XR_FAILS 1

// Nothing fails, but not all could be looked at.
#define XR_NOT_OBSERVED 2

// The queue of a server's writes that need no answer.
typedef struct xr_buffered xr_buffered;

// A handle on /dev/xen/evtchn: bound ports, and a queue of those with an event.
typedef struct xr_evtchn xr_evtchn;

// A handle on /dev/xen/gntalloc: granting own pages to other domains.
typedef struct xr_gntalloc xr_gntalloc;

// A handle on /dev/xen/gntdev: pages that other domains granted.
typedef struct xr_gntdev xr_gntdev;

// One guest, seen through a handle on privcmd.
typedef struct xr_guest xr_guest;

// A server of a guest's I/O requests. Closing destroys it.
typedef struct xr_ioreq_server xr_ioreq_server;

// Mapped pages that somebody else may change at any moment. Closing unmaps them.
typedef struct xr_memory xr_memory;

// A local event channel port that is bound. Closing unbinds it.
typedef struct xr_port xr_port;

// A handle on /dev/xen/privcmd.
typedef struct xr_privcmd xr_privcmd;

// A program that was launched confined, and its supervisor. Closing leaves both running.
typedef struct xr_program xr_program;

// The I/O requests of a server's virtual processors. Closing unmaps and unbinds them.
typedef struct xr_requests xr_requests;

// An event for a virtual processor of an x86 guest.
typedef struct xr_event {
    // XR_EVENT_...
    uint32_t kind;
    // Error code, or UINT32_MAX for none.
    uint32_t error_code;
    // Page fault address, or for others what the vector needs.
    uint64_t extra;
    // Interrupt vector.
    uint8_t vector;
    // Length of the instruction for the software kinds, in bytes.
    uint8_t instruction_length;
    // 0.
    uint8_t reserved[6];
} xr_event;

// Pages that follow each other.
typedef struct xr_extent {
    // The first one.
    uint64_t first;
    // How many.
    uint32_t count;
    // 0.
    uint32_t reserved;
} xr_extent;

// One piece of memory of an operation.
typedef struct xr_buffer {
    // Where it is; may be NULL where it has no bytes.
    void *data;
    // Its bytes.
    size_t size;
} xr_buffer;

// A page of a mapping that is not there.
typedef struct xr_missing_page {
    // Its index in the mapping.
    size_t page;
    // The kernel's reason, as in errno(3): ENOENT for one that Xen has paged out.
    int errnum;
    // 0.
    int reserved;
} xr_missing_page;

// Accesses of a guest that a server can claim.
typedef struct xr_io_range {
    // XR_RANGE_...
    uint32_t kind;
    // 0.
    uint32_t reserved;
    // The first.
    uint64_t first;
    // The last; it belongs to the range.
    uint64_t last;
} xr_io_range;

// One access of the guest: a copy, which the guest cannot change any more. What is in it is
// the guest's word: check it. Later versions may have more fields, at the end.
typedef struct xr_io_request {
    // XR_IO_PORT, ...
    uint32_t kind;
    // XR_IO_READ, ..., added up.
    uint32_t flags;
    // The virtual processor that waits; 0 for a buffered request.
    uint32_t vcpu;
    // Bytes of one access: 1, 2, 4 or 8 from Xen.
    uint32_t size;
    // How many accesses: more than 1 for a repeated instruction.
    uint32_t count;
    // 0.
    uint32_t reserved;
    // Port or guest physical address.
    uint64_t address;
    // What is written; or where in guest memory, with XR_IO_DATA_IS_POINTER.
    uint64_t data;
} xr_io_request;

// Answers a request: returns what the guest reads; for a write it does not matter. It must
// return: no longjmp(3), and no exception, which would end the process. It may use other
// handles, but not the one that called it.
typedef uint64_t (*xr_answer)(const struct xr_io_request *request, void *context);

// What xr_requests_serve() did.
typedef struct xr_served {
    // Requests answered.
    size_t answered;
    // Pending ports that are not these requests', now at the head of the queue; masked, as
    // xr_evtchn_pending() leaves them.
    size_t others;
} xr_served;

// One copy, of at most a page (4096 bytes), and not across a granted page's end.
typedef struct xr_grant_copy {
    // XR_COPY_...
    uint32_t way;
    // Xen's answer, written by xr_gntdev_copy(): 0, or one of GNTST_... of Xen's
    // public/grant_table.h, which are negative.
    int32_t status;
    // The granted page; that which is copied from, in XR_COPY_BETWEEN.
    uint32_t grant;
    // The granted page that is copied to, in XR_COPY_BETWEEN; else 0.
    uint32_t to_grant;
    // Whose `grant` is; 0 or the handle's guest on one with a broker.
    uint16_t domid;
    // Whose `to_grant` is; as `domid`.
    uint16_t to_domid;
    // Where in the page of `grant`, 0 to 4095.
    uint16_t offset;
    // Where in the page of `to_grant`.
    uint16_t to_offset;
    // Local memory, of `length` bytes; NULL in XR_COPY_BETWEEN.
    void *local;
    // Bytes.
    size_t length;
} xr_grant_copy;

// What a launcher handed over. Each handle is the caller's, to be closed by xr_close(), and
// NULL where it was not handed over.
typedef struct xr_handover {
    // The guest that this process serves.
    uint16_t domid;
    // 0.
    uint16_t reserved[3];
    // Restricted to the guest.
    struct xr_privcmd *privcmd;
    // Restricted to the guest.
    struct xr_evtchn *evtchn;
    // With a broker that maps the guest's grants only.
    struct xr_gntdev *gntdev;
} xr_handover;

// What xr_seal() does: by default all that a process can do to itself. Set all to 0, and
// `size` to sizeof.
typedef struct xr_seal_options {
    // sizeof(xr_seal_options).
    size_t size;
    // Names of mechanisms to be left out, up to NULL; or NULL.
    const char *const *without;
    // Paths that can still be read, with all beneath, up to NULL; or NULL.
    const char *const *read_only;
    // Paths that can still be read and written, up to NULL; or NULL.
    const char *const *read_write;
    // XR_SEAL_MAPPING, or 0.
    uint64_t flags;
} xr_seal_options;

// A descriptor that the program gets.
typedef struct xr_named_fd {
    // "stdin", "stdout", "stderr", or a name for LISTEN_FDNAMES.
    const char *name;
    // One that is open; it stays the caller's.
    int fd;
    // 0.
    int reserved;
} xr_named_fd;

// A program to run confined. What is not named is not given: no file, descriptor, variable
// or device. Set all to 0, and `size` to sizeof. Lists are of strings, up to NULL; a list
// that is NULL is empty.
typedef struct xr_launch_options {
    // sizeof(xr_launch_options).
    size_t size;
    // The guest; 0 for a program that gets no Xen handle, and runs as `user`.
    uint32_t domid;
    // XR_XEN_..., added up; 0: all three for a guest, none without.
    uint32_t devices;
    // XR_LAUNCH_..., added up.
    uint32_t flags;
    // Pages of its guest's grants that it can map at a time, by a broker, 1 to 65536; 0: it
    // cannot.
    uint32_t grant_quota;
    // The program; without a `/` it is looked for in PATH.
    const char *program;
    // Its arguments, without its name.
    const char *const *arguments;
    // Its name among the guest's programs; NULL is "dm".
    const char *instance;
    // "strict", which NULL is, or "libxl".
    const char *profile;
    // Mechanisms that are left out, by name.
    const char *const *without;
    // Mechanisms without which it is not started.
    const char *const *require;
    // Another user than the rule of identities gives; NULL: that.
    const char *user;
    // Files and directories that it can read and execute, at the same path.
    const char *const *read_only;
    // Files and directories that it can change, too.
    const char *const *read_write;
    // Variables as NAME=VALUE; a NAME alone is passed on from this process.
    const char *const *environment;
    // Limits of the process or its user as NAME=VALUE, instead of the profile's.
    const char *const *limits;
    // Limits of all its processes together: pids.max, memory.max, memory.swap.max,
    // cpu.weight, cpu.max.
    const char *const *cgroup_limits;
    // Descriptors that it gets.
    const struct xr_named_fd *fds;
    // How many.
    size_t fd_count;
    // Bytes of a /tmp in memory; 0: none.
    uint64_t tmp;
    // Seconds after which it is sealed if it does not say READY=1 before; 0: 30.
    int64_t seal_after;
    // The command dm-restrict; NULL: it is looked for in PATH.
    const char *helper;
} xr_launch_options;

// How a program ended.
typedef struct xr_ended {
    // Its exit status, 0 to 255; 125 where the supervisor could not go on. 0 if it was killed.
    int status;
    // The signal that killed it; 0 if it exited.
    int signal;
} xr_ended;

// Whose uid and gid a device model runs under.
typedef struct xr_identity_info {
    // The uid; never 0, 65534, 65535 or 4294967295.
    uint32_t uid;
    // The only group.
    uint32_t gid;
    // XR_RULE_...
    uint32_t rule;
    // 1 where the uid is this domain's alone, so that all under it is killed when the domain
    // has ended; else 0.
    uint32_t exclusive;
} xr_identity_info;

// What xr_audit() holds a process against. Set all to 0, and `size` to sizeof.
typedef struct xr_audit_options {
    // sizeof(xr_audit_options).
    size_t size;
    // The process, by its number here.
    int32_t pid;
    // The guest that its handles are to be restricted to; 0: all to one and the same.
    uint16_t domid;
    // 1: every thread is stopped for a moment and its filters are read. A system call it
    // waits in may fail with EINTR then. No other thread of the caller may wait for any
    // child meanwhile, as waitpid(-1, ...) does: it would get these stops.
    uint16_t filters;
    // "strict", "qemu" or "libxl"; NULL: what was recorded when dm-restrict started it, else strict.
    const char *profile;
    // Names of mechanisms that are not asked for, up to NULL; or NULL.
    const char *const *without;
} xr_audit_options;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

extern int pthread_setcancelstate(int state, int *old);

// The version of the library that is loaded, as "0.1.0". It lives as long as the library.
//
// Returns the text; never NULL.
// Errors: none.
// Threads: any.
// Fork: usable, also where other threads were in the library.
const char *xr_version(void);

// The ABI of the library that is loaded: XR_ABI_VERSION of its header.
//
// Returns the number.
// Errors: none.
// Threads: any.
// Fork: usable, also where other threads were in the library.
int xr_abi_version(void);

// Why the last call of this thread that failed did: one line, with what to do about it. It
// lives until the next call of this thread that fails, or the thread's end.
//
// Returns the text; never NULL, and "" before any failure.
// Errors: none.
// Threads: any; each has its own.
// Fork: usable, also where other threads were in the library.
const char *xr_error(void);

// Closes a handle of any kind and frees what it stands for. NULL is no error.
//
// Calls that use it in other threads go on to their end; a later call with the handle is
// refused, also when the handle has been closed twice. What was made of a handle (memory,
// ports, servers of a device) stays usable until it is closed itself, and keeps the device
// open.
//
// Returns 0, also where the rest is done by a call that still uses it.
// Errors: EBADF: no handle, or closed before. From an ioreq server, and a port: Xen did not
// destroy or unbind it; the handle is closed all the same.
// Threads: any.
// Fork: usable. In a child, what belongs to the parent (ports, memory, servers, requests,
// programs) is forgotten, and stays the parent's.
int xr_close(void *handle);

// Opens /dev/xen/privcmd, unrestricted: it can do anything to any guest. Takes root in
// dom0. `*out` is the caller's, to be closed by xr_close(); NULL after an error.
//
// Returns 0.
// Errors: EINVAL; ENODEV: this is not Xen; ENOENT: no such device node; EACCES;
// ENOTTY: the node is not this device; ENOSYS: Linux before 4.11; EPERM: after
// xr_restrict_all(), or where the kernel restricts every handle; EMFILE, ENOMEM.
// Threads: any.
// Fork: usable.
// Pointers: `out` leads to a place for a pointer.
int xr_privcmd_open(struct xr_privcmd **out);

// Takes over a privcmd descriptor that somebody else opened and restricted to `domid`, and
// proves that it is. One that is not restricted is refused. The descriptor is the
// library's from the call on, also after an error, which closes it.
//
// Returns 0.
// Errors: EINVAL: `domid` is no guest's; EBADF: not open; ENOTTY: not privcmd; EPERM: not
// restricted, or to another domain; EMFILE.
// Threads: any.
// Fork: usable.
// Pointers: `out` leads to a place for a pointer; nobody else uses or closes `fd` from here on.
int xr_privcmd_adopt(int fd,
                     uint16_t domid,
                     struct xr_privcmd **out);

// Restricts the handle, and every duplicate of its descriptor, to one guest, for good, and
// proves it. Guests, memory and servers that were made of it stay usable, if they are that
// guest's. Again to the same guest is no error.
//
// Returns 0: the kernel refuses whatever is not about this guest.
// Errors: EINVAL: no guest's domid; EPERM: restricted to another before; EBUSY: memory or
// servers of other domains are still there; ENOSYS: Linux before 4.11; EIO: the kernel says
// yes and does not restrict. After each of these, but for EINVAL and a handle that was
// restricted before, the handle is revoked: all its uses fail with ENXIO.
// Threads: any; waits for calls of other threads that name a domain.
// Fork: usable; the parent's handle is restricted with it.
int xr_privcmd_restrict(struct xr_privcmd *privcmd, uint16_t domid);

// The guest that the handle is restricted to.
//
// Returns its domid, or 0 for a handle that this library's xr_privcmd_restrict() or
// xr_privcmd_adopt() has not proved to be restricted.
// Errors: EINVAL, EBADF.
// Threads: any.
// Fork: usable.
int xr_privcmd_domid(const struct xr_privcmd *privcmd);

// The handle's descriptor. It stays the library's: do not close it. A duplicate shares the
// restriction.
//
// Returns the descriptor.
// Errors: EINVAL, EBADF.
// Threads: any.
// Fork: usable.
int xr_privcmd_fd(const struct xr_privcmd *privcmd);

// What this kernel does not check on a restricted handle. What is in XR_HOLES_OPEN no filter
// can refuse, and every kernel we know has some of it; the rest a filter has to (xr_seal(),
// or a launcher), and what it refuses is not named.
//
// Returns the sum of XR_HOLE_..., but for XR_HOLE_BIND_STATIC.
// Errors: EINVAL, EBADF.
// Threads: any.
// Fork: usable.
int xr_privcmd_kernel_holes(const struct xr_privcmd *privcmd);

// One guest, as its device model acts on it. Of a restricted handle it is the only one, and
// `domid` is its or 0. `*out` is the caller's, to be closed by xr_close(); it keeps the
// device open.
//
// Returns 0.
// Errors: EINVAL, EBADF; EPERM: the handle is restricted to another guest; EMFILE.
// Threads: any.
// Fork: usable.
// Pointers: `out` leads to a place for a pointer.
int xr_privcmd_guest(struct xr_privcmd *privcmd, uint16_t domid, struct xr_guest **out);

// Restricts every handle that this library opened in this process to one guest, and opens
// no more. Handles on privcmd and evtchn are restricted and proved to be; those on gntdev
// and gntalloc are revoked, as Linux cannot restrict them. Afterwards xr_privcmd_restrict()
// and xr_evtchn_restrict() tell of each handle whether it is.
//
// Returns 0: no handle of this library reaches another domain.
// Errors: as xr_privcmd_restrict(), the first of them: by then every handle that is not
// restricted to the guest is revoked. EPERM: the process was restricted to another guest
// before; nothing has changed.
// Threads: any; others may open, use and close handles meanwhile.
// Fork: usable; the parent's handles are restricted with them, but not its later ones.
int xr_restrict_all(uint16_t domid);

// The guest's domid.
//
// Returns it, 1 to 32751.
// Errors: EINVAL, EBADF.
// Threads: any.
// Fork: usable.
int xr_guest_domid(const struct xr_guest *guest);

// Maps `count` pages of the guest's memory, of 4096 bytes each, in the order given. The
// mapping is there even where some pages, or all, are not: xr_memory_missing() tells them;
// a page that is paged out (ENOENT there) can be there later: xr_memory_retry(). `*out` is the
// caller's, to be closed by xr_close(). It is not there in a forked child.
//
// Returns 0.
// Errors: EINVAL: no pages; E2BIG: 2^31 or more; EPERM: the handle is restricted to
// another guest; ESRCH: no such domain; ENXIO: revoked; EBADF, EMFILE, and the kernel's own.
// Threads: any.
// Fork: usable.
// Pointers: `gfns` leads to `count` frame numbers, `out` to a place for a pointer.
int xr_guest_map(struct xr_guest *guest,
                 const uint64_t *gfns,
                 size_t count,
                 int writable,
                 struct xr_memory **out);

// How many pages a resource (XR_RESOURCE_...) has (Linux 5.12, Xen 4.15; before, how many
// one call maps).
//
// Returns 0, and the number in `*frames`.
// Errors: EINVAL: no such resource; EPERM, ESRCH, ENXIO, EBADF, and the kernel's own.
// Threads: any.
// Fork: usable.
// Pointers: `frames` leads to a number.
int xr_guest_resource_frames(struct xr_guest *guest,
                             uint32_t resource,
                             uint32_t id,
                             uint64_t *frames);

// Maps `frames` pages of a resource (XR_RESOURCE_...) from page `first` on (Linux 4.18).
// `*out` is the caller's, to be closed by xr_close(). It is not there in a forked child.
//
// Returns 0.
// Errors: EINVAL: no such resource, or it has no such pages; EPERM, ESRCH, ENXIO, EBADF,
// EMFILE, and the kernel's own.
// Threads: any.
// Fork: usable.
// Pointers: `out` leads to a place for a pointer.
int xr_guest_map_resource(struct xr_guest *guest,
                          uint32_t resource,
                          uint32_t id,
                          uint32_t first,
                          uint32_t frames,
                          int writable,
                          struct xr_memory **out);

// Sets the level of an INTx line (0 to 3) of a PCI device. Xen routes only segment 0 and
// bus 0.
//
// Returns 0.
// Errors: EPERM, ESRCH, ENXIO, EINVAL, EBADF, and Xen's own: EOPNOTSUPP or EINVAL where a
// guest of this kind has no such thing.
// Threads: any.
// Fork: usable.
int xr_guest_set_pci_intx_level(struct xr_guest *guest,
                                uint16_t segment,
                                uint8_t bus,
                                uint8_t device,
                                uint8_t intx,
                                int level);

// Sets the level of an ISA interrupt (0 to 15). Only for a guest that has a PIC, so not for
// a PVH guest: raising one there, Xen 4.14 to 4.20 writes beside what it has for it, and
// dies.
//
// Returns 0.
// Errors: as xr_guest_set_pci_intx_level().
// Threads: any.
// Fork: usable.
int xr_guest_set_isa_irq_level(struct xr_guest *guest, uint8_t isa_irq, int level);

// Routes a PCI INTx link (0 to 3) to an ISA interrupt; 0 disables. As
// xr_guest_set_isa_irq_level(), where a line of the link is raised then or later.
//
// Returns 0.
// Errors: as xr_guest_set_pci_intx_level().
// Threads: any.
// Fork: usable.
int xr_guest_set_pci_link_route(struct xr_guest *guest, uint8_t link, uint8_t isa_irq);

// Sets the level of a global interrupt (Arm; Xen 4.15).
//
// Returns 0.
// Errors: as xr_guest_set_pci_intx_level().
// Threads: any.
// Fork: usable.
int xr_guest_set_irq_level(struct xr_guest *guest, uint32_t irq, int level);

// Injects a message signalled interrupt: address and data as a device would write them.
//
// Returns 0.
// Errors: as xr_guest_set_pci_intx_level().
// Threads: any.
// Fork: usable.
int xr_guest_inject_msi(struct xr_guest *guest, uint64_t address, uint32_t data);

// Injects an event into a virtual processor.
//
// Returns 0.
// Errors: as xr_guest_set_pci_intx_level().
// Threads: any.
// Fork: usable.
// Pointers: `event` leads to one.
int xr_guest_inject_event(struct xr_guest *guest,
                          uint32_t vcpu,
                          const struct xr_event *event);

// Tracks writes to `pages` pages from `first` on, and fills `bitmap` with one bit for each
// page that was written to since the last call (bit 0 of byte 0 first). No pages: stops
// tracking.
//
// Returns 0.
// Errors: EINVAL: `bytes` of bitmap are too few; else as xr_guest_set_pci_intx_level().
// Threads: any.
// Fork: usable.
// Pointers: `bitmap` has room for `bytes`.
int xr_guest_track_dirty_vram(struct xr_guest *guest,
                              uint64_t first,
                              uint32_t pages,
                              uint8_t *bitmap,
                              size_t bytes);

// Tells Xen that pages were written by the device model, for live migration.
//
// Returns 0.
// Errors: E2BIG: more than 256 extents; else as xr_guest_set_pci_intx_level().
// Threads: any.
// Fork: usable.
// Pointers: `extents` leads to `count` of them.
int xr_guest_modified_memory(struct xr_guest *guest,
                             const struct xr_extent *extents,
                             size_t count);

// Changes what `pages` pages from `first` on are (XR_MEM_...).
//
// Returns 0.
// Errors: as xr_guest_set_pci_intx_level().
// Threads: any.
// Fork: usable.
int xr_guest_set_mem_type(struct xr_guest *guest,
                          uint64_t first,
                          uint32_t pages,
                          uint32_t mem_type);

// Moves `pages` pages of the guest from `from` to `to`.
//
// Returns 0.
// Errors: as xr_guest_set_pci_intx_level().
// Threads: any.
// Fork: usable.
int xr_guest_relocate_memory(struct xr_guest *guest,
                             uint64_t from,
                             uint64_t to,
                             uint16_t pages);

// Pins the caching (XR_CACHE_...) of the pages `first` to `last`, inclusive.
//
// Returns 0.
// Errors: as xr_guest_set_pci_intx_level().
// Threads: any.
// Fork: usable.
int xr_guest_pin_memory_cacheattr(struct xr_guest *guest,
                                  uint64_t first,
                                  uint64_t last,
                                  uint32_t cache);

// Shuts the guest down, as if it had asked for it (XR_SHUTDOWN_...).
//
// Returns 0.
// Errors: as xr_guest_set_pci_intx_level().
// Threads: any.
// Fork: usable.
int xr_guest_remote_shutdown(struct xr_guest *guest, uint32_t reason);

// How many virtual processors the guest can have (Xen 4.15).
//
// Returns the number.
// Errors: as xr_guest_set_pci_intx_level().
// Threads: any.
// Fork: usable.
int xr_guest_nr_vcpus(struct xr_guest *guest);

// Whether Xen has a domain of this number, of a kind that has device models (HVM, PVH). One
// that is being destroyed counts until it is gone.
//
// Returns 1 or 0.
// Errors: EPERM, ENXIO, EINVAL, EBADF, and Xen's own.
// Threads: any.
// Fork: usable.
int xr_guest_exists(struct xr_guest *guest);

// Hands buffers to Xen as they are, for operations that the library has no function for: the
// first holds a `struct xen_dm_op` (Xen's public/hvm/dm_op.h). Xen writes into them, never
// behind them. The guest is the handle's, whatever is in them; nothing else is looked at, and
// Xen dies of some operations: see xr_ioreq_server_set_enabled() and
// xr_guest_set_isa_irq_level(). A server that is created so is the caller's to destroy so.
//
// Returns 0.
// Errors: E2BIG: more than 16 buffers, or than Xen takes (2), or one larger than the parameter
// `dm_op_buf_max_size` of xen-privcmd allows (4096); EINVAL: buffers overlap; EPERM, ESRCH,
// ENXIO, EBADF, and Xen's own: EOPNOTSUPP for one that it does not know, EFAULT for a buffer
// too small.
// Threads: any; none may look at the buffers meanwhile.
// Fork: usable.
// Pointers: `buffers` leads to `count` of them, each to its bytes, which can be written.
int xr_guest_dm_op(struct xr_guest *guest,
                   const struct xr_buffer *buffers,
                   size_t count);

// The size of a mapping.
//
// Returns 0, and the bytes in `*bytes`: a multiple of 4096, never 0.
// Errors: EINVAL, EBADF, ECHILD.
// Threads: any.
// Fork: not in a child: ECHILD.
// Pointers: `bytes` leads to a number.
int xr_memory_size(const struct xr_memory *memory, size_t *bytes);

// The pages of a mapping that are not there; the first `room` of them are written to
// `pages`.
//
// Returns how many there are.
// Errors: EINVAL, EBADF, ECHILD.
// Threads: any.
// Fork: not in a child: ECHILD.
// Pointers: `pages` has room for `room`; it may be NULL where that is 0.
int xr_memory_missing(const struct xr_memory *memory,
                      struct xr_missing_page *pages,
                      size_t room);

// Maps all pages of a mapping anew, where some are missing: Xen may have paged them in, or
// the guest got memory there. The mapping itself stays as it is, with whoever uses it. `*out`
// is the caller's, to be closed by xr_close(). It is not there in a forked child.
//
// Returns how many pages are missing in `*out`.
// Errors: EINVAL: not of xr_guest_map(), or nothing is missing; E2BIG, EPERM, ESRCH, ENXIO,
// EBADF, ECHILD, EMFILE, and the kernel's own: as xr_guest_map().
// Threads: any.
// Fork: not in a child: ECHILD.
// Pointers: `out` leads to a place for a pointer.
int xr_memory_retry(const struct xr_memory *memory,
                    struct xr_memory **out);

// Copies `length` bytes out of the mapping, from byte `offset` on. 1, 2, 4 or 8 bytes at an
// offset that is a multiple of that are read at one moment; others need not be. What was
// read does not change: check the copy, not the mapping. No length is no error.
//
// Returns 0.
// Errors: ERANGE: beyond the mapping; EFAULT: a page is not there; EINVAL, EBADF, ECHILD.
// Nothing was copied then.
// Threads: any.
// Fork: not in a child: ECHILD.
// Pointers: `into` has room for `length` bytes.
int xr_memory_read(const struct xr_memory *memory,
                   size_t offset,
                   void *into,
                   size_t length);

// Copies `length` bytes into the mapping, from byte `offset` on; as xr_memory_read().
//
// Returns 0.
// Errors: EROFS: mapped for reading only; ERANGE, EFAULT, EINVAL, EBADF, ECHILD. Nothing was
// copied then.
// Threads: any.
// Fork: not in a child: ECHILD.
// Pointers: `from` leads to `length` bytes.
int xr_memory_write(struct xr_memory *memory,
                    size_t offset,
                    const void *from,
                    size_t length);

// Sets bits of a byte in one step, for both sides.
//
// Returns what the byte was, 0 to 255.
// Errors: EROFS, ERANGE, EFAULT, EINVAL, EBADF, ECHILD.
// Threads: any.
// Fork: not in a child: ECHILD.
int xr_memory_fetch_or(struct xr_memory *memory, size_t offset, uint8_t bits);

// Keeps these bits of a byte only, in one step, for both sides.
//
// Returns what the byte was, 0 to 255.
// Errors: EROFS, ERANGE, EFAULT, EINVAL, EBADF, ECHILD.
// Threads: any.
// Fork: not in a child: ECHILD.
int xr_memory_fetch_and(struct xr_memory *memory, size_t offset, uint8_t bits);

// Has the other side of a grant told when its pages are unmapped here, also by this
// process's death: byte `clear` of the mapping becomes 0, unless it is XR_NO_BYTE, and
// `port` sends an event, unless it is NULL. The port has to be bound to the same guest; it
// is used even if it is closed by then.
//
// Returns 0.
// Errors: EINVAL: not memory of grants, or a port of another domain; ERANGE, EROFS: of the
// byte; ENXIO: revoked; EBADF, ECHILD, and the kernel's own.
// Threads: any.
// Fork: not in a child: ECHILD.
int xr_memory_notify_on_unmap(struct xr_memory *memory,
                              size_t clear,
                              const struct xr_port *port);

// Opens /dev/xen/evtchn, unrestricted. `*out` is the caller's, to be closed by xr_close();
// NULL after an error.
//
// Returns 0.
// Errors: EINVAL; ENODEV: this is not Xen; ENOENT: no such device node; EACCES; ENOTTY: the
// node is not this device; EPERM: after xr_restrict_all(); EMFILE, ENOMEM.
// Threads: any.
// Fork: usable.
// Pointers: `out` leads to a place for a pointer.
int xr_evtchn_open(struct xr_evtchn **out);

// Takes over an evtchn descriptor that somebody else opened and restricted to `domid`, and
// proves that it is; no probe can tell which ports are bound already. The descriptor is the
// library's from the call on, also after an error, which closes it.
//
// Returns 0.
// Errors: as xr_privcmd_adopt().
// Threads: any.
// Fork: usable.
// Pointers: `out` leads to a place for a pointer; nobody else uses or closes `fd` from here on.
int xr_evtchn_adopt(int fd,
                    uint16_t domid,
                    struct xr_evtchn **out);

// Restricts the handle, and every duplicate of its descriptor, to one guest, for good, and
// proves it. Ports of that guest stay bound. Again to the same guest is no error.
//
// Returns 0: the kernel refuses to bind to any other domain.
// Errors: as xr_privcmd_restrict(); EBUSY: ports of other domains are still bound.
// Threads: any; waits for calls of other threads that name a domain.
// Fork: usable; the parent's handle is restricted with it.
int xr_evtchn_restrict(struct xr_evtchn *evtchn, uint16_t domid);

// The guest that the handle is restricted to.
//
// Returns its domid, or 0 for a handle that this library's xr_evtchn_restrict() or
// xr_evtchn_adopt() has not proved to be restricted.
// Errors: EINVAL, EBADF.
// Threads: any.
// Fork: usable.
int xr_evtchn_domid(const struct xr_evtchn *evtchn);

// The handle's descriptor, for poll(2): readable while a port is pending. It stays the
// library's: do not close it. A duplicate shares the restriction.
//
// Returns the descriptor.
// Errors: EINVAL, EBADF.
// Threads: any.
// Fork: usable.
int xr_evtchn_fd(const struct xr_evtchn *evtchn);

// As xr_privcmd_kernel_holes().
//
// Returns 0 or XR_HOLE_BIND_STATIC.
// Errors: EINVAL, EBADF.
// Threads: any.
// Fork: usable.
int xr_evtchn_kernel_holes(const struct xr_evtchn *evtchn);

// Binds a local port to port `remote`, which the guest allocated for this domain. On a
// restricted handle `domid` is its guest's or 0. The port comes with one event pending.
// `*out` is the caller's, to be closed by xr_close().
//
// Returns 0.
// Errors: EINVAL: no such port for us; EPERM: the handle is restricted to another guest;
// ESRCH: no such domain; ENXIO: revoked; EBADF, EMFILE, and the kernel's own.
// Threads: any.
// Fork: usable.
// Pointers: `out` leads to a place for a pointer.
int xr_evtchn_bind_interdomain(struct xr_evtchn *evtchn,
                               uint16_t domid,
                               uint32_t remote,
                               struct xr_port **out);

// Allocates a local port that a guest may bind to. `*out` is the caller's, to be closed by
// xr_close().
//
// Returns 0.
// Errors: EPERM: the handle is restricted; ESRCH, ENXIO, EINVAL, EBADF, EMFILE, and the
// kernel's own.
// Threads: any.
// Fork: usable.
// Pointers: `out` leads to a place for a pointer.
int xr_evtchn_bind_unbound(struct xr_evtchn *evtchn, uint16_t domid, struct xr_port **out);

// Binds a virtual interrupt of dom0 (VIRQ_... of Xen's public/xen.h). `*out` is the
// caller's, to be closed by xr_close().
//
// Returns 0.
// Errors: EPERM: the handle is restricted; EINVAL: no such interrupt; EEXIST: bound before;
// ENXIO, EBADF, EMFILE, and the kernel's own.
// Threads: any.
// Fork: usable.
// Pointers: `out` leads to a place for a pointer.
int xr_evtchn_bind_virq(struct xr_evtchn *evtchn, uint32_t virq, struct xr_port **out);

// Takes up to `room` pending ports out of the queue, oldest first, in one system call. Each
// stays masked, that is silent, until xr_evtchn_unmask(). Blocks until there is one, unless
// the handle is non-blocking.
//
// Returns how many; 0 only for a non-blocking handle, or without room.
// Errors: EOVERFLOW: more events came than the queue holds, until xr_evtchn_reset(); ENXIO:
// revoked; EIO, EINVAL, EBADF, and the kernel's own.
// Threads: any; where several read one handle, make it non-blocking. A thread that is
// blocked here while another revokes the handle stays so until an event comes:
// xr_evtchn_wait() first, where that can be.
// Fork: usable; parent and child take from one queue.
// Pointers: `ports` has room for `room` numbers.
int xr_evtchn_pending(struct xr_evtchn *evtchn, uint32_t *ports, size_t room);

// Lets ports raise events again, all in one system call (1024 a call). Ports that are not
// bound here are skipped.
//
// Returns 0.
// Errors: ENXIO: revoked; EINVAL, EBADF, and the kernel's own.
// Threads: any.
// Fork: usable.
// Pointers: `ports` leads to `count` numbers.
int xr_evtchn_unmask(struct xr_evtchn *evtchn, const uint32_t *ports, size_t count);

// Waits until a port is pending, `milliseconds` at most; without end if that is below 0.
//
// Returns 1 if there is one, else 0.
// Errors: EOVERFLOW, ENXIO: as xr_evtchn_pending(), and it wakes for either; EINVAL, EBADF,
// and the kernel's own.
// Threads: any.
// Fork: usable.
int xr_evtchn_wait(struct xr_evtchn *evtchn, int64_t milliseconds);

// Empties the queue, after EOVERFLOW. Ports stay bound; those that were in the queue stay
// masked, so unmask every port.
//
// Returns 0.
// Errors: ENXIO: revoked; EINVAL, EBADF, and the kernel's own.
// Threads: any.
// Fork: usable; it is the parent's queue, too.
int xr_evtchn_reset(struct xr_evtchn *evtchn);

// Whether xr_evtchn_pending() returns 0 instead of blocking. All duplicates of the
// descriptor share it.
//
// Returns 0.
// Errors: EINVAL, EBADF, ENXIO, and the kernel's own.
// Threads: any.
// Fork: usable; it is the parent's, too.
int xr_evtchn_set_nonblocking(struct xr_evtchn *evtchn, int nonblocking);

// The local port's number, as xr_evtchn_pending() tells it.
//
// Returns 0, and the number in `*number`.
// Errors: EINVAL, EBADF, ECHILD.
// Threads: any.
// Fork: not in a child: ECHILD.
// Pointers: `number` leads to a number.
int xr_port_number(const struct xr_port *port, uint32_t *number);

// Sends an event to the other side.
//
// Returns 0.
// Errors: ENXIO: revoked; EINVAL, EBADF, ECHILD, and the kernel's own.
// Threads: any.
// Fork: not in a child: ECHILD.
int xr_port_notify(struct xr_port *port);

// Creates a server, disabled and without ranges. With `buffered`, Xen may queue writes that
// need no answer (xr_ioreq_server_buffered()). `*out` is the caller's, to be closed by
// xr_close(), which destroys the server: Xen then answers the guest's accesses itself.
//
// Returns 0.
// Errors: ENOSPC: the guest has 8 servers; EPERM, ESRCH, ENXIO, EINVAL, EBADF, EMFILE, and
// Xen's own.
// Threads: any.
// Fork: usable.
// Pointers: `out` leads to a place for a pointer.
int xr_guest_create_ioreq_server(struct xr_guest *guest,
                                 int buffered,
                                 struct xr_ioreq_server **out);

// Takes over server `id` (0 to 7) that a device model of this guest left behind when it was
// killed, with the ranges that it had claimed and the requests that it had not answered:
// xr_requests_serve() answers them, one for the second time, if the other had nearly done so.
// Ports of the guest's first `vcpus` virtual processors are bound on `evtchn`. `*server` and
// `*requests` are the caller's, to be closed by xr_close(), as those of
// xr_guest_create_ioreq_server() and xr_ioreq_server_start(). A server that is just being
// started looks like one that was left behind: know who else serves this guest.
//
// Returns 0.
// Errors: ENOENT: the guest has no such server; EINVAL: somebody serves it, or the guest has
// fewer virtual processors; E2BIG: not 1 to 128 of them; EPERM, ESRCH, ENXIO, EBADF, and the
// kernel's own: it stays there, as it was. EMFILE: it is destroyed. `*server` and `*requests`
// are NULL then.
// Threads: any.
// Fork: usable.
// Pointers: `server` and `requests` lead to places for a pointer, not to the same.
int xr_guest_take_over_ioreq_server(struct xr_guest *guest,
                                    uint16_t id,
                                    struct xr_evtchn *evtchn,
                                    uint32_t vcpus,
                                    struct xr_ioreq_server **server,
                                    struct xr_requests **requests);

// The server's number in its guest.
//
// Returns it, 0 to 65535.
// Errors: EINVAL, EBADF, ECHILD.
// Threads: any.
// Fork: not in a child: ECHILD.
int xr_ioreq_server_id(const struct xr_ioreq_server *server);

// Claims a range. Ranges of one kind and server must not overlap.
//
// Returns 0.
// Errors: EEXIST: an overlap; EINVAL: no such range; EPERM, ESRCH, ENXIO, EBADF, ECHILD, and
// Xen's own.
// Threads: any.
// Fork: not in a child: ECHILD.
// Pointers: `range` leads to one.
int xr_ioreq_server_map_range(struct xr_ioreq_server *server,
                              const struct xr_io_range *range);

// Gives up a range, exactly as it was claimed.
//
// Returns 0.
// Errors: ENOENT: not claimed; else as xr_ioreq_server_map_range().
// Threads: any.
// Fork: not in a child: ECHILD.
// Pointers: `range` leads to one.
int xr_ioreq_server_unmap_range(struct xr_ioreq_server *server,
                                const struct xr_io_range *range);

// Claims accesses to pages of a memory type (Xen has it for XR_MEM_IOREQ_SERVER): writes,
// or none.
//
// Returns 0.
// Errors: EPERM, ESRCH, ENXIO, EINVAL, EBADF, ECHILD, and Xen's own.
// Threads: any.
// Fork: not in a child: ECHILD.
int xr_ioreq_server_map_mem_type(struct xr_ioreq_server *server,
                                 uint32_t mem_type,
                                 int writes);

// Stops requests, or lets them come again after xr_ioreq_server_start().
//
// Returns 0.
// Errors: EINVAL: to enable it before it was started, of which Xen would die; EPERM, ESRCH,
// ENXIO, EBADF, ECHILD, and Xen's own.
// Threads: any.
// Fork: not in a child: ECHILD.
int xr_ioreq_server_set_enabled(struct xr_ioreq_server *server, int enabled);

// Maps the requests of the guest's first `vcpus` virtual processors, enables the server,
// and binds their ports on `evtchn`. Requests can be waiting by the time this returns.
// `*out` is the caller's, to be closed by xr_close().
//
// Returns 0.
// Errors: E2BIG: not 1 to 128 virtual processors; EINVAL: the server is enabled, or the
// guest has fewer of them; EPERM, ESRCH, ENXIO, EBADF, ECHILD, EMFILE, and the kernel's own.
// The server is disabled then.
// Threads: any.
// Fork: not in a child: ECHILD.
// Pointers: `out` leads to a place for a pointer.
int xr_ioreq_server_start(struct xr_ioreq_server *server,
                          struct xr_evtchn *evtchn,
                          uint32_t vcpus,
                          struct xr_requests **out);

// Maps the queue of writes that need no answer, and binds its port on `evtchn`. `*out` is
// the caller's, to be closed by xr_close().
//
// Returns 0.
// Errors: EINVAL: the server was created without; EPERM, ESRCH, ENXIO, EBADF, ECHILD,
// EMFILE, and the kernel's own.
// Threads: any.
// Fork: not in a child: ECHILD.
// Pointers: `out` leads to a place for a pointer.
int xr_ioreq_server_buffered(struct xr_ioreq_server *server,
                             struct xr_evtchn *evtchn,
                             struct xr_buffered **out);

// The local ports of the virtual processors, in their order: the first `room` of them are
// written to `numbers`. To unmask after xr_evtchn_reset().
//
// Returns how many there are.
// Errors: EBUSY: another call uses the requests; EINVAL, EBADF, ECHILD.
// Threads: one at a time: EBUSY.
// Fork: not in a child: ECHILD.
// Pointers: `numbers` has room for `room`.
int xr_requests_ports(const struct xr_requests *requests, uint32_t *numbers, size_t room);

// Waits `milliseconds` at most for events (without end below 0, which on a blocking handle
// is a system call less), and has `answer` answer the requests among them, with `context`.
// `queue` is where `room` ports are read to at once: at least one. Ports of others are at
// its head afterwards, still masked: they are the caller's to see to, and to unmask.
//
// Returns 0, and what was done in `*served`: nothing after `milliseconds`.
// Errors: as xr_evtchn_wait(), xr_evtchn_pending() and xr_port_notify(); EBUSY: another call
// uses the requests; EINVAL, EBADF, ECHILD. Other ports that were pending are lost then, and
// stay masked.
// Threads: one at a time: EBUSY.
// Fork: not in a child: ECHILD.
// Pointers: `queue` has room for `room` numbers, `served` leads to a structure, and `answer` can be
// called with `context`.
int xr_requests_serve(struct xr_requests *requests,
                      struct xr_evtchn *evtchn,
                      int64_t milliseconds,
                      uint32_t *queue,
                      size_t room,
                      xr_answer answer,
                      void *context,
                      struct xr_served *served);

// Answers the requests behind `count` pending ports, which the caller has unmasked: for who
// reads the ports by xr_evtchn_pending(). Ports of others are left alone.
//
// Returns how many requests were answered.
// Errors: as xr_port_notify(); EBUSY: another call uses the requests; EINVAL, EBADF, ECHILD.
// Threads: one at a time: EBUSY.
// Fork: not in a child: ECHILD.
// Pointers: `pending` leads to `count` numbers, and `answer` can be called with `context`.
int xr_requests_answer(struct xr_requests *requests,
                       const uint32_t *pending,
                       size_t count,
                       xr_answer answer,
                       void *context);

// The local port that tells of buffered requests.
//
// Returns 0, and the number in `*number`.
// Errors: EBUSY: another call uses them; EINVAL, EBADF, ECHILD.
// Threads: one at a time: EBUSY.
// Fork: not in a child: ECHILD.
// Pointers: `number` leads to a number.
int xr_buffered_port(const struct xr_buffered *buffered, uint32_t *number);

// Takes requests out of the queue, oldest first, and gives each to `take`, whose result
// does not matter. At most 511, so call it again until it is 0.
//
// Returns how many.
// Errors: EINVAL: the queue is broken, destroy the server; EBUSY: another call uses it;
// EBADF, ECHILD.
// Threads: one at a time: EBUSY.
// Fork: not in a child: ECHILD.
// Pointers: `take` can be called with `context`.
int xr_buffered_drain(struct xr_buffered *buffered, xr_answer take, void *context);

// Opens /dev/xen/gntdev, unrestricted: it can map what any guest has granted. `*out` is the
// caller's, to be closed by xr_close(); NULL after an error.
//
// Returns 0.
// Errors: as xr_evtchn_open().
// Threads: any.
// Fork: usable.
// Pointers: `out` leads to a place for a pointer.
int xr_gntdev_open(struct xr_gntdev **out);

// Revokes the handle, as Linux cannot restrict it: its descriptor is /dev/null from then
// on. What is mapped from the guest stays mapped. A handle with a broker is restricted
// already, and stays as it is.
//
// Returns 0: no new grant of any domain is mapped through it.
// Errors: EBUSY: grants of other domains are still mapped, and the handle is revoked all the
// same; EPERM: a handle with a broker, of another guest; EINVAL, EBADF.
// Threads: any; waits for calls of other threads that name a domain.
// Fork: usable; the parent's own descriptor is not revoked with it.
int xr_gntdev_restrict(struct xr_gntdev *gntdev,
                       uint16_t domid);

// Pages that can be mapped at a time, of the launcher's `--grants brokered=PAGES`.
//
// Returns the number; 0 for a handle without a broker, which has no such limit.
// Errors: EINVAL, EBADF.
// Threads: any.
// Fork: usable.
int xr_gntdev_quota(const struct xr_gntdev *gntdev);

// Maps `count` pages that a guest granted, in the order given: all of them, or none. On a
// handle with a broker `domid` is its guest's or 0. `*out` is the caller's, to be closed by
// xr_close(), which gives the grants back. It is not there in a forked child.
//
// Returns 0.
// Errors: EINVAL: no references, or Xen refuses one; E2BIG: too many for one call; EDQUOT:
// more than the broker's quota; EPIPE: the broker is gone; EPERM: a handle with a broker, of
// another guest; ENXIO: revoked; EBADF, EMFILE, and the kernel's own.
// Threads: any.
// Fork: not in a child, with a broker; else usable.
// Pointers: `grants` leads to `count` references, `out` to a place for a pointer.
int xr_gntdev_map(struct xr_gntdev *gntdev,
                  uint16_t domid,
                  const uint32_t *grants,
                  size_t count,
                  int writable,
                  struct xr_memory **out);

// Copies between granted pages and local memory: one system call, or one question to the
// broker for 256 copies or 1 MiB. Each copy has a status of its own afterwards: one that Xen
// refuses does not stop the others.
//
// Returns how many Xen refused: look at each `status` unless it is 0.
// Errors: EINVAL: a copy that makes no sense, and none was made; ERANGE: beyond a page, and
// none was made; EPIPE: the broker is gone; EPERM, ENXIO, EBADF, and the kernel's own: then
// no status is meaningful, and some may have been copied.
// Threads: any.
// Fork: not in a child, with a broker; else usable.
// Pointers: `copies` leads to `count` of them, the local memory of each is there, and none is written
// to by two.
int xr_gntdev_copy(struct xr_gntdev *gntdev,
                   struct xr_grant_copy *copies,
                   size_t count);

// Opens /dev/xen/gntalloc. xr_restrict_all() revokes it. `*out` is the caller's, to be
// closed by xr_close(); NULL after an error.
//
// Returns 0.
// Errors: as xr_evtchn_open().
// Threads: any.
// Fork: usable.
// Pointers: `out` leads to a place for a pointer.
int xr_gntalloc_open(struct xr_gntalloc **out);

// Allocates `pages` zeroed pages and grants them to a guest, which may write to them if
// `writable`. The references to tell the guest, one a page, are written to `grants`. `*out`
// is the caller's, to be closed by xr_close(), which takes the grants back as soon as the
// guest has unmapped them.
//
// Returns 0.
// Errors: EINVAL: no pages; E2BIG: more than 65535; ENOSPC: the driver's limit (1024 in all,
// its module parameter `limit`); ENXIO: revoked; EBADF, EMFILE, and the kernel's own.
// Threads: any.
// Fork: usable.
// Pointers: `grants` has room for `pages` references, `out` leads to a place for a pointer.
int xr_gntalloc_grant(struct xr_gntalloc *gntalloc,
                      uint16_t domid,
                      size_t pages,
                      int writable,
                      uint32_t *grants,
                      struct xr_memory **out);

// Takes what `dm-restrict run`, or xr_launch(), handed over, by the environment that it
// set, and proves of each Xen handle that it is what its name says and restricted to the
// guest. Call it first of all in main(), and once: a descriptor that something else opened
// could have a number of those. Descriptors with names of your own: xr_handover_fd().
//
// Returns 0.
// Errors: ENOENT: nothing was handed over; EALREADY: it was received before, or is for
// another process; EBADF: a descriptor is not there; EPERM: a handle is not restricted to
// the guest; ENOTTY: a descriptor is not what its name says; EINVAL: the environment makes
// no sense; EMFILE, and the kernel's own. What was taken is closed then.
// Threads: none other may be there.
// Fork: usable, by the process that was launched only.
// Pointers: `out` leads to a structure; the descriptors that the environment names are nobody else's.
int xr_handover_receive(struct xr_handover *out);

// Takes a descriptor that was handed over under a name of the launcher's user
// (`--fd NAME=NUM`). It is the caller's then, and close-on-exec.
//
// Returns the descriptor.
// Errors: ENOENT: none of this name, or it was taken before; EINVAL.
// Threads: any.
// Fork: usable, in the process that received them only.
// Pointers: `name` leads to a string that ends with NUL.
int xr_handover_fd(const char *name);

// Seals the process, for good, all threads: those that are there, and with them all that it
// starts. Capabilities, limits, no-new-privs, Landlock, the filters of system calls and of
// requests of Xen's devices; the *dumpable* flag is cleared, and a supervisor, if
// NOTIFY_SOCKET names one, is told that the program is ready. What is open stays open.
// `options` may be NULL: all of it.
//
// Returns XR_SEALED, XR_SEALED_SUPERVISOR_TOLD and XR_SEALED_WITHOUT_LANDLOCK, added up.
// Errors: EOPNOTSUPP: one mechanism cannot be applied, or does not reach all threads, as
// xr_error() says; then the program is to end, as some may be in force. EINVAL: no such
// mechanism, or flag; E2BIG: `options` of a later version asks for what this one does not know.
// Threads: any.
// Fork: usable; it seals the child only.
// Pointers: `options` is NULL or leads to a structure of its `size`, whose lists end with NULL.
int xr_seal(const struct xr_seal_options *options);

// Starts a program confined, under a supervisor of its own (the command `dm-restrict`), and
// returns when it runs. Standard input is /dev/null, outputs go to this process's through
// the supervisor, unless they are named in `fds`. Takes root. `*out` is the caller's, to be
// closed by xr_close(), which leaves the program running; xr_program_wait() collects it.
// It outlives this process, too.
//
// Returns 0: it runs, with all that was asked for in force.
// Errors: EINVAL: an option makes no sense; ENOENT: no such program; EACCES: not executable;
// EOPNOTSUPP: a mechanism cannot be applied; ENOEXEC: `dm-restrict` could not be run, or is
// of another version; E2BIG: `options` of a later version asks for what this one does not
// know; ECANCELED: any other reason. xr_error() has it in each case, with what to do. The
// program was not started, and nothing is left of the attempt.
// Threads: any.
// Fork: usable.
// Pointers: `options` leads to a structure of its `size`, whose strings and lists end with NUL and
// NULL; `out` leads to a place for a pointer.
int xr_launch(const struct xr_launch_options *options,
              struct xr_program **out);

// The program's process id. It can be another process's as soon as the program has ended:
// xr_program_signal() does not take it.
//
// Returns the process id.
// Errors: EINVAL, EBADF, ECHILD.
// Threads: any.
// Fork: not in a child: ECHILD.
int xr_program_pid(const struct xr_program *program);

// The supervisor's process id: a child of this process, until xr_program_wait() has told
// that it ended.
//
// Returns the process id.
// Errors: EINVAL, EBADF, ECHILD.
// Threads: any.
// Fork: not in a child: ECHILD.
int xr_program_supervisor_pid(const struct xr_program *program);

// Sends a signal to the program, through its supervisor: SIGTERM, SIGINT, SIGHUP, SIGQUIT,
// SIGUSR1, SIGUSR2 are passed on; SIGKILL ends both. Where the caller collects children by
// other means than xr_program_wait(), as by waitpid(-1, ...), the supervisor's number can be
// another child's by then.
//
// Returns 0.
// Errors: ESRCH: it has ended; EPERM, EINVAL, EBADF, ECHILD.
// Threads: any; also while another waits.
// Fork: not in a child: ECHILD.
int xr_program_signal(struct xr_program *program,
                      int signal);

// Waits until the program has ended, and its supervisor; without `block`, only looks. Once
// it has ended, it is told again each time.
//
// Returns 1 and how it ended in `*ended`; 0 while it runs, without `block`.
// Errors: ECHILD: somebody else collected the supervisor, as where SIGCHLD is ignored;
// EINVAL, EBADF.
// Threads: any.
// Fork: not in a child: ECHILD.
// Pointers: `ended` leads to a structure.
int xr_program_wait(struct xr_program *program, int block, struct xr_ended *ended);

// Has the supervisor of a running program seal it, and waits until it is. `instance` is its
// name among the guest's programs; NULL is "dm".
//
// Returns 0.
// Errors: ESRCH: no such program runs here; EAGAIN: a request of the set-up phase is still
// under way, and no new one is let through; EINVAL, and the kernel's own.
// Threads: any.
// Fork: usable.
// Pointers: `instance` is NULL or leads to a string that ends with NUL.
int xr_program_seal(uint16_t domid, const char *instance);

// Says whose uid the device model of a domain gets: `user`'s, if that is not NULL.
//
// Returns 0.
// Errors: ENOENT: there is no such user, or its uid is not to be given to a device model;
// EIO: the user database cannot be read; EINVAL.
// Threads: any.
// Fork: usable.
// Pointers: `user` is NULL or leads to a string that ends with NUL, `out` leads to a structure.
int xr_identity(uint16_t domid,
                const char *user,
                struct xr_identity_info *out);

// Kills every process of a domain's uid, which has to be the domain's alone, and removes
// what killed supervisors left in /run/dm-restrict. For when the domain has ended. Takes
// root, outside of containers; it waits 10 s at most for each of two things.
//
// Returns how many processes there were: none is left.
// Errors: EACCES: the uid is not this domain's alone; ENOENT: no user is set up for it, or
// to reap under; EPERM: not root; EBUSY: some were left when time was up, as xr_error()
// says; EIO: it could not look; EINVAL.
// Threads: any.
// Fork: usable.
int xr_reap(uint16_t domid);

// Looks at a running process from outside, and at all that belong to it: whether each
// mechanism of confinement is in force, and what each handle on Xen's devices may act on.
// Nothing is changed by that. Takes root. A file system that does not answer keeps it
// waiting.
//
// `*json`, unless `json` is NULL, is the report in the form of `dm-restrict audit --json`:
// a string that is the caller's, to be freed by free(3); NULL after an error.
//
// Returns XR_HOLDS, XR_FAILS or XR_NOT_OBSERVED.
// Errors: ESRCH: no such process, or it ended; EAGAIN: it changes all the time; EPERM: not
// root, or Yama or a filter of this process's own forbids it; ENOSYS: Linux before 5.6; EINVAL, E2BIG: as xr_seal(); ENOMEM,
// EIO.
// Threads: any.
// Fork: usable.
// Pointers: `options` leads to a structure of its `size`, `json` is NULL or leads to a place for a
// pointer.
int xr_audit(const struct xr_audit_options *options,
             char **json);

// Programs that dm-restrict, or xr_launch(), started and that run now, in the form of
// `dm-restrict list --json`. `*json` is the caller's, to be freed by free(3); NULL after an
// error.
//
// Returns how many there are.
// Errors: EIO, EACCES: /run/dm-restrict cannot be read; EINVAL, ENOMEM.
// Threads: any.
// Fork: usable.
// Pointers: `json` leads to a place for a pointer.
int xr_list(char **json);

// What this machine has for confinement, in the form of `dm-restrict doctor --json`. `*json`
// is the caller's, to be freed by free(3); NULL after an error.
//
// Returns 0, whatever was found.
// Errors: EINVAL, ENOMEM.
// Threads: any.
// Fork: usable.
// Pointers: `json` leads to a place for a pointer.
int xr_doctor(char **json);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* XEN_RESTRICT_H */
