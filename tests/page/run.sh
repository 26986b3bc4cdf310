#!/bin/sh
# Opens a page of sgatlin scope in a headless Chromium and has it try itself out (#selftest):
# clicks, search, lasso, keyboard, addresses. The model is trained for seconds; among the texts are
# some that would break out of a page if they could. Exit code 77 where there is no Chromium.
#
#     tests/page/run.sh PROGRAM
#     tests/page/run.sh --page FILE.html          only opens that page
set -eu
. "$(dirname "$0")/open.sh"
# Commands are run as they are, queries where there is an sqlite3.
repeat() {
    copied commands | while read -r line; do
        sh -c "$line" >out.txt 2>err.txt || {
            echo "page: a command that it copies fails: $line"
            cat err.txt
            return 1
        }
    done
    command -v sqlite3 >/dev/null || return 0
    copied queries | while read -r line; do
        [ -n "$(sqlite3 -readonly "$1" "$line")" ] || {
            echo "page: a query that it copies gives nothing: $line"
            return 1
        }
    done
}

if [ "$1" = --page ]; then
    judge "$(realpath "$2")" tryText
    exit
fi
program=$(realpath "$1")
cd "$work"
mkdir bin
ln -s "$program" bin/sgatlin
PATH=$work/bin:$PATH
tiny="--hidden-size 16 --head-dim 8 --num-hidden-layers 2 --ffn-channels 2 --ffn-neurons 64
      --ffn-key-size 8 --ffn-top-k 4 --seq-len 32 --batch-size 8 --warmup-steps 2"
sgatlin data synth --stories 60 --seed 1 --out stories.txt --facts facts.json --quiet >log.txt
{
    cat stories.txt
    # Texts that a page must not take for its own parts: ends of elements, quotes, characters that
    # do not show or turn the text around, a byte that is no text.
    for _ in 1 2 3 4 5 6; do
        printf '</script><script>alert(1)</script> <!-- <b onclick="x()">'\''"& \\u003c\n'
        printf 'a\342\200\256b\342\200\217c\302\255d\001e\033[31mf\357\273\277g \327\251\327\234\327\225\327\235 \330\263\n'
        printf '%%E0%%A4%%A\t\360\237\231\202 e\314\201\n<|endoftext|>\n'
    done
} >all.txt
sgatlin data tokenizer --vocab-size 600 --out tokenizer all.txt --quiet >log.txt
sgatlin data pack --tokenizer tokenizer --seq-len 32 --val-fraction 0.5 --out data all.txt --quiet >log.txt
# shellcheck disable=SC2086
sgatlin train --data data --out run $tiny --steps 40 --lr 0.01 --quiet >log.txt
sgatlin scope --model run --data data --tokens 1500 --out all.html --beside untrained --facts facts.json \
    --pairs 20 --prompt 'The lake was' --records scope.db --quiet
judge "$work/all.html" "tryText tryNeurons tryCopies trySearch tryMap tryUsage tryPatch tryTrace tryBoth tryHelp"
repeat scope.db
# What it counts is what the command counts, which prints ten digits.
gini=$(sgatlin probe usage scope.db --layers 0 --channels 0 --json --quiet | sed -n 's/.*"gini": \([0-9.]*\),*/\1/p' |
    head -n 1)
case "$outcome" in
*"\"layer\":0,\"channel\":0,"*"\"gini\":${gini%?}"*) ;;
*)
    echo "page: probe usage says that the Gini coefficient is $gini"
    exit 1
    ;;
esac
# Hostile texts, one model, and little room.
tail -n 40 all.txt >hostile.txt
sgatlin scope --model run --text hostile.txt --maps 0 --max-bytes 300k --out small.html --quiet
judge "$work/small.html" "tryText tryNeurons tryUsage"
[ "$(wc -c <small.html)" -le 300000 ] || {
    echo "page: more than its 300,000 bytes"
    exit 1
}
# A dense layer, of which the strongest neurons alone are there.
sgatlin train --data data --out dense --hidden-size 16 --head-dim 8 --num-hidden-layers 1 --ffn mlp \
    --ffn-intermediate-size 96 --seq-len 32 --batch-size 8 --steps 5 --quiet >log.txt
sgatlin scope --model dense --data data --tokens 600 --out dense.html --quiet
judge "$work/dense.html" "tryText tryNeurons tryMap tryUsage"
