#!/usr/bin/env python3
"""Makes tests/golden/gguf/* with the Python package gguf, and seeds for the fuzz targets.

values.gguf         metadata of every type and a few tensors; this project writes the same bytes
                    (but for types that it never writes, in types.gguf)
types.gguf          the other types of metadata, alignment 64
blocks.gguf         every type that weights can be stored in
blocks.safetensors  what blocks.gguf stands for, as f32, by gguf.quants.dequantize

Also lists a file that this project wrote:  gguf_twin.py --show FILE
Needs: gguf, numpy, safetensors.
"""
import pathlib
import struct
import sys

import numpy as np
from gguf import GGMLQuantizationType as Q, GGUFReader, GGUFWriter, quants
from gguf.constants import GGML_QUANT_SIZES
from safetensors.numpy import save_file

TESTS = pathlib.Path(__file__).resolve().parent.parent
ROOT = TESTS / "golden" / "gguf"


def write(path, fill):
    writer = GGUFWriter(path, "llama")
    fill(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def values(writer):
    writer.add_uint32("test.u32", 4000000000)
    writer.add_uint64("test.u64", 2**63 + 5)
    writer.add_float32("test.f32", 1e-5)
    writer.add_bool("test.true", True)
    writer.add_bool("test.false", False)
    writer.add_string("test.string", "naïve \"text\"\n")
    writer.add_array("test.strings", ["a", "", "Ġb"])
    writer.add_array("test.ints", [1, -2, 2147483647])
    writer.add_array("test.floats", [0.5, -1.25])
    writer.add_tensor("matrix", np.arange(6, dtype=np.float32).reshape(2, 3) / 3)
    writer.add_tensor("half", np.array([1.0, -0.5, 65504.0, 6e-8], dtype=np.float16))
    writer.add_tensor("ids", np.array([[[[1, -2]]], [[[3, 4]]], [[[5, 6]]]], dtype=np.int32))
    rows = np.arange(64, dtype=np.float32).reshape(2, 32) - 20
    writer.add_tensor("eights", quants.quantize(rows, Q.Q8_0), raw_dtype=Q.Q8_0)


def types(writer):
    writer.add_custom_alignment(64)
    writer.add_uint8("test.u8", 200)
    writer.add_int8("test.i8", -100)
    writer.add_uint16("test.u16", 60000)
    writer.add_int16("test.i16", -30000)
    writer.add_int32("test.i32", -2000000000)
    writer.add_int64("test.i64", -(2**62))
    writer.add_float64("test.f64", 1e300)
    writer.add_array("test.bools", [True, False, True])
    writer.add_array("test.doubled", [1.5])
    writer.add_tensor("one", np.array([7], dtype=np.float32))
    writer.add_tensor("two", np.array([1, 2], dtype=np.float64))


# Random blocks of K types, which the package cannot make: only their halves must be finite.
def random_blocks(rng, kind, rows, columns):
    block, size = GGML_QUANT_SIZES[kind]
    halves = {Q.Q4_K: [0, 2], Q.Q5_K: [0, 2], Q.Q6_K: [208]}[kind]
    raw = rng.integers(0, 256, (rows, columns // block, size), dtype=np.uint8)
    for at in halves:
        scales = rng.normal(0, 0.01, raw.shape[:2]).astype(np.float16)
        scales.flat[0] = 3e-7  # a subnormal half
        raw[:, :, at : at + 2] = scales[..., None].view(np.uint8)
    return raw.reshape(rows, -1)


def blocks():
    rng = np.random.default_rng(7)
    wide = {}

    def fill(writer):
        for kind in (Q.F32, Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1):
            x = (rng.normal(0, 1, (3, 96)) * np.exp(rng.normal(0, 2, (3, 1)))).astype(np.float32)
            if kind in (Q.F32, Q.F16):
                raw = x.astype({Q.F32: np.float32, Q.F16: np.float16}[kind])
                wide[kind.name] = raw.astype(np.float32)
                writer.add_tensor(kind.name, raw)
                continue
            raw = quants.quantize(x, kind)
            wide[kind.name] = quants.dequantize(raw, kind)
            writer.add_tensor(kind.name, raw, raw_dtype=kind)
        for kind in (Q.Q4_K, Q.Q5_K, Q.Q6_K):
            raw = random_blocks(rng, kind, 2, 512)
            wide[kind.name] = quants.dequantize(raw, kind)
            writer.add_tensor(kind.name, raw, raw_dtype=kind)

    write(ROOT / "blocks.gguf", fill)
    save_file({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in wide.items()},
              ROOT / "blocks.safetensors")


def text(string):
    data = string.encode()
    return struct.pack("<Q", len(data)) + data


# Small files for the fuzzers to start from.
def seeds():
    folder = TESTS / "fuzz" / "corpus" / "gguf"
    folder.mkdir(parents=True, exist_ok=True)
    head = b"GGUF" + struct.pack("<I", 3)
    scalar = text("a") + struct.pack("<II", 4, 7)
    names = text("b") + struct.pack("<IIQ", 9, 8, 2) + text("x") + text("")
    tensor = text("t") + struct.pack("<IQQIQ", 2, 32, 1, 8, 0)
    (folder / "empty.gguf").write_bytes(head + struct.pack("<QQ", 0, 0))
    (folder / "keys.gguf").write_bytes(head + struct.pack("<QQ", 0, 2) + scalar + names)
    body = head + struct.pack("<QQ", 1, 1) + scalar + tensor
    (folder / "tensor.gguf").write_bytes(body + bytes(-len(body) % 32) + bytes(range(34)))
    (folder / "values.gguf").write_bytes((ROOT / "values.gguf").read_bytes())
    (folder / "types.gguf").write_bytes((ROOT / "types.gguf").read_bytes())
    folder = TESTS / "fuzz" / "corpus" / "llama2c"
    folder.mkdir(parents=True, exist_ok=True)
    for name, vocab in (("tied", 3), ("untied", -3)):
        d, f, layers, heads, kv, seq = 4, 2, 2, 2, 1, 2
        k = kv * d // heads
        floats = 3 * d + layers * (2 * d + 2 * d * d + 2 * k * d + 3 * f * d) + d + seq * d // heads
        floats += 3 * d if vocab < 0 else 0
        (folder / (name + ".bin")).write_bytes(
            struct.pack("<7i", d, f, layers, heads, kv, vocab, seq) + bytes(4 * floats))


def show(path):
    reader = GGUFReader(path)
    for field in reader.fields.values():
        print(field.name, [t.name for t in field.types], field.contents())
    for tensor in reader.tensors:
        print(tensor.name, tensor.tensor_type.name, tensor.shape.tolist(), tensor.data_offset)


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--show":
        show(sys.argv[2])
        return
    ROOT.mkdir(parents=True, exist_ok=True)
    write(ROOT / "values.gguf", values)
    write(ROOT / "types.gguf", types)
    blocks()
    seeds()


if __name__ == "__main__":
    main()
