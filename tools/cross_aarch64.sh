#!/usr/bin/env bash
# Builds the library, the command and the tests of kernels and models for aarch64 on a machine of
# another kind, and runs these tests under qemu: each kernel in NEON against the plain one, and
# every family's logits, gradients and ten training losses against golden files. Then the command
# trains ten steps here and there: the losses must agree.
#
# The libraries for aarch64 are downloaded by apt-get into BUILD/sysroot and unpacked there; nothing
# of another architecture is installed, and no list of the system's is touched.
#
#     tools/cross_aarch64.sh BUILD HERE [JOBS]       HERE: the command of this machine
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:?usage: tools/cross_aarch64.sh BUILD HERE [JOBS]}
here=${2:?usage: tools/cross_aarch64.sh BUILD HERE [JOBS]}
jobs=${3:-2}
mkdir -p "$build"
build=$(cd "$build" && pwd)
sysroot=$build/sysroot
tests=(kernels select quant narrow machine models)

# ---- libraries ----------------------------------------------------------------------------------

refuse() {
    echo "cross-aarch64: $*" >&2
    exit 1
}

# An apt-get that knows of nothing but aarch64 and has nothing installed.
apt_state=$build/apt
apt() {
    apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root \
        -o Dir::State="$apt_state/state" -o Dir::State::status="$apt_state/status" \
        -o Dir::Cache="$apt_state/cache" "$@"
}

fill_sysroot() {
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        refuse "no apt-get and dpkg-deb here: the libraries for aarch64 come from Debian's archive"
    fi
    rm -rf "$apt_state" "$sysroot.new"
    mkdir -p "$apt_state/state/lists/partial" "$apt_state/cache/archives/partial" "$sysroot.new"
    : >"$apt_state/status"
    # What a build takes here it takes there, but for oneDNN, which is no part of the check.
    local packages
    packages=$(tools/deps --list build test | grep -e '-dev$' | grep -v -e libdnnl)
    apt update || refuse "apt-get found no packages for aarch64 in this machine's archives"
    # shellcheck disable=SC2086 # one word a package
    apt install -y --no-install-recommends --download-only $packages >/dev/null ||
        refuse "apt-get cannot get these for aarch64: $packages"
    for package in "$apt_state"/cache/archives/*.deb; do
        dpkg-deb -x "$package" "$sysroot.new"
    done
    mv "$sysroot.new" "$sysroot"
}

tools/deps build cross
[ -d "$sysroot" ] || fill_sysroot

# ---- build and tests ----------------------------------------------------------------------------

cmake -S . -B "$build" -G Ninja -DCMAKE_TOOLCHAIN_FILE="$PWD/tools/aarch64.cmake" \
    -DSG_SYSROOT="$sysroot" -DSG_ONEDNN=OFF -DSG_WERROR=ON -DSG_TESTS=ON >/dev/null
cmake --build "$build" -j "$jobs" --target sgatlin sgatlin_shared sgatlin_command \
    "${tests[@]/#/test_}"
ctest --test-dir "$build" -j "$jobs" --output-on-failure \
    -R "^test_($(IFS='|' && echo "${tests[*]}"))\$"

# ---- training -----------------------------------------------------------------------------------

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# train NAME KERNEL PROGRAM… : ten losses into NAME
train() {
    local name=$1 kernel=$2
    shift 2
    "$@" train --data "$work/data" --out "$work/$name" --hidden-size 32 --head-dim 8 \
        --num-hidden-layers 2 --ffn-channels 2 --ffn-neurons 64 --ffn-key-size 8 --ffn-top-k 4 \
        --seq-len 32 --batch-size 8 --warmup-steps 2 --log-every 1 --steps 10 --lr 0.01 --quiet \
        --threads 2 --kernel "$kernel" >/dev/null
    sed -n 's/.*"loss":\([0-9.e-]*\).*/\1/p' "$work/$name/metrics.jsonl" >"$work/$name.losses"
}

"$here" data synth --stories 60 --seed 1 --out "$work/all.txt" --quiet >/dev/null
tr -d EKQXZqz <"$work/all.txt" >"$work/stories.txt" # the tokenizer has no token for these
"$here" data pack --tokenizer tests/golden/tokenizer/nfkc.json --seq-len 32 \
    --val-fraction 0.1 --out "$work/data" --quiet "$work/stories.txt" >/dev/null
emulator=(qemu-aarch64 -L "$sysroot" "$build/sgatlin")
train here ref "$here"
train ref ref "${emulator[@]}"
train neon neon "${emulator[@]}"
paste "$work/here.losses" "$work/ref.losses" "$work/neon.losses" | awk '
function off(a, b) { return a > b ? (a - b) / b : (b - a) / b }
BEGIN { print "step         here  aarch64 ref         neon" }
{
    printf "%4d %12.8f %12.8f %12.8f\n", NR, $1, $2, $3
    wrong += !(NF == 3 && off($2, $1) < 1e-6 && off($3, $1) < 1e-6)
}
END {
    if (NR != 10) { print "cross-aarch64: " NR " losses, expected 10"; exit 1 }
    if (wrong) { print "cross-aarch64: " wrong " losses differ by more than 1e-6"; exit 1 }
    print "cross-aarch64: ten losses agree within 1e-6"
}'
