// Curves: loss over size at equal FLOPs, perplexity over seconds, losses of all runs over their
// steps.

const perplexity = (loss) => (loss === null ? NaN : Math.exp(loss));
const asChosen = (loss) =>
    (loss === null ? NaN : chosen.y === "loss" ? loss : Math.exp(loss));
const chosenY = () => (chosen.y === "loss" ? "validation loss, nats a token" :
    "validation perplexity");
const open = (run) => () => openRun(run);

const sizes = [
    [ "parameters", "parameters" ], [ "active_parameters", "active parameters" ],
    [ "scale", "scale" ]
].filter(([ key ]) => points.some((p) => p[key] !== null));
const hasBudgets = budgets.some((budget) => budget !== null);
const sizeName = () => sizes.find(([ key ]) => key === chosen.x)[1];

// ---- equal FLOPs --------------------------------------------------------------------------------

function pointTip(p) {
    return [
        [ "scale", show("plain", p.scale) ],
        [ "loss", `${lossText(p.loss)}${p.deviation === null ? "" : ` ± ${fine(p.deviation)}`}` ],
        [ "perplexity", fourFigures(p.perplexity) ],
        [ "parameters", `${short(p.parameters)}, ${short(p.active_parameters)} active` ],
        [ "tokens", short(p.tokens) ], [ "rate", show("plain", p.lr) ],
        [ "seeds", String(p.seeds) ]
    ].filter(([, text ]) => text !== "");
}

// A parabola is one in the logarithm of parameters: over another size it is carried there along its
// points, between which both logarithms go together.
function carried(list) {
    if (chosen.x === "parameters") return (size) => size;
    const on = chosen.x === "scale" ? [ (x) => x, (x) => x ] : [ Math.log, Math.exp ];
    return (size) => {
        let i = 1;
        while (i < list.length - 1 && list[i].parameters < size) i++;
        const a = list[i - 1], b = list[i];
        const t = Math.log(size / a.parameters) / Math.log(b.parameters / a.parameters);
        return on[1](on[0](a[chosen.x]) + t * (on[0](b[chosen.x]) - on[0](a[chosen.x])));
    };
}

function parabolaOf(fit, list) {
    const known = fit && fit.a !== null && fit.c !== null && list.length > 1 &&
        list.every((p) => p[chosen.x] > 0);
    if (!known) return [];
    const carry = carried(list), low = Math.log(list[0].parameters);
    const high = Math.log(list[list.length - 1].parameters), line = [];
    for (let i = 0; i <= 60; i++) {
        const x = low + ((high - low) * i) / 60;
        line.push(
            { x: carry(Math.exp(x)), y: asChosen(fit.a + fit.b * x + fit.c * x * x) });
    }
    return line;
}

const isInside = (fit, list) => list.length > 1 && fit.size >= list[0].parameters &&
    fit.size <= list[list.length - 1].parameters;

function minimumOf(fit, list) {
    // One beyond the points is in the table alone: nobody knows whether the parabola holds there.
    if (!fit || fit.size === null || !isInside(fit, list)) return null;
    const carry = carried(list), inside = (x) => (x === null ? NaN : carry(x));
    return {
        x: carry(fit.size),
        y: asChosen(fit.loss),
        low: asChosen(fit.loss_low),
        high: asChosen(fit.loss_high),
        left: inside(fit.size_low),
        right: inside(fit.size_high),
        wide: true,  // documents differ more than contenders do: it would be most of the picture
        tip: () => [[ "minimum", fit.state ],
                    [ "size", `${short(fit.size)} ${interval(
                        fit.size_low, fit.size_high, short)}` ],
                    [ "loss", `${lossText(fit.loss)} ${interval(
                        fit.loss_low, fit.loss_high, lossText)}` ],
                    [ "tokens", `${short(fit.tokens)} ${interval(
                        fit.tokens_low, fit.tokens_high, short)}` ],
                    [ "residual", `${fine(fit.residual)} nats` ]]
    };
}

function isoflopSeries(budget) {
    const series = [];
    for (const name of contenders.filter(shown)) {
        const list = points.filter((p) => p.budget === budget && p.family === name);
        const fit = fits.find((f) => f.budget === budget && f.family === name);
        if (list.length === 0) continue;
        const line = parabolaOf(fit, list), lowest = minimumOf(fit, list);
        if (line.length)
            series.push({ name, line: true, points: line });
        else
            series.push({
                name,
                line: true,
                dashed: true,
                points: list.map((p) => ({ x: p[chosen.x], y: asChosen(p.loss) }))
            });
        const seeds = list.filter((p) => p.seeds > 1).flatMap((p) => p.runs.map((i) => ({
            x: p[chosen.x],
            y: asChosen(runs[i].loss),
            tip: () => [[ "seed", runs[i].seed ], [ "loss", lossText(runs[i].loss) ],
                        [ "perplexity", fourFigures(runs[i].perplexity) ]],
            go: open(i)
        })));
        series.push({ name, marks: true, hollow: true, faint: true, radius: 2.6, points: seeds });
        series.push({
            name,
            marks: true,
            points: list.map((p) => ({
                x: p[chosen.x],
                y: asChosen(p.loss),
                tip: () => pointTip(p),
                go: open(p.run)
            }))
        });
        if (lowest)
            series.push({ name, marks: true, hollow: true, radius: 6, points: [ lowest ] });
    }
    return series;
}

function isoflopPart() {
    const panels = budgets.map((budget) => h(
        "figure", { class: "panel", "data-budget": budget },
            budget === null ? null : h("figcaption", {}, budgetText(budget)),
        chart(() => ({
            title: `Loss over size at ${budgetText(budget)}`,
            height: 330,
            x: { label: sizeName(), log: chosen.x !== "scale" },
            y: { label: chosenY() },
            series: isoflopSeries(budget)
        }))));
    return part(
        "isoflop", hasBudgets ? "Equal FLOPs" : "Loss over size",
        h("div", { class: "row" }, segments("x", "Over", sizes),
          segments("y", "Shown is", [[ "loss", "loss" ], [ "perplexity", "perplexity" ]])),
        h("div", { class: "panels" }, panels),
        h("p", { class: "note" },
          "Each point is a size at its best rate, the mean of its seeds; small open marks are " +
          "single seeds. Lines are parabolas in the logarithm of the parameters, large open " +
          "marks their minima with intervals of 95 percent, of loss and of size. Dashed where " +
          "no parabola could be fitted."));
}

// ---- equal seconds ------------------------------------------------------------------------------

function frontSeries() {
    const series = [];
    for (const name of contenders.filter(shown)) {
        const timed = points.filter((p) => p.family === name && p.seconds !== null);
        series.push({
            name,
            marks: true,
            hollow: true,
            faint: true,
            radius: 2.6,
            points: timed.map((p) => ({
                x: p.seconds,
                y: p.perplexity,
                tip: () => [[ "seconds", secondsText(p.seconds) ],
                    [ "budget", budgetText(p.budget) ], ...pointTip(p)],
                go: open(p.run)
            }))
        });
        series.push({
            name,
            line: true,
            marks: true,
            points: fronts.filter((f) => f.family === name).map((f) => ({
                x: f.seconds,
                y: f.perplexity,
                tip: () => [[ "seconds", secondsText(f.seconds) ],
                    [ "perplexity", fourFigures(f.perplexity) ],
                            [ "loss", lossText(f.loss) ], [ "budget", budgetText(f.budget) ],
                            [ "scale", show("plain", f.scale) ]],
                go: open(f.run)
            }))
        });
    }
    return series;
}

function secondsPart() {
    if (fronts.length === 0) return null;
    const said = verdicts.filter((v) => v.equal === "seconds");
    return part(
        "seconds", "Equal seconds",
        h("figure", {}, chart(() => ({
              title: "Perplexity over seconds of training",
              height: 380,
              x: { label: "seconds of training: steps by the median step of an idle machine",
                  log: true, time: true, format: secondsText },
              y: { label: "validation perplexity" },
              series: frontSeries()
          }))),
        h("p", { class: "note" },
          "Only schedules that were finished: each mark is a whole run. The line of a " +
          "contender goes through what is lower than all that took less time; verdicts are at " +
          "a place between two marks."),
        said.length ? verdictTable(said) : null);
}

// ---- losses of all runs -------------------------------------------------------------------------

const curveUnit = page.curves.unit;
const curveXs = {
    steps: [ "steps", () => 1 ],
    tokens: [ "tokens", (run) => run.tokens / run.steps ],
    flops: [ "FLOPs", (run) => run.flops / run.steps ],
    seconds: [ "seconds", (run) => (isSweep ? run.step_seconds : run.seconds / run.steps) ]
};

function curvePoints(run, which, by, tips) {
    const of = page.curves.of[run.index], steps = of[which === "loss" ? "step" : "val_step"];
    return of[which].map((value, i) => ({
        x: steps[i] * by,
        y: value / curveUnit,
        tip: tips && (() => [[ "step", count(steps[i]) ], [ "loss", lossText(value / curveUnit) ],
                             ...runLine(run)]),
        go: open(run.index)
    }));
}

const runLine = (run) => (isSweep ?
    [[ "scale", show("plain", run.scale) ], [ "budget", show("flops", run.budget) ],
     [ "rate", show("plain", run.lr) ], [ "seed", run.seed ]].filter(([, text ]) => text) :
    [[ "run", run.path ]]);

function lossSeries() {
    const [, scale] = curveXs[chosen.curveX], series = [];
    const list = runs.filter((run) => shown(contenderOf(run)) &&
        (chosen.curveBudget === "all" || String(run.budget) === chosen.curveBudget));
    for (const run of list) {
        const by = scale(run), name = contenderOf(run), many = list.length > 12;
        if (!Number.isFinite(by)) continue;
        if (chosen.curveY === "loss" || !isSweep)
            series.push({ name, line: true, faint: many,
                points: curvePoints(run, "loss", by, true) });
        if (chosen.curveY === "val" || !isSweep)
            series.push({
                name,
                line: isSweep,
                faint: many,
                marks: !many,
                hollow: true,
                radius: 3.2,
                points: curvePoints(run, "val_loss", by, true)
            });
    }
    return series;
}

const budgetWords = budgets.map((b) => [String(b), b === null ? "none" : flopsText(b)]);
if (budgets.length > 1) chosen.curveBudget = budgetWords[budgets.length - 1][0];

function lossesPart() {
    const known = (key) => runs.some((run) => Number.isFinite(curveXs[key][1](run)));
    const budgetChoice = budgets.length > 1 ?
        segments("curveBudget", "Budget", [[ "all", "all budgets" ], ...budgetWords]) :
        null;
    return part(
        "losses", isSweep ? "Losses of all runs" : "Losses",
        h("div", { class: "row" }, budgetChoice,
          isSweep ? segments("curveY", "Shown is",
              [[ "loss", "training" ], [ "val", "validation" ]]) : null,
          segments("curveX", "Over",
              Object.keys(curveXs).filter(known).map((key) => [key, curveXs[key][0]]))),
        h("figure", {}, chart(() => ({
              title: "Losses of runs over their course",
              height: 400,
              x: { label: curveXs[chosen.curveX][0], zero: true, room: 0.01 },
              y: { label: isSweep && chosen.curveY === "val" ? "validation loss, nats a token" :
                  "training loss, nats a token", trim: 0.05 },
              series: lossSeries()
          }))),
        h("p", { class: "note" },
          (isSweep ? "Training losses are means of pieces of a run." :
              "Lines are training losses, means of pieces; marks are validation.") +
              " The highest twentieth, the first steps, may be above the picture."));
}
