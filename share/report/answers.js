// What a sweep answers: sentences, the table of the lowest loss at each budget with who can be told
// apart, verdicts.

const shortNames = {
    answers: "Answers",
    isoflop: hasBudgets ? "FLOPs" : "Size",
    best: "Lowest",
    seconds: "Seconds",
    costs: "Costs",
    search: "Search",
    losses: "Losses",
    runs: "Runs",
    compare: "Costs",
    about: "Origin"
};

// The sentences are the program's; names in them get their marks, and powers of ten their form.
const powers = (text) =>
    text.replace(/\b(\d+(?:\.\d+)?e\+\d+)(?= FLOPs)/g, (x) => flopsText(Number(x)))
        .replace(/([[ ])-(?=\d)/g, "$1−");
function sentence(text) {
    const names = [...contenders].sort((a, b) => b.length - a.length);
    const parts = [];
    let rest = powers(text);
    while (rest) {
        let first = null;
        for (const name of names) {
            let at = rest.indexOf(name);
            while (at >= 0 && /[\w-]/.test((rest[at - 1] ?? " ")) ) at = rest.indexOf(name, at + 1);
            while (at >= 0 && /[\w=-]/.test(rest[at + name.length] ?? " "))
                at = rest.indexOf(name, at + 1);
            if (at >= 0 && (!first || at < first.at)) first = { at, name };
        }
        if (!first) break;
        parts.push(rest.slice(0, first.at), named(first.name, "strong"));
        rest = rest.slice(first.at + first.name.length);
    }
    return h("p", { class: "answer" }, parts, rest);
}

function answersPart() {
    const remarks = page.remarks ?? [];
    return part(
        "answers", isSweep ? "What it says" : "What they say",
        page.note ? h("p", { class: "lead" }, page.note) : null,
        h("div", { class: "answers" }, page.answers.map(sentence)),
        remarks.length ?
            h("details", { class: "remarks", open: remarks.length <= 8 || null },
              h("summary", {}, `What limits this (${remarks.length})`),
              h("ul", {}, remarks.map((line) => h("li", {}, line)))) :
            null);
}

// ---- the lowest of each budget ------------------------------------------------------------------

// How far behind the lowest, with its interval, on a scale that a budget's rows share.
function forest(row, [least, most]) {
    const width = 150, at = (x) => 6 + ((width - 12) * (x - least)) / (most - least);
    const colour = colourOf(row.family);
    return h(
        "svg", { class: "forest", viewBox: `0 0 ${width} 16`, width, height: 16,
            "aria-hidden": "true" },
        h("path", { class: "zero", d: `M${at(0)} 1V15` }),
        row.low !== null ? h("path", {
                               class: "whisker",
                               stroke: colour,
                               d: `M${at(row.low)} 8H${at(row.high)}M${at(row.low)} 5v6M${
                                   at(row.high)} 5v6`
                           }) :
                           null,
        h("path", { d: markPath(row.family, at(row.behind), 8, 3.6), fill: colour }));
}

function toldApart(row) {
    const v = row.verdict === null ? null : verdicts[row.verdict];
    if (!v) return row.behind === 0 ? "the lowest" : "not compared";
    if (v.separable) return `yes, p ${v.p_holm < 0.001 ? "< 0.001" : `= ${figures(v.p_holm, 2)}`}`;
    if (v.seeds < 2) return "no: one seed";
    if (v.seeds_needed >= 1000) return "no";
    return v.seeds_needed ? `no: about ${v.seeds_needed} seeds would be needed` : "no";
}

function bestRow(row, range) {
    return h(
        "tr", { "data-run": row.run, class: row.behind === 0 ? "lowest" : "" },
        h("th", { scope: "row" }, named(row.family)),
        h("td", { class: "value" }, lossText(row.loss),
          h("span", { class: "interval" },
              row.deviation === null ? "" : ` ± ${fine(row.deviation)}`)),
        h("td", { class: "value" }, fourFigures(row.perplexity)),
        h("td", { class: "value" }, row.behind === 0 ? "" : fine(row.behind),
          h("span", { class: "interval" }, ` ${interval(row.low, row.high, fine)}`)),
        h("td", {}, forest(row, range)), h("td", {}, toldApart(row)),
        h("td", { class: "value" }, show("plain", row.scale)),
        h("td", { class: "value" }, short(row.parameters)),
        h("td", { class: "value" }, short(row.active_parameters)),
        h("td", { class: "value" }, String(row.seeds)),
        h("td", {}, button("run", `Open the best run of ${row.family}`, open(row.run),
            { class: "link" })));
}

function bestPart() {
    if (best.length === 0) return null;
    const heads = [ "", "Loss", "Perplexity", "Behind, nats", "", "Told apart", "Scale",
        "Parameters",
                    "Active", "Seeds", "" ];
    const words = new Set([ "", "Told apart" ]);
    const groups = unique(best.map((row) => row.budget)).map((budget) => {
        const rows = best.filter((row) => row.budget === budget);
        const range = [
            Math.min(0, ...rows.map((row) => row.low ?? 0)),
            Math.max(1e-6, ...rows.map((row) => Math.max(row.behind, row.high ?? 0)))
        ];
        return h(
            "tbody", {},
            hasBudgets ? h("tr", { class: "group" },
              h("th", { colspan: heads.length, scope: "rowgroup" }, budgetText(budget))) : null,
            rows.map((row) => bestRow(row, range)));
    });
    return part(
        "best", hasBudgets ? "Lowest loss at each budget" : "Lowest loss",
        h("div", { class: "scroll" },
          h("table", { class: "plain" },
            h("thead", {}, h("tr", {},
                heads.map((text) => h(
                "th", { scope: "col", class: words.has(text) ? "" : "value" }, text)))), groups)),
        h("p", { class: "note" },
          "Each contender at its best size. Behind: the loss above that of the lowest, with " +
          "the interval of 95 percent of a paired bootstrap over documents and seeds. Told " +
          "apart: p at most 0.05 after Holm's adjustment for all comparisons of the budget."));
}

function verdictTable(list) {
    return h(
        "div", { class: "scroll" },
        h("table", { class: "plain verdicts" },
          h("thead", {},
            h("tr", {}, [ "Budget", "At", "In words", "p (Holm)", "Seeds" ].map(
                            (text) => h("th", { scope: "col" }, text)))),
          h("tbody", {}, list.map((v) => h(
              "tr", {}, h("td", { class: "value" }, show("flops", v.budget)),
              h("td", { class: "value" }, v.at_seconds === null ? "" : secondsText(v.at_seconds)),
              h("td", { class: "words" }, v.words),
              h("td", { class: "value" }, show("fine", v.p_holm)),
              h("td", { class: "value" }, String(v.seeds)))))));
}
