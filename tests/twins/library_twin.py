"""Checks what `sgatlin convert --to hf` writes as those who get it use it: by the version of the Hugging Face
library that is installed, with all defaults.

    python3 tests/twins/library_twin.py --check FOLDER SGATLIN

FOLDER: for what is written, made anew. SGATLIN: the program, which makes its models itself: a tokenizer and
some models of a few seconds each. Needs torch and transformers, 4.25 or later; tests/twins/check_versions
runs this file with several versions. Types of models that a version does not have are skipped, saying so.

For every model: greedy text equal to that of `sgatlin generate`, with and without a cache, alone and in a
batch behind padding; beams, samples and guesses with and without a cache; what is not known is refused; what
save_pretrained writes, read by the library and by sgatlin; the loss of a text equal to that of
`sgatlin eval`; gradients of every weight.
"""

import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import warnings

warnings.filterwarnings("ignore")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

torch.set_num_threads(1)
VERSION = tuple(int(part) for part in transformers.__version__.split(".")[:2])
PROMPTS = ["One day, the bear", "The lake was", "Tom and Mia went to the garden. They saw"]
SIZES = ("--hidden-size 32 --head-dim 16 --num-attention-heads 2 --num-hidden-layers 2 --seq-len 96 "
         "--batch-size 8 --warmup-steps 5 --steps 120 --lr 0.01")
GLU = " --ffn glu --ffn-activation swiglu --ffn-bias 0 --ffn-intermediate-size 64"
SPARSE = " --ffn-channels 2 --ffn-neurons 64 --ffn-key-size 8 --ffn-top-k 4"
# A type of the library, the first version that has it whole, the tokenizer, options.
MODELS = {
    "plain": ("sgatlin", (4, 0), "trained", SPARSE),
    "window": ("sgatlin", (4, 0), "spaced", SPARSE + " --ffn peer --sliding-window 8 --sliding-layers 1"
               " --ffn-normaliser softmax --untied-classifier 1"),
    "hash": ("sgatlin", (4, 0), "spaced", " --ffn randhash --ffn-intermediate-size 32 --ffn-memory-factor 4"
             " --ffn-block-size 8"),
    "llama": ("llama", (4, 45), "words", GLU + " --qk-norm none"),
    "qwen3": ("qwen3", (4, 51), "trained", GLU),
    "arcee": ("arcee", (4, 54), "words", " --ffn mlp --ffn-activation relu2 --ffn-intermediate-size 128"
              " --qk-norm none"),
    "gpt2": ("gpt2", (4, 0), "spaced", " --ffn mlp --ffn-intermediate-size 128 --norm layernorm --qk-norm none"
             " --positions learned --attention-bias 1 --attention-out-bias 1 --ffn-bias 1"),
    "mixtral": ("mixtral", (4, 50), "trained", " --ffn moe --ffn-activation swiglu"
                " --ffn-intermediate-size 32 --ffn-experts 4 --ffn-top-k 2 --qk-norm none"
                " --ffn-renormalise 1 --ffn-bias 0"),
}  # fmt: skip


class Check:
    def __init__(self, folder, program):
        self.folder, self.program, self.failed = folder, program, 0

    def run(self, *args):
        done = subprocess.run([self.program, *map(str, args), "--quiet", "--threads", "1"], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, args))}: {done.stderr}")
        return done.stdout

    def say(self, name, what, ok, found="", expected=""):
        self.failed += not ok
        print(f"{'ok  ' if ok else 'FAIL'} {name}: {what}" + ("" if ok else f": {found!r}, expected {expected!r}"))

    def same(self, name, what, found, expected):
        self.say(name, what, found == expected, found, expected)

    def refused(self, name, what, call, words):
        try:
            call()
        except (TypeError, ValueError) as error:
            self.say(name, f"{what} is refused", words in str(error), str(error), words)
        else:
            self.say(name, f"{what} is refused", False, "nothing said", words)

    def prepare(self):
        """Two tokenizers of ours, and one of the kind that others train."""
        here = self.folder
        self.run("data", "synth", "--stories", 400, "--seed", 1, "--out", here / "stories.txt")
        self.run("data", "tokenizer", "--vocab-size", 600, "--out", here / "trained", here / "stories.txt")
        self.run("data", "tokenizer", "--vocab-size", 600, "--no-nfkc", "--no-prefix-space", "--out",
                 here / "spaced", here / "stories.txt")
        golden = pathlib.Path(__file__).resolve().parent.parent / "golden" / "tokenizer" / "smollm.json"
        (here / "words").mkdir()
        shutil.copy(golden, here / "words" / "tokenizer.json")
        for name in ("trained", "spaced", "words"):
            self.run("data", "pack", "--tokenizer", here / name, "--seq-len", 96, "--out",
                     here / f"data-{name}", here / "stories.txt")

    def expected(self, model, prompt, tokens=24):
        told = json.loads(self.run("generate", "--model", model, "--prompt", prompt, "--temperature", 0,
                                   "--max-tokens", tokens, "--json"))
        return told["text"]

    def model(self, name):
        kind, since, tokenizer, options = MODELS[name]
        if VERSION < since:
            print(f"skip {name}: transformers has {kind} as it is written from {since[0]}.{since[1]} on")
            return
        run, out = self.folder / f"run-{name}", self.folder / name
        self.run("train", "--data", self.folder / f"data-{tokenizer}", "--out", run, *SIZES.split(),
                 *options.split())
        told = json.loads(self.run("convert", run, "--to", "hf", "--out", out, "--json"))
        self.same(name, "type", told["type"], kind)
        texts = [self.expected(run, prompt) for prompt in PROMPTS]
        self.generation(name, out, texts)
        self.refusals(name, out, kind)
        self.training(name, out, run)
        self.saved(name, out, texts)

    def load(self, folder):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
        return tokenizer, AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)

    def texts(self, tokenizer, model, prompts, **how):
        """What follows each of the prompts, which go in as one batch."""
        if tokenizer.pad_token is None:  # as the library advises
            tokenizer.pad_token = tokenizer.eos_token
        given = tokenizer(prompts, return_tensors="pt", padding=len(prompts) > 1)
        ids = model.generate(**given, **{"do_sample": False, "max_new_tokens": 24, **how})
        return [tokenizer.decode(row[given["input_ids"].shape[1]:], skip_special_tokens=True) for row in ids]

    def generation(self, name, folder, texts):
        tokenizer, model = self.load(folder)
        for prompt, text in zip(PROMPTS, texts):
            self.same(name, f"greedy behind {prompt!r}", self.texts(tokenizer, model, [prompt]), [text])
        for prompt, text in zip(PROMPTS, texts):
            self.same(name, "no cache", self.texts(tokenizer, model, [prompt], use_cache=False), [text])
        self.same(name, "a batch", self.texts(tokenizer, model, PROMPTS), texts)
        self.same(name, "a batch, no cache", self.texts(tokenizer, model, PROMPTS, use_cache=False), texts)
        how = {"beams": {"num_beams": 3}, "several beams": {"num_beams": 3, "num_return_sequences": 2},
               "samples": {"do_sample": True, "num_return_sequences": 2, "top_k": 20}}
        for what, options in how.items():
            found = []
            for use_cache in (True, False):
                torch.manual_seed(3)
                found.append(self.texts(tokenizer, model, PROMPTS, use_cache=use_cache, **options))
            self.same(name, f"{what} with a cache and without", *found)
        if VERSION >= (4, 46):
            guessed = self.texts(tokenizer, model, PROMPTS[2:], prompt_lookup_num_tokens=3)
            self.same(name, "guesses from the prompt", guessed[0][: len(texts[2])], texts[2])  # one too many
            assisted = self.texts(tokenizer, model, PROMPTS[2:], assistant_model=model)
            self.same(name, "with an assistant", assisted[0][: len(texts[2])], texts[2])

    def refusals(self, name, folder, kind):
        if kind != "sgatlin":
            return
        tokenizer, model = self.load(folder)
        ids = tokenizer(PROMPTS[0], return_tensors="pt")["input_ids"]
        self.refused(name, "an unknown argument", lambda: model(ids, kv_store=object()), "kv_store")
        self.refused(name, "a mask of another length", lambda: model(ids, attention_mask=ids[:, :2] * 0 + 1),
                     "attention_mask")
        self.refused(name, "one token with a mask of all, without a cache",
                     lambda: model(ids[:, -1:], attention_mask=ids * 0 + 1), "attention_mask")
        self.refused(name, "an option of generate",
                     lambda: model.generate(ids, kv_store=3, max_new_tokens=2, do_sample=False), "kv_store")
        if VERSION >= (4, 46):
            self.refused(name, "a cache of fixed size",
                         lambda: model.generate(ids, cache_implementation="static", max_new_tokens=2,
                                                do_sample=False), "")
        out = model(ids, use_cache=True, output_hidden_states=True)
        self.same(name, "hidden states", len(out.hidden_states), model.config.num_hidden_layers + 1)
        step = model(ids[:, :1], **{("cache" if "cache" in out else "past_key_values"):
                                    out["cache" if "cache" in out else "past_key_values"]})
        whole = model(torch.cat((ids, ids[:, :1]), 1))
        worst = float((step.logits[:, -1] - whole.logits[:, -1]).abs().max())
        self.say(name, "one token behind a cache", worst < 1e-4, worst, 0)

    def training(self, name, folder, run):
        tokenizer, model = self.load(folder)
        text = (self.folder / "stories.txt").read_text()[:100]
        (self.folder / "text.txt").write_text(text)
        told = json.loads(self.run("eval", "--model", run, "--text", self.folder / "text.txt", "--context", 96,
                                   "--json"))
        given = tokenizer(text, return_tensors="pt")
        if given["input_ids"].shape[1] > 96:
            raise SystemExit("the text is too long")
        out = model(**given, labels=given["input_ids"])
        self.say(name, "loss", math.isclose(float(out.loss.detach()), told["loss"], rel_tol=1e-4),
                 float(out.loss.detach()), told["loss"])
        out.loss.backward()
        # Rows of tokens that the text does not have get none in tables; all else does.
        missing = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
        none = [key for key, p in model.named_parameters() if p.grad is not None and not p.grad.any()]
        self.same(name, "weights without a gradient", missing + none, [])
        before = float(out.loss.detach())
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.01 * p.grad
        after = float(model(**given, labels=given["input_ids"]).loss.detach())
        self.say(name, "a step lowers the loss", after < before, after, before)

    def saved(self, name, folder, texts):
        tokenizer, model = self.load(folder)
        again = self.folder / f"{name}-saved"
        # The first versions with safetensors can save no tied classifiers so, which ours does not have.
        ours = model.config.model_type == "sgatlin"
        model.save_pretrained(again, **({"safe_serialization": ours} if VERSION < (4, 35) else {}))
        tokenizer.save_pretrained(again)
        if (folder / "modeling_sgatlin.py").exists():  # old versions leave code of others behind
            shutil.copy(folder / "modeling_sgatlin.py", again)
        self.same(name, "saved and read by the library", self.texts(*self.load(again), PROMPTS), texts)
        if (again / "model.safetensors").exists():
            self.same(name, "saved, and read by sgatlin", [self.expected(again, p) for p in PROMPTS], texts)


def main():
    if len(sys.argv) < 4 or sys.argv[1] != "--check":
        raise SystemExit(__doc__)
    folder, program, names = pathlib.Path(sys.argv[2]).resolve(), sys.argv[3], sys.argv[4:]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    transformers.logging.set_verbosity_error()
    if hasattr(transformers.logging, "disable_progress_bar"):
        transformers.logging.disable_progress_bar()
    check = Check(folder, str(pathlib.Path(program).resolve()))
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    check.prepare()
    for name in names or MODELS:
        check.model(name)
    if check.failed:
        raise SystemExit(f"{check.failed} failed")


if __name__ == "__main__":
    main()
