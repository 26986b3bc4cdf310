# shellcheck shell=sh
# What tests of pages share: opening one in a headless Chromium and judging what it says of itself.
# Sets `work`, a folder that goes at the end; `window` is the size that pages are opened in. Ends
# with 77 where there is no Chromium.
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
[ -n "$chromium" ] || {
    echo "skipped: there is no chromium here (tools/deps page)"
    exit 77
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
window=1440,900
# Its messages about a desktop that is not there go into a file. Without a sandbox of its own, for
# it runs as root in containers, where it cannot have one.
open_page() {
    timeout 900 "$chromium" --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage \
        --user-data-dir="$work/profile" --window-size=$window --virtual-time-budget=300000 \
        --dump-dom "file://$1#selftest" 2>"$work/log" </dev/null |
        sed -n 's/.*<pre id="selftest">\(.*\)<\/pre>.*/\1/p' |
        sed 's/&lt;/</g; s/&gt;/>/g; s/&amp;/\&/g'
}
# judge PAGE "PARTS": fails where something failed, reached the console, or a part was not tried.
judge() {
    outcome=$(open_page "$1")
    echo "page: $(wc -c <"$1") bytes: $(printf '%s\n' "${outcome:-no answer}" |
        sed 's/"\(queries\|commands\)":.*,"parts"/"parts"/')"
    case "$outcome" in
    *'"failed":[],'*'"problems":[]'*) ;;
    *)
        tail -5 "$work/log"
        return 1
        ;;
    esac
    for part in $2; do
        case "$outcome" in
        *"\"$part\""*) ;;
        *)
            echo "page: $part was not tried"
            return 1
            ;;
        esac
    done
}
# One a line, what the page copies as "queries" or "commands".
copied() {
    printf '%s\n' "$outcome" | sed 's/.*"'"$1"'":\["\([^]]*\)"\].*/\1/; s/","/\n/g' |
        sed 's/\\n/ /g; s/\\"/"/g'
}
