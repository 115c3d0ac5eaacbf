# SPDX-License-Identifier: Apache-2.0
#
# packages.sh -- sourced by ./run and ./check: makes sure that Debian packages are there.
#
#   need_packages "what for" PACKAGE...
#
# As root it installs what is missing, and only that.  Anybody else is told what to install.

need_packages() {
    local purpose=$1 package missing=()
    shift
    if ! command -v dpkg-query > /dev/null; then
        echo "This is no Debian system: $purpose needs what Debian calls $*." >&2
        echo "Going on as if they were there." >&2
        return 0
    fi
    for package in "$@"; do
        if [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null) != installed ]]; then
            missing+=("$package")
        fi
    done
    if ((${#missing[@]} == 0)); then
        return 0
    fi
    if ((EUID != 0)); then
        echo "$purpose needs packages that are not installed. Install them and try again:" >&2
        echo "    sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        return 1
    fi
    echo "Installing ${missing[*]}"
    local log
    log=$(mktemp)
    # Lists that are already there are used first: they often suffice and need no network.
    if apt_install "${missing[@]}" > "$log" 2>&1 ||
        { apt-get update >> "$log" 2>&1 && apt_install "${missing[@]}" >> "$log" 2>&1; }; then
        rm -f "$log"
        return 0
    fi
    tail -n 20 "$log" >&2
    rm -f "$log"
    echo "Cannot install ${missing[*]}; the lines above say why." >&2
    return 1
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" < /dev/null
}

# quietly WHAT LOG COMMAND...: shows the command's output only if it fails.
quietly() {
    local what=$1 log=$2 started=$SECONDS
    shift 2
    mkdir -p "$(dirname "$log")"
    printf '%s ... ' "$what"
    if "$@" > "$log" 2>&1 < /dev/null; then
        echo "$((SECONDS - started)) s"
        return 0
    fi
    echo "failed"
    tail -n 60 "$log" >&2
    echo "The whole output is in $log." >&2
    return 1
}
