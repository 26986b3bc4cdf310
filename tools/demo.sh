#!/usr/bin/env bash
# make demo: from nothing to a trained sgatlin language model and its dense rival, at equal published
# FLOPs, and a table of what came of it. Everything it makes is in demo/.
#
#     tools/demo.sh build/sgatlin
#
# The numbers below are made for two cores and six minutes in all. Each can be set from outside:
#     SG_DEMO_FLOPS=2e13 make demo
set -euo pipefail
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

sgatlin=${1:-build/sgatlin}
folder=${SG_DEMO_FOLDER:-demo}
stories=${SG_DEMO_STORIES:-20000}
vocabulary=${SG_DEMO_VOCAB:-1024}
length=${SG_DEMO_SEQ_LEN:-256}
flops=${SG_DEMO_FLOPS:-4e12}
seed=${SG_DEMO_SEED:-1}
families=(sgatlin mlp)
prompts=("Once upon a time" "One day" "The")

begun=$SECONDS
say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }
[ -t 2 ] || say() { printf '\n== %s\n' "$*" >&2; }

# run COMMAND…: shows what is typed, then does it.
run() {
    show "$@"
    "$sgatlin" "$@"
}

mkdir -p "$folder"
rm -rf "$folder"/{stories.txt,facts.json,tokenizer,data} "${families[@]/#/$folder/}"

say "1. Write stories with facts in them, learn a vocabulary, cut the stories into sequences"
run data synth --stories "$stories" --seed "$seed" --out "$folder/stories.txt" \
    --facts "$folder/facts.json"
# The stories are plain English: tokens for bytes that never come would only take the place of words.
run data tokenizer --vocab-size "$vocabulary" --no-full-alphabet --out "$folder/tokenizer" \
    "$folder/stories.txt"
run data pack --tokenizer "$folder/tokenizer" --seq-len "$length" --mode concat \
    --val-fraction 0.02 --out "$folder/data" "$folder/stories.txt"

number=2
for family in "${families[@]}"; do
    say "$number. Train a language model with $family feed-forward layers on $(short "$flops")FLOP"
    run train --preset demo --ffn "$family" --data "$folder/data" --out "$folder/$family" \
        --flops "$flops" --seed "$seed"
    number=$((number + 1))
done

say "$number. Compare them on stories that neither has seen"
for family in "${families[@]}"; do
    run info "$folder/$family" --json >"$folder/$family/info.json"
    run eval --model "$folder/$family" --data "$folder/data" --split val --json \
        >"$folder/$family/eval.json"
done

# row NAME UNIT FILE FIELD: a line of the table; UNIT short or a printf format.
row() {
    local family value
    printf '%-34s' "$1"
    for family in "${families[@]}"; do
        value=$(field "$folder/$family/$3" "$4")
        # shellcheck disable=SC2059 # the format is ours
        if [ "$2" = short ]; then value=$(short "$value"); else value=$(printf "$2" "$value"); fi
        printf '%14s' "$value"
    done
    printf '\n'
}

echo
{
    printf '%-34s' ""
    printf '%14s' "${families[@]}"
    printf '\n'
    row "parameters" short info.json parameters
    row "active parameters per token" short info.json active_parameters_per_token
    row "feed-forward neurons" short info.json ffn_neurons
    row "  of these active per token" short info.json ffn_active_neurons_per_token
    row "forward FLOPs per sequence" short info.json forward_flops_per_sequence
    row "training FLOPs" short summary.json flops
    row "training tokens" short summary.json tokens
    row "training seconds" %.0f summary.json seconds
    printf '%-34s' "tokens per second"
    for family in "${families[@]}"; do
        tokens=$(field "$folder/$family/summary.json" tokens)
        printf '%14s' "$(short "$(awk -v n="$tokens" \
            -v s="$(field "$folder/$family/summary.json" seconds)" 'BEGIN { print n / s }')")"
    done
    printf '\n'
    row "validation perplexity" %.3f eval.json perplexity
} | tee "$folder/table.txt"

first=$(field "$folder/${families[0]}/eval.json" perplexity)
second=$(field "$folder/${families[1]}/eval.json" perplexity)
echo
awk -v a="$first" -v b="$second" -v A="${families[0]}" -v B="${families[1]}" 'BEGIN {
    if (a < b) printf "At equal FLOPs %s has the lower perplexity: %.3f against %.3f.\n", A, a, b
    else printf "At equal FLOPs %s has NOT the lower perplexity here: %.3f against %.3f.\n", A, a, b
}'

say "$((number + 1)). Let ${families[0]} go on with a story"
for prompt in "${prompts[@]}"; do
    echo
    run generate --model "$folder/${families[0]}" --prompt "$prompt" --max-tokens 60 \
        --temperature 0.8 --top-k 40 --seed "$seed"
done

cat <<NEXT

Done in $((SECONDS - begun)) s; everything is in $folder/. To go on:

  $sgatlin generate --model $folder/sgatlin --prompt "The old" --max-tokens 100 --seed 7
  $sgatlin info $folder/sgatlin
  $sgatlin train --preset demo --ffn peer --data $folder/data --out $folder/peer --flops $flops
  $sgatlin train --help        every setting
  SG_DEMO_FLOPS=2e13 make demo      the same comparison, trained longer

Your own text in place of the stories: data tokenizer and data pack take any .txt or .jsonl file.
NEXT
