# SPDX-License-Identifier: MIT OR Apache-2.0
# In a clean Debian, by root: the packages in /debs are installed, used, removed and purged.

fail() {
    echo "packages: $1"
    exit 1
}

# Not what dpkg, ldconfig, systemd and the tools for users note down for themselves.
files() {
    find / \( -path /proc -o -path /dev -o -path /debs -o -path /tmp -o -path /var/lib/dpkg \
        -o -path /var/log -o -path /var/cache/ldconfig -o -path /run/systemd \
        -o -path '/etc/*-' -o -path /etc/.pwd.lock \) -prune -o -print | sort
}

files >/tmp/before
cut -d: -f1 /etc/passwd >/tmp/users
dpkg -i /debs/*.deb

echo "--- the command"
dm-restrict --version
for page in dm-restrict dm-restrict-run dm-restrict-audit; do
    [ -s "/usr/share/man/man1/$page.1.gz" ] || fail "no man page $page"
done
bash -c '. /usr/share/bash-completion/completions/dm-restrict && complete -p dm-restrict'
[ -s /usr/share/zsh/vendor-completions/_dm-restrict ] || fail "no completions for zsh"
[ -s /usr/share/fish/vendor_completions.d/dm-restrict.fish ] || fail "no completions for fish"

echo "--- in the place of QEMU to xl"
[ "$(readlink -f /usr/libexec/dm-restrict/qemu)" = /usr/bin/dm-restrict ] || fail "no link for xl"
if /usr/libexec/dm-restrict/qemu -no-such-option 2>/tmp/said; then
    fail "arguments that are not libxl's were taken"
fi
cat /tmp/said

echo "--- users and directories"
[ "$(stat -c '%a %U' /run/dm-restrict)" = "755 root" ] || fail "tmpfiles.d was not applied"
getent passwd xen-qemuuser-reaper || fail "no reaper"
cat >/tmp/expected <<END
uid 65543, gid 65536: xen-qemuuser-range-base (uid 65536) + domain 7
this domain's alone; reaped when it has ended
END
dm-restrict identity --domid 7 | diff /tmp/expected - || fail "another uid"

echo "--- a program, confined"
useradd --system somebody
[ "$(dm-restrict run --no-xen --user somebody --bind-linked -- id -u)" = "$(id -u somebody)" ] ||
    fail "a program did not run"
userdel somebody

echo "--- the unit"
mkdir -p /etc/dm-restrict
systemd-analyze verify --man=no dm-restrict@guest1.service 2>/tmp/verify || true
[ ! -s /tmp/verify ] || fail "systemd says: $(cat /tmp/verify)"

echo "--- the library, with its -dev package alone"
cd /tmp
cp /usr/share/doc/libxenrestrict-dev/examples/launcher.c .
cc -Wall -Wextra -Werror -o launcher launcher.c $(pkg-config --cflags --libs xenrestrict)
cc -Wall -Wextra -Werror -o launcher-static launcher.c -I/usr/include \
    -Wl,-Bstatic -lxenrestrict -Wl,-Bdynamic -lgcc_s -lm
for launcher in ./launcher ./launcher-static; do
    # No Xen is here; it says so, by the command of the other package.
    code=0
    $launcher 1 true 2>/tmp/said || code=$?
    [ "$code" = 125 ] && grep -q 'xen' /tmp/said || fail "$launcher: $code, $(cat /tmp/said)"
done
pkg-config --modversion xenrestrict

echo "--- removed and purged"
names=$(for package in /debs/*.deb; do dpkg-deb --field "$package" Package; done)
dpkg --remove $names
dpkg --purge $names
files >/tmp/after
diff /tmp/before /tmp/after || fail "not as it was"
# libxl's dm_restrict uses them, too.
cut -d: -f1 /etc/passwd | diff /tmp/users - | grep '^[<>]' | sort >/tmp/left
printf '> %s\n' xen-qemuuser-range-base xen-qemuuser-reaper | diff - /tmp/left ||
    fail "other users are left"

echo "--- where somebody else has uid 65536"
userdel xen-qemuuser-range-base
useradd --uid 65536 ann
dpkg -i /debs/dm-restrict_*.deb 2>&1 | tee /tmp/said
grep -q 'see README.Debian' /tmp/said || fail "nothing was said"
if dm-restrict identity --domid 7 2>/tmp/said; then
    fail "a device model would be one of this machine's users"
fi
grep 'usermod --uid 65536' /tmp/said || fail "refused for another reason"
userdel ann
usermod --uid 65536 xen-qemuuser-range-base
dm-restrict identity --domid 7 | grep '^uid 65543, ' || fail "the remedy did not help"

echo "--- users, by hand"
userdel xen-qemuuser-range-base
userdel xen-qemuuser-reaper
adduser --no-create-home --uid 65536 --system xen-qemuuser-range-base
adduser --no-create-home --system xen-qemuuser-reaper
dm-restrict identity --domid 7 | grep '^uid 65543, ' || fail "the users are of no use"
