// What a page of sgatlin report tries of itself (trial.js): what is drawn, pointing, keys, choices,
// a narrow screen.

const settled = () => pause(40);
const svgOf = (figure) => figure.querySelector("svg");
const marksIn = (figure) => figure.querySelectorAll(".mark").length;
const visible = () => charts.filter((figure) => figure.isConnected && !figure.hidden);

async function pointer(type, figure, spot) {
    const box = svgOf(figure).getBoundingClientRect();
    figure.dispatchEvent(new PointerEvent(
        type, { clientX: box.left + spot.px, clientY: box.top + spot.py, bubbles: true }));
    await settled();
}

async function choose1(member, value) {
    await click(byId(`by-${member}`).querySelector(`[data-value="${value}"]`));
    check(`${member} is ${value}`, String(chosen[member]) === value, chosen[member]);
}

// ---- what is tried ------------------------------------------------------------------------------

async function tryOpening() {
    outcome.measured.ready_ms = Number(document.body.dataset.ready);
    outcome.measured.runs = runs.length;
    outcome.measured.charts = visible().length;
    outcome.measured.marks = document.querySelectorAll(".chart .mark").length;
    check(
        "nothing was asked of any host", performance.getEntriesByType("resource").length === 0,
        performance.getEntriesByType("resource").map((entry) => entry.name).join());
    const scripts = [...document.scripts ].filter((script) => script.id !== "report");
    check("one script", scripts.length === 1, scripts.length);
    check(
        "no element came out of a text",
        document.querySelectorAll(
            "main b, main i, main img, main script, header b, #legend b").length === 0);
    check(
        "contenders are written as they are",
        [...document.querySelectorAll(".contender bdi") ].map((one) => one.textContent).join(
            "\n") ===
            contenders.join("\n"));
    check("all buttons have names", [
        ...document.querySelectorAll("button")
    ].every((one) => one.textContent.trim() || one.getAttribute("aria-label")));
    check(
        "all charts have names",
        visible().every((figure) => svgOf(figure).getAttribute("aria-label").length > 40));
    check(
        "no number is none",
        !/NaN|undefined|Infinity|null/.test(byId("main").innerText + svgText()),
            svgText().match(/.{20}(NaN|undefined|Infinity|null).{20}/)?.[0]);
}

const svgText = () => visible().map((figure) => figure.innerHTML).join("");

async function tryIsoflop() {
    const panels = [...document.querySelectorAll("#isoflop .panel") ];
    check("a panel for each budget", panels.length === budgets.length, panels.length);
    panels.forEach((panel, i) => {
        const here = points.filter((p) => p.budget === budgets[i]);
        const minima = fits.filter((f) => f.budget === budgets[i] && f.size !== null &&
            isInside(f, here.filter((p) => p.family === f.family)));
        const seeds = here.filter((p) => p.seeds > 1).reduce((n, p) => n + p.runs.length, 0);
        check(
            `panel ${i} has all its marks`, marksIn(panel) === here.length + minima.length + seeds,
            `${marksIn(panel)}, expected ${here.length} + ${minima.length} + ${seeds}`);
        const lines = unique(here.map((p) => p.family)).length;
        check(`panel ${i} has its lines`, panel.querySelectorAll(".line").length === lines,
            panel.querySelectorAll(".line").length);
    });
    for (const [key] of sizes) {
        await choose1("x", key);
        check(`over ${key}`, panels[0].querySelector("svg").textContent.includes(sizeName()));
        check("nothing is none", !/NaN|Infinity/.test(panels[0].innerHTML), key);
    }
    await choose1("x", "parameters");
    const before = panels[0].innerHTML;
    await choose1("y", "perplexity");
    check("perplexity is another picture",
        panels[0].innerHTML !== before && panels[0].innerHTML.includes("perplexity"));
    await choose1("y", "loss");
}

async function tryPointing() {
    const figure = isSweep ? document.querySelector("#isoflop .chart") :
        document.querySelector("#losses .chart");
    figure.scrollIntoView({ block: "center" });
    await settled();
    const spots = figure.spots,
        free = spots.findIndex((one, i) => one.go && nearest(figure, one.px, one.py, 30) === i);
    check("there is a mark that can be pointed at", free >= 0);
    const spot = spots[free];
    await pointer("pointermove", figure, spot);
    const words = spot.tip().flat();
    check("pointing shows its numbers",
        !byId("tip").hidden && words.every((word) => byId("tip").textContent.includes(word)),
        byId("tip").textContent);
    check("and whose they are", byId("tip").textContent.includes(spot.name));
    const box = byId("tip").getBoundingClientRect();
    check("inside of the window",
        box.left >= 0 && box.right <= innerWidth && box.top >= 0 && box.bottom <= innerHeight,
        `${box.left} ${box.right} ${box.top} ${box.bottom}`);
    await pointer("pointerleave", figure, spot);
    check("leaving hides it", byId("tip").hidden);
    svgOf(figure).focus();
    await press("ArrowRight", svgOf(figure));
    check("an arrow key shows the first mark", figure.at === 0 && !byId("tip").hidden, figure.at);
    const first = figure.at;
    await press("ArrowRight", svgOf(figure));
    check("the next one goes on", spots.length < 2 || figure.at !== first, figure.at);
    check("and is said", byId("spoken").textContent.startsWith(spots[figure.at].name));
    await press("Escape", svgOf(figure));
    check("Esc hides it", byId("tip").hidden);
    await pointer("click", figure, spot);
    check("a click opens the run", !byId("details").hidden && location.hash.startsWith("#run="),
        location.hash);
    await press("Escape");
    check("Esc closes it", byId("details").hidden);
}

async function tryDetails() {
    const row = document.querySelector("#runs-table tr[data-run] .link"),
        index = Number(row.closest("tr").dataset.run);
    await click(row);
    const box = byId("details"), run = runs[index];
    check("a run of the table opens",
        !box.hidden && box.textContent.includes(isSweep ? run.id : run.path));
    check("its losses are drawn", box.querySelectorAll(".chart .line").length === 1);
    const options = optionsOf(run);
    check("its options are whole",
        Object.keys(options).length > 10 && typeof options.config === "object" &&
        Object.keys(options.config).length > 10, Object.keys(options).length);
    const taken = [], write = clipboard.write;
    clipboard.write = (text) => taken.push(text);
    for (const one of box.querySelectorAll("[data-copy]")) await click(one);
    for (const one of document.querySelectorAll("#about [data-copy]")) await click(one);
    clipboard.write = write;
    check("the command trains", taken[0].includes("sgatlin train --config"), taken[0]);
    check("run.json is JSON with options", JSON.parse(taken[1]).options.config.ffn.length > 0);
    check("all that can be copied is there", taken.every((text) => text.length > 5), taken.length);
    // For whoever can run them, in a form that no quote ends.
    const packed = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
    outcome.commands = [ packed(taken[0]), packed(fromOptions(run)) ];
    await click(box.querySelector(".close"));
    check("it closes", box.hidden);
}

async function tryContenders() {
    const name = contenders[0], first = document.querySelector(".contender");
    const before = document.querySelectorAll(".chart .mark, .chart .line").length;
    await click(first);
    const after = document.querySelectorAll(".chart .mark, .chart .line").length;
    check("a contender can be left out", chosen.hidden.has(name) && after < before,
        `${after} of ${before}`);
    check("and is marked so",
        document.querySelector(".contender").getAttribute("aria-pressed") === "false");
    await click(document.querySelector(".contender"));
    check("and comes back", document.querySelectorAll(
        ".chart .mark, .chart .line").length === before);
}

async function tryRuns() {
    const body = () => [...document.querySelectorAll("#runs-table tbody tr") ].map(
        (tr) => Number(tr.dataset.run));
    check("runs are listed", body().length === Math.min(runs.length, runRows), body().length);
    const key = isSweep ? "loss" : "parameters";
    await click(document.querySelector(`#runs-table [data-sort=${key}]`));
    const values = body().map((i) => runs[i][key]).filter((x) => x !== null);
    check("they can be sorted", values.every((x, i) => i === 0 || values[i - 1] <= x),
        values.slice(0, 4).join());
    const more = document.querySelector("#runs-table .more");
    if (more) {
        await click(more);
        check("all can be shown", body().length === runs.length, body().length);
    }
    if (budgets.length > 1) {
        await choose1("budget", String(budgets[0]));
        check("a budget's alone", body().every((i) => runs[i].budget === budgets[0]));
        await choose1("budget", "all");
    }
}

async function tryLosses() {
    const figure = document.querySelector("#losses .chart");
    const wanted = runs.filter(
        (run) => (chosen.curveBudget === "all" || String(run.budget) === chosen.curveBudget) &&
        page.curves.of[run.index].loss.length > 0);
    check("a line for each run", figure.querySelectorAll(".line").length === wanted.length,
        `${figure.querySelectorAll(".line").length}, expected ${wanted.length}`);
    for (const one of byId("by-curveX").querySelectorAll("button")) {
        const value = one.dataset.value;
        await choose1("curveX", value);
        check(`over ${value}`, figure.textContent.includes(curveXs[value][0]));
    }
}

// The page as wide as a phone: nothing scrolls sideways but tables in their boxes.
async function tryNarrow() {
    const wide = innerWidth;
    document.body.style.width = "360px";
    drawCharts();
    await settled();
    const over = [...document.querySelectorAll(
        "main section, main figure, main p, main svg, main .row, main .panels") ].filter(
        (one) => !one.closest(".scroll") && one.getBoundingClientRect().right > 361);
    check("nothing is wider than a phone", over.length === 0,
        over.map((one) => one.outerHTML.slice(0, 80)).join());
    document.body.style.width = "";
    drawCharts();
    outcome.measured.width = wide;
    check("no sideways scrolling",
        document.documentElement.scrollWidth <= document.documentElement.clientWidth,
        `${document.documentElement.scrollWidth} of ${document.documentElement.clientWidth}`);
}

async function selfTest() {
    const parts = [ tryOpening ];
    if (isSweep && points.length > 0) parts.push(tryIsoflop);
    parts.push(tryLosses, tryPointing, tryDetails, tryRuns);
    if (contenders.length > 1) parts.push(tryContenders);
    parts.push(tryNarrow);
    await tryAll(parts);
}
