"""Runs `sgatlin bench`, plain_step.c and every formulation of torch_step.py on the same shapes and
threads, in f32 and in bf16, and prints one table. Started by bench/peers/run.

Each line is a process of its own, and its memory is the most that was resident; for PyTorch that
includes interpreter and library, whose share is measured first and printed. With --rounds all
programs take turns that often, and the medians count, so that what else runs on the machine meets
all of them. A formulation that fails is shown with its error. plain_step.c is compiled here (by
$CC, or cc) and held against a golden model before it is timed; --check does that with every
formulation of PyTorch, and times nothing.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(HERE, "..", "..", "tests", "golden", "models")
GOLDEN = {
    "tinystories-mlp": os.path.join(MODELS, "mlp.safetensors"),
    "tinystories-sgatlin": os.path.join(MODELS, "sgatlin_product_dense.safetensors"),
}
PLAIN = "plain C"
KINDS = ("f32", "bf16x3", "bf16")
WAYS = {  # of PyTorch
    "tinystories-mlp": [[], ["--compile"]],
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
# Times as fast as the fastest way of PyTorch: of all kinds where AMX multiplies, and f32 against
# f32.
GOALS = {
    "tinystories-mlp": {"amx": 1.2, "f32": 1.2},
    "tinystories-sgatlin": {"amx": 5, "f32": 4},
}


def measured(command, limit):
    """Lines of JSON on stdout, peak resident bytes, and what went wrong (None: nothing)."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(
            ["timeout", str(limit), *(str(word) for word in command)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
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


def processor():
    """What lscpu says of it, and which units for bf16 its flags name."""
    said = {}
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as f:
        for line in f:
            key, _, value = line.partition(":")
            said.setdefault(key.strip(), value.strip())
    flags = said.get("flags", "").split()
    units = [
        name
        for name, flag in (("AMX", "amx_bf16"), ("AVX512-BF16", "avx512_bf16"))
        if flag in flags
    ]
    numbers = [
        f"{word} {said[key]}"
        for word, key in (
            ("family", "cpu family"),
            ("model", "model"),
            ("stepping", "stepping"),
        )
        if key in said
    ]
    return said.get("model name", os.uname().machine), ", ".join(numbers), units


# ---- one program --------------------------------------------------------------------------------


class Sgatlin:
    theirs = False

    def __init__(self, args, model, kind):
        self.args, self.model, self.kind = args, model, kind
        self.name, self.said = "sgatlin bf16x3" if kind == "bf16x3" else "sgatlin", None

    def run(self):
        args = self.args
        command = [args.sgatlin, "bench", "--preset", self.model, "--what", "train", "--json"]
        command += ["--batch-size", args.batch, "--seq-len", args.tokens, "--quiet"]
        command += ["--threads", args.threads, "--repeats", args.steps, "--seconds", 0]
        if self.kind != "f32":
            command += ["--compute", self.kind]
        if args.logits_compute and self.kind != "f32":
            command += ["--logits-compute", args.logits_compute]
        lines, peak, problem = measured(command, args.limit)
        if problem is not None or len(lines) != 2:
            return None, peak, problem or "printed something else than a machine and a step"
        self.said = lines
        return lines[1]["seconds"], peak, None


class Plain:
    theirs, kind, name = False, "f32", PLAIN

    def __init__(self, args, model, folder):
        self.args, self.model, self.folder, self.program = args, model, folder, None

    def ready(self):
        """Compiles and checks it, once; what went wrong."""
        if self.program is not None:
            return None
        cc, program = os.environ.get("CC", "cc"), os.path.join(self.folder, "plain_step")
        if shutil.which(cc) is None:
            return f"no C compiler {cc}"
        command = [cc, "-O3", "-march=native", "-ffast-math", "-fopenmp", "-o", program]
        command += [os.path.join(HERE, "plain_step.c"), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            said = [line.strip() for line in done.stderr.splitlines() if "error" in line]
            return f"{cc} -fopenmp: {said[0] if said else 'failed'}"
        _, _, problem = measured([program, "--check", GOLDEN[self.model]], self.args.limit)
        if problem is None:
            self.program = program
        return problem

    def run(self):
        problem = self.ready()
        if problem is not None:
            return None, 0, problem
        args = self.args
        command = [self.program, "--batch", args.batch, "--tokens", args.tokens, "--warmup", 1]
        command += ["--threads", args.threads, "--steps", args.steps]
        return step_of(*measured(command, args.limit))


class Torch:
    theirs = True

    def __init__(self, args, model, how, kind):
        self.args, self.model, self.how, self.kind = args, model, how, kind
        way = how[1] if "--gather" in how else ""
        words = ["PyTorch", way, "compiled" if "--compile" in how else ""]
        self.name = " ".join(word for word in words if word)

    def command(self):
        script = os.path.join(HERE, "torch_step.py")
        return [sys.executable, script, *self.how, "--dtype", self.kind]

    def run(self):
        args = self.args
        command = [*self.command(), "--model", self.model, "--threads", args.threads]
        command += ["--batch", args.batch, "--tokens", args.tokens]
        command += ["--steps", args.steps, "--warmup", 1]
        return step_of(*measured(command, args.limit))

    def check(self):
        command = [*self.command(), "--check", GOLDEN[self.model]]
        lines, _, problem = measured(command, self.args.limit)
        return lines[0] if lines else {}, problem


def step_of(lines, peak, problem):
    if problem is not None or not lines:
        return None, peak, problem or "printed nothing"
    return lines[0]["step_s"], peak, None


def programs(args, model, folder):
    found = [Sgatlin(args, model, kind) for kind in args.compute]
    if model == "tinystories-mlp" and "f32" in args.dtype:
        found.append(Plain(args, model, folder))
    return found + [Torch(args, model, how, kind) for how in WAYS[model] for kind in args.dtype]


# ---- rounds and the table -----------------------------------------------------------------------


def rounds(args, found):
    """Rows of all programs, which take turns."""
    rows = [
        {"who": p.name, "model": p.model, "kind": p.kind, "rounds": [], "peak_bytes": 0}
        for p in found
    ]
    for number in range(args.rounds):
        for p, row in zip(found, rows):
            if "error" in row:
                continue
            seconds, peak, problem = p.run()
            if problem is not None:
                row["error"] = problem
            else:
                row["rounds"].append(seconds)
                row["peak_bytes"] = max(peak, row["peak_bytes"])
            said = problem or f"{seconds:.3f} s"
            at = f"round {number + 1} of {args.rounds}: {p.model}, {p.name}, {p.kind}"
            print(f"{at}: {said}", file=sys.stderr)
    for p, row in zip(found, rows):
        if row["rounds"]:
            row["seconds"] = statistics.median(row["rounds"])
            row["tokens_per_second"] = args.batch * args.tokens / row["seconds"]
        if getattr(p, "said", None):
            row["machine"], row["limit_fraction"] = p.said[0], p.said[1]["limit_fraction"]
    return rows


def fastest(rows, kinds=KINDS):
    timed = [row for row in rows if "seconds" in row and row["kind"] in kinds]
    return min(timed, key=lambda row: row["seconds"], default=None)


def cells(row, base):
    if row is None:
        return f"{'':>9} {'':>8} {'':>8}"
    if "seconds" not in row:
        return f"{'failed':>9} {'':>8} {'':>8}"
    ratio = f"{row['seconds'] / base['seconds']:.2f}x" if base and base is not row else ""
    return f"{row['seconds']:9.3f} {row['peak_bytes'] / 1e9:8.2f} {ratio:>8}"


def table(model, found, rows):
    """f32 and bf16 of each way beside each other; ratios are over ours of the same kind."""
    mine = {row["kind"]: row for p, row in zip(found, rows) if isinstance(p, Sgatlin)}
    narrow = "bf16" if "bf16" in mine else "bf16x3"
    base = {"f32": mine.get("f32"), "bf16": mine.get(narrow)}
    print(f"\n{model:<28} {'f32':>9} {'':>17} | {'bf16':>9}")
    head = f"{'seconds':>9} {'peak GB':>8} {'/ ours':>8}"
    print(f"{'':<28} {head} | {head}")
    lines = {}  # name: {kind: row}
    for row in rows:
        # bf16x3 stands in for f32, and beside it.
        side = "f32" if row["kind"] == "bf16x3" else row["kind"]
        lines.setdefault(row["who"], {})[side] = row
    for name, kinds in lines.items():
        sides = [cells(kinds.get(kind), base[kind]) for kind in ("f32", "bf16")]
        print(f"{name:<28} {' | '.join(sides)}".rstrip())
    for row in rows:
        if "error" in row:
            print(f"{row['who']}, {row['kind']}: {row['error'][:140]}")


def verdicts(args, model, found, rows, amx):
    """Lines about the goals: our fastest against the fastest of PyTorch."""
    ours = [row for p, row in zip(found, rows) if isinstance(p, Sgatlin)]
    theirs = [row for p, row in zip(found, rows) if p.theirs]
    asked = [("in f32", ("f32",), GOALS[model]["f32"])]
    asked.append(("of all kinds", KINDS, GOALS[model]["amx"] if amx else None))
    made = []
    for what, kinds, goal in asked:
        a, b = fastest(ours, kinds), fastest(theirs, kinds)
        if a is None or b is None:
            continue
        ratio = b["seconds"] / a["seconds"]
        made.append(
            {"name": "fastest", "model": model, "of": what, "ours_kind": a["kind"]}
            | {"theirs": b["who"], "theirs_kind": b["kind"], "ratio": ratio, "goal": goal}
        )
        if not args.json:
            said = "no goal here"
            if goal:
                said = f"goal {goal}: {'reached' if ratio >= goal else 'missed'}"
            print(
                f"fastest {what}: sgatlin {a['kind']} {a['seconds']:.3f} s, {b['who']} {b['kind']} "
                f"{b['seconds']:.3f} s: {ratio:.2f} times ({said})"
            )
    return made


def show_checks(args):
    failed = 0
    print(f"{'against the golden models':<50} {'loss off by':>12} {'gradients':>12}")
    for model in args.model:
        for how in WAYS[model]:
            for kind in args.dtype:
                p = Torch(args, model, how, kind)
                off, problem = p.check()
                failed += problem is not None
                line = f"{model + ', ' + p.name + ', ' + kind:<50}"
                if off:
                    line += f" {off['loss_error']:12.2e} {off['gradient_error']:12.2e}"
                print(line + (f"  failed: {problem}" if problem else ""), flush=True)
    sys.exit(1 if failed else 0)


def idle(args):
    """Version of PyTorch, and peak resident bytes of one that computes nothing."""
    say = 'import json, torch; print(json.dumps({"version": torch.__version__}))'
    lines, peak, problem = measured([sys.executable, "-c", say], args.limit)
    if problem is not None:
        sys.exit(f"{sys.executable}: {problem}")
    return lines[0]["version"], peak


def count(text):
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f'found "{text}", expected a whole number from 1 on')
    return int(text)


def asked_for():
    ask = argparse.ArgumentParser(prog="bench/peers/run", description=__doc__.split("\n\n")[0])
    ask.add_argument("--sgatlin", default="build/sgatlin")
    ask.add_argument("--model", choices=sorted(WAYS), action="append", help="default: all")
    ask.add_argument(
        "--dtype", nargs="+", choices=("f32", "bf16"), help="of PyTorch's products; default: both"
    )
    ask.add_argument(
        "--compute", nargs="+", choices=KINDS, help="of ours; default: f32 bf16x3 bf16 as --dtype"
    )
    ask.add_argument("--logits-compute", choices=KINDS, help="of ours where not f32; default: f32")
    ask.add_argument("--threads", type=count, default=os.cpu_count())
    ask.add_argument("--batch", type=count, default=8)
    ask.add_argument("--tokens", type=count, default=1024)
    ask.add_argument("--steps", type=count, default=3, help="median of these, after one more")
    ask.add_argument("--rounds", type=count, default=1, help="of all programs in turns; medians")
    ask.add_argument("--limit", type=count, default=600, help="seconds for one formulation")
    ask.add_argument("--check", action="store_true", help="PyTorch against the golden models alone")
    ask.add_argument("--json", action="store_true", help="one object a line")
    args = ask.parse_args()
    args.model = list(dict.fromkeys(args.model or sorted(WAYS)))
    args.dtype = list(dict.fromkeys(args.dtype or ("f32", "bf16")))
    if args.compute is None:
        args.compute = [k for k in KINDS if k == "f32" or "bf16" in args.dtype]
    if not args.check and shutil.which(args.sgatlin) is None:
        ask.error(f"--sgatlin: {args.sgatlin} is no program; run make first")
    return args


def main():
    args = asked_for()
    if args.check:
        show_checks(args)
    version, peak = idle(args)
    name, numbers, units = processor()
    if args.json:
        print(
            json.dumps(
                {"name": "torch_idle", "version": version, "peak_bytes": peak}
                | {"processor": name, "numbers": numbers, "units": units}
            ),
            flush=True,
        )
    else:
        print(
            f"training steps, {args.batch} x {args.tokens} tokens, {args.threads} threads, "
            f"{args.steps} steps in each of {args.rounds} rounds"
        )
        print(f"processor: {name} ({numbers}), bf16 units: {', '.join(units) or 'none'}")
        if "AMX" not in units:
            print("no matrix unit (AMX): goals of bf16 do not apply here; f32 goals hold")
        print(f"PyTorch {version}; imported, nothing computed: peak {peak / 1e9:.2f} GB")
        sys.stdout.flush()
    for model in args.model:
        with tempfile.TemporaryDirectory() as folder:
            found = programs(args, model, folder)
            rows = rounds(args, found)
        machines = [row.pop("machine") for row in rows if "machine" in row]
        if args.json:
            for row in [*machines[:1], *rows]:
                print(json.dumps(row))
        else:
            table(model, found, rows)
            for m in machines[:1]:
                print(
                    f"sgatlin: {m['kernel']} kernels, {m['products']}, bf16 units: "
                    f"{m.get('units') or 'none'}; {m['gemm_gflops']:.1f} GFLOP/s in f32, "
                    f"{m['stream_gbs']:.1f} GB/s"
                )
        amx = any(m.get("units") == "amx" for m in machines)
        for made in verdicts(args, model, found, rows, amx):
            if args.json:
                print(json.dumps(made))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
