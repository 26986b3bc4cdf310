#!/usr/bin/env bash
# Every script of the tree through shellcheck: what it calls style is a fault too. Scripts are found
# by their first line; those that are sourced, and the cases of the command line, which tests/cli/
# run.sh gives to sh, have none.
#
#     tools/check_scripts.sh
set -euo pipefail
cd "$(dirname "$0")/.."

mapfile -d '' files < <(find .ci bench docs examples sweeps tests tools \
    \( -name .venv -o -path tests/golden -o -path tests/fuzz/corpus \) -prune -o -type f -print0)
scripts=(tools/common.sh tests/page/open.sh)
for file in "${files[@]}"; do
    first=
    IFS= read -r -n 40 first <"$file" 2>/dev/null || true
    case "$first" in
    '#!'*[/\ ]sh | '#!'*[/\ ]bash) scripts+=("$file") ;;
    esac
done
shellcheck --external-sources --source-path=SCRIPTDIR "${scripts[@]}"
# Cases list files whose names they chose (SC2010, SC2012), leave lists of options apart (SC2086),
# and may ask of sh what dash and bash have (SC3045: ulimit -v).
shellcheck --shell=sh --exclude=SC2010,SC2012,SC2086,SC3045 tests/cli/cases/*/cmd
