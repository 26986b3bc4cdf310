// The table of all runs, what is known of one of them, and how all of it came about.

const runRows = 100;  // that are shown at first

// ---- the table ----------------------------------------------------------------------------------

const runKeys = isSweep ?
    [ "family", "scale", "budget", "purpose", "lr", "seed", "state", "loss", "perplexity",
        "parameters",
      "steps", "seconds" ] :
    [ "run", "family", "step", "steps", "parameters", "active_parameters", "train_loss",
        "perplexity" ];

function sortedRuns() {
    const [key, sign] = chosen.sort;
    const list = runs.filter((run) => shown(contenderOf(run)) &&
        (chosen.state === "all" || run.state === chosen.state) &&
        (chosen.budget === "all" || String(run.budget) === chosen.budget));
    const value = (run) => run[key] ?? (sign > 0 ? Infinity : -Infinity);
    return list.sort((a, b) => {
        const x = value(a), y = value(b);
        if (typeof x === "string" && typeof y === "string") return sign * x.localeCompare(y);
        return x === y ? a.index - b.index : sign * (x < y ? -1 : 1);
    });
}

function runHead(c) {
    const on = chosen.sort[0] === c.key;
    return h(
        "th", { scope: "col", class: c.form === "text" ? "" : "value",
            "aria-sort": on ? (chosen.sort[1] > 0 ? "ascending" : "descending") : null },
        button(
            c.title + (on ? (chosen.sort[1] > 0 ? " ↑" : " ↓") : ""), `Sort by ${c.title}`,
            () => choose({ sort: [ c.key, on ? -chosen.sort[1] : 1 ] }),
                { class: "link", "data-sort": c.key }));
}

function drawRuns(box) {
    const columns = runKeys.map((key) => runs.columns.find((c) => c.key === key));
    const list = sortedRuns(), some = chosen.all ? list : list.slice(0, runRows);
    box.replaceChildren(
        h("div", { class: "scroll" },
          h("table", { class: "plain runs" },
            h("thead", {}, h("tr", {}, columns.map(runHead), h("th", {}))),
            h("tbody", {}, some.map((run) => h(
                "tr", { "data-run": run.index },
                columns.map((c) => (c.key === "family" && isSweep ?
                    h("th", { scope: "row" }, named(run.family)) :
                    h("td", { class: c.form === "text" ? "" : "value" },
                      c.key === "run" ? named(run.run) : show(c.form, run[c.key])))),
                h("td", {}, button("open", "What is known of this run", open(run.index),
                    { class: "link" }))))))),
        list.length > some.length ?
            button(
                `Show all ${count(list.length)}`, "Show all rows", () => choose({ all: true }),
                { class: "more" }) :
            h("p", { class: "note" }, plural(list.length, "run")));
}

function runsPart() {
    const box = h("div", { id: "runs-table" });
    const draw = () => drawRuns(box);
    redraws.push(draw);
    draw();
    const states = isSweep ? unique(runs.map((run) => run.state)) : [];
    return part(
        "runs", isSweep ? "All runs" : "The runs",
        h("div", { class: "row" },
          budgets.length > 1 ? segments(
              "budget", "Budget", [[ "all", "all budgets" ], ...budgetWords]) : null,
          states.length > 1 ? segments(
              "state", "State", [[ "all", "all" ], ...states.map((s) => [s, s])]) : null),
        box);
}

// Runs beside each other, as `sgatlin compare` has them.
function comparePart() {
    const skip = [ "run", "path", "data", "step" ];
    return part(
        "compare", "Beside each other",
        h("div", { class: "scroll" },
          h("table", { class: "plain" },
            h("thead", {}, h("tr", {}, h("th", {}),
                runs.map((run) => h("th", { scope: "col" }, named(run.run))))),
            h("tbody", {}, runs.columns.filter((c) => !skip.includes(c.key)).map((c) => h(
                "tr", {}, h("th", { scope: "row" }, c.title),
                runs.map((run) => h("td", { class: "value" },
                                    c.key === "finished" ? (run.finished ? "yes" : "no") :
                                        show(c.form, run[c.key]) || "–"))))))));
}

// ---- one run ------------------------------------------------------------------------------------

function mergedOptions(shared, own) {
    const whole = Object.assign(Object.create(null), shared);
    for (const [key, value] of Object.entries(own ?? {})) {
        const both = whole[key] && typeof whole[key] === "object" && value &&
            typeof value === "object";
        whole[key] = both ? mergedOptions(whole[key], value) : value;
    }
    return whole;
}

const optionsOf = (run) => mergedOptions(page.options.shared, page.options.own[run.index]);
const quoted = (s) => (/^[\w./:=,-]+$/.test(s) ? s : `'${s.replace(/'/g, "'\\''")}'`);

// What `train --config` takes: the form of a run.json.
const dataOf = (run) => (isSweep ? page.data.path : run.data) || "DATA";
const runJson = (run, space) => JSON.stringify({
    total_steps: run.steps ?? 1,
    kernel: "",
    blas: "",
    data: { folder: dataOf(run), checksum: page.data?.checksum ?? "" },
    options: optionsOf(run)
}, null, space);

// The run again: from the folder where it lies, or from its options alone.
const nameAgain = (run) => (isSweep ? run.id.slice(0, 12) : `${run.run}-again`);
const trainFrom = (file, run, out) => `sgatlin train --config ${quoted(file)} --data ${
    quoted(dataOf(run))} --out ${quoted(out)}`;
function fromOptions(run) {
    const name = nameAgain(run);
    return `printf '%s\\n' ${quoted(runJson(run))} >${quoted(`${name}.json`)} && ${
        trainFrom(`${name}.json`, run, name)}`;
}
function repeatCommand(run) {
    if (!isSweep) return trainFrom(`${run.path}/run.json`, run, nameAgain(run));
    if (run.origin || run.state !== "finished") return fromOptions(run);
    return trainFrom(`${page.folder}/runs/${run.id}/run.json`, run, nameAgain(run));
}

function flat(object, before = "") {
    return Object.entries(object ?? {}).flatMap(([ key, value ]) =>
        (value && typeof value === "object" && !Array.isArray(value) ?
             flat(value, key === "config" ? before : `${before}${key}.`) :
             [[ before + key, value ]]));
}

function optionList(object) {
    return h("dl", { class: "options" }, flat(object).filter(([, value ]) => value !== "").map(
        ([ key, value ]) => [h("dt", {}, key),
            h("dd", {}, typeof value === "string" ? value : JSON.stringify(value))]));
}

// A small picture of its losses.
function runChart(run) {
    return chart(() => ({
        title: "Losses of this run",
        height: 210,
        x: { label: "steps", zero: true, room: 0.01 },
        y: { label: "loss: training, and validation (marks)", trim: 0.04 },
        series: [
            { name: contenderOf(run), line: true, points: curvePoints(run, "loss", 1, true) },
            { name: contenderOf(run), marks: true, hollow: true, radius: 3.2,
                points: curvePoints(run, "val_loss", 1, true) }
        ]
    }));
}

let opener = null;
function openRun(index, from = document.activeElement) {
    const run = runs[index], box = byId("details");
    if (!run) return;
    opener = from;
    tip({});
    const known = runs.columns.filter(
        (c) => run[c.key] !== null && ![ "id", "family", "run" ].includes(c.key));
    const figure = runChart(run), old = charts.findIndex((one) => box.contains(one));
    if (old >= 0) charts.splice(old, 1);
    redraws.splice(redraws.length - 1, 1);  // it is drawn here alone
    box.hidden = false;
    box.replaceChildren(
        button("×", "Close", closeRun, { class: "close", "aria-label": "Close" }),
        h("h2", {}, named(contenderOf(run))),
        isSweep ? h("p", { class: "note" }, `Run ${run.id}`) : h("p", { class: "note" }, run.path),
        h("div", { class: "row" },
          button("Copy the command", "The command that makes this run again",
              () => copy(repeatCommand(run), "Command"), { "data-copy": "command" }),
          button("Copy run.json", "All its options, as train --config takes them",
              () => copy(runJson(run, 2), "Options"), { "data-copy": "options" })),
        figure,
        h("dl", { class: "known" },
            known.map((c) => [h("dt", {}, c.title), h("dd", {}, show(c.form, run[c.key]))])),
        h("h3", {}, "Options of its own"), optionList(page.options.own[index]),
        h("details", {}, h("summary", {}, "Options that all runs have"),
            optionList(page.options.shared)),
        h("h3", {}, "Again"), h("pre", {}, repeatCommand(run)));
    figure.draw();
    box.scrollTop = 0;
    box.focus({ preventScroll: true });
    history.replaceState(null, "", `#run=${isSweep ? run.id : index}`);
}

function closeRun() {
    byId("details").hidden = true;
    history.replaceState(null, "", "#");
    opener?.focus?.({ preventScroll: true });
}

function openHash() {
    const match = /^#run=(\w+)$/.exec(location.hash);
    if (!match) return;
    const run = runs.find((one) =>
        (isSweep ? one.id === match[1] : String(one.index) === match[1]));
    if (run) openRun(run.index, byId("main"));
}

// ---- how it came about --------------------------------------------------------------------------

const copied = (title, text) => h(
    "div", { class: "command" }, h("h3", {}, title), h("pre", {}, text),
    button("Copy", `Copy: ${title}`, () => copy(text, title), { "data-copy": "about" }));

function aboutPart() {
    const { data, machines } = page;
    const facts = isSweep ?
        [ [ "Data", data.path || "–" ], [ "Checksum of the data", data.checksum || "–" ],
          [ "Vocabulary", count(data.vocab_size) ], [ "Tokens of a sequence", count(data.seq_len) ],
          [ "Tokens of validation", count(data.val_tokens) ] ] :
        [];
    return part(
        "about", "How it came about",
        page.sweep_command ? copied("The command of the sweep", page.sweep_command) : null,
        page.command ? copied("The command of this page", page.command) : null,
        facts.length ? h("dl", { class: "known wide" },
            facts.map(([ a, b ]) => [h("dt", {}, a), h("dd", {}, b)])) : null,
        machines?.length ?
            [ h("h3", {}, machines.length > 1 ? "Machines" : "Machine"),
              h("div", { class: "scroll" },
                h("table", { class: "plain" },
                  h("thead", {}, h("tr", {},
                      [ "", "Processor", "Cores", "Threads a run", "Runs at a time", "Kernels",
                      "Products", "Program" ].map((t) => h("th", { scope: "col" }, t)))),
                  h("tbody", {}, machines.map(
                      (m, i) => h("tr", {}, h("th", { scope: "row" }, String(i)),
                      h("td", {}, m.processor),
                      [ m.cores, m.threads, m.jobs ].map(
                          (n) => h("td", { class: "value" }, count(n))),
                      [ m.kernels, m.library, m.program ].map((t) => h("td", {}, t))))))) ] :
            null,
        page.file ? h("details", {}, h("summary", {}, "The sweep file"), h("pre", {}, page.file),
                      button("Copy", "Copy the sweep file", () => copy(page.file, "Sweep file"),
                          { "data-copy": "file" })) :
                    null);
}
