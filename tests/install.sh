#!/usr/bin/env bash
# Installs a build into an empty prefix and uses it as a stranger would: a program of examples/ is
# compiled with what pkg-config says, linked shared and static, and run; the command and its man
# page are there; the shared library exports sg_ names and nothing else.
#
#     tests/install.sh BUILD_FOLDER PREFIX
set -euo pipefail
build=$(cd "$1" && pwd)
rm -rf "$2"
mkdir -p "$2"
prefix=$(cd "$2" && pwd)
here=$(cd "$(dirname "$0")/.." && pwd)

fail() {
    echo "install: $*" >&2
    exit 1
}

cmake --install "$build" --prefix "$prefix" >/dev/null
pc=$(find "$prefix" -name sgatlin.pc)
[ -n "$pc" ] || fail "no sgatlin.pc under $prefix"
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
libdir=$(pkg-config --variable=libdir sgatlin)

read -ra flags <<<"$(pkg-config --cflags sgatlin)"
read -ra shared <<<"$(pkg-config --libs sgatlin)"
read -ra static <<<"$(pkg-config --static --libs sgatlin)"
static=("${static[@]/#-lsgatlin/-l:libsgatlin.a}")
CC=${CC:-cc}
for source in "$here"/examples/*.c; do
    name=$(basename "$source" .c)
    "$CC" -std=c11 -Wall -Wextra -Werror "$source" "${flags[@]}" "${shared[@]}" -lm \
        -o "$prefix/$name-shared"
    "$CC" -std=c11 -Wall -Wextra -Werror "$source" "${flags[@]}" "${static[@]}" -lm \
        -o "$prefix/$name-static"
done
LD_LIBRARY_PATH=$libdir "$prefix/version-shared" >"$prefix/shared.out"
"$prefix/version-static" >"$prefix/static.out"
cmp -s "$prefix/shared.out" "$prefix/static.out" || fail "the two libraries disagree"
ldd "$prefix/version-static" >"$prefix/static.ldd"
ldd "$prefix/version-shared" >"$prefix/shared.ldd"
if grep -q libsgatlin "$prefix/static.ldd"; then fail "the static program is not static"; fi
grep -q libsgatlin "$prefix/shared.ldd" || fail "the shared program is not shared"

"$prefix/bin/sgatlin" version >"$prefix/command.out"
grep -q "^sgatlin [0-9]" "$prefix/command.out" || fail "the command does not tell its version"
[ -s "$prefix/share/man/man1/sgatlin.1" ] || fail "no man page"

for file in bash-completion/completions/sgatlin zsh/site-functions/_sgatlin \
    fish/vendor_completions.d/sgatlin.fish; do
    [ -s "$prefix/share/$file" ] || fail "no completion in share/$file"
done

for file in "$here"/sweeps/*; do
    cmp -s "$file" "$prefix/share/sgatlin/sweeps/$(basename "$file")" || fail "no $file in share/"
done

strange=$(nm -D --defined-only "$libdir/libsgatlin.so" | awk '$3 !~ /^sg_/ { print $3 }')
[ -z "$strange" ] || fail "libsgatlin.so exports $strange"
exported=$(nm -D --defined-only "$libdir/libsgatlin.so" | awk '{ print $3 }' | sort)
# What the headers promise is there, and there is nothing more.
promised=$(cat "$prefix"/include/sgatlin*.h | grep -v '^#' | tr '\n' ' ' |
    grep -o 'SG_API [^;]*;' |
    sed 's/ *(.*//; s/.*[ *]//' | sort)
missing=$(comm -13 <(echo "$exported") <(echo "$promised") | xargs)
extra=$(comm -23 <(echo "$exported") <(echo "$promised") | xargs)
[ -z "$missing" ] || fail "the headers declare what the library has not: $missing"
[ -z "$extra" ] || fail "libsgatlin.so exports what no header declares: $extra"
echo "install: ok, $(wc -w <<<"$exported") functions"
