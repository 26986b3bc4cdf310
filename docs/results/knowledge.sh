#!/usr/bin/env bash
# The figures of docs/results/knowledge.md: a world of people, the sweep of
# sweeps/laptop-knowledge.json on it, and what its models know.
set -euo pipefail
shopt -s inherit_errexit
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=tools/common.sh
. "$root/tools/common.sh"

help() {
    cat <<'HELP'
docs/results/knowledge.sh - facts recalled and bits learned at equal FLOPs, by stored neurons

Usage: docs/results/knowledge.sh FOLDER [SWEEP_OPTION...]

Makes a world of 500 people (4,000 facts) in FOLDER, trains the models of the sweep on it, asks each
for all facts, and writes
  FOLDER/knowledge.csv         every run, as `sgatlin sweep import` reads it
  FOLDER/knowledge_table.md    a row a model, the mean of its seeds
Stop it at any time: the same command goes on. About an hour of two quiet cores with --jobs 2.
SWEEP_OPTIONs go to `sgatlin sweep`, --dry-run among them, which makes data and a plan alone. With a
FOLDER/sweep that `sgatlin sweep import` made only what is missing is trained. From outside:
  SGATLIN=build/sgatlin                       the command
  SG_KNOWLEDGE_SWEEP=sweeps/laptop-knowledge.json
  SG_KNOWLEDGE_PEOPLE=500                     another world is another question
  SG_KNOWLEDGE_TELLINGS=100                   of each person; a run may read each once
HELP
}

fail() {
    echo "knowledge: $1" >&2
    exit 2
}

# run ARGUMENT…: the command, and what is typed.
run() {
    show "$@"
    "$sgatlin" "$@"
}

# data: the world, a vocabulary in which names and nearly all answers are whole, rows of 128 tokens.
data() {
    [ -e facts.json ] || run data synth --people "$people" --tellings "$tellings" --seed 1 \
        --out lives.txt --facts facts.json
    [ -e tok ] || run data tokenizer --vocab-size 1536 --no-full-alphabet --out tok lives.txt
    [ -e data ] || run data pack --tokenizer tok --seq-len 128 --mode concat --val-fraction 0.01 \
        --out data lives.txt
}

# table CSV: one row a family, rung, memory and budget: the mean over the seeds at the rate with the
# lowest loss of the first seed.
table() {
    printf '| family | rung | memory | neurons | parameters | active | steps | lr | seeds '
    printf '| loss | recalled | bits | bits a parameter | an active one |\n'
    printf '|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n'
    awk '
    # Cells of a line as RFC 4180 has them, into cell[1..]; returns how many.
    function split_line(line, cell,    n, i, c, quoted, text) {
        n = 0
        text = ""
        quoted = 0
        for (i = 1; i <= length(line); i++) {
            c = substr(line, i, 1)
            if (quoted && c == "\"" && substr(line, i + 1, 1) == "\"") { text = text c; i++ }
            else if (c == "\"") quoted = !quoted
            else if (c == "," && !quoted) { cell[++n] = text; text = "" }
            else text = text c
        }
        cell[++n] = text
        return n
    }
    function positive(x) { return x > 0 ? x : 0 }
    function at(name) {
        if (!(name in column)) { print "knowledge: no column " name > "/dev/stderr"; exit 1 }
        return cell[column[name]]
    }
    /^#/ || /^$/ { next }
    !header {
        n = split_line($0, cell)
        for (i = 1; i <= n; i++) column[cell[i]] = i
        header = 1
        next
    }
    {
        split_line($0, cell)
        if (at("facts") == 0) next
        memory = at("settings")
        sub(/.*"memory": *"/, "", memory)
        sub(/".*/, "", memory)
        key = at("family") SUBSEP at("scale") SUBSEP memory SUBSEP at("budget")
        rate = key SUBSEP at("lr")
        runs[rate]++
        recalled[rate] += at("facts_recalled") / at("facts")
        squares[rate] += (at("facts_recalled") / at("facts")) ^ 2
        bits[rate] += at("fact_bits")
        loss[rate] += at("loss")
        size[key] = at("parameters")
        active[key] = at("active_parameters")
        neurons[key] = at("neurons")
        steps[key] = at("steps")
        if (!(key in first) || at("seed") + 0 < first[key]) first[key] = at("seed") + 0
        if (!(key in order)) { order[key] = ++keys; name[keys] = key }
        seed_loss[rate, at("seed") + 0] = at("loss")
        rates[key] = rates[key] " " at("lr")
    }
    END {
        for (k = 1; k <= keys; k++) {
            key = name[k]
            split(key, part, SUBSEP)
            best = ""
            n = split(rates[key], list, " ")
            for (i = 1; i <= n; i++) {
                own = key SUBSEP list[i] SUBSEP first[key]
                if (!(own in seed_loss)) continue
                if (best == "" || seed_loss[own] < seed_loss[key SUBSEP best SUBSEP first[key]])
                    best = list[i]
            }
            if (best == "") continue
            rate = key SUBSEP best
            n = runs[rate]
            mean = recalled[rate] / n
            spread = n > 1 ? sqrt(positive(squares[rate] - n * mean * mean) / (n - 1)) : -1
            printf "| %s | %s | %s | %d | %d | %d | %d | %g | %d |", part[1], part[2], part[3],
                neurons[key], size[key], active[key], steps[key], best, n
            printf " %.4f | %.1f %%%s | %.0f | %.4f | %.4f |\n", loss[rate] / n, 100 * mean,
                spread < 0 ? "" : sprintf(" ± %.1f", 100 * spread), bits[rate] / n,
                bits[rate] / n / size[key], bits[rate] / n / active[key]
        }
    }' "$1" | LC_ALL=C sort -t '|' -k 2,2 -k 3,3n -k 5,5n
}

case ${1:---help} in
--help) help && exit 0 ;;
-*) fail "$1: there is no such option; see --help" ;;
esac
folder=$1
shift
sgatlin=$(realpath "${SGATLIN:-$root/build/sgatlin}")
sweep=$(realpath "${SG_KNOWLEDGE_SWEEP:-$root/sweeps/laptop-knowledge.json}")
people=${SG_KNOWLEDGE_PEOPLE:-500}
tellings=${SG_KNOWLEDGE_TELLINGS:-100}
for number in "$people" "$tellings"; do
    [[ $number =~ ^[1-9][0-9]*$ ]] || fail "found \"$number\", expected a whole number"
done
[ -x "$sgatlin" ] || fail "$sgatlin is no program; run make first"

mkdir -p "$folder"
cd "$folder"
data
run sweep "$sweep" --out sweep "$@"
case " $* " in *" --dry-run "*) exit 0 ;; esac
run sweep export sweep --out knowledge.csv --force
table knowledge.csv >knowledge_table.md
cat knowledge_table.md
