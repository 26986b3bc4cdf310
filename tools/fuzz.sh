#!/usr/bin/env bash
# Builds every fuzz target and runs each for some seconds, starting from its seeds and from what
# former runs found. A new input that breaks a target stays in BUILD/found/NAME/.
#
#     tools/fuzz.sh BUILD_FOLDER SECONDS JOBS
set -euo pipefail
build=$1 seconds=$2 jobs=$3

targets=()
for source in tests/fuzz/fuzz_*.c; do
    targets+=("$(basename "$source" .c)")
done
cmake --build "$build" -j "$jobs" --target "${targets[@]}"
for target in "${targets[@]}"; do
    name=${target#fuzz_}
    mkdir -p "$build/corpus/$name" "$build/found/$name"
    echo "== $name, $seconds s"
    # Our loaders state limits far below this; more memory than 2 GiB is a bug in one of them.
    if ! "$build/tests/$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 \
        -print_final_stats=1 -artifact_prefix="$build/found/$name/" \
        "$build/corpus/$name" "tests/fuzz/corpus/$name" >"$build/found/$name.log" 2>&1; then
        tail -n 40 "$build/found/$name.log"
        echo "fuzz: $name failed: input in $build/found/$name/, log in $build/found/$name.log" >&2
        exit 1
    fi
    grep -E "number_of_executed_units|peak_rss_mb" "$build/found/$name.log"
done
echo "fuzz: ${#targets[@]} targets, nothing found"
