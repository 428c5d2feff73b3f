#!/usr/bin/env bash
# Checks the build's requirements beside Rust, and installs the missing ones: a C compiler, pkg-config and OpenSSL's headers;
# for the transport c-core also CMake and a C++ compiler. Installing needs root or a sudo that asks no password; otherwise
# this prints the command to type, and fails. Tried out with apt-get; for dnf, apk and pacman the names were looked up.
#
#   scripts/deps.sh [http2 | c-core]           check, then install
#   scripts/deps.sh --check [http2 | c-core]   check only: name the missing packages and the command that installs them
#
# This is shell because it has to run where there is no linker yet, and so no xtask.
set -euo pipefail

check=
if [ "${1:-}" = --check ]; then
    check=1
    shift
fi
transport=${1:-http2}
case $transport in
    http2)
        compiler=c-compiler
        all="a C compiler, pkg-config and OpenSSL's headers"
        ;;
    c-core)
        compiler=c++-compiler
        all="CMake, a C++ compiler, pkg-config and OpenSSL's headers"
        ;;
    *)
        echo "deps: unknown transport $transport: expected http2 or c-core" >&2
        exit 2
        ;;
esac

has() { command -v "$1" >/dev/null 2>&1; }

# Prints one word for each thing that is missing.
missing() {
    if [ "$transport" = c-core ]; then
        has cmake || echo cmake
        { has c++ && has cc; } || echo "$compiler"
    else
        has cc || echo "$compiler"
    fi
    if ! has pkg-config; then
        # Without pkg-config the headers cannot be detected; installing them again does no harm.
        echo pkg-config
        echo openssl
    elif [ -z "${OPENSSL_DIR:-}" ] && ! pkg-config --exists openssl; then
        echo openssl
    fi
}

# The names of the packages for this system's package manager.
package() {
    case "$1/$2" in
        */cmake) echo cmake ;;
        apt-get/c++-compiler) echo g++ ;;
        apt-get/c-compiler) echo gcc libc6-dev ;;
        apt-get/pkg-config) echo pkg-config ;;
        apt-get/openssl) echo libssl-dev ;;
        dnf/c++-compiler) echo gcc-c++ ;;
        dnf/c-compiler) echo gcc ;;
        dnf/pkg-config) echo pkgconf-pkg-config ;;
        dnf/openssl) echo openssl-devel ;;
        apk/c++-compiler) echo g++ linux-headers ;;
        apk/c-compiler) echo gcc musl-dev linux-headers ;;
        apk/pkg-config) echo pkgconf ;;
        apk/openssl) echo openssl-dev ;;
        pacman/c++-compiler | pacman/c-compiler) echo gcc ;;
        pacman/pkg-config) echo pkgconf ;;
        pacman/openssl) echo openssl ;;
    esac
}

if ! has cargo; then
    echo "deps: there is no cargo. Rust 1.85 or later is needed: https://rustup.rs, or the packages of your system." >&2
    exit 1
fi

missing=$(missing)
if [ -z "$missing" ]; then
    echo "deps: found $all"
    exit 0
fi
echo "deps: missing:" $missing

manager=
for candidate in apt-get dnf apk pacman; do
    if has "$candidate"; then
        manager=$candidate
        break
    fi
done
if [ -z "$manager" ]; then
    echo "deps: no apt-get, dnf, apk or pacman here: install $all." >&2
    exit 1
fi

packages=()
for thing in $missing; do
    packages+=($(package "$manager" "$thing"))
done
refresh=(apt-get update)
case $manager in
    apt-get) install=(apt-get install -y --no-install-recommends "${packages[@]}") ;;
    dnf) install=(dnf install -y "${packages[@]}") ;;
    apk) install=(apk add "${packages[@]}") ;;
    pacman) install=(pacman -S --needed --noconfirm "${packages[@]}") ;;
esac

if [ "$(id -u)" != 0 ]; then
    install=(sudo "${install[@]}")
    refresh=(sudo "${refresh[@]}")
fi
if [ -n "$check" ] || { [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; }; then
    if [ -n "$check" ]; then
        target=deps
        [ "$transport" = http2 ] || target=deps-all
        echo "deps: to install what is missing, type: make $target (or ${install[*]})" >&2
    else
        echo "deps: to install what is missing, type: ${install[*]}" >&2
    fi
    exit 1
fi

if [ "$manager" = apt-get ]; then
    export DEBIAN_FRONTEND=noninteractive
    # The lists of a fresh machine are empty or old.
    "${refresh[@]}" || echo "deps: the package lists could not be refreshed, trying without" >&2
fi
echo "deps: ${install[*]}"
"${install[@]}"

missing=$(missing)
if [ -n "$missing" ]; then
    echo "deps: still missing after installing:" $missing >&2
    exit 1
fi
