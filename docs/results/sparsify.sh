#!/usr/bin/env bash
# The figures of docs/results/sparsify.md: a ReLU model is trained, tuned in five ways at equal
# steps, made sparse by MoEfication, DSTI and LTE, and read at many shares of its blocks.
set -euo pipefail
shopt -s inherit_errexit
# shellcheck source=tools/common.sh
. "$(dirname "$0")/../../tools/common.sh"

help() {
    cat <<'HELP'
docs/results/sparsify.sh - the figures of docs/results/sparsify.md

Usage: docs/results/sparsify.sh FOLDER TEST TEXT...

Trains a ReLU model on the TEXTs (TinyStories: documents parted by a line <|endoftext|>), tunes it
further as it is, with L1 and with square Hoyer, and through LTE's stages, all for as many steps,
makes them sparse by MoEfication, DSTI and controls, and reads the beginning of the file TEST, which
none of them has seen, at many shares of their blocks. Writes
  FOLDER/methods.csv, methods.svg     perplexity by FLOPs of the feed-forward layers, all methods
  FOLDER/ablations.csv, …             router, split, count and size of blocks, one changed at a time
Stop it at any time: the same command goes on. From outside:
  SGATLIN=build/sgatlin      the command
  SG_SPARSIFY_WIDTH=192      of the model, with heads of 32
  SG_SPARSIFY_FFN=4          its feed-forward layers are so many times as wide
  SG_SPARSIFY_LAYERS=4
  SG_SPARSIFY_STEPS=1500     of training, sequences of 256 in batches of 8
  SG_SPARSIFY_TUNE=600       steps of each tuning; LTE's stages have half of them each
  SG_SPARSIFY_TOKENS=8192    of TEST that are read
  SG_SPARSIFY_L1=2e-3  SG_SPARSIFY_HOYER=1e-3  SG_SPARSIFY_LTE=1    weights of the terms
HELP
}

fail() {
    echo "sparsify: $1" >&2
    exit 2
}

case ${1:---help} in
--help) help && exit 0 ;;
-*) fail "$1: there is no such option; see --help" ;;
esac
[ $# -ge 3 ] || fail "found no text; see --help"
here=$(cd "$(dirname "$0")/../.." && pwd)
sgatlin=${SGATLIN:-$here/build/sgatlin}
width=${SG_SPARSIFY_WIDTH:-192} times=${SG_SPARSIFY_FFN:-4} layers=${SG_SPARSIFY_LAYERS:-4}
steps=${SG_SPARSIFY_STEPS:-1500} tune=${SG_SPARSIFY_TUNE:-600} tokens=${SG_SPARSIFY_TOKENS:-8192}
l1=${SG_SPARSIFY_L1:-2e-3} hoyer=${SG_SPARSIFY_HOYER:-1e-3} lte=${SG_SPARSIFY_LTE:-1}
for number in "$width" "$times" "$layers" "$steps" "$tune" "$tokens"; do
    [[ $number =~ ^[1-9][0-9]*$ ]] || fail "found \"$number\", expected a whole number"
done
command -v "$sgatlin" >/dev/null || fail "$sgatlin is no program; run make first"
folder=$1 test=$2
shift 2
mkdir -p "$folder"

run() {
    show "$@"
    "$sgatlin" "$@"
}

# A run that ended has its model's weights; one that did not goes on.
trained() {
    local at=$folder/$1
    shift
    [ -e "$at/model.safetensors" ] && return
    if [ -e "$at/run.json" ]; then
        run train --resume "$at"
    else
        run train --data "$folder/data" --out "$at" --batch-size 8 --eval-sequences 128 "$@"
    fi
}

tuned() {
    local at=$1 from=$2 count=$3
    shift 3
    trained "$at" --init "$folder/$from" --steps "$count" --lr 1e-3 --warmup-steps 50 "$@"
}

# made NAME FROM OPTION...: a sparse version.
made() {
    local at=$folder/$1 from=$folder/$2
    shift 2
    [ -e "$at/model.safetensors" ] && [ ! -e "$at/.sparsify" ] && return
    run sparsify "$from" --data "$folder/data" --out "$at" "$@"
}

if [ ! -e "$folder/data/data.json" ]; then
    rm -rf "$folder/data" "$folder/tokenizer"
    run data tokenizer --vocab-size 2048 --out "$folder/tokenizer" "$@"
    run data pack --tokenizer "$folder/tokenizer" --seq-len 256 --mode concat --val-fraction 0.02 \
        --out "$folder/data" "$@"
fi

trained relu --seq-len 256 --ffn mlp --ffn-activation relu --hidden-size "$width" --head-dim 32 \
    --num-attention-heads $((width / 32)) --num-hidden-layers "$layers" \
    --ffn-intermediate-size $((times * width)) --steps "$steps" --lr 3e-3 --warmup-steps 100
half=$((tune / 2))
tuned plain relu "$tune"
tuned l1 relu "$tune" --sparsity-term l1 --sparsity-weight "$l1" --sparsity-ramp warmup
tuned hoyer relu "$tune" --sparsity-term hoyer --sparsity-weight "$hoyer" --sparsity-ramp warmup
made lte-blocks relu --router sigmoid --active 1 --select threshold --threshold 0.5
tuned lte-soft lte-blocks "$half" --lte-stage 1 --lte-efficiency "$lte"
tuned lte lte-soft $((tune - half)) --lte-stage 2

made moefication plain --method moefication
made moefication-l1 l1 --method moefication
made dsti l1 --method dsti --block-size 8
made dsti-hoyer hoyer --method dsti --block-size 8
made similarity plain --method similarity
made random plain --method similarity --split random --router random

shares=0.05,0.1,0.2,0.3,0.5,0.75,1
thresholds=0.02,0.1,0.3,0.5,0.7,0.9
curve() {
    local name=$1
    shift
    [ -e "$folder/$name.csv" ] && return
    run curve "${@/#/$folder/}" --text "$test" --max-tokens "$tokens" --active "$shares" \
        --thresholds "$thresholds" --csv "$folder/$name.csv" --svg "$folder/$name.svg" --force
}
curve methods plain moefication moefication-l1 dsti dsti-hoyer lte similarity random
