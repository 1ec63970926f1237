/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The kernel's headers; package linux-libc-dev. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/types.h>
#include <linux/version.h>
typedef uint16_t domid_t;
typedef uint32_t grant_ref_t;
typedef uint64_t xen_pfn_t;
typedef uint64_t xen_ulong_t;
#define __user
#include <xen/evtchn.h>
#include <xen/gntalloc.h>
#include <xen/gntdev.h>
#include <xen/privcmd.h>
