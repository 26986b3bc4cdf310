"""What scikit-learn, umap-learn and numpy make of the same rows: makes tests/golden/gates/*.safetensors.

Run from anywhere: python3 tests/twins/gates_twin.py. Needs numpy, scipy, scikit-learn, umap-learn.
Rows are drawn here and kept in the files, in 32 bits; everything else is computed from them in 64
and rounded to F32. What each file holds: tests/golden/README.md.
"""

import json
import pathlib
import warnings

import numpy as np
import scipy.sparse as sp
import umap
from sklearn.manifold import trustworthiness
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors
from umap.umap_ import find_ab_params, fuzzy_simplicial_set

OUT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "gates"
NEAR = 15


def save(path, metadata, tensors):
    kinds = {"float32": "F32", "int32": "I32"}
    header, parts, at = {"__metadata__": metadata}, [], 0
    for name, array in tensors.items():
        data = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": kinds[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [at, at + len(data)],
        }
        parts.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))


def f32(x):
    return np.asarray(x, dtype=np.float32)


def i32(x):
    return np.asarray(x, dtype=np.int32)


def gates(rng, rows, columns, slots, kinds):
    """Rows of a few neurons each, around patterns that they share."""
    often = 1 / np.arange(1, columns + 1) ** 0.7
    often /= often.sum()
    pattern = np.stack([rng.choice(columns, slots, False, often) for _ in range(kinds)])
    score = rng.gamma(3, 1, (kinds, slots))
    x = np.zeros((rows, columns))
    for row in x:
        kind = rng.integers(kinds)
        ids, values = pattern[kind].copy(), score[kind] * rng.lognormal(0, 0.2, slots)
        other = rng.random(slots) < 0.3
        ids[other] = rng.choice(columns, other.sum(), False, often)
        row[ids] = np.where(other, rng.gamma(2, 0.5, slots), values)
    return f32(x)


def sparse(x):
    csr = sp.csr_matrix(x)
    csr.sort_indices()
    return {"begins": i32(csr.indptr), "neurons": i32(csr.indices), "scores": f32(csr.data)}


def nearest(x, metric, count):
    """All rows in order of distance, of equal ones the first, itself left out."""
    near = NearestNeighbors(n_neighbors=count, metric=metric, algorithm="brute").fit(x)
    distances, ids = near.kneighbors()
    whole = pairwise_distances(x, metric=metric)
    np.fill_diagonal(whole, np.inf)
    order = np.argsort(whole, axis=1, kind="stable")[:, :count]
    # scikit-learn leaves the order of ties open.
    tied = np.abs(np.take_along_axis(whole, order, 1) - distances) < 1e-12
    assert tied.all()
    differs = ids != order
    assert np.allclose(np.take_along_axis(whole, ids, 1)[differs], distances[differs])
    return order, distances


def neighbours(rng):
    x = gates(rng, 150, 64, 6, 12).astype(np.float64)
    x[140] = x[17]  # equal rows
    y = x @ rng.normal(size=(64, 10)) + 0.3
    y = f32(y).astype(np.float64)
    ids, distances = nearest(x, "cosine", 10)
    dense_ids, dense_distances = nearest(y, "euclidean", 10)
    save(
        OUT / "neighbours.safetensors",
        {"columns": "64"},
        sparse(x)
        | {
            "ids": i32(ids),
            "distances": f32(distances),
            "dense": f32(y),
            "dense.ids": i32(dense_ids),
            "dense.distances": f32(dense_distances),
        },
    )


def mapped(rng):
    x = gates(rng, 400, 128, 8, 20)
    order, distances = nearest(x.astype(np.float64), "cosine", NEAR - 1)
    self = np.arange(len(x))[:, None]
    ids = np.hstack([self, order])
    knn = np.hstack([np.zeros((len(x), 1)), distances]).astype(np.float32)
    graph, _, _ = fuzzy_simplicial_set(
        sp.csr_matrix(x), NEAR, np.random.RandomState(0), "cosine", knn_indices=ids, knn_dists=knn
    )
    graph = graph.tocsr()
    graph.sort_indices()
    trust, places = [], None
    for seed in range(5):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            places = umap.UMAP(metric="cosine", random_state=seed).fit(x).embedding_
        trust.append(trustworthiness(x, places, n_neighbors=NEAR, metric="cosine"))
    # A map of rows that no two pairs of which are equally far apart, so that ranks are certain.
    z = f32(rng.normal(size=(200, 9)))
    flat = f32(z[:, :2] + 0.5 * rng.normal(size=(200, 2)))
    known = trustworthiness(z.astype(np.float64), flat, n_neighbors=NEAR, metric="cosine")
    curves = [(0.1, 1.0), (0.5, 1.0), (0.0, 1.0), (0.25, 2.0)]
    save(
        OUT / "map.safetensors",
        {"columns": "128", "seeds": "5"},
        sparse(x)
        | {
            "graph.begins": i32(graph.indptr),
            "graph.ids": i32(graph.indices),
            "graph.weights": f32(graph.data),
            "places": f32(places),
            "trustworthiness": f32(trust),
            "dense": z,
            "dense.places": flat,
            "dense.trustworthiness": f32([known]),
            "curves": f32([(m, s, *find_ab_params(s, m)) for m, s in curves]),
        },
    )
    print("umap-learn's trustworthiness", trust, "on the known map", known)


def alignment(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    norm = np.linalg.norm
    features = norm(x.T @ y) ** 2 / (norm(x.T @ x) * norm(y.T @ y))
    n = len(x)
    h = np.eye(n) - 1 / n
    k, l = h @ x @ x.T @ h, h @ y @ y.T @ h
    gram = (k * l).sum() / np.sqrt((k * k).sum() * (l * l).sum())
    assert abs(features - gram) < 1e-10
    return features


def cka(rng):
    x = gates(rng, 120, 96, 8, 10).astype(np.float64)
    y = f32(x @ rng.normal(size=(96, 20)) + rng.normal(size=(120, 20)) + 2).astype(np.float64)
    z = f32(rng.normal(size=(120, 20))).astype(np.float64)
    values = [alignment(x, y), alignment(x, x), alignment(y, z), alignment(x, z)]
    save(
        OUT / "cka.safetensors",
        {"columns": "96"},
        sparse(x) | {"y": f32(y), "z": f32(z), "xy.xx.yz.xz": f32(values)},
    )
    print("cka", values)


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    for number, make in enumerate((neighbours, mapped, cka)):
        make(np.random.default_rng(number))
