"""Runs `sgatlin bench --model` and llama_step.py on the same GGUF files, in turns, and prints one
table. Started by bench/peers/run_gguf.

Each round is a process of each program for each file; a figure is the median of its rounds, so that
what else runs on the machine meets both. With --beside ours measures the file and a model made
sparse of it in turns, and llama.cpp has the file in the same rounds.
"""

import argparse
import json
import os
import statistics
import sys

from compare import HERE, measured


def row_key(row):
    return row["name"], row["context"]


def ours(args, path):
    command = [args.sgatlin, "bench", "--model", path, "--json", "--quiet"]
    command += ["--threads", str(args.threads), "--seconds", str(args.seconds)]
    if args.context is not None:
        command += ["--context", str(args.context)]
    if args.beside is None:
        return measured(command, args.limit)
    command += ["--beside", args.beside, "--sessions", "1"]
    return measured(command + (["--text", args.text] if args.text else []), args.limit)


def theirs(args, path, cache, contexts):
    command = [sys.executable, os.path.join(HERE, "llama_step.py"), path]
    command += ["--context", ",".join(str(n) for n in contexts), "--cache", cache]
    command += ["--threads", str(args.threads), "--seconds", str(args.seconds)]
    return measured(command, args.limit)


def rounds(args, path):
    """{who: {(name, context): [tokens a second]}}, peak bytes of each, and the machine's limits."""
    found, peaks, machines = {}, {}, []
    contexts = []  # those that ours measured

    def take(who, lines, peak, problem):
        if problem is not None:
            sys.exit(f"{who}: {path}: {problem}")
        peaks[who] = max(peak, peaks.get(who, 0))
        for line in lines:
            if line["name"] == "machine":
                machines.append(line)
                continue
            if line["context"] not in contexts:
                contexts.append(line["context"])
            if "b" in line:  # two models in turns
                for name, side in (who, "a"), (args.beside, "b"):
                    values = found.setdefault(name, {}).setdefault(row_key(line), [])
                    values.append(line[side]["tokens_per_second"])
                continue
            for field, name in (("tokens_per_second", who), ("limit_fraction", "limit")):
                if field in line:
                    values = found.setdefault(name, {}).setdefault(row_key(line), [])
                    values.append(line[field])

    for _ in range(args.rounds):
        take("sgatlin", *ours(args, path))
        for cache in args.cache:
            take(f"llama.cpp, {cache} cache", *theirs(args, path, cache, contexts))
    return found, peaks, machines


def limits_text(machines):
    """Of the machine, where ours told them."""
    if not machines:
        return ""
    gemm, stream = (
        statistics.median(m[key] for m in machines) for key in ("gemm_gflops", "stream_gbs")
    )
    return f", {gemm:.0f} GFLOP/s, {stream:.1f} GB/s"


def main():
    ask = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ask.add_argument("models", nargs="+", metavar="MODEL.gguf")
    ask.add_argument("--sgatlin", default="build/sgatlin")
    ask.add_argument("--context", type=int, help="default: 128, 512, 2,048; with --beside 128")
    ask.add_argument("--beside", metavar="MODEL", help="a sparse model, in turns with each")
    ask.add_argument("--text", metavar="FILE", help="what both models of ours read")
    ask.add_argument("--threads", type=int, default=os.cpu_count())
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--seconds", type=float, default=0.5, help="of each figure, at least")
    ask.add_argument("--cache", choices=["f16", "f32"], nargs="+", default=["f16"])
    ask.add_argument("--limit", type=int, default=600, help="seconds for one process")
    ask.add_argument("--json", action="store_true", help="one object a line")
    args = ask.parse_args()
    if args.text is not None and args.beside is None:
        ask.error("--text goes with --beside")
    for path in args.models:
        found, peaks, machines = rounds(args, path)
        limits = found.pop("limit", None)  # none of two models
        if not args.json:
            print(f"{path}: {args.threads} threads{limits_text(machines)}")
            print(f"{'':<28} {'context':>8} {'tokens/s':>9} {'of limit':>9} {'ours/this':>9}  peak MB")
        for key in sorted(found["sgatlin"], key=lambda key: (key[0], key[1])):
            base = statistics.median(found["sgatlin"][key])
            for who, rates in found.items():
                rate = statistics.median(rates[key])
                row = {"model": path, "who": who, "name": key[0], "context": key[1]}
                row |= {"tokens_per_second": rate, "ours": base / rate}
                row |= {"peak_bytes": peaks.get(who, peaks["sgatlin"])}  # one process
                share = ""
                if who == "sgatlin" and limits is not None:
                    row["limit_fraction"] = statistics.median(limits[key])
                    share = f"{100 * row['limit_fraction']:.0f}%"
                if args.json:
                    print(json.dumps(row), flush=True)
                    continue
                print(
                    f"{key[0] + ' ' + who:<28} {key[1]:>8} {rate:>9.1f} {share:>9} "
                    f"{base / rate:>8.2f}x  {row['peak_bytes'] / 1e6:.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
