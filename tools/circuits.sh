#!/usr/bin/env bash
# The figures of docs/results/circuits.md: trains the models, records, maps, patches and traces
# them, and keeps what each command prints.
set -euo pipefail
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

help() {
    cat <<'HELP'
tools/circuits.sh - the figures of docs/results/circuits.md

Usage: tools/circuits.sh FOLDER PART [TEXT...]

PART is one of
  tinystories TEXT...   train tinystories-sgatlin on the stories in these files (an hour alone on two
                        cores, and more), then everything the paper shows of such a model
  people                make a thousand facts about people, train sgatlin, PEER, MLP and Avg-K at equal
                        published FLOPs, then the same of them (half an hour)

What is there is not made again: the same command goes on after it was stopped. SGATLIN=build/sgatlin
is the command that is used; settings are at the top of the script.
HELP
}

sgatlin=${SGATLIN:-build/sgatlin}
steps=${SG_CIRCUITS_STEPS:-1500}      # of the model of TinyStories
flops=${SG_CIRCUITS_FLOPS:-1.1e13}    # of each model of people
facts=$(dirname "$0")/../docs/results/tinystories_facts.json
sentence="Once upon a time, there was a big dog named Max. Max had a red collar that he wore every day"

# keep NAME COMMAND…: what a command prints, in FOLDER/NAME, once.
keep() {
    local name=$1
    shift
    [ -s "$folder/$name" ] && return
    show "$@"
    "$sgatlin" "$@" >"$folder/$name.part"
    mv "$folder/$name.part" "$folder/$name"
}

# once PATH COMMAND…: a command that makes PATH, unless it is there.
once() {
    local path=$1
    shift
    [ -e "$path" ] && return
    show "$@"
    "$sgatlin" "$@"
}

# trained RUN OPTION…: a run, or the rest of one.
trained() {
    local run=$1
    shift
    [ -e "$run/model.safetensors" ] && return
    if [ -d "$run/checkpoints" ]; then
        show train --resume "$run"
        "$sgatlin" train --resume "$run"
    else
        show train --out "$run" "$@"
        "$sgatlin" train --out "$run" "$@"
    fi
}

tinystories() {
    local t=$folder/tinystories
    [ $# -gt 0 ] || { echo "circuits.sh: found no TEXT" >&2; exit 2; }
    mkdir -p "$t"
    once "$t/tok" data tokenizer --vocab-size 8192 --no-full-alphabet --out "$t/tok" "$@"
    once "$t/data" data pack --tokenizer "$t/tok" --seq-len 512 --mode concat --val-fraction 0.015 \
        --out "$t/data" "$@"
    trained "$t/run" --preset tinystories-sgatlin --data "$t/data" --steps "$steps" --batch-size 16 \
        --lr 1e-3 --schedule cosine --eval-every 100 --seed 1
    # The same shape with fresh weights: what looking finds where nothing was learnt.
    trained "$t/untrained" --preset tinystories-sgatlin --data "$t/data" --steps 1 --batch-size 1 \
        --lr 1e-30 --seed 1
    for model in run untrained; do
        once "$t/$model.db" probe record --model "$t/$model" --data "$t/data" --channels 0 \
            --tokens 34304 --out "$t/$model.db"
        keep "tinystories/$model-usage.txt" probe usage "$t/$model.db"
        keep "tinystories/$model-neighbours.txt" probe neighbours "$t/$model.db" --layer 2 \
            --text "$sentence" --model "$t/$model" --count 10
        for layer in 0 1 2 3; do
            keep "tinystories/$model-map-$layer.txt" probe map "$t/$model.db" --layer $layer \
                --tokens-top 100 --out "$t/$model-map-$layer.svg" --force
        done
        keep "tinystories/$model-cka.txt" probe cka "$t/$model.db" --model "$t/$model" \
            --tokens-top 100 --first-only
        keep "tinystories/$model-patch.txt" probe patch "$facts" --model "$t/$model"
    done
    keep tinystories/patch-known.txt probe patch "$facts" --model "$t/run" --known
    keep tinystories/circuit.txt probe circuit "$facts" --model "$t/run" || true # knows too few
    keep tinystories/trace.txt probe trace --model "$t/run" --prompt "The lake was" --answer " big"
    keep tinystories/ablate.txt probe ablate --model "$t/run" --data "$t/data"
}

people() {
    local p=$folder/people
    mkdir -p "$p"
    once "$p/lives.txt" data synth --people 125 --tellings 400 --seed 1 --out "$p/lives.txt" \
        --facts "$p/facts.json"
    once "$p/tok" data tokenizer --vocab-size 1536 --no-full-alphabet --out "$p/tok" "$p/lives.txt"
    once "$p/data" data pack --tokenizer "$p/tok" --seq-len 256 --mode concat --val-fraction 0.02 \
        --out "$p/data" "$p/lives.txt"
    for family in sgatlin mlp peer avgk; do
        trained "$p/$family" --preset demo --ffn $family --data "$p/data" --flops "$flops" --seed 1
        # The published measure, by facts; and every neuron's usage where there is a choice.
        keep "people/$family-patch.txt" probe patch "$p/facts.json" --model "$p/$family" --pairs 400 \
            --layers all+each --bootstrap 2000 --permutations 2000
        [ $family = mlp ] ||
            keep "people/$family-usage.txt" probe usage --model "$p/$family" --data "$p/data"
        # Of a model that knows no pair there is no circuit, and Avg-K's experts have no gates of
        # single neurons: the message says so.
        keep "people/$family-circuit.txt" probe circuit "$p/facts.json" --model "$p/$family" \
            --pairs 16 || true
    done
    keep people/trace.txt probe trace --model "$p/sgatlin" --prompt "$(first_prompt "$p/facts.json")"
}

# first_prompt FILE: "NAME was born in", of the first person whose birthplace is told.
first_prompt() {
    sed -n '/"relation": "birthplace"/{s/.*"subject": "\([^"]*\)".*/\1 was born in/p;q}' "$1"
}

[ $# -ge 2 ] || { help; exit 2; }
folder=$1
part=$2
shift 2
case $part in
tinystories) tinystories "$@" ;;
people) people ;;
*) help; exit 2 ;;
esac
