#!/bin/sh
# Opens pages of sgatlin report and curve in a headless Chromium and has them try themselves out
# (#selftest): of results made by hand (PAGES writes them; one with names that would break out of a
# page if they could, one of a thousand runs), and of runs that are trained for seconds, whose
# page's own command and run.json make the run again. Wide, and as narrow as a phone. Exit code 77
# where there is no Chromium.
#
#     tests/page/run_report.sh PROGRAM PAGES
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/open.sh"
program=$(realpath "$1")
pages=$(realpath "$2")
cd "$work"
"$pages" .
"$program" report made --out whole.html --svg svg --csv csv --quiet
[ "$(find svg csv -type f | wc -l)" -eq 15 ]
before=$(cksum made/sweep.db)
"$program" report made --text >text.txt
"$program" report made/sweep.db --json >report.json
[ "$before" = "$(cksum made/sweep.db)" ] && [ "$(ls made)" = sweep.db ]
parts="tryOpening tryIsoflop tryLosses tryPointing tryDetails tryRuns tryContenders tryNarrow"
for name in whole hostile thousand plain small; do
    judge "$work/$name.html" "$parts"
done
window=500,900 # the narrowest that it opens
judge "$work/whole.html" "$parts"
curves="tryPictures tryPointing tryTable tryNarrow"
judge "$work/curve.html" "$curves tryLeavingOut"
window=1440,900
judge "$work/curve_timed.html" "$curves tryLeavingOut"
judge "$work/curve_dense.html" "$curves"

mkdir bin
ln -s "$program" bin/sgatlin
PATH=$work/bin:$PATH
tiny="--hidden-size 16 --head-dim 8 --num-hidden-layers 1 --ffn-channels 2 --ffn-neurons 64
      --ffn-key-size 8 --ffn-top-k 4 --seq-len 32 --batch-size 8 --warmup-steps 2
      --steps 20 --eval-every 5"
sgatlin data synth --stories 60 --seed 1 --out stories.txt --quiet >log.txt
sgatlin data tokenizer --vocab-size 400 --out tokenizer stories.txt --quiet >log.txt
sgatlin data pack --tokenizer tokenizer --seq-len 32 --val-fraction 0.2 --out data stories.txt \
    --quiet >log.txt
for lr in 0.01 0.003; do
    # shellcheck disable=SC2086
    sgatlin train --data data --out "run-$lr" $tiny --lr "$lr" --quiet >log.txt
done
sgatlin report run-0.01 run-0.003 --out runs.html --quiet
judge "$work/runs.html" \
    "tryOpening tryLosses tryPointing tryDetails tryRuns tryContenders tryNarrow"
# Both ways in which the page repeats its first run give the same weights; of a sweep, which keeps
# no weights, the same figures.
copied commands >commands.txt
[ "$(wc -l <commands.txt)" -eq 2 ]
while read -r command; do
    rm -rf run-0.01-again
    printf '%s' "$command" | base64 -d >again.sh
    sh again.sh >again.txt 2>&1 </dev/null || {
        echo "page: a command that it copies fails: $(cat again.sh again.txt)"
        exit 1
    }
    cmp run-0.01/model.safetensors run-0.01-again/model.safetensors
done <commands.txt
sgatlin sweep isoflop --budgets 3e8 --families glu,sgatlin --scales 1,2 --lr 0.02 --data data \
    --out sweep --quiet >log.txt
sgatlin report sweep --out sweep.html --quiet
judge "$work/sweep.html" "$parts"
copied commands >commands.txt
[ "$(wc -l <commands.txt)" -eq 2 ]
while read -r command; do
    printf '%s' "$command" | base64 -d >again.sh
    run=$(sed 's|.* --out ||' again.sh)
    rm -rf "$run"
    sh again.sh >again.txt 2>&1 </dev/null || {
        echo "page: a command that it copies fails: $(cat again.sh again.txt)"
        exit 1
    }
    grep '"val_perplexity"' "$run/summary.json" >again
    grep -h '"val_perplexity"' "sweep/runs/$run"*/summary.json | cmp - again
done <commands.txt
