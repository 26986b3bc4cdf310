// What exchanging parts of a run does to the answer: each row of the plot is a set of layers, with
// the patch and its controls beside each other, and 95 % intervals over facts.

const metricNames = {
    effect_of_sums: "effect, ratio of sums",
    effect: "effect, mean of ratios",
    logit_difference: "logit difference",
    logprob: "log-probability of the answer",
    logprob_counterfactual: "log-probability of the other answer",
    kl: "KL divergence, nats",
    rank: "rank of the answer",
    flip: "share of flipped answers"
};
const controlNames = {
    patch: "the patch",
    random: "as many other neurons",
    mismatched: "another fact's run",
    position: "another token",
    untrained: "untrained model"
};
const shapes = {
    patch: "●",
    random: "○",
    mismatched: "△",
    position: "◇",
    untrained: "□"
};
const choiceNames = [ "metric", "direction", "position", "point" ];

// All rows, and those of effects once more as ratios of sums: there a pair that hardly differs does
// not count as much as any other.
let measuredRows = null;
function measured() {
    if (measuredRows) return measuredRows;
    const sums = page.patch.rows.filter((row) => row.metric === "effect" && row.of_sums !== null)
                     .map((row) => ({
                              ...row,
                              metric: "effect_of_sums",
                              mean: row.of_sums,
                              low: row.of_sums_low,
                              high: row.of_sums_high,
                              p_holm: null
                          }));
    measuredRows = [...sums, ...page.patch.rows ];
    return measuredRows;
}

// Of the database that `probe patch --out` writes.
const patchCopies = () => h(
    "span", { class: "copies" },
    button(
        "SQL", "Copy a query of the database that probe patch writes",
        () => copy(
            `-- ${page.patch.command}\nSELECT * FROM summaries WHERE metric = '${
                patchChoice().metric.replace("_of_sums", "")}';`,
            "Query")),
    button(
        "Command", "Copy the command that prints this", () => copy(page.patch.command, "Command")));

// What is shown of the rows: the choices in the address, the first that there are otherwise.
function patchChoice() {
    const given = state.patch.split("|"), choice = {};
    choiceNames.forEach((name, i) => {
        const all = [...new Set(measured().map((row) => row[name])) ];
        choice[name] = all.includes(given[i]) ? given[i] : all[0];
    });
    return choice;
}

function patchBar() {
    const choice = patchChoice();
    const choose = (name, value) =>
        choiceNames.map((one) => (one === name ? value : choice[one])).join("|");
    const option = (name, value) =>
        h("option", { value, selected: value === choice[name] }, metricNames[value] ?? value);
    const pick = (name, label) => {
        const all = [...new Set(measured().map((row) => row[name]))];
        if (all.length < 2) return null;
        const onchange = (event) => go({ patch: choose(name, event.target.value) }, true);
        const select = h("select", { "data-choice": name, onchange },
            all.map((value) => option(name, value)));
        return h("label", {}, label + " ", select);
    };
    return [
        pick("metric", "Measure"), pick("direction", "Direction"), pick("position", "Token"),
        pick("point", "Exchanged"), patchCopies()
    ];
}

function patchRows() {
    const choice = patchChoice(), groups = new Map();
    for (const row of measured()) {
        if (choiceNames.some((name) => row[name] !== choice[name])) continue;
        const label =
            row.channels === "all" ? row.layers : `${row.layers} · channels ${row.channels}`;
        if (!groups.has(label)) groups.set(label, []);
        groups.get(label).push(row);
    }
    return groups;
}

// A step of 1, 2 or 5 times a power of ten, about `parts` of them.
function ticksOf(low, high, parts) {
    const raw = (high - low) / parts || 1, power = 10 ** Math.floor(Math.log10(raw)),
          lead = raw / power;
    const step = power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10), list = [];
    for (let x = Math.ceil(low / step) * step; x <= high + step * 1e-6; x += step)
        list.push(Math.abs(x) < step * 1e-6 ? 0 : x);
    return list;
}

const shapeAt = (control, x, y, colour) => {
    const common = {
        fill: control === "patch" ? colour : "var(--paper)",
        stroke: colour,
        "stroke-width": 1.6
    };
    if (control === "patch" || control === "random")
        return h("circle", { cx: x, cy: y, r: control === "patch" ? 5 : 3.6, ...common });
    const d = control === "mismatched" ?
        `M${x} ${y - 4.6}L${x + 4.4} ${y + 3.4}L${x - 4.4} ${y + 3.4}Z` :
        control === "position" ?
        `M${x} ${y - 4.8}L${x + 4.8} ${y}L${x} ${y + 4.8}L${x - 4.8} ${y}Z` :
        `M${x - 3.6} ${y - 3.6}h7.2v7.2h-7.2Z`;
    return h("path", { d, ...common });
};

function patchPlot(groups) {
    const all = [...groups.values() ].flat().filter((row) => Number.isFinite(row.mean));
    if (all.length === 0) return h("p", { class: "note" }, "There are no rows of this choice.");
    const ends =
        all.flatMap((row) => [row.low ?? row.mean, row.high ?? row.mean]).filter(Number.isFinite);
    const low = Math.min(0, ...ends), high = Math.max(0, ...ends), width = 760, left = 120,
          right = 20, line = 13;
    const x = (value) => left + ((value - low) / (high - low || 1)) * (width - left - right);
    const drawn = [];
    let y = 12;
    for (const [label, rows] of groups) {
        const top = y;
        for (const row of rows) {
            const colour = row.control === "patch" ?
                "var(--accent)" :
                kinds()[
                    [ "random", "mismatched", "position", "untrained" ].indexOf(row.control) + 1] ??
                    "var(--soft)";
            y += line;
            const told =
                `${label}, ${controlNames[row.control]}: ${number(row.mean)} [${number(row.low)}, ${
                    number(
                        row.high)}], ${plural(row.pairs, "pair")} of ${plural(row.facts, "fact")}`;
            const mark =
                h("g", { class: "mark", tabindex: "0", role: "img", "aria-label": told },
                  h("rect", {
                      x: left,
                      y: y - line / 2,
                      width: width - left - right,
                      height: line,
                      fill: "transparent"
                  }),
                  h("line", {
                      x1: x(row.low ?? row.mean),
                      x2: x(row.high ?? row.mean),
                      y1: y,
                      y2: y,
                      stroke: colour,
                      "stroke-width": row.control === "patch" ? 2.4 : 1.4
                  }),
                  shapeAt(row.control, x(row.mean), y, colour));
            mark.addEventListener("mousemove", (event) => tip(event, told));
            mark.addEventListener("mouseleave", (event) => tip(event));
            drawn.push(mark);
        }
        y += line;
        drawn.push(
            h("text", { x: left - 14, y: (top + y) / 2 + 4, class: "tick end label" },
              /^\d/.test(label) ? `layer ${label}` : `${label} layers`),
            h("line", { x1: 0, x2: width, y1: y + 3, y2: y + 3, class: "grid" }));
        y += 4;
    }
    const ticks = ticksOf(low, high, 6);
    return h(
        "svg", {
            viewBox: `0 0 ${width} ${y + 26}`,
            class: "chart patch-plot",
            role: "group",
            "aria-label": "Means and intervals"
        },
        ticks.map(
            (t) =>
                [h("line",
                   { x1: x(t), x2: x(t), y1: 8, y2: y, class: t === 0 ? "zero" : "grid" }),
                 h("text", { x: x(t), y: y + 16, class: "tick middle" }, number(t))]),
        drawn);
}

function patchTable(groups) {
    const controls =
        Object.keys(controlNames)
            .filter((name) => [...groups.values()].flat().some((row) => row.control === name));
    const cell = (row) =>
        (row ?
             [
                 number(row.mean),
                 h("span", { class: "interval" }, ` ${number(row.low)} … ${number(row.high)}`)
             ] :
             "–");
    return h(
        "table", { class: "plain wide" },
        h("thead", {},
          h("tr", {}, h("th", { scope: "col" }, "layers"),
            controls.map(
                (name) => h("th", { scope: "col" }, `${shapes[name]} ${controlNames[name]}`)),
            h("th", {
                scope: "col",
                title: "two-sided, by flips of sign of all pairs of a fact; Holm over layers"
            },
              "p (Holm)"))),
        h("tbody", {},
          [...groups ].map(
              ([ label, rows ]) =>
                  h("tr", {}, h("td", {}, label),
                    controls.map(
                        (name) => h("td", {}, cell(rows.find((row) => row.control === name)))),
                    h("td", {}, small(rows.find((row) => row.control === "patch")?.p_holm))))));
}
const small = (p) => (Number.isFinite(p) ? (p < 0.001 ? "< 0.001" : p.toFixed(3)) : "–");

function openPatchView(main) {
    const groups = patchRows(), patch = page.patch, choice = patchChoice();
    const used =
        Object.keys(controlNames)
            .filter((name) => [...groups.values()].flat().some((row) => row.control === name));
    main.replaceChildren(h(
        "div", { class: "patch-view" },
        h("div", {},
          h("h3", {},
            choice.direction === "denoise" ? "What suffices for an answer" :
                                             "What an answer needs"),
          h("p", { class: "note" },
            choice.direction === "denoise" ?
                "Parts of the clean run are put into the run of the other fact. " :
                "Parts of the run of another fact are put into the clean run. ",
            choice.metric.startsWith("effect") ?
                "Effect: the share of the difference between both answers' logits that this moves; 0: nothing, 1: all of it. " :
                "",
            "Intervals: 95 %, bootstrap over facts."),
          h("ul", { class: "key" },
            used.map((name) => h("li", {}, `${shapes[name]} ${controlNames[name]}`))),
          patchPlot(groups), h("div", { class: "scroll" }, patchTable(groups)),
          h("p", { class: "note" },
            `${plural(patch.pairs, "ordered pair")} of ${plural(patch.facts_used, "fact")} of ${
                patch.facts}. The model prefers the right answer in ` +
                `${
                    percent(
                        patch.correct_clean)} of the pairs; its likeliest next token is right for ${
                    percent(patch.recalled)} of the prompts.`))));
}
