"""Patched runs a second, here and in TransformerLens, on one random GPT-2 of transformers.

Started by bench/peers/run_patch. The model has fresh weights of transformers' initialisation, a
vocabulary of whole words, and the shape asked for. Exchanged is mlp.hook_post, of all layers
together and of each, at the subject and at the last of 13 tokens, in every ordered pair of facts.
TransformerLens runs them as its users do: run_with_hooks on one prompt after the other, and on all
pairs at once. The effects of both must agree before anything is timed. Rounds alternate; the best
of each is shown, as others may use the machine.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

SHAPES = {  # layers, width, heads, vocabulary
    "small": (2, 128, 4, 2000),
    "base": (12, 768, 12, 50257),
}
PROMPT = "in the old town by the river everybody knew that {subject} was {answer}"
BOS = "<|endoftext|>"


def words(vocabulary):
    prompt = PROMPT.replace("{subject} ", "").replace(" {answer}", "").split()
    letters = [chr(n) for n in range(ord("a"), ord("z") + 1)]
    known = dict.fromkeys(letters + ["\u0120"] + ["\u0120" + w for w in prompt] + [prompt[0]])
    known |= {"\u0120" + kind + a + b: None for kind in "sx" for a in letters for b in letters}
    return list(known)[: vocabulary - 1]


def tokenizer(vocabulary):
    """Whole words with the space in front of them; nothing is merged."""
    ids = {word: i + 1 for i, word in enumerate(words(vocabulary))} | {BOS: 0}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    special = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return ids, {
        "version": "1.0",
        "added_tokens": [{"id": 0, "content": BOS, "special": True} | special],
        "pre_tokenizer": level | {"use_regex": True},
        "decoder": level | {"use_regex": True},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": BOS, "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {BOS: {"id": BOS, "ids": [0], "tokens": [BOS]}},
        },
        "model": {"type": "BPE", "ignore_merges": True, "vocab": ids, "merges": []},
    }


def make(folder, shape, facts):
    layers, width, heads, vocabulary = SHAPES[shape]
    torch.manual_seed(1)
    config = transformers.GPT2Config(
        n_layer=layers, n_embd=width, n_head=heads, vocab_size=vocabulary, n_positions=64
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():  # louder than at the beginning of training, so that patches matter
        for parameter in model.parameters():
            parameter.mul_(3 if parameter.ndim > 1 else 1)
    model.save_pretrained(folder)
    ids, text = tokenizer(vocabulary)
    with open(os.path.join(folder, "tokenizer.json"), "w") as out:
        json.dump(text, out)
    names = [chr(97 + n // 26) + chr(97 + n % 26) for n in range(facts)]
    with open(os.path.join(folder, "facts.json"), "w") as out:
        relation = {"name": "is", "prompts": [PROMPT]}
        listed = [{"subject": "s" + n, "relation": "is", "answer": "x" + n} for n in names]
        json.dump(
            {"format": "sgatlin facts", "version": 2, "relations": [relation], "facts": listed}, out
        )
    asked = PROMPT.replace(" {answer}", "")
    prompts = [asked.replace("{subject}", "s" + n).split() for n in names]
    tokens = [[0] + [ids[w if i == 0 else "\u0120" + w] for i, w in enumerate(p)] for p in prompts]
    return model, torch.tensor(tokens), torch.tensor([ids["\u0120x" + n] for n in names])


def lens(model, shape):
    layers, width, heads, vocabulary = SHAPES[shape]
    cfg = HookedTransformerConfig(
        n_layers=layers, d_model=width, n_ctx=64, d_head=width // heads, n_heads=heads,
        d_vocab=vocabulary, d_mlp=4 * width, act_fn="gelu_new", normalization_type="LN",
        eps=1e-5, device="cpu", attention_dir="causal",
    )
    cfg.original_architecture = "GPT2LMHeadModel"
    hooked = HookedTransformer(cfg)
    state = convert_gpt2_weights(model, cfg)
    hooked.load_state_dict(state, strict=False)
    return hooked.eval()


def ours(args, folder, facts):
    command = [args.sgatlin, "probe", "patch", os.path.join(folder, "facts.json")]
    command += ["--model", folder, "--points", "mlp.hook_post", "--controls", "none"]
    command += ["--pairs", "0", "--bootstrap", "1", "--permutations", "1"]
    command += ["--threads", str(args.threads), "--json", "--quiet"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    patches = found["patches"] * found["counts"]["pairs"]
    effects = {
        (r["layers"], r["position"]): r["mean"] for r in found["results"] if r["metric"] == "effect"
    }
    return patches, found["seconds"], effects


@torch.no_grad()
def theirs(model, tokens, answers, layers, at_once):
    """Captures and patches, as TransformerLens's users write them."""
    count, last = tokens.shape
    pairs = [(a, b) for a in range(count) for b in range(count) if a != b]
    names = [f"blocks.{layer}.mlp.hook_post" for layer in range(layers)]
    begin = time.perf_counter()
    out, cache = model.run_with_cache(tokens, names_filter=lambda n: n in names)
    base = out[:, -1].clone()
    clean = torch.tensor([a for a, _ in pairs])
    other = torch.tensor([b for _, b in pairs])
    groups = [slice(None)] if at_once else [slice(i, i + 1) for i in range(len(pairs))]
    effects, patches = {}, 0
    sets = [("all", names)] + [(str(layer), [name]) for layer, name in enumerate(names)]
    for label, chosen in sets:
        for position, at in (("subject", last - 2), ("last", last - 1)):
            found = []
            for group in groups:
                a, b = clean[group], other[group]

                def put(value, hook, at=at, b=b):
                    value[:, at] = cache[hook.name][b, at]
                    return value

                hooks = [(n, put) for n in chosen]
                logits = model.run_with_hooks(tokens[a], fwd_hooks=hooks)[:, -1]
                rows, x, y = torch.arange(len(a)), answers[a], answers[b]
                m = logits[rows, x] - logits[rows, y]
                m_clean, m_other = base[a, x] - base[a, y], base[b, x] - base[b, y]
                found.append((m_clean - m) / (m_clean - m_other + 1e-8))
                patches += len(a)
            effects[label, position] = float(torch.cat(found).double().mean())
    return patches, time.perf_counter() - begin, effects


def measure(args, shape, folder):
    facts = 2
    while facts * (facts - 1) < args.pairs:
        facts += 1
    model, tokens, answers = make(folder, shape, facts)
    hooked = lens(model, shape)
    layers = SHAPES[shape][0]
    del model
    runs = {
        "sgatlin": lambda: ours(args, folder, facts),
        "TransformerLens, all pairs at once": lambda: theirs(hooked, tokens, answers, layers, True),
        "TransformerLens, one by one": lambda: theirs(hooked, tokens, answers, layers, False),
    }
    best, effects = {}, {}
    for _ in range(args.rounds):
        for name, run in runs.items():
            patches, seconds, effects[name] = run()
            best[name] = max(best.get(name, 0), patches / seconds)
    worst = max(
        abs(effects["sgatlin"][key] - value) / max(1, abs(value))
        for name in runs
        for key, value in effects[name].items()
    )
    return {"shape": shape, "facts": facts, "patches_a_second": best, "effects_differ_by": worst}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sgatlin", required=True)
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=56)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    results = []
    for shape in args.shape:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(args, shape, folder))
    if args.json:
        print(json.dumps(results, indent=2))
        return
    print(f"TransformerLens with torch {torch.__version__}, {args.threads} threads")
    for r in results:
        layers, width, _, vocabulary = SHAPES[r["shape"]]
        print(f"\nGPT-2 of {layers} layers, width {width}, vocabulary {vocabulary}: runs a second")
        for name, rate in r["patches_a_second"].items():
            print(f"  {name:<36} {rate:9.1f}")
        print(f"  mean effects differ by at most {r['effects_differ_by']:.1e}")


if __name__ == "__main__":
    main()
