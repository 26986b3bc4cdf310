"""Prefill and decoding of a GGUF file in llama.cpp, through the library of llama-cpp-python.

    python llama_step.py MODEL.gguf --context 128,512,2048 --threads 2

One JSON object a line, named as `sgatlin bench --model` names its own: prefill of n tokens into an
empty context, logits of the last; decoding one token after the other behind n. Medians of repeats
after one that warms up. The cache of keys and values is f16, llama.cpp's own choice (--cache f32 for
ours).
"""

import argparse
import ctypes
import json
import os
import statistics
import sys
import time

import llama_cpp as llama

DECODED = 16  # tokens that one figure of decoding is the mean of, as in sgatlin bench


def opened(path, repack):
    llama.llama_backend_init()
    params = llama.llama_model_default_params()
    params.n_gpu_layers = 0
    params.use_extra_bufts = repack
    model = llama.llama_model_load_from_file(path.encode(), params)
    if not model:
        sys.exit(f"{path}: llama.cpp cannot open it")
    return model


def context_of(model, length, threads, cache):
    params = llama.llama_context_default_params()
    params.n_ctx = length + DECODED
    params.n_batch = params.n_ctx
    params.n_threads = params.n_threads_batch = threads
    kind = {"f16": llama.GGML_TYPE_F16, "f32": llama.GGML_TYPE_F32}[cache]
    params.type_k = params.type_v = kind
    context = llama.llama_init_from_model(model, params)
    if not context:
        sys.exit("llama.cpp cannot make a context")
    return context


def feed(context, ids):
    tokens = (llama.llama_token * len(ids))(*ids)
    code = llama.llama_decode(context, llama.llama_batch_get_one(tokens, len(ids)))
    if code != 0:
        sys.exit(f"llama_decode: {code}")
    return llama.llama_get_logits_ith(context, -1)[0]


def rewind(context, length):
    llama.llama_memory_seq_rm(llama.llama_get_memory(context), 0, length, -1)


def repeated(least, seconds, work):
    """Medians of work(i), once before that counts for nothing."""
    work(0)
    took, begun = [], time.perf_counter()
    while len(took) < least or time.perf_counter() - begun < seconds:
        before = time.perf_counter()
        work(len(took) + 1)
        took.append(time.perf_counter() - before)
    return statistics.median(took)


def main():
    ask = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ask.add_argument("model")
    ask.add_argument("--context", default="128,512,2048")
    ask.add_argument("--threads", type=int, default=os.cpu_count())
    ask.add_argument("--repeats", type=int, default=3)
    ask.add_argument("--seconds", type=float, default=1.0)
    ask.add_argument("--cache", choices=["f16", "f32"], default="f16")
    ask.add_argument("--repack", action="store_true", help="let it lay weights out anew (AMX too)")
    args = ask.parse_args()
    silent = llama.llama_log_callback(lambda level, text, data: None)
    llama.llama_log_set(silent, ctypes.c_void_p(0))
    model = opened(args.model, args.repack)
    size = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    token = lambda i: (i * 7919 + 13) % size
    for length in [int(word) for word in args.context.split(",")]:
        context = context_of(model, length, args.threads, args.cache)

        def prefill(i):
            llama.llama_memory_clear(llama.llama_get_memory(context), False)
            feed(context, [token(i * length + j) for j in range(length)])

        def decode(i):
            rewind(context, length)
            for j in range(DECODED):
                feed(context, [token(i * DECODED + j)])

        for name, work, tokens in ("prefill", prefill, length), ("decode", decode, DECODED):
            seconds = repeated(args.repeats, args.seconds, work)
            row = {"name": name, "peer": "llama.cpp", "context": length, "cache": args.cache}
            row |= {"seconds": seconds if name == "prefill" else seconds / tokens}
            row |= {"tokens_per_second": tokens / seconds}
            print(json.dumps(row), flush=True)
        llama.llama_free(context)
    llama.llama_model_free(model)


if __name__ == "__main__":
    main()
