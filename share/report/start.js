// Puts the page together: head, contenders that can be left out, parts, foot.

function drawHead(parts) {
    const title = isSweep ? page.title || "A sweep" : plural(runs.length, "run");
    const done = runs.filter((run) => (isSweep ? run.state === "finished" : run.finished)).length;
    byId("title").textContent = title;
    document.title = `${title} · sgatlin report`;
    byId("subtitle").textContent = [
        isSweep ? `${count(done)} of ${plural(runs.length, "run")} finished` :
                  unique(runs.map((run) => run.family)).join(", "),
        isSweep ? plural(contenders.length, "contender") : "",
        budgets.length > 0 && budgets[0] !== null ? plural(budgets.length, "budget") : "",
        page.data?.path ?? ""
    ].filter(Boolean).join(" · ");
    byId("parts").replaceChildren(
        ...parts.map((one) => h("a", { href: `#${one.id}` }, one.dataset.short)));
    byId("foot").replaceChildren(h(
        "p", {},
        `Written by sgatlin ${page.made_by}. Everything on this page is in this file; it asks ` +
        `nothing of any host. Point at a mark for its numbers, choose it for its run.`));
}

function printed(width) {
    return () => drawCharts(width);
}

function begin() {
    const parts = (isSweep ?
        [ answersPart, isoflopPart, bestPart, secondsPart, costsPart, fitsPart, searchPart,
            factsPart,
          lossesPart, runsPart, aboutPart ] :
        [ answersPart, comparePart, lossesPart, runsPart, aboutPart ])
                      .map((make) => make())
                      .filter(Boolean);
    if (contenders.length > 0) drawLegend();
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
        for (const icon of document.querySelectorAll(".named")) {
            const name = icon.querySelector("bdi").textContent;
            icon.querySelector(".icon")?.replaceWith(markIcon(name));
        }
    });
    document.addEventListener("keydown", (event) => {
        if (event.key === "Escape" && !byId("details").hidden) closeRun();
    });
    addEventListener("hashchange", openHash);
    openHash();
    document.body.dataset.ready = Math.round(performance.now());
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
