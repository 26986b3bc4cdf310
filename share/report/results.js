// What the page has: tables as lists of objects, contenders with their colours and shapes, and what
// the reader chose. The form of the JSON is described in docs/REPORT.md.

const page = JSON.parse(byId("report").textContent);
const isSweep = page.kind === "sweep";

// Rows as objects without a prototype: a contender may be called anything.
function tableOf(name) {
    const packed = page.tables[name];
    if (!packed) return Object.assign([], { columns: [], title: "" });
    const columns = packed.columns.map(
        ([ key, title, form, brief ]) => ({ key, title, form, brief }));
    const rows = packed.rows.map((cells, index) => {
        const row = Object.assign(Object.create(null), { index });
        columns.forEach((column, i) => (row[column.key] = cells[i]));
        return row;
    });
    return Object.assign(rows, { columns, title: packed.title });
}
const runs = tableOf("runs"), points = tableOf("points"), best = tableOf("best"),
      fits = tableOf("fits"), surfaces = tableOf("surfaces"), verdicts = tableOf("verdicts"),
      fronts = tableOf("fronts"), search = tableOf("search"), facts = tableOf("facts");

const contenders = page.contenders;
const placeOf = new Map(contenders.map((name, i) => [name, i]));
const contenderOf = (run) => (isSweep ? run.family : contenders[run.index]);
const colourOf = (name) => kinds()[(placeOf.get(name) ?? 0) % kinds().length];
const hollowOf = () => false;
const budgets = unique(points.map((row) => row.budget));

const budgetText = (budget) => (budget === null ? "No budget" : `${flopsText(budget)} FLOPs`);

// ---- what is shown ------------------------------------------------------------------------------

const chosen = {
    hidden: new Set(),
    x: "parameters",
    y: "loss",
    left: "parabola",
    curveX: "steps",
    curveY: "loss",
    budget: "all",      // of the table of runs
    curveBudget: "all",  // of the curves of losses
    state: "all",
    sort: [ "index", 1 ],
    all: false
};
