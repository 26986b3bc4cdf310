#!/usr/bin/env python3
"""Makes tests/golden/safetensors/*: files written by the Hugging Face library.

Also checks a file that this project wrote:  safetensors_twin.py --check FILE
Needs: safetensors, torch, numpy.
"""
import pathlib
import sys

import torch
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "safetensors"


def tensors():
    return {
        "double": torch.tensor([1.5, -2.25, 1e300], dtype=torch.float64),
        "long": torch.tensor([[1, -2], [3, 2**62]], dtype=torch.int64),
        "float": torch.arange(6, dtype=torch.float32).reshape(2, 3) / 3,
        "scalar": torch.tensor(7.0, dtype=torch.float32),
        "empty": torch.zeros((0, 4), dtype=torch.float32),
        "half": torch.tensor([1.0, -0.5, 65504.0, 6e-8], dtype=torch.float16),
        "brain": torch.tensor([1.0, -3.0, 1e38], dtype=torch.bfloat16),
        "bytes": torch.tensor([0, 255, 3], dtype=torch.uint8),
        "flags": torch.tensor([True, False, True]),
    }


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        found, expected = load_file(sys.argv[2]), tensors()
        assert found.keys() == expected.keys(), found.keys()
        for name, value in expected.items():
            assert found[name].dtype == value.dtype and torch.equal(found[name], value), name
        print("equal")
        return
    ROOT.mkdir(parents=True, exist_ok=True)
    save_file(tensors(), ROOT / "mixed.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
