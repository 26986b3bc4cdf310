// Puts the page together, and tries it out (#selftest).

function drawHead(parts) {
    const title = plural(models.length, "model");
    byId("title").textContent = title;
    document.title = `${title} · sgatlin curve`;
    byId("subtitle").textContent =
        [ plural(rows.length, "point"), page.text ].filter(Boolean).join(" · ");
    byId("parts").replaceChildren(
        ...parts.map((one) => h("a", { href: `#${one.id}` }, one.dataset.short)));
    byId("foot").replaceChildren(h(
        "p", {},
        `Written by sgatlin ${page.made_by}. Everything on this page is in this file; it asks ` +
        `nothing of any host. Point at a mark for its numbers.`));
}

function begin() {
    const parts = [ flopsPart, speedPart, tablePart, aboutPart ].map((make) => make())
                      .filter(Boolean);
    drawLegend();
    byId("main").replaceChildren(...parts);
    drawHead(parts);
    drawCharts();
    const again = framed(() => drawCharts());
    let width = innerWidth;
    addEventListener("resize", () => {
        if (innerWidth !== width) again();
        width = innerWidth;
    });
    darkQuery.addEventListener("change", () => {
        dark = darkQuery.matches;
        choose({});
    });
    document.body.dataset.ready = Math.round(performance.now());
}

// ---- trying it out ------------------------------------------------------------------------------

const settled = () => pause(30);
const marksOf = (id) => document.querySelectorAll(`#${id} .chart .mark`).length;
const wantedBy = (key) => rows.filter((row) => shown(nameOf(row)) && row[key] !== null).length;

async function tryPictures() {
    check("a mark for each point", marksOf("flops") === wantedBy("flops"), marksOf("flops"));
    if (isTimed) check("also by speed", marksOf("speed") === wantedBy("speed"), marksOf("speed"));
    for (const one of byId("by-reach").querySelectorAll("button")) {
        await click(one);
        check(`reach ${one.dataset.value}`, chosen.reach === one.dataset.value);
        const figure = document.querySelector("#flops .chart");
        check("something is seen", figure.spots.length > 0);
        if (chosen.reach === "all")
            check("all is seen", figure.spots.length === wantedBy("flops"), figure.spots.length);
    }
    await click(byId("by-x").querySelector("[data-value=linear]"));
    await click(byId("by-reach").querySelector("[data-value='1.5']"));
}

async function tryPointing() {
    const figure = document.querySelector("#flops .chart");
    await press("ArrowRight", figure);
    check("a point tells its numbers", byId("tip").textContent.includes("perplexity"),
        byId("tip").textContent);
    await press("Escape", figure);
    check("and stops", byId("tip").hidden);
}

async function tryTable() {
    const body = () => [...document.querySelectorAll("#points tbody tr")];
    check("a row for each point", body().length === rows.length, body().length);
    await click(document.querySelector("#points [data-sort=perplexity]"));
    const values = body().map((tr) => rows[Number(tr.dataset.row)].perplexity);
    check("they can be sorted", values.every((x, i) => i === 0 || values[i - 1] <= x),
        values.join());
    const layers = columns.findIndex(([ key ]) => key === "layer_flops");
    check("FLOPs of layers are there", body().every((tr) => tr.cells[layers].textContent ===
        share(rows[Number(tr.dataset.row)].layer_flops)), body()[0].cells[layers].textContent);
    check("and what is read", body().every((tr) => (tr.cells[layers - 3].textContent !== "") ===
        (partOf(rows[Number(tr.dataset.row)]) !== "")));
}

async function tryLeavingOut() {
    const last = contenders[contenders.length - 1];
    const find = () => document.querySelector(`[data-contender="${CSS.escape(last)}"]`);
    await click(find());
    check("what is left out is not drawn", marksOf("flops") === wantedBy("flops"));
    check("nor in the table", document.querySelectorAll("#points tbody tr").length ===
        wantedBy("flops"));
    await click(find());
    check("it comes back", marksOf("flops") === rows.length);
}

// The page as wide as a phone: nothing scrolls sideways but tables in their boxes.
async function tryNarrow() {
    document.body.style.width = "360px";
    drawCharts();
    await settled();
    const over = [...document.querySelectorAll("main section, main figure, main p, main svg") ]
        .filter((one) => !one.closest(".scroll") && one.getBoundingClientRect().right > 361);
    check("nothing is wider than a phone", over.length === 0,
        over.map((one) => one.outerHTML.slice(0, 80)).join());
    document.body.style.width = "";
    drawCharts();
}

async function selfTest() {
    const parts = [ tryPictures, tryPointing, tryTable ];
    if (contenders.length > 1) parts.push(tryLeavingOut);
    parts.push(tryNarrow);
    await tryAll(parts);
}

try {
    begin();
    if (selfTestAsked()) selfTest();
} catch (error) {
    byId("main").replaceChildren(h(
        "p", { class: "notice", role: "alert" },
            `This page could not be opened: ${error.message}.`));
    problems.push(String(error.stack ?? error));
    if (selfTestAsked()) report();
}
