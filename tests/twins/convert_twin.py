"""Checks what `sgatlin convert` writes with the programs it is written for: the Hugging Face library and
the Python package gguf.

    python3 tests/twins/convert_twin.py --check FOLDER SGATLIN [NAME ...]

FOLDER: for what is written, made anew. SGATLIN: the program. Needs torch and transformers 5, and for GGUF
the package gguf (skipped, saying so, where it is missing). Every golden checkpoint must come out in its own
model type and in ours, every golden model of ours with modeling_sgatlin.py, with the logits that the
golden file has; cached decoding must agree; what the files say is compared tensor by tensor. Not part of
make test, which checks the same conversions by opening them again.
"""

import json
import pathlib
import shutil
import subprocess
import sys

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
TOLERANCE = 1e-4


def error(found, expected):
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=0.01))


def cached(model, ids):
    """Logits of one row, a few tokens at once and then one by one."""
    cache, out = transformers.DynamicCache(config=model.config), []
    for start, end in [(0, 3)] + [(i, i + 1) for i in range(3, ids.shape[1])]:
        out.append(model(ids[:, start:end], past_key_values=cache, use_cache=True).logits)
    return torch.cat(out, 1)


def padded(model, ids):
    """The same row behind padding, as batches have it."""
    behind = torch.cat([torch.full((1, 3), 2), ids], 1)
    mask = torch.tensor([[0] * 3 + [1] * ids.shape[1]])
    return model(behind, attention_mask=mask).logits[:, 3:]


class Check:
    def __init__(self, folder, program):
        self.folder, self.program, self.failed = folder, program, 0

    def convert(self, source, name, *options):
        out = self.folder / name
        result = subprocess.run([self.program, "convert", source, "--out", out, "--json", "--quiet",
                                 *options], capture_output=True, text=True)
        if result.returncode:
            raise SystemExit(f"{name}: {result.stderr}")
        return out, json.loads(result.stdout)

    def judge(self, name, what, worst):
        ok = worst <= TOLERANCE
        self.failed += not ok
        print(f"{'ok  ' if ok else 'FAIL'} {name}: {what}: {worst:.2e}")

    def load(self, folder, remote):
        # The fast products of experts want larger sizes than these.
        how = {} if remote else dict(attn_implementation="eager", experts_implementation="eager")
        return transformers.AutoModelForCausalLM.from_pretrained(
            folder, trust_remote_code=remote, dtype=torch.float32, **how).eval()

    def logits(self, name, folder, ids, expected, remote):
        model = self.load(folder, remote)
        with torch.no_grad():
            self.judge(name, "logits", error(model(ids).logits, expected))
            self.judge(name, "cached", error(cached(model, ids[:1]), expected[:1]))
            if remote and model.config.positions == "rotary":
                self.judge(name, "padded", error(padded(model, ids[:1]), expected[:1]))
            model.generate(ids[:1, :4], max_new_tokens=2, do_sample=False, pad_token_id=0)
        return model

    def checkpoint(self, name):
        source = GOLDEN / "checkpoints" / name
        expected = load_file(source / "expected.safetensors")
        ids, logits = expected["ids"].long()[None], expected["logits"][None]
        kind = json.loads((source / "config.json").read_text())["model_type"]
        if kind != "deepseek":  # its class is not in the library
            out, told = self.convert(source, f"{name}-hf", "--to", "hf")
            if told["type"] != kind:
                raise SystemExit(f"{name}: became {told['type']}")
            self.logits(name, out, ids, logits, False)
        out, _ = self.convert(source, f"{name}-ours", "--to", "hf", "--model-type", "sgatlin")
        model = self.logits(name + " as sgatlin", out, ids, logits, True)
        again = self.folder / f"{name}-saved"
        model.save_pretrained(again)
        _, told = self.convert(again, f"{name}-back", "--to", "hf", "--model-type", kind)
        back = load_file(self.folder / f"{name}-back" / "model.safetensors")
        worst = 0.0
        for key, tensor in load_file(source / "model.safetensors").items():
            worst = max(worst, float((back[key].float() - tensor.float()).abs().max()))
        self.judge(name, "saved by the library, and back", worst)

    def family(self, name):
        path = GOLDEN / "models" / f"{name}.safetensors"
        source = self.folder / f"{name}-source"
        source.mkdir()
        with safe_open(path, "pt") as file:
            config = json.loads(file.metadata()["config"])
            tensors = {k[6:]: file.get_tensor(k) for k in file.keys() if k.startswith("param.")}
            ids, expected = file.get_tensor("inputs").long(), file.get_tensor("logits")
        (source / "config.json").write_text(json.dumps(config | {"model_type": "sgatlin"}))
        save_file(tensors, source / "model.safetensors")
        out, told = self.convert(source, f"{name}-hf", "--to", "hf")
        if told["type"] != "sgatlin":
            raise SystemExit(f"{name}: became {told['type']}")
        self.logits(name, out, ids, expected, True)

    def gguf(self, name):
        try:
            import gguf
        except ImportError:
            print("skip GGUF: the package gguf is missing")
            return
        for dtype in ("f32", "bf16", "f16"):
            out, told = self.convert(GOLDEN / "checkpoints" / name, f"{name}-{dtype}.gguf", "--to",
                                     "gguf", "--dtype", dtype, "--no-tokenizer")
            reader = gguf.GGUFReader(out)
            said = {f.name: f.contents() for f in reader.fields.values()}
            assert said["general.architecture"] == told["type"]
            assert told["tensors"] == len(reader.tensors)
            types = {t.tensor_type.name for t in reader.tensors if len(t.shape) > 1}
            assert types <= {dtype.upper(), "F32"}, types
            tensors = {t.name: t for t in reader.tensors}
            table = load_file(GOLDEN / "checkpoints" / name / "model.safetensors")
            embedding = next(v for k, v in table.items() if k.endswith(("embed_tokens.weight", "wte.weight")))
            found = torch.from_numpy(gguf.quants.dequantize(tensors["token_embd.weight"].data,
                                                            tensors["token_embd.weight"].tensor_type))
            limit = {"f32": 0, "bf16": 2**-8, "f16": 2**-10}[dtype]
            worst = float(((found - embedding.float()).abs() / embedding.float().abs()).max())
            if worst > limit:
                self.failed += 1
            print(f"{'ok  ' if worst <= limit else 'FAIL'} {name}: GGUF {dtype}: {worst:.2e}")


def main():
    if len(sys.argv) < 4 or sys.argv[1] != "--check":
        raise SystemExit(__doc__)
    folder, program, names = pathlib.Path(sys.argv[2]), sys.argv[3], sys.argv[4:]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    check = Check(folder, str(pathlib.Path(program).resolve()))
    checkpoints = sorted(p.name for p in (GOLDEN / "checkpoints").iterdir() if p.is_dir())
    families = sorted(p.stem for p in (GOLDEN / "models").glob("*.safetensors"))
    for name in checkpoints:
        if not names or name in names:
            check.checkpoint(name)
    for name in families:
        if not names or name in names:
            check.family(name)
    for name in ("qwen3", "gpt2", "llama_plain"):
        if (not names or name in names) and (GOLDEN / "checkpoints" / name).is_dir():
            check.gguf(name)
    if check.failed:
        raise SystemExit(f"{check.failed} failed")


if __name__ == "__main__":
    main()
