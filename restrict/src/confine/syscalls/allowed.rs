// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a confined program may call.
//!
//! A device model's threads, event loop, files and sockets; what the C libraries of
//! today do at their start; no more of the kernel than that takes.

use super::{Group, calls};

pub(in crate::confine) const ALLOWED: &[Group] = &[
    Group {
        title: "memory",
        why: "an allocator's and a loader's work; what a page may be used for is not a promise",
        calls: calls![
            brk 12 214, mmap 9 222, munmap 11 215, mprotect 10 226,
            madvise 28 233, msync 26 227, mincore 27 232, mlock 149 228, mlock2 325 284,
            munlock 150 229, mlockall 151 230, munlockall 152 231, memfd_create 319 279,
            mseal 462 462, pkey_alloc 330 289, pkey_free 331 290, pkey_mprotect 329 288,
            map_shadow_stack 453 453,
        ],
    },
    Group {
        title: "files",
        why: "what the root directory, Landlock and the descriptors leave",
        calls: calls![
            read 0 63, write 1 64, pread64 17 67, pwrite64 18 68, readv 19 65, writev 20 66,
            preadv 295 69, pwritev 296 70, preadv2 327 286, pwritev2 328 287, open 2 -,
            openat 257 56, creat 85 -, close 3 57, close_range 436 436,
            lseek 8 62, dup 32 23, dup2 33 -, dup3 292 24, fcntl 72 25, flock 73 32,
            fsync 74 82, fdatasync 75 83, sync_file_range 277 84, fadvise64 221 223,
            readahead 187 213, fallocate 285 47, truncate 76 45, ftruncate 77 46,
            sendfile 40 71, copy_file_range 326 285, stat 4 -, lstat 6 -, fstat 5 80,
            newfstatat 262 79, statx 332 291, statfs 137 43, fstatfs 138 44, access 21 -,
            faccessat 269 48, faccessat2 439 439, readlink 89 -, readlinkat 267 78,
            getdents 78 -, getdents64 217 61, getcwd 79 17, chdir 80 49, fchdir 81 50,
            getxattr 191 8, lgetxattr 192 9, fgetxattr 193 10, getxattrat 464 464,
            listxattr 194 11, llistxattr 195 12, flistxattr 196 13, listxattrat 465 465,
        ],
    },
    Group {
        title: "directories",
        why: "in what was given for writing",
        calls: calls![
            mkdir 83 -, mkdirat 258 34, rmdir 84 -, link 86 -, linkat 265 37, unlink 87 -,
            unlinkat 263 35, symlink 88 -, symlinkat 266 36, rename 82 -, renameat 264 38,
            renameat2 316 276, chmod 90 -, fchmod 91 52, fchmodat 268 53, fchmodat2 452 452,
            umask 95 166, utime 132 -, utimes 235 -, futimesat 261 -, utimensat 280 88,
            inotify_init 253 -, inotify_init1 294 26, inotify_add_watch 254 27,
            inotify_rm_watch 255 28,
        ],
    },
    Group {
        title: "waiting",
        why: "event loops",
        calls: calls![
            poll 7 -, ppoll 271 73, select 23 -, pselect6 270 72, epoll_create 213 -,
            epoll_create1 291 20, epoll_ctl 233 21, epoll_wait 232 -, epoll_pwait 281 22,
            epoll_pwait2 441 441, eventfd 284 -, eventfd2 290 19, signalfd 282 -,
            signalfd4 289 74, timerfd_create 283 85, timerfd_settime 286 86,
            timerfd_gettime 287 87, pipe 22 -, pipe2 293 59,
        ],
    },
    Group {
        title: "time",
        why: "reading clocks, sleeping, timers of its own",
        calls: calls![
            time 201 -, gettimeofday 96 169, clock_gettime 228 113, clock_getres 229 114,
            clock_nanosleep 230 115, nanosleep 35 101, alarm 37 -, pause 34 -,
            getitimer 36 102, setitimer 38 103, timer_create 222 107, timer_settime 223 110,
            timer_gettime 224 108, timer_getoverrun 225 109, timer_delete 226 111,
            times 100 153,
        ],
    },
    Group {
        title: "threads",
        why: "locks, scheduling of its own threads within its priority",
        calls: calls![
            futex 202 98, futex_waitv 449 449, futex_wake 454 454, futex_wait 455 455,
            futex_requeue 456 456, set_robust_list 273 99, get_robust_list 274 100,
            set_tid_address 218 96, rseq 334 293, membarrier 324 283, sched_yield 24 124,
            sched_getaffinity 204 123, sched_setaffinity 203 122, sched_getparam 143 121,
            sched_setparam 142 118, sched_getscheduler 145 120, sched_setscheduler 144 119,
            sched_getattr 315 275, sched_setattr 314 274, sched_get_priority_max 146 125,
            sched_get_priority_min 147 126, sched_rr_get_interval 148 127, getpriority 140 141,
            setpriority 141 140, getcpu 309 168, arch_prctl 158 -,
        ],
    },
    Group {
        title: "signals",
        why: "to its own processes: it sees no others",
        calls: calls![
            rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139,
            rt_sigpending 127 136, rt_sigsuspend 130 133, rt_sigtimedwait 128 137,
            rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240, sigaltstack 131 132,
            restart_syscall 219 128, kill 62 129, tkill 200 130, tgkill 234 131,
            pidfd_open 434 434, pidfd_send_signal 424 424,
        ],
    },
    Group {
        title: "processes",
        why: "start and end; a new one has the same filters, and no more than its parent had",
        calls: calls![
            fork 57 -, vfork 58 -, execve 59 221, execveat 322 281, exit 60 93,
            exit_group 231 94, wait4 61 260, waitid 247 95, setpgid 109 154, getpgid 121 155,
            getpgrp 111 -, setsid 112 157, getsid 124 156,
        ],
    },
    Group {
        title: "sockets",
        why: "those it has, and local ones that others connect to",
        calls: calls![
            socket 41 198, socketpair 53 199, bind 49 200, listen 50 201, accept 43 202,
            accept4 288 242, getsockname 51 204, getpeername 52 205,
            getsockopt 55 209, setsockopt 54 208, shutdown 48 210, sendto 44 206,
            sendmsg 46 211, sendmmsg 307 269, recvfrom 45 207, recvmsg 47 212,
            recvmmsg 299 243,
        ],
    },
    Group {
        title: "who it is",
        why: "reading only",
        calls: calls![
            getpid 39 172, getppid 110 173, gettid 186 178, getuid 102 174, geteuid 107 175,
            getgid 104 176, getegid 108 177, getresuid 118 148, getresgid 120 150,
            getgroups 115 158, capget 125 90, uname 63 160, sysinfo 99 179, getrusage 98 165,
            getrlimit 97 163,
        ],
    },
    Group {
        title: "giving up more",
        why: "limits, capabilities, filters: without privilege each of these only takes away",
        calls: calls![
            prlimit64 302 261, setrlimit 160 164, capset 126 91, prctl 157 167,
            seccomp 317 277, landlock_create_ruleset 444 444, landlock_add_rule 445 445,
            landlock_restrict_self 446 446,
        ],
    },
    Group {
        title: "randomness",
        why: "keys, hash tables",
        calls: calls![
            getrandom 318 278,
        ],
    },
    Group {
        title: "by argument",
        why: "see the rules",
        calls: calls![
            clone 56 220, ioctl 16 29,
        ],
    },
];
