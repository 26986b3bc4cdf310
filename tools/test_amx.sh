#!/usr/bin/env bash
# Runs tests of products, attention, cross-entropy and memories in bf16 and bf16x3, and six steps of
# training through the command, as on a processor with AMX, whose instructions are emulated by a
# library preloaded into each program (tests/emulation/amx.c). A processor that has AMX runs the
# same without it. Training needs a CPUID that can be made to fault, else it alone is left out.
#
#     tools/test_amx.sh BUILD [TEST...]
#
# BUILD holds the command, the tests and tests/libsg_emulated_amx.so. TEST is one test's name, all
# by default; "training" is the last. Ends with 77 where nothing can be emulated.
set -euo pipefail
build=${1:?usage: tools/test_amx.sh BUILD [TEST...]}
shift
tests=("$@")
[ $# -gt 0 ] || tests=(test_kinds test_entropy_kinds test_attention_kinds
    test_memory_kinds training)
build=$(cd "$build" && pwd)
cd "$(dirname "$0")/.."
sgatlin=$build/sgatlin
library=$build/tests/libsg_emulated_amx.so
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "test_amx: $*" >&2
    exit 1
}

skip() {
    echo "test_amx: skipped, $*"
    exit 77
}

# ---- which processor ----------------------------------------------------------------------------

[ "$(uname -sm)" = "Linux x86_64" ] || skip "AMX is emulated on x86-64 under Linux only"
emulated=true
forced=false
if grep -qw amx_bf16 /proc/cpuinfo; then
    echo "test_amx: this processor has AMX: nothing is emulated"
    emulated=false
elif [ ! -f "$library" ]; then
    skip "found no $library, which is built on x86-64 under Linux"
elif ! LD_PRELOAD=$library "$sgatlin" version >"$work/version" 2>&1; then
    grep -q CPUID "$work/version" ||
        skip "$(grep '^amx: ' "$work/version" || tail -n 1 "$work/version")"
    forced=true
    export SG_TEST_AMX=1
fi

# as_amx PROGRAM… : as on a processor with AMX
as_amx() {
    if $emulated; then LD_PRELOAD=$library "$@"; else "$@"; fi
}

if ! $forced; then
    as_amx "$sgatlin" version >"$work/version" 2>/dev/null
    grep -q 'bf16 units amx' "$work/version" ||
        fail "AMX is not used: $(tail -n 1 "$work/version")"
    sed -n 's/.*\(products .*\)/test_amx: \1/p' "$work/version"
fi

# count LOG : instructions into $counted; products must be among them where they are emulated
count() {
    counted=
    $emulated || return 0
    counted=$(sed -n 's/^amx: \([0-9]*\) instructions emulated, \([0-9]*\) of.*/\1 \2/p' "$1" |
        awk '{ all += $1; products += $2 }
             END { printf ", %d instructions emulated, %d of them products", all, products
                   exit !(products > 0) }') || fail "no product was emulated$counted"
}

# ---- tests --------------------------------------------------------------------------------------

run_test() {
    local start=$SECONDS
    if ! as_amx "$build/tests/$1" >"$work/log" 2>&1; then
        cat "$work/log"
        fail "$1 failed"
    fi
    count "$work/log"
    echo "$1: passed, $((SECONDS - start)) s$counted"
}

# ---- training -----------------------------------------------------------------------------------

# train NAME FAMILY THREADS COMPUTE LOGITS PROGRAM… : six losses into NAME.losses
train() {
    local name=$1 family=$2 threads=$3 compute=$4 logits=$5 sizes=(--ffn-intermediate-size 256)
    shift 5
    if [ "$family" = sgatlin ]; then
        sizes=(--ffn-channels 2 --ffn-neurons 64 --ffn-key-size 8 --ffn-top-k 4)
    fi
    "$@" "$sgatlin" train --data "$work/data" --out "$work/$name" --hidden-size 64 --head-dim 32 \
        --num-hidden-layers 2 --ffn "$family" "${sizes[@]}" --seq-len 32 --batch-size 8 \
        --warmup-steps 2 --log-every 1 --steps 6 --lr 0.001 --quiet --threads "$threads" \
        --compute "$compute" --logits-compute "$logits" >"$work/log" 2>&1 || {
        cat "$work/log"
        fail "training $family in $compute, logits in $logits, failed"
    }
    sed -n 's/.*"loss":\([0-9.e-]*\).*/\1/p' "$work/$name/metrics.jsonl" >"$work/$name.losses"
}

# check_losses FAMILY NAME BOUND : against those of f32, relative, the largest difference in $off
check_losses() {
    off=$(paste "$work/$1-f32.losses" "$work/$2.losses" | awk -v bound="$3" '
    { x = $2 > $1 ? ($2 - $1) / $1 : ($1 - $2) / $1; if (x > most) most = x }
    NF == 2 { rows++ }
    END { printf "%.1e", most; exit !(rows == 6 && most <= bound) }') ||
        fail "$2: losses differ from those of f32 by $off, expected $3 at most"
}

# train_kind FAMILY COMPUTE LOGITS BOUND : with one thread and with two, to the same bits
train_kind() {
    local start=$SECONDS file name=$1-$2-$3
    train "$name-1" "$1" 1 "$2" "$3" as_amx
    cp "$work/log" "$work/one"
    train "$name-2" "$1" 2 "$2" "$3" as_amx
    cat "$work/one" >>"$work/log"
    [ "$(grep -c 'by amx$' "$work/log")" -eq 2 ] || fail "$name did not multiply by amx"
    for file in model.safetensors checkpoints/step-6/optimizer.safetensors; do
        cmp "$work/$name-1/$file" "$work/$name-2/$file" || fail "$name: one thread and two differ"
    done
    check_losses "$1" "$name-1" "$4"
    count "$work/log"
    echo "training $1 in $2, logits $3: one thread as two, losses within $off of f32," \
        "$((SECONDS - start)) s$counted"
}

# Bounds of a dense model: a rounding of the format, 2^-8, and of a sum of two, 2^-16. Where a
# router chooses, near ties fall otherwise and another neuron is trained: 1 %.
run_training() {
    "$sgatlin" data synth --stories 60 --seed 1 --out "$work/all.txt" --quiet >/dev/null
    tr -d EKQXZqz <"$work/all.txt" >"$work/stories.txt" # the tokenizer has no token for these
    "$sgatlin" data pack --tokenizer tests/golden/tokenizer/nfkc.json --seq-len 32 \
        --val-fraction 0.1 --out "$work/data" --quiet "$work/stories.txt" >/dev/null
    train mlp-f32 mlp 2 f32 f32 env
    train_kind mlp bf16 f32 0.0039
    train_kind mlp bf16 bf16x3 0.0039
    train_kind mlp bf16x3 bf16x3 0.000015
    train sgatlin-f32 sgatlin 2 f32 f32 env
    train_kind sgatlin bf16 bf16 0.01
    train_kind sgatlin bf16x3 bf16x3 0.01
}

for test in "${tests[@]}"; do
    if [ "$test" != training ]; then
        run_test "$test"
    elif $forced; then
        echo "training: skipped, CPUID cannot be made to name AMX here"
    else
        run_training
    fi
done
