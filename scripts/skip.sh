# Sourced by the scripts. Reports a check that cannot run on this machine: prints a line, or fails with STRICT=1.
#
#   skip CHECK REASON
skip() {
    if [ "${STRICT:-}" = 1 ]; then
        echo "FAILED: $1: $2 (STRICT=1 does not allow to skip it)" >&2
        exit 1
    fi
    echo "SKIPPED: $1: $2"
}
