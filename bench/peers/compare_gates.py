"""Exact neighbours and maps of gates: ours beside scikit-learn's and umap-learn's, in one run.

Called by bench/peers/run_gates. The gates are those of one channel of a record (probe record), or,
without one, drawn: 8 of 1,024 neurons a row around 200 patterns. Ours is called in the shared library.
Each figure is one run, after one on a few rows that compiles what the others compile. CPU seconds are
of all threads: on a machine that does other things too they say more than the clock.
"""

import argparse
import ctypes as c
import json
import os
import time
import warnings

import numpy as np
import scipy.sparse as sp

NEAR = 15


class Vectors(c.Structure):
    _fields_ = [("rows", c.c_int64), ("columns", c.c_int64), ("begins", c.c_void_p)]
    _fields_ += [("neurons", c.c_void_p), ("scores", c.c_void_p), ("values", c.c_void_p)]


class NeighboursOptions(c.Structure):
    _fields_ = [("count", c.c_int64), ("metric", c.c_int), ("self", c.c_bool)]
    _fields_ += [(name, c.c_void_p) for name in ("groups", "query_groups", "progress", "user")]


class MapOptions(c.Structure):
    _fields_ = [("neighbours", c.c_int64), ("min_dist", c.c_double), ("spread", c.c_double)]
    _fields_ += [("epochs", c.c_int64), ("negative_samples", c.c_int64), ("rate", c.c_double)]
    _fields_ += [("metric", c.c_int), ("components", c.c_int64), ("seed", c.c_uint64)]
    _fields_ += [("quality_neighbours", c.c_int64), ("quality_rows", c.c_int64)]
    _fields_ += [("part", c.c_void_p), ("progress", c.c_void_p), ("user", c.c_void_p)]


class Map(c.Structure):
    _fields_ = [("rows", c.c_int64), ("components", c.c_int64), ("positions", c.c_void_p)]
    _fields_ += [("neighbours", c.c_int64), ("epochs", c.c_int64), ("a", c.c_double)]
    _fields_ += [("b", c.c_double), ("edges", c.c_int64), ("parts", c.c_int64)]
    _fields_ += [("zeros", c.c_int64), ("duplicates", c.c_int64), ("parts_drawn", c.c_int64)]
    _fields_ += [("trustworthiness", c.c_double), ("overlap", c.c_double)]
    _fields_ += [("quality_neighbours", c.c_int64), ("quality_rows", c.c_int64)]


class ContextOptions(c.Structure):
    _fields_ = [("threads", c.c_int), ("log", c.c_void_p), ("log_user", c.c_void_p)]
    _fields_ += [("kernel", c.c_char_p), ("allocator", c.c_void_p * 4)]


class PatternsOptions(c.Structure):
    _fields_ = [("layer", c.c_int64), ("channel", c.c_int64), ("top", c.c_int64)]
    _fields_ += [(name, c.c_bool) for name in ("first_only", "next_known", "activations")]
    _fields_ += [("most", c.c_int64), ("seed", c.c_uint64)]


class Error(c.Structure):
    _fields_ = [("code", c.c_int), ("message", c.c_char * 1024)]


class Ours:
    def __init__(self, path, threads):
        self.lib = c.CDLL(path)
        self.lib.sg_context_options_default.restype = ContextOptions
        self.lib.sg_neighbours_options_default.restype = NeighboursOptions
        self.lib.sg_umap_options_default.restype = MapOptions
        self.lib.sg_version.restype = c.c_char_p
        options = self.lib.sg_context_options_default()
        options.threads = threads
        self.context = c.c_void_p()
        assert self.lib.sg_context_new(c.byref(options), c.byref(self.context), None) == 0

    def vectors(self, x):
        arrays = x.indptr.astype(np.int64), x.indices.astype(np.int32), x.data.astype(np.float32)
        pointers = [a.ctypes.data for a in arrays]
        return Vectors(x.shape[0], x.shape[1], *pointers, None), arrays

    def patterns(self, path, layer, channel, most):
        record, found, error = c.c_void_p(), c.POINTER(Vectors)(), Error()
        opened = self.lib.sg_record_open(path.encode(), c.byref(record), c.byref(error))
        assert opened == 0, error.message
        o = PatternsOptions(layer=layer, channel=channel, most=most)
        read = self.lib.sg_patterns_read(record, c.byref(o), c.byref(found), c.byref(error))
        assert read == 0, error.message
        v = found.contents
        begins = np.ctypeslib.as_array((c.c_int64 * (v.rows + 1)).from_address(v.begins)).copy()
        n = int(begins[-1])
        neurons = np.ctypeslib.as_array((c.c_int32 * n).from_address(v.neurons)).copy()
        scores = np.ctypeslib.as_array((c.c_float * n).from_address(v.scores)).copy()
        return sp.csr_matrix((scores, neurons, begins), shape=(v.rows, v.columns))

    def neighbours(self, x, queries):
        v, keep = self.vectors(x)
        q, more = self.vectors(x[:queries])
        ids = np.empty((queries, NEAR), np.int32)
        distances = np.empty((queries, NEAR))
        o = self.lib.sg_neighbours_options_default()
        o.count = NEAR
        at = c.c_void_p(ids.ctypes.data), c.c_void_p(distances.ctypes.data)
        args = c.byref(v), c.byref(q), c.byref(o), *at, None
        assert self.lib.sg_neighbours(self.context, *args) == 0
        del keep, more
        return distances

    def map(self, x):
        v, keep = self.vectors(x)
        o, made = self.lib.sg_umap_options_default(), c.POINTER(Map)()
        assert self.lib.sg_umap_make(self.context, c.byref(v), c.byref(o), c.byref(made), None) == 0
        m = made.contents
        flat = (c.c_float * (m.rows * m.components)).from_address(m.positions)
        places = np.ctypeslib.as_array(flat).reshape(m.rows, m.components).copy()
        del keep
        return places

    def quality(self, x, places):
        v, keep = self.vectors(x)
        o, m = self.lib.sg_umap_options_default(), Map()
        places = np.ascontiguousarray(places, np.float32)
        args = c.byref(v), c.c_void_p(places.ctypes.data), c.byref(o), c.byref(m), None
        assert self.lib.sg_umap_quality(self.context, *args) == 0
        del keep
        return m.trustworthiness, m.overlap


def drawn(rows, columns=1024, slots=8, kinds=200):
    rng = np.random.default_rng(0)
    often = 1 / np.arange(1, columns + 1) ** 0.7
    often /= often.sum()
    pattern = np.stack([rng.choice(columns, slots, False, often) for _ in range(kinds)])
    score = rng.gamma(3, 1, (kinds, slots))
    kind = rng.integers(kinds, size=rows)
    ids, values = pattern[kind], score[kind] * rng.lognormal(0, 0.2, (rows, slots))
    other = rng.random((rows, slots)) < 0.35
    ids[other] = rng.choice(columns, other.sum(), p=often)
    values[other] = rng.gamma(2, 0.5, other.sum())
    place = np.repeat(np.arange(rows), slots), ids.ravel()
    x = sp.coo_matrix((values.ravel().astype(np.float32), place), (rows, columns)).tocsr()
    x.sort_indices()
    return x


def timed(call):
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def their_neighbours(x, queries, threads):
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=NEAR, metric="cosine", algorithm="brute", n_jobs=threads)
    return near.fit(x).kneighbors(x[:queries])[0]


def their_map(x, threads):
    import umap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return umap.UMAP(metric="cosine", n_jobs=threads).fit(x).embedding_


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", required=True)
    parser.add_argument("--record")
    parser.add_argument("--layer", type=int, default=0)
    parser.add_argument("--channel", type=int, default=0)
    parser.add_argument("--rows", default="10000,100000")
    parser.add_argument("--queries", type=int, default=10000, help="of neighbours; figures are scaled up")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    import numba

    numba.set_num_threads(min(args.threads, numba.config.NUMBA_NUM_THREADS))
    ours = Ours(args.library, args.threads)
    if not args.ours_only:
        their_map(drawn(5000), args.threads)  # compiles
    results = []

    def tell(what, who, rows, wall, cpu, words):
        results.append({"what": what, "who": who, "rows": rows, "seconds": wall, "cpu": cpu} | words)
        more = "  ".join(f"{k} {v:.4f}" for k, v in words.items())
        if not args.json:
            print(f"{rows:8} {what:10} {who:12} {wall:9.2f} s {cpu:9.2f} CPU s  {more}", flush=True)

    for rows in map(int, args.rows.split(",")):
        if args.record:
            x = ours.patterns(args.record, args.layer, args.channel, rows)
        else:
            x = drawn(rows)
        rows = x.shape[0]
        queries = min(rows, args.queries)
        scale = rows / queries
        mine, wall, cpu = timed(lambda: ours.neighbours(x, rows))
        tell("neighbours", "sgatlin", rows, wall, cpu, {})
        if not args.ours_only:
            theirs, wall, cpu = timed(lambda: their_neighbours(x, queries, args.threads))
            worst = float(np.abs(mine[:queries] - theirs).max())
            words = {"difference": worst, "measured_share": 1 / scale}
            tell("neighbours", "scikit-learn", rows, wall * scale, cpu * scale, words)
        places, wall, cpu = timed(lambda: ours.map(x))
        trust, overlap = ours.quality(x, places)
        words = {"trustworthiness": trust, "overlap": overlap}
        tell("map", "sgatlin", rows, wall, cpu, words)
        if not args.ours_only:
            places, wall, cpu = timed(lambda: their_map(x, args.threads))
            trust, overlap = ours.quality(x, places)
            words = {"trustworthiness": trust, "overlap": overlap}
            tell("map", "umap-learn", rows, wall, cpu, words)
    if args.json:
        print(json.dumps({"threads": args.threads, "record": args.record, "results": results}, indent=2))


if __name__ == "__main__":
    main()
