#!/usr/bin/env bash
# make demo: from nothing to a trained sgatlin language model and its dense rival, at equal
# published FLOPs, and a table of what came of it. Everything it makes is in demo/.
#
#     tools/demo.sh build/sgatlin
#
# The numbers below are made for two cores and two minutes in all. Each can be set from outside:
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
rm -rf "$folder"/{stories.txt,facts.json,tokenizer,data,scope.html} "${families[@]/#/$folder/}"

say "1. Write stories with facts in them, learn a vocabulary, cut the stories into sequences"
run data synth --stories "$stories" --seed "$seed" --out "$folder/stories.txt" \
    --facts "$folder/facts.json"
# The stories are plain English: tokens for bytes that never come would only take the place of
# words.
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
run compare "${families[@]/#/$folder/}" --svg "$folder/loss.svg" | tee "$folder/table.txt"

say "$((number + 1)). Let ${families[0]} go on with a story"
for prompt in "${prompts[@]}"; do
    echo
    run generate --model "$folder/${families[0]}" --prompt "$prompt" --max-tokens 60 \
        --temperature 0.8 --top-k 40 --seed "$seed"
done

say "$((number + 2)). Look inside it, beside a model of the same shape that has learnt nothing"
run scope --model "$folder/${families[0]}" --data "$folder/data" --facts "$folder/facts.json" \
    --prompt "The lake was" --beside untrained --out "$folder/scope.html" --seed "$seed"

cat <<NEXT

Open $folder/scope.html in a browser: what each neuron reads, writes and fires for, a map of the
gates, what patching them does, and what an answer is made of. It is one file and asks no host.

Done in $((SECONDS - begun)) s; everything is in $folder/. To go on:

  $sgatlin generate --model $folder/sgatlin --prompt "The old" --max-tokens 100 --seed 7
  $sgatlin info $folder/sgatlin
  $sgatlin probe trace --model $folder/sgatlin --prompt "The lake was"
  $sgatlin compare $folder/sgatlin $folder/mlp --x seconds --svg loss.svg      the same, as a picture: $folder/loss.svg
  $sgatlin train --preset demo --ffn peer --data $folder/data --out $folder/peer --flops $flops
  $sgatlin train --help        every setting
  SG_DEMO_FLOPS=2e13 make demo      the same comparison, trained longer

Your own text in place of the stories: data tokenizer and data pack take any .txt or .jsonl file.
NEXT
