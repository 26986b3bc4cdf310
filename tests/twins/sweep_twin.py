"""The analysis of a sweep once more, in numpy and scipy: makes tests/golden/sweep/analysis.json.

Run from anywhere: python3 tests/twins/sweep_twin.py. Needs numpy, scipy and statsmodels. Parabolas
are numpy.polyfit's, surfaces those of scipy.optimize.least_squares over all five numbers from many
starts, p and intervals of paired differences Student's, adjusted by statsmodels. Two bootstraps are
repeated with the draws of src/base/rng.h: a parabola with seeds and documents, and a surface.
"""

import json
import pathlib

import numpy as np
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests

import rng_twin as rng

OUT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "sweep"
SIZES = np.array([1.0e5, 2.1e5, 3.9e5, 8e5, 1.7e6])


def unit(words):
    return (words >> 11) * 2.0**-53


def normal(seed, stream, index):
    words = rng.philox(
        [index & rng.M32, index >> 32, stream, 0], [seed & rng.M32, seed >> 32]
    )
    u, v = 1 - unit(words[1] << 32 | words[0]), unit(words[3] << 32 | words[2])
    return np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)


def place(kind, index, resample, i):
    return (kind << 20 | index) << 40 ^ resample << 16 ^ i


def scale(seed, kind, index, resample, freedom):
    chi = rng.stream("sweep.chi")
    draws = (normal(seed, chi, place(kind, index, resample, i)) for i in range(freedom))
    return np.sqrt(freedom / sum(draw**2 for draw in draws))


def error(seed, kind, index, resample, i):
    return normal(seed, rng.stream("sweep.normal"), place(kind, index, resample, i))


# ---- parabolas ----------------------------------------------------------------------------------


def parabola(sizes, losses):
    x = np.log(sizes)
    c, b, a = np.polyfit(x, losses, 2)
    at = -b / (2 * c)
    left = losses - np.polyval([c, b, a], x)
    return {
        "a": a,
        "b": b,
        "c": c,
        "size": np.exp(at),
        "loss": a - b * b / (4 * c),
        "residual": np.sqrt((left**2).mean()),
    }


def parabolas(generator):
    cases = []
    for count in (3, 4, 5, 9):
        sizes = np.exp(np.linspace(11, 15, count) + generator.normal(0, 0.05, count))
        losses = 3 + 0.04 * (np.log(sizes) - 12.9) ** 2 + generator.normal(0, 0.01, count)
        sizes = np.round(sizes)
        cases.append(
            {
                "sizes": sizes.tolist(),
                "losses": losses.tolist(),
                "expected": parabola(sizes, losses),
            }
        )
    return cases


def pooled(runs, fitted, leverage, coefficients):
    """Deviation of a run by its seeds and by what a fit leaves, and its degrees of freedom."""
    means = np.array([np.mean(r) for r in runs])
    counts = np.array([len(r) for r in runs])
    left, freedom = len(runs) - coefficients, sum(counts - 1)
    squares = sum(((np.array(r) - np.mean(r)) ** 2).sum() for r in runs)
    squares += ((means - fitted) ** 2).sum() * left / ((1 - leverage) / counts).sum()
    return np.sqrt(squares / (left + freedom)), int(left + freedom)


def interval(values):
    return np.quantile(values, [0.025, 0.975]).tolist()


def drawn_parabola(generator, resamples=300, blocks=6, seed=11):
    """Seeds {1, 3, 2, 1, 1}; blocks of unlike size; the draws of the library."""
    tokens = generator.integers(50, 150, blocks)
    rows, runs, sums = [], [], []
    spread = generator.normal(0, 0.2, blocks)
    for size, count in zip(SIZES, (1, 3, 2, 1, 1)):
        runs.append([])
        sums.append([])
        for s in range(count):
            mean = 3 + 0.05 * (np.log(size) - 12.8) ** 2 + generator.normal(0, 0.01)
            block = tokens * (mean + spread + generator.normal(0, 0.02, blocks))
            runs[-1].append(block.sum() / tokens.sum())
            sums[-1].append(block)
            rows.append({"size": size, "seed": s + 1, "blocks": block.tolist()})
    x = np.log(SIZES)
    means, counts = np.array([np.mean(r) for r in runs]), np.array([len(r) for r in runs])
    centred = (x - x.mean()) / np.ptp(x)
    design = np.vander(centred, 3)
    q, _ = np.linalg.qr(design)
    fitted = design @ np.linalg.lstsq(design, means, rcond=None)[0]
    deviation, freedom = pooled(runs, fitted, (q**2).sum(1), 3)
    sizes, losses = [], []
    for r in range(resamples):
        draws = rng.stream("statistics.bootstrap")
        picked = [rng.below(seed, draws, r * blocks + i, blocks) for i in range(blocks)]
        times = np.bincount(picked, minlength=blocks)
        s = deviation * scale(seed, 1, 0, r, freedom)
        y = []
        for i in range(5):
            block = np.mean(sums[i], 0)
            change = (times @ block) / (times @ tokens) - block.sum() / tokens.sum()
            y.append(means[i] + change + s * error(seed, 1, 0, r, i) / np.sqrt(counts[i]))
        one = parabola(SIZES, np.array(y))
        assert one["c"] > 0
        sizes.append(one["size"])
        losses.append(one["loss"])
    return {
        "resamples": resamples,
        "seed": seed,
        "tokens": tokens.tolist(),
        "rows": rows,
        "noise": deviation,
        "freedom": freedom,
        "size": interval(np.log(sizes)),
        "loss": interval(losses),
    }


# ---- surfaces -----------------------------------------------------------------------------------


def surface(v, size, tokens):
    """v: E, ln A, ln B, alpha, beta, with sizes and tokens divided by their geometric means."""
    return v[0] + np.exp(v[1] - v[3] * size) + np.exp(v[2] - v[4] * tokens)


def fit_surface(size, tokens, losses, starts):
    n, d = np.log(size), np.log(tokens)
    n0, d0 = n.mean(), d.mean()
    bounds = ([0, -30, -30, 0.01, 0.01], [np.inf, 30, 30, 4, 4])
    best = None
    for start in starts:
        fit = optimize.least_squares(
            lambda v: surface(v, n - n0, d - d0) - losses,
            start,
            bounds=bounds,
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-15,
            x_scale="jac",
            max_nfev=5000,
        )
        if best is None or fit.cost < best.cost:
            best = fit
    e, a, b, alpha, beta = best.x
    return best, {
        "E": e,
        "A": np.exp(a + alpha * n0),
        "B": np.exp(b + beta * d0),
        "alpha": alpha,
        "beta": beta,
        "exponent": beta / (alpha + beta),
        "squares": 2 * best.cost,
    }


def surface_points(generator, truth, noise, budgets):
    size = np.concatenate([SIZES for _ in budgets])
    tokens = np.round(np.concatenate([b / (6 * SIZES) for b in budgets]))
    e, a, b, alpha, beta = truth
    losses = e + a * size**-alpha + b * tokens**-beta + generator.normal(0, noise, len(size))
    return size, tokens, losses


def surfaces(generator):
    starts = [
        [1.5, np.log(a), np.log(a), alpha, beta]
        for a in (0.3, 1)
        for alpha in (0.1, 0.3, 0.7)
        for beta in (0.1, 0.3, 0.7)
    ]
    cases = []
    for truth, noise in (
        ((1.7, 400, 410, 0.34, 0.28), 0.0),
        ((1.7, 60, 300, 0.34, 0.37), 0.005),
        ((2.5, 3e4, 900, 0.8, 0.4), 0.01),
    ):
        size, tokens, losses = surface_points(generator, truth, noise, (1e12, 4e12, 1.6e13))
        _, expected = fit_surface(size, tokens, losses, starts)
        cases.append(
            {
                "sizes": size.tolist(),
                "tokens": tokens.tolist(),
                "losses": losses.tolist(),
                "expected": expected,
            }
        )
    return cases


def drawn_surface(generator, resamples=100, seed=5):
    truth = (2.2, 3e3, 600, 0.6, 0.45)
    size, tokens, losses = surface_points(generator, truth, 0.004, (1e12, 4e12, 1.6e13))
    starts = [[2, -0.5, -0.5, a, b] for a in (0.2, 0.6, 1.2) for b in (0.2, 0.5, 1)]
    best, expected = fit_surface(size, tokens, losses, starts)
    n, d = np.log(size), np.log(tokens)
    fitted = surface(best.x, n - n.mean(), d - d.mean())
    freedom = len(size) - 5
    deviation = np.sqrt(2 * best.cost / freedom)
    all_numbers = []
    for r in range(resamples):
        s = deviation * scale(seed, 2, 0, r, freedom)
        y = fitted + np.array([s * error(seed, 2, 0, r, i) for i in range(len(size))])
        _, one = fit_surface(size, tokens, y, [best.x, *starts[::4]])
        all_numbers.append([one["E"], one["alpha"], one["beta"], one["exponent"]])
    drawn = np.array(all_numbers)
    return {
        "resamples": resamples,
        "seed": seed,
        "sizes": size.tolist(),
        "tokens": tokens.tolist(),
        "losses": losses.tolist(),
        "expected": expected,
        "noise": deviation,
        "freedom": freedom,
        "intervals": {
            k: interval(drawn[:, i]) for i, k in enumerate(("E", "alpha", "beta", "exponent"))
        },
    }


# ---- verdicts -----------------------------------------------------------------------------------


def verdicts(generator):
    """Families with common seeds: each against the lowest mean."""
    cases = []
    for seeds in (2, 3, 5):
        common = generator.normal(0, 0.02, seeds)
        means = 3 + np.array([0, 0.01, 0.02, 0.05])
        runs = means[:, None] + common + generator.normal(0, 0.006, (4, seeds))
        best = int(runs.mean(1).argmin())
        others = [f for f in range(4) if f != best]
        tests = [stats.ttest_rel(runs[f], runs[best]) for f in others]
        p = [t.pvalue for t in tests]
        cases.append(
            {
                "runs": runs.tolist(),
                "best": best,
                "others": others,
                "difference": [(runs[f] - runs[best]).mean() for f in others],
                "p": p,
                "holm": multipletests(p, method="holm")[1].tolist(),
                "intervals": [list(t.confidence_interval()) for t in tests],
            }
        )
    return cases


def main():
    rng.check()
    generator = np.random.default_rng(15)
    out = {
        "parabolas": parabolas(generator),
        "drawn_parabola": drawn_parabola(generator),
        "surfaces": surfaces(generator),
        "drawn_surface": drawn_surface(generator),
        "verdicts": verdicts(generator),
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "analysis.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
