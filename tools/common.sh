# shellcheck shell=bash
# What the scripts here share, for bash. Sourced, not run.

# field FILE NAME: the value of the first member of that name in a JSON file.
field() {
    local value
    # shellcheck disable=SC2020 # three characters, one replacement each
    value=$(tr ',{}' '\n\n\n' <"$1" | sed -n "s/^[[:space:]]*\"$2\"[[:space:]]*:[[:space:]]*//p" |
        sed -n '1s/[[:space:]"]*$//;1s/^"//;1p')
    if [ -z "$value" ]; then
        echo "$(basename "$0"): $1: found no \"$2\"" >&2
        return 1
    fi
    printf '%s\n' "$value"
}

# short NUMBER: 20318976 -> 20.3 M
short() {
    awk -v x="$1" 'BEGIN {
        split("k M G T P", letter, " ")
        for (i = 0; x >= 999.5 && i < 5; i++) x /= 1000
        if (i == 0) printf "%d\n", x
        else printf (x < 9.995 ? "%.2f %s\n" : x < 99.95 ? "%.1f %s\n" : "%.0f %s\n"), x, letter[i]
    }'
}

# show COMMAND…: what is typed, on stderr.
show() {
    printf '$ sgatlin' >&2
    printf ' %q' "$@" >&2
    printf '\n' >&2
}

# processor: its name and numbers.
processor() {
    awk -F '[[:space:]]*:[[:space:]]*' '
        !($1 in seen) { seen[$1] = $2 }
        END {
            name = "model name" in seen ? seen["model name"] : "processor"
            if (!("cpu family" in seen)) { print name; exit }
            printf "%s (family %s, model %s, stepping %s)\n", name, seen["cpu family"],
                   seen["model"], seen["stepping"]
        }' /proc/cpuinfo
}

# bf16_units: the processor's units for products in bf16, by its flags; nothing where it has none.
bf16_units() {
    local found=() flag
    for flag in amx_bf16:AMX avx512_bf16:AVX512-BF16; do
        if grep -qw "^flags.*${flag%%:*}" /proc/cpuinfo; then found+=("${flag#*:}"); fi
    done
    local IFS=,
    printf '%s\n' "${found[*]-}" | sed 's/,/, /'
}
