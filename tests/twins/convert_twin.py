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
            if not key.endswith(("_blocks", "_scales")):  # MXFP4 comes back widened
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

    def through_gguf(self, name):
        """A GGUF file of others as a folder of the library, and out again: named by the package."""
        try:
            import gguf
        except ImportError:
            print("skip GGUF: the package gguf is missing")
            return
        source = GOLDEN / "checkpoints" / name
        expected = load_file(source / "expected.safetensors")
        ids, logits = expected["ids"].long()[None], expected["logits"][None]
        folder, told = self.convert(source / "model.gguf", f"{name}-hf", "--to", "hf")
        self.logits(name, folder, ids, logits, told["type"] == "sgatlin")
        if told["type"] == "sgatlin":  # whose names the package does not know
            folder, told = self.convert(folder, f"{name}-own", "--to", "hf", "--model-type",
                                        "deepseek")
        out, told = self.convert(folder, f"{name}.gguf", "--to", "gguf", "--dtype", "f32")
        reader = gguf.GGUFReader(out)
        found = {t.name: t for t in reader.tensors}
        config = json.loads((folder / "config.json").read_text())
        arch = next(a for a, n in gguf.MODEL_ARCH_NAMES.items() if n == told["type"])
        layers = config.get("num_hidden_layers", config.get("n_layer"))
        place_of = gguf.get_tensor_name_map(arch, layers)
        stacks = {}
        for key, tensor in load_file(folder / "model.safetensors").items():
            parts = key.split(".")
            expert = next((i for i, p in enumerate(parts) if p == "experts"), None)
            if expert is None:
                stacks[key] = tensor
            else:
                merged = ".".join(parts[:expert + 1] + parts[expert + 2:])
                stacks.setdefault(merged, {})[int(parts[expert + 1])] = tensor
        worst, used = 0.0, set()
        for key, tensor in stacks.items():
            stem, end = key.rsplit(".", 1)
            place = f"{place_of.get_name(stem)}.{end}"
            if isinstance(tensor, dict):
                tensor = torch.stack([tensor[i] for i in range(len(tensor))])
            turned = told["type"] == "gpt2" and tensor.dim() == 2 and place.startswith("blk.")
            if turned:
                tensor = tensor.T
            heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}.get(
                place.split(".")[-2])
            if told["type"] in ("llama", "deepseek") and heads:  # neighbours turn together
                n = config[heads]
                tensor = tensor.reshape(n, 2, tensor.shape[0] // n // 2, -1).transpose(1, 2)
            data = torch.from_numpy(found[place].data.copy())
            worst = max(worst, float((data.flatten() - tensor.flatten()).abs().max()))
            used.add(place)
        if told["type"] == "llama" and config.get("rope_scaling"):
            scaled = self.load(folder, False).model.rotary_emb.inv_freq.double()
            plain = config["rope_theta"] ** -(torch.arange(len(scaled)).double() / len(scaled))
            factors = torch.from_numpy(found["rope_freqs.weight"].data.copy()).double()
            self.judge(name, "rope_freqs", float((factors * scaled / plain - 1).abs().max()))
            used.add("rope_freqs.weight")
        if used != set(found):
            raise SystemExit(f"{name}: tensors {sorted(used ^ set(found))}")
        if worst > 0:
            self.failed += 1
        print(f"{'ok  ' if worst == 0 else 'FAIL'} {name}: GGUF {told['type']}, "
              f"{len(found)} tensors: {worst:.2e}")


def main():
    if len(sys.argv) < 4 or sys.argv[1] != "--check":
        raise SystemExit(__doc__)
    folder, program, names = pathlib.Path(sys.argv[2]), sys.argv[3], sys.argv[4:]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    check = Check(folder, str(pathlib.Path(program).resolve()))
    every = sorted(p.name for p in (GOLDEN / "checkpoints").iterdir() if p.is_dir())
    checkpoints = [name for name in every if not name.startswith("gguf_")]
    families = sorted(p.stem for p in (GOLDEN / "models").glob("*.safetensors"))
    for name in checkpoints:
        if not names or name in names:
            check.checkpoint(name)
    for name in families:
        if not names or name in names:
            check.family(name)
    for name in ("qwen3", "gpt2", "llama"):
        if not names or name in names:
            check.gguf(name)
    for name in every:
        if name.startswith("gguf_") and (not names or name in names):
            check.through_gguf(name)
    if check.failed:
        raise SystemExit(f"{check.failed} failed")


if __name__ == "__main__":
    main()
