#!/usr/bin/env bash
# Instructions of the main kernels, counted by valgrind (the AVX2 ones: it knows no AVX-512), against
# the counts that bench/kernel_counts.txt holds. Fails where one differs by more than one in a
# hundred, so that a change of a kernel or of its compilation shows.
#
#     tools/callgrind.sh BUILD            compare
#     tools/callgrind.sh BUILD --record   write bench/kernel_counts.txt anew
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:?usage: tools/callgrind.sh BUILD [--record]}
program=$build/bench/count_kernels
recorded=bench/kernel_counts.txt
[ -x "$program" ] || {
    echo "callgrind: no $program: build the target bench first" >&2
    exit 2
}
command -v valgrind >/dev/null || {
    echo "callgrind: no valgrind: run tools/deps bench" >&2
    exit 2
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compiler=$(sed -n 's/^CMAKE_C_COMPILER:[A-Z]*=//p' "$build/CMakeCache.txt")
type=$(sed -n 's/^CMAKE_BUILD_TYPE:[A-Z]*=//p' "$build/CMakeCache.txt")
{
    echo "# Instructions a call, AVX2 kernels, counted by tools/callgrind.sh (make count-kernels)."
    echo "# $("$compiler" --version | head -1), ${type:-RelWithDebInfo}"
} >"$work/new"
"$program" >"$work/list"
while read -r name function calls shape; do
    if ! valgrind --tool=callgrind --toggle-collect="$function" \
        --callgrind-out-file="$work/out" "$program" "$name" >"$work/log" 2>&1; then
        cat "$work/log" >&2
        exit 1
    fi
    sum=$(sed -n 's/^\(summary\|totals\): \([0-9]*\).*/\2/p' "$work/out" | head -1)
    [ "${sum:-0}" -gt 0 ] || {
        echo "callgrind: $function was not entered by $name" >&2
        exit 1
    }
    printf '%-18s %8d  %s\n' "$name" $((sum / calls)) "$shape" >>"$work/new"
done <"$work/list"

if [ "${2:-}" = --record ]; then
    cp "$work/new" "$recorded"
    cat "$recorded"
    exit 0
fi
head -2 "$recorded" | tail -1 | cmp -s - <(sed -n 2p "$work/new") || {
    echo "recorded with: $(sed -n 's/^# //;2p' "$recorded")"
    echo "counted with:  $(sed -n 's/^# //;2p' "$work/new")"
}
awk '
/^#/ { next }
FNR == NR { old[$1] = $2; next }
{
    seen[$1] = 1
    if (!($1 in old)) { printf "%-18s %8d  not recorded\n", $1, $2; wrong++; next }
    change = 100 * ($2 - old[$1]) / old[$1]
    far = change > 1 || change < -1
    wrong += far
    printf "%-18s %8d  recorded %8d  %+6.1f %%%s\n", $1, $2, old[$1], change, far ? "  <--" : ""
}
END {
    for (name in old) if (!(name in seen)) { print name " is recorded but no longer counted"; wrong++ }
    if (wrong) {
        print "callgrind: counts that differ: " wrong "; if that is meant: tools/callgrind.sh BUILD --record"
        exit 1
    }
}' "$recorded" "$work/new"
