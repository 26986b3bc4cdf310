"""Runs `sgatlin bench`, plain_step.c and every formulation of torch_step.py, one after
the other on the same shapes and threads, and prints one table. Started by bench/peers/run.

plain_step.c is compiled here (by $CC, or cc) and held against a golden model before it is timed.
Each line is a process of its own; its memory is the most that was resident. For PyTorch that
includes interpreter and library, whose share is measured first and printed. A formulation that
fails is shown with its error.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "..", "tests", "golden", "models", "mlp.safetensors")
PLAIN = "plain C"
PEERS = {
    "tinystories-mlp": [PLAIN, ["--gather", "index"], ["--gather", "index", "--compile"]],
    "tinystories-sgatlin": [
        ["--gather", "index"],
        ["--gather", "embedding"],
        ["--gather", "bag"],
        ["--gather", "dense"],
        ["--gather", "embedding", "--compile"],
        ["--gather", "bag", "--compile"],
        ["--gather", "dense", "--compile"],
    ],
}


def measured(command, limit):
    """Lines of JSON on stdout, peak resident bytes, and what went wrong (None: nothing)."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(
            ["timeout", str(limit), *command], stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = code = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        lines = [json.loads(line) for line in out if line.startswith("{")]
        talk = [line.strip() for line in err if line.strip()]
    problem = None
    if code == 124:
        problem = f"took more than {limit} s"
    elif code != 0:
        problem = talk[-1] if talk else f"exit code {code}"
    return lines, usage.ru_maxrss * 1024, problem


def ours(args, model):
    command = [args.sgatlin, "bench", "--preset", model, "--what", "train", "--json", "--quiet"]
    command += ["--batch-size", args.batch, "--seq-len", args.tokens, "--threads", args.threads]
    command += ["--repeats", args.steps, "--seconds", 0]
    lines, peak, problem = measured([str(word) for word in command], args.limit)
    if problem is not None:
        sys.exit(f"{args.sgatlin}: {problem}")
    machine, step = lines
    return machine, {
        "who": "sgatlin",
        "model": model,
        "seconds": step["seconds"],
        "tokens_per_second": step["tokens_per_second"],
        "peak_bytes": peak,
        "limit_fraction": step["limit_fraction"],
        "flops": step["flops"],
    }


def compiled(folder):
    """The program of plain_step.c in folder, and why there is none (None: there is)."""
    cc, program = os.environ.get("CC", "cc"), os.path.join(folder, "plain_step")
    if shutil.which(cc) is None:
        return None, f"no C compiler {cc}"
    command = [cc, "-O3", "-march=native", "-ffast-math", "-fopenmp", "-o", program]
    command += [os.path.join(HERE, "plain_step.c"), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return program, None
    said = [line.strip() for line in done.stderr.splitlines() if "error" in line]
    return None, f"{cc} -fopenmp: {said[0] if said else 'failed'}"


def plain(args, model):
    row = {"who": PLAIN, "model": model}
    with tempfile.TemporaryDirectory() as folder:
        program, problem = compiled(folder)
        if problem is None:
            _, _, problem = measured([program, "--check", GOLDEN], args.limit)
        if problem is not None:
            return row | {"error": problem}
        command = [program, "--batch", args.batch, "--tokens", args.tokens, "--warmup", 1]
        command += ["--threads", args.threads, "--steps", args.steps]
        lines, peak, problem = measured([str(word) for word in command], args.limit)
    return timed(args, row, lines, peak, problem)


def timed(args, row, lines, peak, problem):
    if problem is not None or not lines:
        return row | {"error": problem or "printed nothing"}
    seconds = lines[0]["step_s"]
    return row | {
        "seconds": seconds,
        "tokens_per_second": args.batch * args.tokens / seconds,
        "peak_bytes": peak,
    }


def peer(args, model, how):
    command = [sys.executable, os.path.join(HERE, "torch_step.py"), "--model", model, *how]
    command += ["--batch", args.batch, "--tokens", args.tokens, "--threads", args.threads]
    command += ["--steps", args.steps, "--warmup", 1]
    lines, peak, problem = measured([str(word) for word in command], args.limit)
    name = "torch" if model.endswith("mlp") else "torch " + how[1]
    row = {"who": name + (" compiled" if "--compile" in how else ""), "model": model}
    if lines:
        row["who"] = row["who"].replace("torch", lines[0]["peer"].split("+")[0], 1)
    return timed(args, row, lines, peak, problem)


def idle(args):
    """Peak resident bytes of a PyTorch that computes nothing."""
    _, peak, problem = measured([sys.executable, "-c", "import torch"], args.limit)
    if problem is not None:
        sys.exit(f"{sys.executable}: {problem}")
    return peak


def show(row, base, gemm):
    if "error" in row:
        return f"{row['model']:<20} {row['who']:<32} failed: {row['error'][:60]}"
    share = base["flops"] / row["seconds"] / gemm / 1e9
    return (
        f"{row['model']:<20} {row['who']:<32} {row['seconds']:9.3f} "
        f"{row['tokens_per_second']:9.0f} {100 * share:8.0f}% {row['peak_bytes'] / 1e9:8.2f} "
        f"{row['seconds'] / base['seconds']:7.2f}x {row['peak_bytes'] / base['peak_bytes']:7.2f}x"
    )


def main():
    ask = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ask.add_argument("--sgatlin", default="build/sgatlin")
    ask.add_argument("--model", choices=sorted(PEERS), action="append", help="default: all")
    ask.add_argument("--threads", type=int, default=os.cpu_count())
    ask.add_argument("--batch", type=int, default=8)
    ask.add_argument("--tokens", type=int, default=1024)
    ask.add_argument("--steps", type=int, default=3, help="median of these, after one more")
    ask.add_argument("--limit", type=int, default=600, help="seconds for one formulation")
    ask.add_argument("--json", action="store_true", help="one object a line")
    args = ask.parse_args()
    peak = idle(args)
    if not args.json:
        print(f"training steps, {args.batch} x {args.tokens} tokens, {args.threads} threads, f32")
        print(f"PyTorch imported, nothing computed: peak {peak / 1e9:.2f} GB")
    else:
        print(json.dumps({"name": "torch_idle", "peak_bytes": peak}), flush=True)
    for model in args.model or sorted(PEERS):
        machine, base = ours(args, model)
        gemm = machine["gemm_gflops"]
        if not args.json:
            print(f"machine: {gemm:.1f} GFLOP/s, {machine['stream_gbs']:.1f} GB/s")
            print(
                f"{'model':<20} {'':<32} {'seconds':>9} {'tokens/s':>9} {'of GEMM':>9} "
                f"{'peak GB':>8} {'time':>7}x {'peak':>7}x"
            )
        else:
            print(json.dumps(machine), flush=True)
        for how in [None, *PEERS[model]]:
            if how is None:
                row = base
            else:
                row = plain(args, model) if how == PLAIN else peer(args, model, how)
            print(json.dumps(row) if args.json else show(row, base, gemm), flush=True)


if __name__ == "__main__":
    main()
