// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a confined program may not call.

use super::{Group, calls};

/// It is told that it may not: EPERM.
pub(in crate::confine) const REFUSED: &[Group] = &[
    Group {
        title: "mounts",
        why: "the root directory is made before the start",
        calls: calls![
            mount 165 40, umount2 166 39, pivot_root 155 41, chroot 161 51, move_mount 429 429,
            fsopen 430 430, fsconfig 431 431, fsmount 432 432, fspick 433 433,
            open_tree 428 428, open_tree_attr 467 467, mount_setattr 442 442,
            statmount 457 457, listmount 458 458, swapon 167 224, swapoff 168 225,
            quotactl 179 60, quotactl_fd 443 443,
        ],
    },
    Group {
        title: "namespaces",
        why: "a new user namespace gives capabilities in it, and much of the kernel to attack",
        calls: calls![
            unshare 272 97, setns 308 268, listns 470 470,
        ],
    },
    Group {
        title: "moved mappings",
        why: "privcmd frees a mapping's pages where it was, and they stay mapped where it went",
        calls: calls![mremap 25 216],
    },
    Group {
        title: "connections",
        why: "a socket in a read-only directory would lead out; connections are handed over",
        calls: calls![connect 42 203],
    },
    Group {
        title: "other processes",
        why: "their memory, descriptors and registers",
        calls: calls![
            ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271,
            process_madvise 440 440, process_mrelease 448 448, pidfd_getfd 438 438,
            kcmp 312 272,
        ],
    },
    Group {
        title: "identity",
        why: "it is set before the start; none of these could do more than fail",
        calls: calls![
            setuid 105 146, setgid 106 144, setreuid 113 145, setregid 114 143,
            setresuid 117 147, setresgid 119 149, setfsuid 122 151, setfsgid 123 152,
            setgroups 116 159, chown 92 -, fchown 93 55, lchown 94 -, fchownat 260 54,
        ],
    },
    Group {
        title: "kernel modules and new kernels",
        why: "they are the kernel",
        calls: calls![
            init_module 175 105, finit_module 313 273, delete_module 176 106,
            kexec_load 246 104, kexec_file_load 320 294, reboot 169 142,
        ],
    },
    Group {
        title: "programs in the kernel",
        why: "bpf and perf",
        calls: calls![
            bpf 321 280, perf_event_open 298 241,
        ],
    },
    Group {
        title: "requests in shared memory",
        why: "no filter sees what they ask for",
        calls: calls![
            io_uring_setup 425 425, io_uring_enter 426 426, io_uring_register 427 427,
        ],
    },
    Group {
        title: "page faults of its own making",
        why: "they stop the kernel where the program wants it to stop",
        calls: calls![
            userfaultfd 323 282, memfd_secret 447 447, remap_file_pages 216 234,
        ],
    },
    Group {
        title: "keys",
        why: "kept by user, not by process",
        calls: calls![
            add_key 248 217, request_key 249 218, keyctl 250 219,
        ],
    },
    Group {
        title: "files by number",
        why: "past every directory",
        calls: calls![
            name_to_handle_at 303 264, open_by_handle_at 304 265,
        ],
    },
    Group {
        title: "devices and ports",
        why: "the machine's own",
        calls: calls![
            mknod 133 -, mknodat 259 33, iopl 172 -, ioperm 173 -,
        ],
    },
    Group {
        title: "the machine's state",
        why: "clock, name, log, accounting, all its disks",
        calls: calls![
            settimeofday 164 170, clock_settime 227 112, clock_adjtime 305 266,
            adjtimex 159 171, sethostname 170 161, setdomainname 171 162, syslog 103 116,
            acct 163 89, vhangup 153 58, sync 162 81, syncfs 306 267, fanotify_init 300 262,
            fanotify_mark 301 263, lookup_dcookie 212 18,
        ],
    },
    Group {
        title: "pages between files and pipes",
        why: "read and write do the same with less of the kernel",
        calls: calls![
            splice 275 76, tee 276 77, vmsplice 278 75,
        ],
    },
    Group {
        title: "System V IPC and message queues",
        why: "files, pipes and sockets do the same",
        calls: calls![
            shmget 29 194, shmat 30 196, shmdt 67 197, shmctl 31 195, semget 64 190,
            semop 65 193, semctl 66 191, semtimedop 220 192, msgget 68 186, msgsnd 69 189,
            msgrcv 70 188, msgctl 71 187, mq_open 240 180, mq_unlink 241 181,
            mq_timedsend 242 182, mq_timedreceive 243 183, mq_notify 244 184,
            mq_getsetattr 245 185,
        ],
    },
    Group {
        title: "placement of memory",
        why: "between nodes of the machine",
        calls: calls![
            mbind 237 235, set_mempolicy 238 237, get_mempolicy 239 236,
            set_mempolicy_home_node 450 450, migrate_pages 256 238, move_pages 279 239,
        ],
    },
    Group {
        title: "attributes of files",
        why: "security modules and file systems keep theirs there",
        calls: calls![
            setxattr 188 5, lsetxattr 189 6, fsetxattr 190 7, setxattrat 463 463,
            removexattr 197 14, lremovexattr 198 15, fremovexattr 199 16,
            removexattrat 466 466, file_getattr 468 468, file_setattr 469 469,
        ],
    },
    Group {
        title: "other modes of the processor and the kernel",
        why: "old programs' needs, and attackers'",
        calls: calls![
            personality 135 92, modify_ldt 154 -, ioprio_set 251 30, ioprio_get 252 31,
            cachestat 451 451, lsm_get_self_attr 459 459, lsm_set_self_attr 460 460,
            lsm_list_modules 461 461,
        ],
    },
];

/// It is told that there is no such call, as for every number that is in none of these
/// tables: ENOSYS.
pub(in crate::confine) const MISSING: &[Group] = &[
    Group {
        title: "clone3",
        why: "its flags are in memory, where a filter cannot see them; libc goes on with clone",
        calls: calls![
            clone3 435 435,
        ],
    },
    Group {
        title: "openat2",
        why: "the mode of what it creates is in memory, too; libraries go on with openat",
        calls: calls![openat2 437 437],
    },
    Group {
        title: "asynchronous input and output",
        why: "one program could have all contexts of the machine (fs.aio-max-nr); threads do the same",
        calls: calls![
            io_setup 206 0, io_destroy 207 1, io_submit 209 2, io_cancel 210 3,
            io_getevents 208 4, io_pgetevents 333 292,
        ],
    },
    Group {
        title: "gone or never there",
        why: "what the kernel says as well",
        calls: calls![
            uselib 134 -, ustat 136 -, sysfs 139 -, _sysctl 156 -, create_module 174 -,
            get_kernel_syms 177 -, query_module 178 -, nfsservctl 180 42, getpmsg 181 -,
            putpmsg 182 -, afs_syscall 183 -, tuxcall 184 -, security 185 -,
            set_thread_area 205 -, get_thread_area 211 -, epoll_ctl_old 214 -,
            epoll_wait_old 215 -, vserver 236 -, uretprobe 335 -, uprobe 336 -,
        ],
    },
];
