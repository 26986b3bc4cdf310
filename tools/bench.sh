#!/usr/bin/env bash
# make bench: this machine's limits, every family measured against them, and then the figures the
# project holds itself to, each beside its goal, all in one run (about five minutes).
#
#     tools/bench.sh build/sgatlin [SECONDS]     SECONDS spent on each figure (1)
set -euo pipefail
sgatlin=${1:?usage: tools/bench.sh build/sgatlin [SECONDS]}
seconds=${2:-1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# measure NAME BENCH_OPTION…: one object a line into $work/NAME.
measure() {
    local name=$1
    shift
    echo "bench: $*" >&2
    "$sgatlin" bench --json --quiet --seconds "$seconds" "$@" >"$work/$name"
}

# value NAME FIGURE FIELD: a number of the first line of that figure.
value() {
    sed -n "s/^{\"name\": \"$2\".*\"$3\": \(-\{0,1\}[0-9][0-9.e+-]*\).*/\1/p" "$work/$1" | head -n 1
}

# row WHAT MEASURED GOAL
row() { printf '%-66s %22s   %s\n' "$1" "$2" "$3"; }
percent() { awk -v x="$1" 'BEGIN { printf "%.0f %%", 100 * x }'; }
times() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2fx", a / b }'; }
# each SECONDS TOKENS SHARE: time a token and share of the limit.
each() { awk -v s="$1" -v n="$2" -v f="$3" 'BEGIN { printf "%.1f us, %.0f %%", 1e6 * s / n, 100 * f }'; }

"$sgatlin" bench --quiet --seconds "$seconds"

wide=(--preset slimpajama-sgatlin-s6 --num-hidden-layers 1 --vocab-size 1000 --ffn-neurons 16384 --batch-size 1 --seq-len 512)
pool=(--preset tinystories-sgatlin --num-hidden-layers 2 --hidden-size 64 --ffn-channels 2 --optimizer-rows auto)
wider=(--preset tinystories-sgatlin --num-hidden-layers 2 --hidden-size 128 --ffn-channels 2)
large=(--preset slimpajama-sgatlin-s3 --vocab-size 8192)
measure steps --preset tinystories-sgatlin --preset tinystories-mlp --what train
measure sparse --preset tinystories-sgatlin --what layer
measure narrow --preset tinystories-sgatlin --what layer --table-dtype bf16
measure dense --preset tinystories-mlp --ffn-intermediate-size 256 --what layer
measure wide "${wide[@]}" --what layer
measure wide16 "${wide[@]}" --what layer --table-dtype bf16
measure small "${pool[@]}" --ffn-neurons 1024 --what train,decode
measure huge "${pool[@]}" --ffn-neurons 1048576 --what train,decode
measure small128 "${wider[@]}" --ffn-neurons 1024 --what decode
measure huge128 "${wider[@]}" --ffn-neurons 1048576 --what decode
measure decode "${large[@]}" --what decode
measure decode16 "${large[@]}" --what decode --weights bf16
measure decode8 "${large[@]}" --what decode --weights int8

printf '\n'
row "figure" "measured" "goal"
step() { sed -n "/\"preset\": \"$1\"/s/.*\"limit_fraction\": \([0-9.e+-]*\).*/\1/p" "$work/steps"; }
row "training step, tinystories-sgatlin: share of products" "$(percent "$(step tinystories-sgatlin)")" "60 % (75)"
row "training step, tinystories-mlp: share of products" "$(percent "$(step tinystories-mlp)")" "70 % (85)"
dense=$(value dense layer_forward_backward seconds)
row "sgatlin layer, forward and backward / dense layer of equal FLOPs" \
    "$(times "$(value sparse layer_forward_backward seconds)" "$dense")" "2x (1.3)"
row "  the same with bf16 tables" "$(times "$(value narrow layer_forward_backward seconds)" "$dense")" ""
row "layer forward, d = 768, 128 of 262,144 neurons, f32: a token, of limit" \
    "$(each "$(value wide layer_forward seconds)" 512 "$(value wide layer_forward limit_fraction)")" "38 us or 65 %"
row "  the same with bf16 tables" \
    "$(each "$(value wide16 layer_forward seconds)" 512 "$(value wide16 layer_forward limit_fraction)")" "27 us or 65 %"
row "training step, 1,048,576 neurons a channel / 1,024" \
    "$(times "$(value huge train_step seconds)" "$(value small train_step seconds)")" "2.5x"
row "decoding, 1,048,576 neurons a channel / 1,024, d = 128" \
    "$(times "$(value huge128 decode seconds)" "$(value small128 decode seconds)")" "1.5x"
row "  d = 64" "$(times "$(value huge decode seconds)" "$(value small decode seconds)")" "1.5x"
row "decoding a model beyond the caches, f32: share of reads" "$(percent "$(value decode decode limit_fraction)")" "65 %"
row "  bf16" "$(percent "$(value decode16 decode limit_fraction)")" "65 %"
row "  int8" "$(percent "$(value decode8 decode limit_fraction)")" "65 %"
