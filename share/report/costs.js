// Tables and drawings of what things cost and how they were found: parameters and FLOPs, surfaces,
// searches, facts.

// A table as it is, with all columns that have something and a button for its run.
function plainTable(rows, keys, more = {}) {
    const columns = keys.map((key) => rows.columns.find((column) => column.key === key))
                        .filter((c) => c && rows.some((row) => row[c.key] !== null));
    return h(
        "div", { class: "scroll" },
        h("table", { class: "plain" },
          h("thead", {}, h("tr", {},
              columns.map((c) => h(
              "th", { scope: "col", class: c.form === "text" ? "" : "value" }, c.title)),
                           Object.keys(more).map((title) => h("th", { scope: "col" }, title)))),
          h("tbody", {}, rows.map((row) => h(
              "tr", {}, columns.map((c) => cellOf(row, c, rows.columns)),
              Object.values(more).map((make) => h("td", {}, make(row))))))));
}

function cellOf(row, c, columns) {
    if (c.key === "family") return h("th", { scope: "row" }, named(row.family));
    const low = `${c.key}_low`, ranged = columns.some((other) => other.key === low);
    const form = forms[c.form];
    if (c.key === "state" && row.state === "at the edge")
        return h("td", {}, h("span", { class: "warn" }, row.state));
    return h(
        "td", { class: c.form === "text" ? "" : "value" }, show(c.form, row[c.key]),
        ranged && row[low] !== null ?
            h("span", { class: "interval" }, ` ${interval(row[low], row[`${c.key}_high`], form)}`) :
            null);
}

// ---- perplexity over costs ----------------------------------------------------------------------

const costKinds = [
    [ "budget", "FLOPs (published count)", flopsText ],
    [ "flops_all_in", "FLOPs with logits and router", flopsText ],
    [ "parameters", "parameters", short ], [ "active_parameters", "active parameters", short ]
];

function costSeries(key) {
    return contenders.filter(shown).map((name) => ({
        name,
        line: true,
        marks: true,
        points: best.filter((row) => row.family === name && row[key] !== null).map((row) => ({
            x: row[key],
            y: row.perplexity,
            tip: () => [[ "budget", budgetText(row.budget) ],
                [ "perplexity", fourFigures(row.perplexity) ],
                        [ "loss", lossText(row.loss) ], [ "scale", show("plain", row.scale) ],
                        [ "parameters", `${short(row.parameters)}, ${short(
                            row.active_parameters)} active` ]],
            go: open(row.run)
        }))
    }));
}

function costsPart() {
    if (budgets.length < 2) return null;
    return part(
        "costs", "Perplexity over costs",
        h("div", { class: "panels four" }, costKinds.map(([ key, label, format ]) => h(
            "figure", { class: "panel" }, chart(() => ({
                title: `Lowest perplexity over ${label}`,
                height: 290,
                x: { label, log: true, format, room: 0.12 },
                y: { label: "validation perplexity" },
                series: costSeries(key)
            }))))),
        h("p", { class: "note" }, "The lowest of each budget, joined."));
}

// ---- fits ---------------------------------------------------------------------------------------

function residualOf(p) {
    const clean = (x) => (Math.abs(x) < 1e-9 ? 0 : x);  // as many points as the fit has numbers
    if (chosen.left === "parabola") {
        const f = fits.find((one) => one.budget === p.budget && one.family === p.family);
        const x = Math.log(p.parameters);
        return f && f.a !== null ? clean(p.loss - (f.a + f.b * x + f.c * x * x)) : NaN;
    }
    const s = surfaces.find((one) => one.family === p.family);
    if (!s || s.alpha === null) return NaN;
    return p.loss - (s.E + s.A * p.parameters ** -s.alpha + s.B * p.tokens ** -s.beta);
}

function residualSeries() {
    return contenders.filter(shown).map((name) => ({
        name,
        marks: true,
        radius: 3.4,
        points: points.filter((p) => p.family === name).map((p) => ({
            x: p.parameters,
            y: residualOf(p),
            tip: () => [[ "residual", `${fine(residualOf(p))} nats` ],
                [ "budget", budgetText(p.budget) ], ...pointTip(p)],
            go: open(p.run)
        })).filter((one) => Number.isFinite(one.y))
    }));
}

function fitsPart() {
    const fitted = surfaces.some((s) => s.E !== null);
    if (!fitted && fits.every((f) => f.a === null)) return null;
    const known = surfaces.some((s) => s.alpha !== null);
    return part(
        "fits", "Fits",
        h("h3", {}, "Minima of the parabolas"),
        plainTable(fits, [ "budget", "family", "state", "size", "loss", "tokens", "points",
            "residual", "noise" ]),
        fitted ?
            [ h("h3", {}, "Surfaces: L(N, D) = E + A N", h("sup", {}, "−α"), " + B D",
                h("sup", {}, "−β")),
              plainTable(surfaces, [ "family", "points", "sizes", "E", "A", "B", "alpha", "beta",
                  "exponent",
                                     "residual", "bias_parabola", "bias_surface" ]),
              h("p", { class: "note" },
                "N are parameters, D tokens; the last exponent is that of the best size in the " +
                "budget, β / (α + β). Exponents are told from five sizes on. Bias: how far the " +
                "best size at the middle budget is off, relatively, when each way is tried on " +
                "a surface that is known.") ] :
            null,
        h("h3", {}, "What the fits leave"),
        known ? h("div", { class: "row" },
            segments("left", "Left by", [[ "parabola", "parabolas" ], [ "surface", "surfaces" ]])) :
            null,
        h("figure", {}, chart(() => ({
              title: "Residuals of the fits",
              height: 260,
              x: { label: "parameters", log: true },
              y: { label: "residual, nats" },
              guides : [ 0 ],
              series: residualSeries()
          }))));
}

// ---- searches -----------------------------------------------------------------------------------

function searchLine(row) {
    const width = 130, height = 34,
        told = row.losses.map((y, i) => ({ y, x: Math.log(row.tried[i]), lr: row.tried[i] }))
                                             .filter((p) => p.y !== null);
    const xs = told.map((p) => p.x), ys = told.map((p) => p.y);
    const range = (list) => [Math.min(...list), Math.max(...list)];
    const [x0, x1] = range(xs), [y0, y1] = range(ys);
    const px = (x) => 7 + (width - 14) * (x1 > x0 ? (x - x0) / (x1 - x0) : 0.5);
    const py = (y) => height - 7 - (height - 14) * (y1 > y0 ? (y - y0) / (y1 - y0) : 0.5);
    const colour = colourOf(row.family);
    return h(
        "svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
                 "aria-label": told.map((p) => `${figures(p.lr, 3)}: ${lossText(p.y)}`).join(
                     ", ") },
        h("title", {}, told.map((p) => `${figures(p.lr, 3)}: ${lossText(p.y)}`).join("\n")),
        h("path", { class: "line", stroke: colour,
            d: told.map((p, i) =>
            `${i ? "L" : "M"}${px(p.x).toFixed(1)} ${py(p.y).toFixed(1)}`).join("") }),
        told.map((p) => h("circle",
            { cx: px(p.x).toFixed(1), cy: py(p.y).toFixed(1), r: p.lr === row.lr ? 4.2 : 2.2,
                                      fill: p.lr === row.lr ? colour : "var(--card)",
                                          stroke: colour })));
}

function searchSeries(rows, name) {
    const series = [];
    for (const row of rows.filter((one) => one.family === name)) {
        const told = row.tried.map((lr, i) => ({ lr, loss: row.losses[i], run: row.runs[i] }))
                         .filter((p) => p.loss !== null);
        const make = (list) => list.map((p) => ({
            x: p.lr,
            y: p.loss,
            tip: () => [[ "rate", figures(p.lr, 3) ], [ "loss", lossText(p.loss) ],
                        [ "scale", show("plain", row.scale) ],
                            [ "budget", budgetText(row.budget) ]],
            go: open(p.run)
        }));
        series.push(
            { name, line: true, faint: true, marks: true, hollow: true, radius: 2.4,
                points: make(told) },
            { name, marks: true, points: make(told.filter((p) => p.lr === row.lr)) });
    }
    return series;
}

function searchPart() {
    const rows = Object.assign(
        search.filter((row) => row.tried.length > 1), { columns: search.columns });
    if (rows.length === 0) return null;
    const taken = search.length - rows.length, edges = rows.filter((row) => row.at_edge).length;
    const found = contenders.filter((name) => rows.some((row) => row.family === name));
    return part(
        "search", "The search of rates",
        h("div", { class: "panels" }, found.map((name) => h(
            "figure", { class: "panel" }, h("figcaption", {}, named(name)),
                chart(() => shown(name) && ({
                title: `Loss over the rates tried, ${name}`,
                height: 230,
                x: { label: "learning rate", log: true, format: (x) => figures(x, 3) },
                y: { label: "validation loss, a line a scale" },
                series: searchSeries(rows, name)
            }))))),
        h("p", { class: "note" },
          `Filled: the best, which is at the edge of what was tried in ${edges} of ${plural(
              rows.length, "cell")}.`),
        h("details", {}, h("summary", {}, "Table"),
            plainTable(rows, [ "budget", "family", "scale", "lr", "beta2", "warmup_steps",
            "effort" ], {
            "At the edge": (row) => (
                row.at_edge ? h("span", { class: "warn" }, "at the edge") : "inside"),
            "Loss over the rates tried": searchLine,
            "": (row) => h("span", { class: "interval" },
                row.tried.map((x) => figures(x, 3)).join("  "))
        })),
        taken > 0 ?
            h("p", { class: "note" },
              `${plural(taken, "further cell")} took the rates that were found at another ` +
              `budget.`) :
            null);
}

// ---- facts --------------------------------------------------------------------------------------

const factKinds = [
    [ "share", "share of the facts recalled" ],
        [ "bits_per_parameter", "bits of fact a parameter" ],
    [ "bits_per_active", "bits of fact an active parameter" ]
];

function factSeries(key) {
    const series = [];
    for (const name of contenders.filter(shown))
        for (const budget of unique(facts.map((row) => row.budget)))
            series.push({
                name,
                line: true,
                faint: true,
                marks: true,
                points: facts.filter((row) => row.family === name && row.budget === budget).map(
                    (row) => ({
                    x: row.neurons,
                    y: row[key] ?? NaN,
                    tip: () => [[ "recalled",
                        `${figures(row.recalled, 4)} of ${figures(row.facts, 6)} (${percent(
                        row.share)})` ],
                                [ "bits", short(row.bits) ],
                                    [ "a parameter", fine(row.bits_per_parameter) ],
                                [ "an active one", fine(row.bits_per_active) ],
                                    [ "neurons", short(row.neurons) ],
                                [ "budget", budgetText(row.budget) ],
                                    [ "scale", show("plain", row.scale) ]],
                    go: open(row.run)
                }))
            });
    return series;
}

function factsPart() {
    if (facts.length === 0) return null;
    return part(
        "facts", "Facts",
        h("div", { class: "panels" }, factKinds.map(([ key, label ]) => h(
            "figure", { class: "panel" }, chart(() => ({
                title: `Facts: ${label}, over stored neurons`,
                height: 290,
                x: { label: "stored feed-forward neurons", log: true },
                y: { label },
                series: factSeries(key)
            }))))),
        h("details", {}, h("summary", {}, "Table"),
          plainTable(facts, [ "budget", "family", "scale", "facts", "recalled", "share", "bits",
              "bits_per_parameter",
                              "bits_per_active", "neurons", "parameters" ])),
        h("p", { class: "note" }, "Of the run of each point, means over its seeds."));
}
