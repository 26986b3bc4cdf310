#!/usr/bin/env bash
# Block size and selection of sparse feed-forward memories at equal FLOPs: trains the dense model and
# every method with several block sizes on one text, and writes a table of their perplexities.
set -euo pipefail
shopt -s inherit_errexit
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

help() {
    cat <<'HELP'
tools/sparse_memory.sh - perplexity against block size, for sparse memories at equal FLOPs

Usage: tools/sparse_memory.sh [options] FOLDER [-- TRAIN_OPTION...]

Prepares data from a text, trains the dense model and each sparse family at each block size g with the
same published FLOPs, evaluates them, and writes FOLDER/sparse_memory.md. Every second layer is sparse.
Stop it at any time: the same command goes on, and what is finished is not repeated. More families,
block sizes and seeds may be asked for later; what else is chosen stays with the folder.
TRAIN_OPTIONs go to every `sgatlin train`.

Experiment:
  --families LIST      of mlp glu moe peer sgatlin vanillam lorkm pkm pkm_ffn memory_plus omnimoe
                       switch randhash avgk
                       (default: all but glu, memory_plus and omnimoe)
  --blocks LIST        block sizes g of vanillam, switch, randhash, avgk
                       (default: F, F/4, F/16, F/64 and 1, F being the dense layer's width)
  --seeds LIST         of weights and data order (default: 1)
  --flops X            published FLOPs of each run, forward and backward (default: 4e12)
  --memory-factor E    cells of a memory, in multiples of F (default: 8)
Model:
  --hidden-size D      (default: 128), a multiple of 64; F is 4 D, and a token reads F cells
  --layers L           (default: 4)
  --seq-len T          (default: 128)
  --batch-size B       sequences (default: 16)
  --lr X               peak learning rate (default: 2e-3)
Data:
  --text FILE          text or JSON lines, as `sgatlin data pack` takes them; may be repeated
                       (default: stories made by `sgatlin data synth`)
  --stories N          how many of those (default: 20000)
  --vocab-size V       (default: 2048)
  --val-fraction X     share of the documents kept for validation (default: 0.02)
Other:
  --report FILE        the table (default: FOLDER/sparse_memory.md)
  --sgatlin PROGRAM    (default: build/sgatlin)
  --dry-run            list the runs and what is left of them, and write the table of the finished
  --help

Method and size of a run are those of docs/MODEL.md: switch has its balance loss (0.01), and where a
token reads more than one block its scores are divided by their sum; pkm and memory_plus, which have no
second table of keys, store twice the cells; both and pkm_ffn have 4 heads of 32 cells, sub-keys of D/2
numbers and the next square number of cells; lorkm has keys of D/8 numbers; moe, peer, sgatlin and
omnimoe have the sizes of the preset "demo".

Example:
  tools/sparse_memory.sh --text stories.txt --flops 1e13 --seeds "1 2 3" study
HELP
}

fail() {
    echo "sparse_memory: $1" >&2
    exit 2
}

# ---- what is asked for --------------------------------------------------------------------------

families="mlp switch randhash avgk vanillam lorkm pkm pkm_ffn moe peer sgatlin"
blocks="" seeds=1 flops=4e12 factor=8
hidden=128 layers=4 length=128 batch=16 lr=2e-3
texts=() stories=20000 vocab=2048 val_fraction=0.02
report="" sgatlin=build/sgatlin dry_run=false folder="" train_options=()

while [ $# -gt 0 ]; do
    case $1 in
    --help) help && exit 0 ;;
    --dry-run) dry_run=true && shift && continue ;;
    --) shift && train_options=("$@") && break ;;
    --*) [ $# -ge 2 ] || fail "$1: found no value" ;;
    *)
        [ -z "$folder" ] || fail "found two folders, $folder and $1"
        folder=$1 && shift && continue
        ;;
    esac
    case $1 in
    --families) families=${2//,/ } ;;
    --blocks) blocks=${2//,/ } ;;
    --seeds) seeds=${2//,/ } ;;
    --flops) flops=$2 ;;
    --memory-factor) factor=$2 ;;
    --hidden-size) hidden=$2 ;;
    --layers) layers=$2 ;;
    --seq-len) length=$2 ;;
    --batch-size) batch=$2 ;;
    --lr) lr=$2 ;;
    --text) texts+=("$2") ;;
    --stories) stories=$2 ;;
    --vocab-size) vocab=$2 ;;
    --val-fraction) val_fraction=$2 ;;
    --report) report=$2 ;;
    --sgatlin) sgatlin=$2 ;;
    *) fail "$1: there is no such option; see --help" ;;
    esac
    shift 2
done
[ -n "$folder" ] || fail "found no folder; see --help"
for number in "$hidden" "$layers" "$factor" "$length" "$batch" $blocks $seeds; do
    [[ $number =~ ^[1-9][0-9]*$ ]] || fail "found \"$number\", expected a whole number"
done
[ "$layers" -ge 2 ] || fail "--layers: found $layers, expected 2 or more: every second one is sparse"
command -v "$sgatlin" >/dev/null || fail "--sgatlin: $sgatlin is no program; run make first"
for text in ${texts[@]+"${texts[@]}"}; do
    [ -r "$text" ] || fail "--text: $text cannot be read"
done

width=$((4 * hidden))
if [ -z "$blocks" ]; then
    for g in $width $((width / 4)) $((width / 16)) $((width / 64)) 1; do
        case " $blocks " in *" $g "*) ;; *) [ "$g" -eq 0 ] || blocks="$blocks $g" ;; esac
    done
fi
report=${report:-$folder/sparse_memory.md}

# What the runs of one folder have in common; other settings would make them incomparable.
settings() {
    echo "flops $flops"
    echo "memory factor $factor"
    echo "model $hidden wide, $layers layers, sequences of $length, batches of $batch, rate $lr"
    if [ ${#texts[@]} -eq 0 ]; then echo "text $stories stories"; else
        for text in "${texts[@]}"; do echo "text $(basename "$text"), $(wc -c <"$text") bytes"; done
    fi
    echo "vocabulary $vocab"
    echo "validation $val_fraction"
    echo "train options ${train_options[*]-}"
}

mkdir -p "$folder/runs"
if [ -e "$folder/settings.txt" ]; then
    settings | diff "$folder/settings.txt" - >"$folder/settings.diff" || {
        cat "$folder/settings.diff" >&2
        fail "$folder was begun with other settings (<) than are asked for now (>); take another folder"
    }
    rm "$folder/settings.diff"
else
    settings >"$folder/settings.txt"
fi

# ---- data ---------------------------------------------------------------------------------------

run() {
    show "$@"
    "$sgatlin" "$@"
}

prepare() {
    local input=(${texts[@]+"${texts[@]}"})
    if [ ${#input[@]} -eq 0 ]; then
        input=("$folder/stories.txt")
        if [ ! -e "${input[0]}" ]; then
            run data synth --stories "$stories" --seed 1 --out "$folder/stories.tmp" >/dev/null
            mv "$folder/stories.tmp" "${input[0]}"
        fi
    fi
    rm -rf "$folder/tokenizer" "$folder/data.tmp"
    # As the published tokenizers are: no tokens for bytes that do not occur.
    run data tokenizer --vocab-size "$vocab" --no-full-alphabet --out "$folder/tokenizer" \
        "${input[@]}" >/dev/null
    run data pack --tokenizer "$folder/tokenizer" --seq-len "$length" --val-fraction "$val_fraction" \
        --out "$folder/data.tmp" "${input[@]}" >&2
    mv "$folder/data.tmp" "$folder/data"
}

# ---- runs ---------------------------------------------------------------------------------------

# square AT_LEAST: the smallest multiple E >= AT_LEAST of F such that E F is the square of more than
# the 32 cells that a head of product keys reads.
square() {
    awk -v e="$1" -v f="$width" 'BEGIN {
        while ((n = int(sqrt(e * f) + 0.5)) * n != e * f || n <= 32) e++
        print e
    }'
}

# block_sizes FAMILY: those that it is trained with; "-" where it has none to choose.
block_sizes() {
    case $1 in
    vanillam | switch | randhash | avgk) echo "$blocks" ;;
    *) echo - ;;
    esac
}

# has_block FAMILY: the cells of one block, for the table.
has_block() {
    case $1 in
    mlp | glu | moe) echo "$width" ;;
    *) echo 1 ;;
    esac
}

# method FAMILY G: its options, a word a line.
method() {
    local memory=(--ffn-intermediate-size "$width" --ffn-layers every:2 --ffn-dense mlp)
    local cells=("${memory[@]}" --ffn-memory-factor "$factor")
    local heads=(--ffn-channels 4 --ffn-active-neurons 128 --ffn-key-size $((hidden / 2)))
    local block=(--ffn-block-size "$2")
    case $1 in
    mlp | glu) printf '%s\n' --ffn-intermediate-size "$width" ;;
    vanillam | randhash | avgk) printf '%s\n' "${cells[@]}" "${block[@]}" ;;
    switch)
        printf '%s\n' "${cells[@]}" "${block[@]}" --ffn-balance-loss 0.01
        [ "$2" -eq "$width" ] || printf '%s\n' --ffn-renormalise 1
        ;;
    lorkm) printf '%s\n' "${cells[@]}" --ffn-key-size $(((hidden + 7) / 8)) ;;
    pkm | memory_plus) printf '%s\n' "${memory[@]}" --ffn-memory-factor "$(square $((2 * factor)))" "${heads[@]}" ;;
    pkm_ffn) printf '%s\n' "${memory[@]}" --ffn-memory-factor "$(square "$factor")" "${heads[@]}" ;;
    moe) printf '%s\n' "${memory[@]}" ;;
    *) printf '%s\n' --ffn-layers every:2 --ffn-dense mlp --ffn-dense-size "$width" ;;
    esac
}

# folder_of FAMILY G SEED
folder_of() {
    local g=
    [ "$2" = - ] || g=-g$2
    echo "$folder/runs/$1$g-s$3"
}

# one FAMILY G SEED: trains and evaluates it, or what is left of that.
one() {
    local at options
    at=$(folder_of "$@")
    if [ ! -e "$at/summary.json" ]; then
        if [ -e "$at/run.json" ]; then
            run train --resume "$at" >&2
        else
            rm -rf "$at"
            mapfile -t options < <(method "$1" "$2")
            run train --preset demo --data "$folder/data" --out "$at" --ffn "$1" "${options[@]}" \
                --hidden-size "$hidden" --num-hidden-layers "$layers" --seq-len "$length" \
                --batch-size "$batch" --lr "$lr" --flops "$flops" --seed "$3" --keep-last 1 \
                ${train_options[@]+"${train_options[@]}"} >&2
        fi
    fi
    "$sgatlin" info "$at" --json >"$at/info.json"
    "$sgatlin" eval --model "$at" --data "$folder/data" --json --quiet >"$at/eval.tmp"
    mv "$at/eval.tmp" "$at/eval.json"
    rm -rf "$at/checkpoints" # the model itself is kept
}

# ---- the table ----------------------------------------------------------------------------------

# mean_of FILE NAME: mean of all members of that name; an error when there is none.
mean_of() {
    # shellcheck disable=SC2020 # three characters, one replacement each
    tr ',{}' '\n\n\n' <"$1" | sed -n "s/^[[:space:]]*\"$2\"[[:space:]]*:[[:space:]]*//p" |
        awk -v what="$1: $2" '{ sum += $1 }
            END {
                if (NR == 0) { print "sparse_memory: " what ": found none" >"/dev/stderr"; exit 1 }
                printf "%.4f\n", sum / NR
            }'
}

# usage FAMILY EVAL_FILE: share of the blocks used, and Gini; "- -" for a family without blocks.
usage() {
    case $1 in
    mlp | glu) echo "- -" ;;
    *) mean_of "$2" used && mean_of "$2" gini ;;
    esac | paste -sd ' '
}

# measured: a line a finished run, in order:
# family block seed loss flops_of_a_sequence parameters tokens seconds used gini
measured() {
    local family g seed at block line
    for family in $families; do
        for g in $(block_sizes "$family"); do
            block=$g
            [ "$g" != - ] || block=$(has_block "$family")
            for seed in $seeds; do
                at=$(folder_of "$family" "$g" "$seed")
                [ -e "$at/eval.json" ] || continue
                line="$family $block $seed"
                line+=" $(field "$at/eval.json" loss)"
                line+=" $(field "$at/info.json" forward_flops_per_sequence)"
                line+=" $(field "$at/info.json" parameters)"
                line+=" $(field "$at/summary.json" tokens)"
                line+=" $(field "$at/summary.json" seconds)"
                line+=" $(usage "$family" "$at/eval.json")"
                echo "$line"
            done
        done
    done
}

# From lines of `measured`: perplexity against g, then all that was measured; means over seeds.
table() {
    awk -v length_="$length" '
        function short(x,  i) {
            for (i = 0; x >= 999.5 && i < 5; i++) x /= 1000
            return sprintf(i == 0 ? "%d" : x < 9.995 ? "%.2f%s" : x < 99.95 ? "%.1f%s" : "%.0f%s",
                           x, i ? " " substr("kMGTP", i, 1) : "")
        }
        {
            key = $1 " " $2
            if (!(key in n)) order[++runs] = key
            if (!($1 in known)) { known[$1] = 1; family[++families] = $1 }
            if (!($2 in size)) size[$2] = 1
            n[key]++
            for (i = 4; i <= 10; i++) sum[key, i] += $i
            loss[key, n[key]] = $4
            seed[key, n[key]] = $3
            if ($9 != "-") sparse[key] = 1
            if ($1 == "mlp") dense[$3] = $4
        }
        # " ± s" for the standard deviation of the first n of value; nothing for one.
        function spread(  i, mean, squares) {
            for (i = 1; i <= count; i++) mean += value[i] / count
            for (i = 1; i <= count; i++) squares += (value[i] - mean) ^ 2
            return count > 1 ? sprintf(" ± %.4f", sqrt(squares / (count - 1))) : ""
        }
        # Losses less those of the dense model with the same seed.
        function against_dense(key,  i, sum) {
            count = 0
            for (i = 1; i <= n[key]; i++)
                if (seed[key, i] in dense) {
                    value[++count] = loss[key, i] - dense[seed[key, i]]
                    sum += value[count]
                }
            return count ? sprintf("%+.4f", sum / count) spread() : ""
        }
        END {
            for (g in size) { # insertion sort, the largest first
                for (i = ++sizes; i > 1 && column[i - 1] + 0 < g + 0; i--) column[i] = column[i - 1]
                column[i] = g
            }
            printf "| method |"
            for (i = 1; i <= sizes; i++) printf " g = %d |", column[i]
            printf "\n|---|"
            for (i = 1; i <= sizes; i++) printf "---|"
            printf "\n"
            for (f = 1; f <= families; f++) {
                printf "| %s |", family[f]
                for (i = 1; i <= sizes; i++) {
                    key = family[f] " " column[i]
                    if (key in n) printf " %.3f |", exp(sum[key, 4] / n[key])
                    else printf " |"
                }
                printf "\n"
            }
            printf "\n| method | g | perplexity | loss (nats) | less the dense loss |"
            printf " FLOPs of a token | parameters | training tokens | seconds | blocks used | Gini |\n"
            printf "|---|---|---|---|---|---|---|---|---|---|---|\n"
            for (r = 1; r <= runs; r++) {
                key = order[r]
                split(key, of, " ")
                mean = sum[key, 4] / n[key]
                for (i = 1; i <= n[key]; i++) value[i] = loss[key, i]
                count = n[key]
                printf "| %s | %d | %.3f | %.4f%s |", of[1], of[2], exp(mean), mean, spread()
                printf " %s |", of[1] == "mlp" ? "" : against_dense(key)
                printf " %s |", short(sum[key, 5] / n[key] / length_)
                printf " %s | %s |", short(sum[key, 6] / n[key]), short(sum[key, 7] / n[key])
                printf " %.0f |", sum[key, 8] / n[key]
                if (key in sparse) printf " %.3f | %.3f |\n", sum[key, 9] / n[key], sum[key, 10] / n[key]
                else printf " | |\n"
            }
        }'
}

write_report() {
    local lines seed_count=0 seed
    lines=$(measured)
    [ -n "$lines" ] || return 0
    for seed in $seeds; do seed_count=$((seed_count + 1)); done
    mkdir -p "$(dirname "$report")"
    {
        echo "$(short "$flops")FLOPs a run (published count, forward and backward), $seed_count seed(s);" \
            "model $hidden wide, $layers layers of which every second is sparse," \
            "F = $width, memories of $factor F cells, sequences of $length," \
            "batches of $batch, vocabulary $vocab," \
            "text: $(sed -n 's/^text //p' "$folder/settings.txt" | paste -sd ';')."
        echo
        echo "Validation perplexity against block size, exp of the mean loss:"
        echo
        table <<<"$lines"
        echo
        echo "FLOPs of a token: forward, published count, whole model. Blocks used, Gini: mean of the" \
            "sparse layers over the validation split; 1 and 0 are even use of everything."
        if [ "$seed_count" -gt 1 ]; then echo "±: standard deviation over seeds."; fi
    } >"$report.tmp"
    mv "$report.tmp" "$report"
}

# ---- everything ---------------------------------------------------------------------------------

if ! $dry_run && [ ! -e "$folder/data/data.json" ]; then prepare; fi
total=0 done=0
for pass in count work; do
    number=0
    for seed in $seeds; do
        for family in $families; do
            for g in $(block_sizes "$family"); do
                at=$(folder_of "$family" "$g" "$seed")
                number=$((number + 1))
                if [ $pass = count ]; then
                    total=$((total + 1))
                    if [ -e "$at/eval.json" ]; then done=$((done + 1)); fi
                elif $dry_run; then
                    state=to\ do
                    if [ -e "$at/eval.json" ]; then state=finished; elif [ -e "$at" ]; then state=begun; fi
                    printf '%-40s %s\n' "$(basename "$at")" "$state"
                elif [ ! -e "$at/eval.json" ]; then
                    printf '\n== run %d of %d: %s\n' "$number" "$total" "$(basename "$at")" >&2
                    one "$family" "$g" "$seed"
                    write_report
                fi
            done
        done
    done
done
write_report
echo "$done of $total runs were finished before; table: $report" >&2
