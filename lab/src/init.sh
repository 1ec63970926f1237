#!/bin/busybox sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Dom0's first process: starts the toolstack and the two guests, runs the jobs that the
# lab put into /lab/jobs, and powers off. Talks to the lab over the second serial port in
# frames (lab/src/wire.rs). Where systemd is to be first, it is a service (lab.service).

# The initramfs is the root of all mounts: nothing can pivot away from it. A bind mount of
# it, moved on top, is a root like any other.
if [ "$1" != second ] && [ "$1" != service ]; then
    /bin/busybox mount --rbind / /x
    cd /x || exit
    /bin/busybox mount --move . /
    exec /bin/busybox chroot . /init second
fi

. /lab/config

if [ "$1" = second ]; then
    /bin/busybox --install -s /bin
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    mkdir -p /dev/pts /dev/shm
    mount -t devpts devpts /dev/pts
    chmod 755 /
    mount -t tmpfs -o mode=755 tmpfs /run
    mount -t tmpfs tmpfs /tmp
    mount -t tmpfs tmpfs /dev/shm
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    [ -z "$LAB_SYSTEMD" ] ||
        exec /usr/lib/systemd/systemd --unit=lab.service --show-status=0 --log-target=kmsg
fi

stty -F /dev/ttyS1 115200 raw -echo
exec 3>/dev/ttyS1

frame() {
    echo "#lab:$LAB_NONCE:$*" >&3
}

# Closing the port waits until its last byte is out.
end() {
    exec 3>&-
    poweroff -f
}

fail() {
    echo "lab: $1"
    dmesg | tail -n 15
    frame "failed $1"
    end
}

frame "step dom0 is up"
for module in $LAB_MODULES; do
    insmod "/lab/modules/$module.ko" || fail "the kernel module $module did not load"
done
mount -t xenfs xenfs /proc/xen || fail "/proc/xen could not be mounted"

mkdir -p /run/lock /run/xen /run/xenstored /var/lib/xen /var/lib/xenstored /var/log/xen
xenstored --pid-file /run/xenstored.pid || fail "xenstored did not start"
xen-init-dom0 || fail "xen-init-dom0 failed"
xenconsoled --pid-file=/run/xenconsoled.pid || fail "xenconsoled did not start"

frame "step xenstored runs"
for name in A B; do
    xl create -q /guest/guest.cfg "name=\"$name\"" || fail "xl could not create guest $name"
done
export XEN_LAB_A="$(xl domid A)" XEN_LAB_B="$(xl domid B)"
frame "step guests A ($XEN_LAB_A) and B ($XEN_LAB_B) run"

# Runs a job with its output on the lab's port. A job that leaves processes behind keeps the
# pipe open: it has failed, whatever it says.
run() {
    mkfifo /run/lab-output
    cat /run/lab-output >&3 &
    sh "$1" >/run/lab-output 2>&1 </dev/null 3>&-
    status=$?
    for patience in $(seq 200); do
        kill -0 $! 2>/dev/null || break
        usleep 50000
    done
    if kill $! 2>/dev/null; then
        echo "lab: $1 left processes behind, which still have its output open:" >&3
        ps | grep -v '\[' >&3
        [ "$status" != 0 ] || status=1
    fi
    wait $!
    rm /run/lab-output
    return "$status"
}

number=0
for job in /lab/jobs/*; do
    [ -e "$job" ] || continue
    frame "begin $number"
    run "$job"
    status=$?
    if [ "$status" != 0 ]; then
        echo "lab: $job ended with status $status"
        xl list
        dmesg | tail -n 15
    fi
    frame "end $number $status"
    number=$((number + 1))
done

if [ -n "$LAB_SHELL" ]; then
    frame shell
    stty -F /dev/ttyS1 sane rows "$LAB_ROWS" cols "$LAB_COLUMNS"
    setsid -c sh -l </dev/ttyS1 >/dev/ttyS1 2>&1
    end
fi

# The lab reads the console up to this line: a late report of damage is not missed.
echo "lab: end"
frame "done"
end
