#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# clean_room.sh [ARGUMENT...] -- ./run, then ./check ARGUMENT... (by default --sample), on a machine that has nothing.
#
#   A machine that builds vinic for years has more than the lists of packages say: what one package recommends, what
#   another project wanted.  The room is a minimal Debian 12, what is essential and apt, made by mmdebstrap from the
#   package sources of this machine, with the tracked files of this tree.  What ./run and ./check need beyond that
#   they install themselves, or they fail here.
#
#   The room is a directory below TMPDIR (by default /var/tmp; 3 GB).  What runs in it has mount and process
#   namespaces of its own, which end with this script, and everything is removed then.  The network is this machine's.
set -euo pipefail

release=bookworm
seconds_max=$((60 * 60 * ${VINIC_LONG:+12} + 60 * 60 * 2))  # for what hangs, not for what is slow

cd -- "$(dirname -- "$(realpath -- "${BASH_SOURCE[0]}")")/.."
source scripts/packages.sh

# In the namespaces, as their first process: this machine's devices, but no memory of its device files.
enter() {
    local room=$1
    shift
    mount -t proc proc "$room/proc"
    mount --rbind /sys "$room/sys"
    mount --rbind /dev "$room/dev"
    mount -t tmpfs -o mode=1777 tmpfs "$room/dev/shm"
    exec chroot "$room" /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        "${kept[@]}" timeout --kill-after=60 "$seconds_max" \
        bash -c 'cd /vinic && ./run && ./check "$@"' clean_room "$@"
}

# The Debian among this machine's package sources, and how it reaches them.
sources() {
    local found
    found=$(apt-get indextargets 'Origin: Debian' 'Created-By: Packages' \
        --format 'deb $(SITE) $(RELEASE) $(COMPONENT)' | grep -E "^deb [^ ]+ $release" | sort -u) || true
    printf '%s\n' "${found:-deb http://deb.debian.org/debian $release main}"
}
fetching() {
    apt-config dump --format '%f "%v";%n' Acquire |
        grep -E '^Acquire::(https?::|Retries|Check-Valid-Until|Check-Date|ForceIPv)' || true
}

tracked_files() {
    git -c safe.directory="$PWD" ls-files -z 2> /dev/null || find . -path ./build -prune -o -type f -print0
}

kept=()
for variable in http_proxy https_proxy no_proxy VINIC_LONG VINIC_MODEL_LONG; do
    [[ -z ${!variable:-} ]] || kept+=("$variable=${!variable}")
done
if [[ ${1:-} == --enter ]]; then
    enter "${@:2}"
fi

if ((EUID != 0)); then
    echo "./check --clean-room makes a root file system and mounts, so it needs root: sudo ./check --clean-room" >&2
    exit 1
fi
need_packages "./check --clean-room" mmdebstrap || exit 1
((${#})) || set -- --sample

work=$(mktemp -d "${TMPDIR:-/var/tmp}/vinic-clean-room.XXXXXX")
inside=
finish() {
    # The first process of a namespace takes everything in it along, mounts too.
    [[ -z $inside ]] || kill -KILL "$inside" 2> /dev/null || true
    [[ -z $inside ]] || wait "$inside" 2> /dev/null || true
    rm -rf --one-file-system -- "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

sources > "$work/sources.list"
fetching > "$work/fetching"
quietly "Making a minimal Debian $release" "$work/log" mmdebstrap --mode=root --variant=apt --aptopt="$work/fetching" \
    "$release" "$work/room" "$work/sources.list"
cp --dereference /etc/resolv.conf /etc/hosts "$work/room/etc/"
mkdir "$work/room/vinic"
tracked_files | tar --create --null --files-from=- --ignore-failed-read --owner=0 --group=0 |
    tar --extract --directory="$work/room/vinic"

unshare --mount --pid --fork --kill-child bash scripts/clean_room.sh --enter "$work/room" "$@" < /dev/null &
inside=$!
status=0
wait "$inside" || status=$?
inside=
echo
echo "In the clean room ./run and ./check $* ended with $status."
exit "$status"
