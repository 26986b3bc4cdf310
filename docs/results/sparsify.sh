#!/usr/bin/env bash
# The figures of docs/results/sparsify.md: a ReLU model is trained, tuned in five ways at equal
# steps, made sparse by MoEfication, DSTI and LTE, and read at many shares of its blocks; or a model
# that is there takes the place of the one that is trained.
set -euo pipefail
shopt -s inherit_errexit
# shellcheck source=tools/common.sh
. "$(dirname "$0")/../../tools/common.sh"

help() {
    cat <<'HELP'
docs/results/sparsify.sh - the figures of docs/results/sparsify.md

Usage: docs/results/sparsify.sh FOLDER TEST TEXT...
       docs/results/sparsify.sh FOLDER --model MODEL TEST TEXT...

Trains a ReLU model on the TEXTs (TinyStories: documents parted by a line <|endoftext|>), tunes it
further as it is, with L1 and with square Hoyer, and through LTE's stages, all for as many steps,
makes them sparse by MoEfication, DSTI and controls, and reads the beginning of the file TEST, which
none of them has seen, at many shares of their blocks. Writes
  FOLDER/methods.csv, .svg, .html     perplexity by FLOPs of the feed-forward layers, all methods
  FOLDER/ablations.csv                from the model tuned with L1: router, split, size and count of
                                      blocks, sparsification, one changed at a time, and controls;
                                      drawn in FOLDER/ablations/
  FOLDER/table.md                     both in numbers, also told at the end
With --model nothing is trained from the beginning: MODEL, a folder or a GGUF file, is tuned, with
ReLU in place of its smooth activation for L1 and Hoyer, and also made sparse by G-MoEfication and
CATS, which need no ReLU, and by TEAL, which is also tuned on, for as many steps again, with 42 % of
the inputs; and blocks of which 30 % are read are tuned from MODEL. There are no ablations.
Stop it at any time: the same command goes on. From outside:
  SGATLIN=build/sgatlin      the command
  SG_SPARSIFY_WIDTH=192      of the model, with heads of 32
  SG_SPARSIFY_FFN=4          its feed-forward layers are so many times as wide
  SG_SPARSIFY_LAYERS=4
  SG_SPARSIFY_STEPS=1500     of training
  SG_SPARSIFY_TUNE=600       steps of each tuning; LTE's stages have half of them each
  SG_SPARSIFY_RATE=1e-3      learning rate of tuning; 1e-4 with --model
  SG_SPARSIFY_SEQ=256        tokens of a sequence
  SG_SPARSIFY_BATCH=8        sequences of a step
  SG_SPARSIFY_COMPUTE=f32    products of training and tuning; or bf16, bf16x3
  SG_SPARSIFY_CALIBRATION=4096    tokens of the TEXTs that splits by what neurons do are made of
  SG_SPARSIFY_ROUTERS=32768  tokens of the TEXTs that routers are trained on
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
folder=$1 model=
shift
case ${1:-} in
--model)
    model=${2:-}
    [ -e "$model" ] || fail "--model: found \"$model\", expected a folder or a file"
    shift 2
    ;;
-*) fail "$1: there is no such option; see --help" ;;
esac
[ $# -ge 2 ] || fail "found no text; see --help"
here=$(cd "$(dirname "$0")/../.." && pwd)
sgatlin=${SGATLIN:-$here/build/sgatlin}
width=${SG_SPARSIFY_WIDTH:-192} times=${SG_SPARSIFY_FFN:-4} layers=${SG_SPARSIFY_LAYERS:-4}
steps=${SG_SPARSIFY_STEPS:-1500} tune=${SG_SPARSIFY_TUNE:-600} tokens=${SG_SPARSIFY_TOKENS:-8192}
calibration=${SG_SPARSIFY_CALIBRATION:-4096} routers=${SG_SPARSIFY_ROUTERS:-32768}
compute=${SG_SPARSIFY_COMPUTE:-f32}
length=${SG_SPARSIFY_SEQ:-256} batch=${SG_SPARSIFY_BATCH:-8}
l1=${SG_SPARSIFY_L1:-2e-3} hoyer=${SG_SPARSIFY_HOYER:-1e-3} lte=${SG_SPARSIFY_LTE:-1}
rate=${SG_SPARSIFY_RATE:-$([ -n "$model" ] && echo 1e-4 || echo 1e-3)}
for number in "$width" "$times" "$layers" "$steps" "$tune" "$tokens" "$calibration" "$routers" \
    "$length" "$batch"; do
    [[ $number =~ ^[1-9][0-9]*$ ]] || fail "found \"$number\", expected a whole number"
done
[ "$tune" -ge 2 ] || fail "SG_SPARSIFY_TUNE: found $tune, expected 2 or more: LTE halves them"
command -v "$sgatlin" >/dev/null || fail "$sgatlin is no program; run make first"
test=$1
shift
mkdir -p "$folder"

run() {
    show "$@"
    "$sgatlin" "$@"
}

# ---- models -------------------------------------------------------------------------------------

# A run that ended has its model's weights; one that did not goes on.
trained() {
    local at=$folder/$1
    shift
    [ -e "$at/model.safetensors" ] && return
    if [ -e "$at/run.json" ]; then
        run train --resume "$at"
    else
        run train --data "$folder/data" --out "$at" --batch-size "$batch" --eval-sequences 128 \
            --compute "$compute" "$@"
    fi
}

# warmed MOST STEPS: steps of a warm-up, at most half of all.
warmed() {
    echo $(($1 < $2 / 2 ? $1 : $2 / 2))
}

# tuned NAME FROM STEPS OPTION...
tuned() {
    local at=$1 from=$2 count=$3
    shift 3
    trained "$at" --init "$from" --steps "$count" --lr "$rate" \
        --warmup-steps "$(warmed 50 "$count")" "$@"
}

# made NAME FROM OPTION...: a sparse version; what its test says ends up in NAME.txt.
made() {
    local at=$folder/$1 from=$2
    shift 2
    [ -e "$at/model.safetensors" ] && [ ! -e "$at/.sparsify" ] && return
    run sparsify "$from" --data "$folder/data" --out "$at" --calibration-tokens "$calibration" \
        "$@" | tee "$at.txt"
}

# routed NAME FROM OPTION...: the same with routers that are trained.
routed() {
    made "$@" --router-tokens "$routers"
}

packed() {
    [ -e "$folder/data/data.json" ] && return
    rm -rf "$folder/data"
    run data pack --tokenizer "$1" --seq-len "$length" --mode concat --val-fraction 0.02 \
        --out "$folder/data" "${@:2}"
}

base=$folder/relu relufied=()
if [ -z "$model" ]; then
    if [ ! -e "$folder/data/data.json" ]; then
        rm -rf "$folder/tokenizer"
        run data tokenizer --vocab-size 2048 --out "$folder/tokenizer" "$@"
    fi
    packed "$folder/tokenizer" "$@"
    trained relu --seq-len "$length" --ffn mlp --ffn-activation relu --hidden-size "$width" \
        --head-dim 32 --num-attention-heads $((width / 32)) --num-hidden-layers "$layers" \
        --ffn-intermediate-size $((times * width)) --steps "$steps" --lr 3e-3 \
        --warmup-steps "$(warmed 100 "$steps")"
else
    base=$model relufied=(--relufy)
    if [ ! -d "$model" ]; then # its tokenizer has to lie in a folder
        base=$folder/base
        [ -e "$base" ] || run convert "$model" --to sgatlin --out "$base"
    fi
    packed "$base" "$@"
fi

half=$((tune / 2)) ramp=(--sparsity-ramp warmup)
tuned plain "$base" "$tune"
# What reads less first, then learns to.
if [ -n "$model" ]; then
    made teal "$folder/plain" --method teal --active 0.42
    tuned teal-tuned "$folder/teal" "$tune"
    routed shared-blocks "$base" --split shared --block-size 16 --router norm --active 0.3
    tuned shared-tuned "$folder/shared-blocks" "$tune"
fi
tuned l1 "$base" "$tune" "${relufied[@]}" --sparsity-term l1 --sparsity-weight "$l1" "${ramp[@]}"
tuned hoyer "$base" "$tune" "${relufied[@]}" --sparsity-term hoyer --sparsity-weight "$hoyer" \
    "${ramp[@]}"
made lte-blocks "$base" --router sigmoid --router-epochs 0 --active 1 --select threshold \
    --threshold 0.5
tuned lte-soft "$folder/lte-blocks" "$half" --lte-stage 1 --lte-efficiency "$lte"
tuned lte "$folder/lte-soft" $((tune - half)) --lte-stage 2

routed moefication "$folder/plain" --method moefication
routed moefication-l1 "$folder/l1" --method moefication
routed dsti "$folder/l1" --method dsti --block-size 8
routed dsti-hoyer "$folder/hoyer" --method dsti --block-size 8
made similarity "$folder/plain" --method similarity
made random "$folder/plain" --method similarity --split random --router random
methods=(plain moefication moefication-l1 dsti dsti-hoyer lte similarity random)
if [ -z "$model" ]; then # rows of what ReLU makes 0 are not read: nothing is lost
    made exact "$folder/plain" --method cats --active 1
    made exact-l1 "$folder/l1" --method cats --active 1
    methods+=(exact exact-l1)
fi

# ---- curves -------------------------------------------------------------------------------------

# curve NAME MODEL...: all of them beside the first; with `options`.
curve() {
    local at=$folder/$1
    shift
    [ -e "$at.csv" ] && return
    run curve "${@/#/$folder/}" --text "$test" --max-tokens "$tokens" "${options[@]}" \
        --csv "$at.csv" --svg "$at.svg" --html "$at.html" --force
}

options=(--active "0.05,0.1,0.2,0.3,0.5,0.75,1" --thresholds "0.02,0.1,0.3,0.5,0.7,0.9")
if [ -z "$model" ]; then
    curve methods "${methods[@]}"
else
    routed gmoefication "$folder/plain" --method gmoefication
    curve methods "${methods[@]}" gmoefication shared-tuned
    # Thresholds of CATS are sizes of activations, which the text says for each share: a model each.
    cats=()
    for share in 0.1 0.2 0.3 0.5 0.75; do
        made "cats-$share" "$folder/plain" --method cats --active "$share"
        cats+=("cats-$share")
    done
    options=()
    curve cats plain "${cats[@]}"
    options=(--thresholds "0.25,0.5,0.75,1,1.1,1.25") # times those that were found
    curve teal plain teal teal-tuned
fi

# ---- ablations ----------------------------------------------------------------------------------

# Of MoEfication but for size and count, which DSTI claims of its router, whose width they leave.
parts=(router split size count sparsification control)
ablations() {
    local size router
    mkdir -p "$folder/ablations"
    for router in centroid random; do
        made "router-$router" "$folder/l1" --router "$router" --active 0.2
    done
    for router in norm sigmoid; do
        routed "router-$router" "$folder/l1" --router "$router" --active 0.2
    done
    made router-representative "$folder/l1" --split shared --router representative --active 0.2
    for split in random auction coactivation shared; do
        routed "split-$split" "$folder/l1" --method moefication --split "$split"
    done
    for size in 4 8 16 64 128; do
        routed "size-$size" "$folder/l1" --router norm --active 0.2 --block-size "$size"
    done
    for count in max share; do
        routed "count-$count" "$folder/l1" --router norm --select "$count" --active 1 \
            --threshold 0.5
    done
    routed count-threshold "$folder/l1" --router sigmoid --select threshold --active 1 \
        --threshold 0.5
    routed moefication-hoyer "$folder/hoyer" --method moefication

    options=(--active "0.1,0.2,0.3,0.5")
    curve ablations/router plain moefication-l1 router-{norm,sigmoid,centroid,representative,random}
    curve ablations/split plain moefication-l1 split-{auction,coactivation,shared,random}
    curve ablations/size plain size-{4,8,16} router-norm size-{64,128}
    curve ablations/sparsification plain moefication moefication-l1 moefication-hoyer
    options=(--active "0.1,0.2,0.3,0.5" --thresholds "0.02,0.05,0.1,0.2,0.4,0.6,0.8,0.95")
    curve ablations/count plain router-norm count-max count-share router-sigmoid count-threshold
    options=(--active "0.1,0.2,0.3,0.5" --random --oracle)
    curve ablations/control plain moefication-l1
    for part in "${parts[@]}"; do
        awk -v part="$part" 'FNR > 1 { print part "," $0 } FNR == 1 && part == "router" {
            print "ablation," $0 }' "$folder/ablations/$part.csv"
    done >"$folder/ablations.csv"
}
[ -n "$model" ] || ablations

# ---- the table ----------------------------------------------------------------------------------

# table TITLE COLUMN FILE...: a row for each model of the files, in their order. A share of FLOPs
# (COLUMN: flops or layer_flops) is the least that stays within a loss, on the line between two
# points in log perplexity; a perplexity is of the line at so many FLOPs. Beyond the points of a
# curve nothing is known: "-".
table() {
    printf '\n### %s\n\n' "$1"
    awk -F, -v flops_are="$2" '
        function between(a, b, x, y, at) {
            return y[a] + (y[b] - y[a]) * (at - x[a]) / (x[b] - x[a])
        }
        function least(loss,    i, limit) {
            limit = log(plain * (1 + loss))
            if (nats[count] > limit) return "-"
            for (i = count; i > 1 && nats[i - 1] <= limit;) i--
            if (i > 1) return sprintf("%.1f %%", 100 * between(i, i - 1, nats, flops, limit))
            return sprintf("%s%.1f %%", count > 1 ? "< " : "", 100 * flops[1])
        }
        function at(share,    i) {
            for (i = 1; i < count; i++)
                if (flops[i] <= share && share <= flops[i + 1] && flops[i] < flops[i + 1])
                    return sprintf("%.2f", exp(between(i, i + 1, flops, nats, share)))
            return "-"
        }
        function row() {
            printf "| %s | %s | %s | %s | %s | %s | %s | %s | %.2f %% |\n", label, least(0.01),
                least(0.02), least(0.05), at(0.1), at(0.2), at(0.3), at(0.5), 100 * router
        }
        function add(x, y,    i) { # in ascending order of FLOPs
            for (i = ++count; i > 1 && flops[i - 1] > x; i--) {
                flops[i] = flops[i - 1]
                nats[i] = nats[i - 1]
            }
            flops[i] = x
            nats[i] = y
        }
        BEGIN {
            word["random"] = "random blocks"
            word["oracle"] = "oracle"
            word["oracle_norm"] = "oracle by norms"
            print "| model | FLOPs at 1 % loss | 2 % | 5 % | perplexity at 10 % of FLOPs | 20 % |" \
                  " 30 % | 50 % | router |"
            print "|---|---|---|---|---|---|---|---|---|"
        }
        FNR == 1 {
            for (i = 1; i <= NF; i++) column[$i] = i
            next
        }
        FNR == 2 { plain = $(column["perplexity"]) }
        {
            name = $(column["model"])
            sub(/^cats-.*/, "cats", name)
            if ($(column["control"]) != "") name = name ", " word[$(column["control"])]
            if (FNR == 2 && FILENAME != ARGV[1]) next # the same dense model
            if (!(name in seen)) order[++names] = name
            seen[name] = 1
            rows[name, ++points[name]] = $(column[flops_are]) " " log($(column["perplexity"])) " " \
                                         $(column["router"])
        }
        END {
            for (n = 1; n <= names; n++) {
                count = 0
                label = order[n]
                for (p = 1; p <= points[order[n]]; p++) {
                    split(rows[order[n], p], part, " ")
                    add(part[1] + 0, part[2] + 0)
                    router = part[3]
                }
                row()
            }
        }' "${@:3}"
}

{
    echo "FLOPs: of feed-forward layers with their routers, over those of all their blocks."
    echo "Loss: of perplexity, over plain; of $test at most $tokens tokens are read."
    table Methods flops "$folder/methods.csv" ${model:+"$folder/cats.csv"}
    [ -z "$model" ] || table "By FLOPs of attention's projections too" layer_flops \
        "$folder/"{methods,cats,teal}.csv
    [ -n "$model" ] || for part in "${parts[@]}"; do
        table "Ablation: $part" flops "$folder/ablations/$part.csv"
    done
} >"$folder/table.md"
cat "$folder/table.md"
