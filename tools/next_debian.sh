#!/usr/bin/env bash
# Builds, tests and runs the demo on this Debian and the next, each in a folder of its own: another
# compiler, other versions of every library. As root; takes 2 GB and half an hour a suite.
#
#     tools/next_debian.sh [SUITE...]      bookworm and trixie without arguments
#
# SG_NEXT_FOLDER   where the systems are kept from one time to the next; /var/tmp/sgatlin-debian
# SG_NEXT_MIRROR   where Debian comes from; else where this machine has it from
# SG_NEXT_DEMO=no  only the tests
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "next_debian.sh: $*" >&2
    exit 1
}

suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(bookworm trixie)
folder=${SG_NEXT_FOLDER:-/var/tmp/sgatlin-debian}
[ "$(id -u)" -eq 0 ] || fail "found user $(id -un), expected root: a chroot is made"
command -v debootstrap >/dev/null || fail "found no debootstrap: tools/deps next installs it"

# The archive that apt has Debian itself from, not its updates for security.
mirror=${SG_NEXT_MIRROR:-$(
    # shellcheck disable=SC2016 # the names are apt's
    apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "Debian" && $2 == "main" && $3 !~ /security/ { print $3; exit }'
)}
[ -n "$mirror" ] || fail "apt names no archive of Debian: say SG_NEXT_MIRROR=…"

root=
leave() {
    [ -z "$root" ] || ! mountpoint -q "$root/proc" || umount "$root/proc"
}
trap leave EXIT

# system SUITE: what debootstrap makes, once.
system() {
    [ ! -e "$root/.complete" ] || return 0
    rm -rf --one-file-system "$root"
    mkdir -p "$root"
    debootstrap --variant=minbase "$1" "$root" "$mirror" >"$folder/$1.debootstrap.log" 2>&1 ||
        fail "$1: debootstrap failed, see $folder/$1.debootstrap.log"
    touch "$root/.complete"
}

# The files of this working tree, changed ones as they are now; what was built there before stays.
tree() {
    mkdir -p "$root/sgatlin"
    find "$root/sgatlin" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
    git ls-files -z --cached --others --exclude-standard |
        tar --create --null --ignore-failed-read --files-from=- |
        tar --extract --directory "$root/sgatlin" --no-same-owner
}

work='cd /sgatlin && tools/deps build test && gcc --version | head -n 1 && make test'
[ "${SG_NEXT_DEMO:-yes}" = no ] || work="$work && make demo"
mkdir -p "$folder"
failed=()
for suite in "${suites[@]}"; do
    root=$folder/$suite
    echo "next_debian.sh: == $suite"
    system "$suite"
    tree
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
    if env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME=/root chroot "$root" sh -c "$work"; then
        echo "next_debian.sh: $suite: ok"
    else
        failed+=("$suite")
    fi
    leave
done
[ ${#failed[@]} -eq 0 ] || fail "failed on ${failed[*]}"
