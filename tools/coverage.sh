#!/usr/bin/env bash
# Prints, for each file under src/ and cli/, the lines that the tests executed, from a folder built
# with -DSG_COVERAGE=ON in which the tests have run; the least covered first.
set -euo pipefail
build=$(cd "$1" && pwd)
root=$(pwd)

find "$build" -name '*.gcda' ! -path '*_f64*' -print0 |
    (cd "$build" && xargs -0 gcov -n -r -s "$root" 2>/dev/null) |
    awk '/^File/ { gsub(/\x27/, ""); file = $2 }
         /^Lines executed/ && file ~ /^(src|cli)\// {
             split($0, part, /[:% ]+/); share = part[3]; lines = part[5]
             if (!(file in best) || share > best[file]) { best[file] = share; size[file] = lines }
             file = ""
         }
         END { for (f in best) { printf "%6.1f%%  %5d  %s\n", best[f], size[f], f
                                 hit += best[f] * size[f]; all += size[f] }
               if (all > 0) printf "%6.1f%%  %5d  all\n", hit / all, all }' | sort -n
