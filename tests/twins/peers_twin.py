"""Checks what sgatlin writes with the other programs that read it: low-rank adapters in PEFT, arrays in NumPy,
tensors in safetensors, curves in TensorBoard, and GGUF in llama.cpp.

    python3 tests/twins/peers_twin.py --check FOLDER SGATLIN

FOLDER: for what is written, made anew. SGATLIN: the program, which makes its models itself. A program that is
not installed is skipped, saying so: pip's torch, transformers and peft; numpy; safetensors; tensorboard;
llama-cpp-python (which bench/peers/run_gguf builds).
"""

import importlib
import json
import math
import pathlib
import shutil
import subprocess
import sys

PROMPTS = ["One day, the bear", "The lake was", "Tom and Mia went to the garden. They saw"]
SIZES = ("--hidden-size 32 --head-dim 16 --num-attention-heads 2 --num-hidden-layers 2 --seq-len 96 "
         "--batch-size 8 --warmup-steps 5 --steps 120 --lr 0.01")
GLU = " --ffn glu --ffn-activation swiglu --ffn-bias 0 --ffn-intermediate-size 64"
# What GGUF can say: options, tokenizer.
GGUF = {
    "llama": (GLU + " --qk-norm none", "words"),
    "qwen3": (GLU, "spaced"),
    "arcee": (" --ffn mlp --ffn-activation relu2 --ffn-bias 0 --ffn-intermediate-size 128 --qk-norm none", "words"),
    "gpt2": (" --ffn mlp --ffn-intermediate-size 128 --norm layernorm --qk-norm none --positions learned"
             " --attention-bias 1 --attention-out-bias 1 --ffn-bias 1 --untied-classifier 1", "words"),
}  # fmt: skip


def module(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"skip {name}: is not installed")
        return None


class Check:
    def __init__(self, folder, program):
        self.folder, self.program, self.failed = folder, program, 0

    def run(self, *args):
        done = subprocess.run([self.program, *map(str, args), "--quiet"], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, args))}: {done.stderr}")
        return done.stdout

    def say(self, what, ok, found, expected):
        self.failed += not ok
        print(f"{'ok  ' if ok else 'FAIL'} {what}" + ("" if ok else f": found {found!r}, expected {expected!r}"))

    def prepare(self):
        here = self.folder
        self.run("data", "synth", "--stories", 400, "--seed", 1, "--out", here / "stories.txt")
        self.run("data", "tokenizer", "--vocab-size", 600, "--no-nfkc", "--no-prefix-space", "--out",
                 here / "spaced", here / "stories.txt")
        golden = pathlib.Path(__file__).resolve().parent.parent / "golden" / "tokenizer" / "smollm.json"
        (here / "words").mkdir()
        shutil.copy(golden, here / "words" / "tokenizer.json")
        for name in ("spaced", "words"):
            self.run("data", "pack", "--tokenizer", here / name, "--seq-len", 96, "--out",
                     here / f"data-{name}", here / "stories.txt")
        for name, (options, tokenizer) in GGUF.items():
            self.run("train", "--data", here / f"data-{tokenizer}", "--out", here / f"run-{name}",
                     *SIZES.split(), *options.split())
        (here / "text.txt").write_text((here / "stories.txt").read_text()[:100])

    def loss(self, *model):
        return json.loads(self.run("eval", "--model", *model, "--text", self.folder / "text.txt", "--context",
                                   96, "--json"))["loss"]

    def peft(self):
        torch, peft = module("torch"), module("peft")
        if peft is None:
            return
        from transformers import AutoModelForCausalLM, AutoTokenizer
        base, tuned = self.folder / "llama-hf", self.folder / "tuned"
        self.run("convert", self.folder / "run-llama", "--to", "hf", "--out", base)
        self.run("train", "--init", base, "--data", self.folder / "data-words", "--out", tuned, "--lora-rank",
                 4, "--lora-targets", "q_proj,v_proj,down_proj", "--lr", 0.01, "--steps", 30)
        tokenizer = AutoTokenizer.from_pretrained(base)
        given = tokenizer((self.folder / "text.txt").read_text(), return_tensors="pt")
        model = AutoModelForCausalLM.from_pretrained(base)
        with torch.no_grad():
            plain = float(model(**given, labels=given["input_ids"]).loss)
            model = peft.PeftModel.from_pretrained(model, tuned / "adapter")
            with_adapter = float(model(**given, labels=given["input_ids"]).loss)
        for what, found, expected in (("without", plain, self.loss(base)),
                                      ("with", with_adapter, self.loss(base, "--adapter", tuned))):
            self.say(f"PEFT: loss {what} adapter {found:.6f} {expected:.6f}",
                     math.isclose(found, expected, rel_tol=2e-6), found, expected)
        self.say("PEFT: the adapter changes the loss", abs(plain - with_adapter) > 1e-4, with_adapter, plain)

    def arrays(self):
        numpy, safe = module("numpy"), module("safetensors.numpy")
        if numpy is None or safe is None:
            return
        folder, name = self.folder / "run-llama", "model.layers.1.mlp.down_proj.weight"
        tensors = safe.load_file(folder / "model.safetensors")
        self.run("convert", folder, "--to", "npy", "--tensor", name, "--out", self.folder / "one.npy")
        array = numpy.load(self.folder / "one.npy")
        self.say("NumPy and safetensors: one tensor", array.dtype == numpy.float32
                 and numpy.array_equal(array, tensors[name]), array.shape, tensors[name].shape)

    def tensorboard(self):
        if module("tensorboard") is None:
            return
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        run = self.folder / "run-llama"
        events = EventAccumulator(str(run), size_guidance={"scalars": 0})
        events.Reload()
        logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        losses = [round(line["loss"], 4) for line in logged if "loss" in line]
        names = [tag for tag in events.Tags()["scalars"] if tag.endswith("loss")]
        found = [[round(e.value, 4) for e in events.Scalars(tag)] for tag in names]
        self.say(f"TensorBoard: {len(losses)} losses", losses in found, found and found[0][:3], losses[:3])

    def gguf(self):
        llama = module("llama_cpp")
        if llama is None:
            return
        for name in GGUF:
            path = self.folder / f"{name}.gguf"
            self.run("convert", self.folder / f"run-{name}", "--to", "gguf", "--out", path)
            model = llama.Llama(str(path), n_ctx=96, verbose=False)
            for prompt in PROMPTS:
                found = model.create_completion(prompt, max_tokens=24, temperature=0, repeat_penalty=1)
                told = json.loads(self.run("generate", "--model", self.folder / f"run-{name}", "--prompt",
                                           prompt, "--temperature", 0, "--max-tokens", 24, "--json"))
                text = found["choices"][0]["text"]
                self.say(f"llama.cpp: {name} behind {prompt!r}", text == told["text"], text, told["text"])
            model.close()


def main():
    if len(sys.argv) != 4 or sys.argv[1] != "--check":
        raise SystemExit(__doc__)
    folder = pathlib.Path(sys.argv[2]).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    check = Check(folder, str(pathlib.Path(sys.argv[3]).resolve()))
    check.prepare()
    check.arrays()
    check.tensorboard()
    check.peft()
    check.gguf()
    if check.failed:
        raise SystemExit(f"{check.failed} failed")


if __name__ == "__main__":
    main()
