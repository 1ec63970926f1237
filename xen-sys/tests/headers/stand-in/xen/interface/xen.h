/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The kernel's privcmd.h includes this file, which nobody installs. What it
 * needs of it is defined in kernel.c. */
