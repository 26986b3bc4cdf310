#!/usr/bin/env bash
# The figures of docs/results/number_formats.md: every family trained in f32, bf16x3 and bf16 from
# the same weights and data, and in f32 from other seeds, whose differences are the measure.
set -euo pipefail
shopt -s inherit_errexit
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

help() {
    cat <<'HELP'
tools/number_formats.sh - training in f32, bf16x3 and bf16 from the same weights and data

Usage: tools/number_formats.sh FOLDER [FAMILY...]

Makes stories, trains each family (all, or those named) for 300 steps in f32 with three seeds, in
bf16x3 and in bf16 with the first of them, and writes
  FOLDER/number_formats.md    final losses, their differences, the noise of seeds
  FOLDER/number_formats.svg   the curves
  FOLDER/number_formats.csv   every point of them
What is there is not made again: the same command goes on after it was stopped. Some minutes on two
quiet cores. From outside:
  SGATLIN=build/sgatlin         the command
  SG_FORMATS_STEPS=300          of each run
  SG_FORMATS_SEEDS="1 2 3"      of f32; the other kinds have the first
  SG_FORMATS_JOBS=N             runs at once, one thread each (default: all cores)
HELP
}

fail() {
    echo "number_formats: $1" >&2
    exit 2
}

case ${1:---help} in
--help) help && exit 0 ;;
-*) fail "$1: there is no such option; see --help" ;;
esac
folder=$1
shift
sgatlin=${SGATLIN:-build/sgatlin}
steps=${SG_FORMATS_STEPS:-300}
read -ra seeds <<<"${SG_FORMATS_SEEDS:-1 2 3}"
jobs=${SG_FORMATS_JOBS:-$(nproc 2>/dev/null || echo 2)}
known="mlp glu moe peer sgatlin switch randhash avgk vanillam lorkm pkm pkm_ffn memory_plus"
known+=" omnimoe"
families=${*:-$known}

for family in $families; do
    [[ " $known " == *" $family "* ]] || fail "found \"$family\", expected one of $known"
done
for number in "$steps" "$jobs" "${seeds[@]}"; do
    [[ $number =~ ^[1-9][0-9]*$ ]] || fail "found \"$number\", expected a whole number"
done
[ "${#seeds[@]}" -ge 2 ] || fail "found one seed, expected two or more: they are the measure"
command -v "$sgatlin" >/dev/null || fail "$sgatlin is no program; run make first"

# What all runs have in common: two layers, all sparse, F = 4 d.
model=(--preset demo --hidden-size 64 --num-hidden-layers 2 --seq-len 64 --batch-size 4 --lr 4e-3)

# sizes FAMILY: its own options, a word a line.
sizes() {
    local cells=(--ffn-intermediate-size 256 --ffn-memory-factor 4)
    local keys=(--ffn-intermediate-size 256 --ffn-memory-factor 16 --ffn-channels 2
        --ffn-active-neurons 32 --ffn-key-size 32)
    case $1 in
    mlp | glu) printf '%s\n' --ffn-intermediate-size 256 ;;
    moe) printf '%s\n' --ffn-intermediate-size 128 --ffn-experts 8 --ffn-top-k 2 ;;
    peer) printf '%s\n' --ffn-neurons 1024 ;;
    sgatlin) printf '%s\n' --ffn-channels 4 --ffn-neurons 1024 ;;
    switch)
        printf '%s\n' "${cells[@]}" --ffn-block-size 64 --ffn-balance-loss 0.01 \
            --ffn-renormalise 1
        ;;
    randhash | avgk | vanillam) printf '%s\n' "${cells[@]}" --ffn-block-size 32 ;;
    lorkm) printf '%s\n' "${cells[@]}" --ffn-key-size 16 ;;
    pkm | pkm_ffn | memory_plus) printf '%s\n' "${keys[@]}" ;;
    omnimoe) ;;
    esac
}

# products KIND: its options. Logits are f32 under bf16, as published.
products() {
    case $1 in
    bf16x3) printf '%s\n' --compute bf16x3 --logits-compute bf16x3 ;;
    bf16) printf '%s\n' --compute bf16 ;;
    esac
}

# ---- runs ---------------------------------------------------------------------------------------

prepare() {
    [ ! -e "$folder/data/data.json" ] || return 0
    mkdir -p "$folder"
    rm -rf "$folder"/{stories.txt,tokenizer,data,data.part}
    "$sgatlin" data synth --stories 6000 --seed 1 --out "$folder/stories.txt" --quiet >/dev/null
    "$sgatlin" data tokenizer --vocab-size 512 --no-full-alphabet --out "$folder/tokenizer" \
        --quiet "$folder/stories.txt" >/dev/null
    "$sgatlin" data pack --tokenizer "$folder/tokenizer" --seq-len 64 --mode concat \
        --val-fraction 0.02 --out "$folder/data.part" --quiet "$folder/stories.txt" >/dev/null
    mv "$folder/data.part" "$folder/data"
}

# run_of FAMILY KIND SEED: its folder.
run_of() { echo "$folder/runs/$1-$2-$3"; }

# one FAMILY KIND SEED
one() {
    local at own kind
    at=$(run_of "$@")
    mapfile -t own < <(sizes "$1")
    mapfile -t kind < <(products "$2")
    rm -rf "$at"
    mkdir -p "$folder/runs"
    echo "$1, $2, seed $3" >&2
    rm -f "$at.failed"
    "$sgatlin" train "${model[@]}" --data "$folder/data" --out "$at" --ffn "$1" \
        ${own[@]+"${own[@]}"} ${kind[@]+"${kind[@]}"} --steps "$steps" --seed "$3" --threads 1 \
        --checkpoint-minutes 0 --keep-last 1 --quiet >/dev/null 2>"$at.log" || {
        echo "$1, $2, seed $3: $(tail -n 1 "$at.log")" | tee "$at.failed" >&2
    }
}

# all_runs: FAMILY KIND SEED, a line each.
all_runs() {
    local family seed
    for family in $families; do
        for seed in "${seeds[@]}"; do echo "$family f32 $seed"; done
        echo "$family bf16x3 ${seeds[0]}"
        echo "$family bf16 ${seeds[0]}"
    done
}

prepare
while read -r family kind seed; do
    [ ! -e "$(run_of "$family" "$kind" "$seed")/summary.json" ] || continue
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
    one "$family" "$kind" "$seed" &
done < <(all_runs)
wait

# A family with a run that failed is not in the table: what failed is said below it.
whole=""
for family in $families; do
    ends=$(all_runs | grep -c "^$family ")
    [ "$(find "$folder/runs" -path "*/$family-*-*/summary.json" | wc -l)" -lt "$ends" ] ||
        whole="$whole $family"
done
[ -n "$whole" ] || fail "no family has all its runs"
families=$whole

# ---- points -------------------------------------------------------------------------------------

# losses RUN: step and training loss, a line each.
losses() {
    sed -n 's/^{"step": *\([0-9]*\), *"loss": *\([-0-9.e+]*\).*/\1 \2/p' "$1/metrics.jsonl"
}

# curves FAMILY: step, then f32 of each seed, bf16x3, bf16, a line a step.
curves() {
    local seed runs=()
    for seed in "${seeds[@]}"; do runs+=("$(run_of "$1" f32 "$seed")"); done
    runs+=("$(run_of "$1" bf16x3 "${seeds[0]}")" "$(run_of "$1" bf16 "${seeds[0]}")")
    for run in "${runs[@]}"; do losses "$run" | sed "s|^|$run |"; done |
        awk -v runs="${runs[*]}" -v steps="$steps" '
            { loss[$1, $2] = $3 }
            END {
                count = split(runs, run, " ")
                for (s = 1; s <= steps; s++) {
                    line = s
                    for (i = 1; i <= count; i++) {
                        if (!((run[i], s) in loss)) {
                            print "number_formats: " run[i] ": no loss of step " s >"/dev/stderr"
                            exit 1
                        }
                        line = line " " loss[run[i], s]
                    }
                    print line
                }
            }'
}

{
    printf 'family,step'
    printf ',f32 seed %s' "${seeds[@]}"
    printf ',bf16x3,bf16\n'
    for family in $families; do
        curves "$family" | awk -v f="$family" '
            { printf "%s,%d", f, $1; for (i = 2; i <= NF; i++) printf ",%.6f", $i; print "" }'
    done
} >"$folder/number_formats.csv"

# ---- the table ----------------------------------------------------------------------------------

# A family's line: validation losses, differences, noise.
table() {
    local family seed
    printf '| family | f32, seed %s | other seeds | noise |' "${seeds[0]}"
    echo " bf16x3 - f32 | bf16 - f32 | of noise | curve, bf16x3 | curve, bf16 | curve, seeds |"
    echo "|---|---|---|---|---|---|---|---|---|---|"
    for family in $families; do
        {
            for seed in "${seeds[@]}"; do
                field "$(run_of "$family" f32 "$seed")/summary.json" val_loss
            done
            field "$(run_of "$family" bf16x3 "${seeds[0]}")/summary.json" val_loss
            field "$(run_of "$family" bf16 "${seeds[0]}")/summary.json" val_loss
            grep "^$family," "$folder/number_formats.csv"
        } | awk -F , -v family="$family" -v seeds=${#seeds[@]} '
            function away(a, b) { return a > b ? a - b : b - a }
            NR <= seeds + 2 { value[NR] = $1; next }
            { # a step: family, step, f32 of each seed, bf16x3, bf16
                f32 = $3
                x3 = away($(3 + seeds), f32); if (x3 > far_x3) far_x3 = x3
                b = away($(4 + seeds), f32); if (b > far_b) far_b = b
                for (i = 1; i < seeds; i++) {
                    s = away($(3 + i), f32)
                    if (s > far_s) far_s = s
                }
            }
            END {
                for (i = 1; i <= seeds; i++) mean += value[i] / seeds
                for (i = 1; i <= seeds; i++) squares += (value[i] - mean) ^ 2
                noise = sqrt(squares / (seeds - 1))
                printf "| %s | %.4f |", family, value[1]
                for (i = 2; i <= seeds; i++) printf " %.4f%s", value[i], i < seeds ? "," : " |"
                x3 = value[seeds + 1] - value[1]
                b = value[seeds + 2] - value[1]
                printf " %.4f | %+.5f | %+.5f | %.1f | %.5f | %.3f | %.3f |\n", noise, x3, b,
                       (noise > 0 ? away(b, 0) / noise : 0), far_x3, far_b, far_s
            }'
    done
}

units=$(bf16_units)
{
    "$sgatlin" version --json >"$folder/version.json"
    cat <<WORDS
# Training in f32, bf16x3 and bf16

Does a model learn the same when its products are computed in bf16? Every family, a small model (2
layers, d = 64, about 100 to 600 thousand parameters), $steps steps of 256 tokens: from the same
weights and on the same data in f32, bf16x3 (logits too) and bf16 (logits in f32, as published); and
in f32 from other seeds, which are the measure. Made, and to be repeated, by

    tools/number_formats.sh study

Losses are of the validation split at the end, the same for all; noise is the standard deviation of
f32 over its seeds, "of noise" the difference of bf16 in units of it. "curve": the largest distance
of training losses from f32 of seed ${seeds[0]}, of all steps; the goal of bf16x3 is 0.001. Other
seeds have other weights and other batches. All points are in number_formats.csv.

![Losses of every family, and how far they are from f32](number_formats.svg)

WORDS
    echo "$(processor), bf16 units: ${units:-none}; products by" \
        "$(sed -n 's/.*"products": "\(.*\)".*/\1/p' "$folder/version.json"); $steps steps."
    if [ -z "$units" ]; then
        echo "No bf16 units: bf16 is computed of rounded operands in f32," \
            "bf16x3 is the f32 product."
    elif [[ $units != *AMX* ]]; then
        echo "No AMX: bf16x3 is the f32 product."
    fi
    echo
    table
    if compgen -G "$folder/runs/*.failed" >/dev/null; then
        printf '\nFailed:\n\n'
        sed 's/^/* /' "$folder"/runs/*.failed
    fi
} >"$folder/number_formats.md"

# ---- the picture --------------------------------------------------------------------------------

# Four panels a row. In each the loss, and below it, from 1e-6 to 1, how far it is from f32 of the
# first seed: grey for other seeds, blue for bf16x3, orange for bf16; no difference is drawn as
# 1e-6. A point is the mean of a few steps.
awk -F , -v seeds=${#seeds[@]} -v steps="$steps" '
    function x_of(s) { return left + s / steps * wide }
    function away(a, b) { return a > b ? a - b : b - a }
    # path(column, base): the curve of that column of panel f, or how far it is from the column
    # base.
    function path(column, base, top, high, low_value, high_value,  s, i, d, n, sum, v) {
        d = ""
        for (s = 0; s < steps; s += group) {
            sum = n = 0
            for (i = s + 1; i <= s + group && i <= steps; i++) {
                v = point[f, i, column]
                sum += base ? away(v, point[f, i, base]) : v
                n++
            }
            v = sum / n
            if (base) v = v > 1e-6 ? log(v) / log(10) : -6
            if (v > high_value) v = high_value
            v = top + high * (1 - (v - low_value) / (high_value - low_value))
            d = d (s ? " " : "M") sprintf("%.1f,%.1f", x_of(s + n / 2), v)
        }
        return d
    }
    function line(d, colour, width, more) {
        printf "<path d=\"%s\" fill=\"none\" stroke=\"%s\" ", d, colour
        printf "stroke-width=\"%s\"%s/>\n", width, more
    }
    function text(x, y, anchor, words) {
        printf "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, words
    }
    function box(y, high) {
        printf "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" ", left, y, wide, high
        print "fill=\"none\" stroke=\"#ddd\"/>"
    }
    NR > 1 {
        if (!($1 in number)) { number[$1] = ++panels; name[panels] = $1 }
        for (i = 3; i <= NF; i++) point[$1, $2, i] = $i
    }
    END {
        group = int((steps + 74) / 75)
        wide = 190; tall = 95; flat = 60; cell_x = 245; cell_y = 215
        across = panels < 4 ? panels : 4
        rows = int((panels + across - 1) / across)
        width = across * cell_x + 10; if (width < 520) width = 520
        height = rows * cell_y + 30
        printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" ", width, height
        printf "width=\"%d\" height=\"%d\" ", width, height
        print "font-family=\"sans-serif\" font-size=\"10\" fill=\"#333\">"
        printf "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", width, height
        split("#222 #b8b8b8 #1f77b4 #e6761a", colour, " ")
        split("f32|f32, other seeds|bf16x3|bf16", said, "|")
        for (i = 1; i <= 4; i++) {
            x = 40 + (i - 1) * 115
            printf "<path d=\"M%d,14h18\" stroke=\"%s\" stroke-width=\"2\"/>\n", x, colour[i]
            text(x + 23, 18, "start", said[i])
        }
        first_x3 = 3 + seeds; first_b = 4 + seeds; dashes = " stroke-dasharray=\"5 4\""
        for (p = 1; p <= panels; p++) {
            f = name[p]
            left = ((p - 1) % across) * cell_x + 45
            top = int((p - 1) / across) * cell_y + 45
            low = high = point[f, steps, 3]
            for (s = 1; s <= steps; s++)
                for (i = 3; i <= first_b; i++) {
                    v = point[f, s, i]
                    if (v < low) low = v
                    if (v > high) high = v
                }
            if (high == low) high = low + 1
            below = top + tall + 15
            box(top, tall)
            box(below, flat)
            printf "<g font-size=\"12\" font-weight=\"bold\">"
            text(left, top - 5, "start", f)
            print "</g>"
            text(left - 4, top + 8, "end", sprintf("%.2f", high))
            text(left - 4, top + tall, "end", sprintf("%.2f", low))
            text(left - 4, below + 8, "end", "1")
            text(left - 4, below + flat / 2 + 4, "end", "0.001")
            text(left - 4, below + flat, "end", "1e-6")
            text(left + wide, below + flat + 11, "end", steps " steps")
            for (i = 4; i < 3 + seeds; i++) {
                line(path(i, 0, top, tall, low, high), colour[2], 1, "")
                line(path(i, 3, below, flat, -6, 0), colour[2], 1, "")
            }
            line(path(3, 0, top, tall, low, high), colour[1], 2.5, "")
            printf "<path d=\"M%d,%.1fh%d\" stroke=\"#ddd\"/>\n", left, below + flat / 2, wide
            line(path(first_x3, 0, top, tall, low, high), colour[3], 1.5, dashes)
            line(path(first_b, 0, top, tall, low, high), colour[4], 1, "")
            line(path(first_b, 3, below, flat, -6, 0), colour[4], 1, "")
            line(path(first_x3, 3, below, flat, -6, 0), colour[3], 1.5, "")
        }
        print "</svg>"
    }' "$folder/number_formats.csv" >"$folder/number_formats.svg"

cat "$folder/number_formats.md"
