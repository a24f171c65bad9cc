# shellcheck shell=bash
# Sourced by the scripts in this folder; not a program.

# The root of the repository; every script runs there.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root" || exit 1

# shellcheck disable=SC2034  # read by other scripts
libtorch_version=2.11.0
# The CPU half of LibTorch, without its other dependencies, needs only these two beside it.
# shellcheck disable=SC2034
libtorch_wheels=("torch==$libtorch_version" nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85)

# say TEXT: one line of progress.
say() { printf '== %s\n' "$*"; }

# die TEXT: one line of reason, exit 1.
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# step NAME COMMAND...: runs the command with its output in a log; prints NAME and the seconds it
# took, and the end of the log if it failed.
step() {
    local name="$1" log start status=0
    shift
    log="$(mktemp "${TMPDIR:-/tmp}/sidestep-step.XXXXXX")"
    start=$SECONDS
    printf '== %s ... ' "$name"
    "$@" >"$log" 2>&1 </dev/null || status=$?
    if ((status == 0)); then
        printf '%d s\n' $((SECONDS - start))
        rm -f "$log"
    else
        printf 'failed after %d s; the end of its output:\n' $((SECONDS - start))
        tail -n 60 "$log"
        printf '%s: %s failed; all of its output is in %s\n' "${0##*/}" "$name" "$log" >&2
        return "$status"
    fi
}

# How many compilers at once: one per core, and 1.5 GB of free memory for each, which is what a
# file that includes LibTorch can take.
build_jobs() {
    local cores memory_kb by_memory
    cores="$(nproc)"
    memory_kb="$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)"
    by_memory=$((memory_kb / 1500000))
    ((by_memory >= 1)) || by_memory=1
    echo $((by_memory < cores ? by_memory : cores))
}
