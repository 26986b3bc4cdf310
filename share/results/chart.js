// Charts: axes, marks, lines, and what happens when somebody points at them or walks through them
// with the keyboard. A chart is drawn for the width that it has, so that its letters keep their
// size on a phone.

const shapes = [
    (r) => `m${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`,
    (r) => `m${-0.88 * r} ${-0.88 * r}h${1.76 * r}v${1.76 * r}h${-1.76 * r}z`,
    (r) => `m0 ${-1.2 * r}l${1.15 * r} ${2 * r}h${-2.3 * r}z`,
    (r) => `m0 ${-1.3 * r}l${1.3 * r} ${1.3 * r}l${-1.3 * r} ${1.3 * r}l${-1.3 * r} ${-1.3 * r}z`,
    (r) => `m0 ${1.2 * r}l${1.15 * r} ${-2 * r}h${-2.3 * r}z`,
    (r) => `m${-r} ${-0.36 * r}h${0.64 * r}v${-0.64 * r}h${0.72 * r}v${0.64 * r}h${0.64 * r}v${
        0.72 * r}h${-0.64 * r}v${0.64 * r}h${-0.72 * r}v${-0.64 * r}h${-0.64 * r}z`
];
const shapeOf = (name) => shapes[(placeOf.get(name) ?? 0) % shapes.length];
const markPath = (name, x, y, r) => `M${x.toFixed(1)} ${y.toFixed(1)}${shapeOf(name)(r)}`;

const markIcon = (name) => h(
    "svg", { class: "icon", viewBox: "-8 -8 16 16", width: 14, height: 14, "aria-hidden": "true" },
    h("path", hollowOf(name) ?
          { d: markPath(name, 0, 0, 4.6), fill: "none", stroke: colourOf(name),
            "stroke-width": 2 } :
          { d: markPath(name, 0, 0, 5), fill: colourOf(name) }));

// ---- axes ---------------------------------------------------------------------------------------

function roundStep(range, parts) {
    const raw = range / parts, power = 10 ** Math.floor(Math.log10(raw)), lead = raw / power;
    return power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
}

function linearTicks(low, high, parts) {
    const step = roundStep(high - low || 1, parts), list = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++)
        list.push(Number((i * step).toPrecision(12)));
    return list;
}

// 1, 2 and 5 of each power of ten, or 1 and 3, or powers alone, as there is room; or round steps.
function logTicks(low, high, parts) {
    const skip = Math.ceil(Math.log10(high / low) / (parts + 2));
    for (const leads of [[ 1, 2, 5 ], [ 1, 3 ], [ 1 ]]) {
        const list = [];
        for (let p = Math.floor(Math.log10(low)); p <= Math.log10(high); p++)
            for (const lead of leads) {
                const x = Number(`${lead}e${p}`);
                if (x >= low * 0.999 && x <= high * 1.001 && (leads.length > 1 || p % skip === 0))
                    list.push(x);
            }
        if (list.length < 3) break;
        if (list.length <= parts + 2) return list;
    }
    return linearTicks(low, high, parts);
}

// Round seconds, minutes, hours.
function timeTicks(low, high, parts) {
    const round = [ 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000,
        72000, 180000 ];
    const list = round.filter((x) => x >= low && x <= high);
    if (list.length < 2) return logTicks(low, high, parts);
    return list.length > parts + 2 ? list.filter((x, i) => i % 2 === 0) : list;
}

// With the decimals that tell ticks apart.
function tickText(ticks) {
    const step = ticks.length > 1 ? ticks[1] - ticks[0] : 1;
    const decimals = Math.max(0, Math.min(8, -Math.floor(Math.log10(step) + 1e-9)));
    const large = ticks.some((tick) => Math.abs(tick) >= 1e4);
    return (tick) => (large ? short(tick) : signless(tick.toFixed(decimals)));
}

// What is shown of an axis, from all its values: {low, high, at(value), ticks}.
function axisOf(values, spec, from, to, parts) {
    const most = spec.most ?? Infinity;  // what is above leaves the picture
    const list = values.filter((x) => Number.isFinite(x) && x <= most && (!spec.log || x > 0));
    list.sort((a, b) => a - b);
    let low = list.length ? list[0] : spec.log ? 1 : 0;
    let high = list.length ? list[Math.floor((list.length - 1) * (1 - (spec.trim ?? 0)))] : low;
    const room = spec.room ?? 0.06;
    if (spec.log) {
        const wide = Math.max(Math.log(high / low) * room, high > low ? 0 : 0.2);
        low /= Math.exp(wide);
        high *= Math.exp(wide);
    } else {
        const wide = high > low ? (high - low) * room : Math.abs(high) * 0.02 + 1e-3;
        low -= spec.zero ? 0 : wide;
        high += wide;
        if (spec.zero) low = 0;
    }
    const on = spec.log ? Math.log : (x) => x;
    const scale = (to - from) / (on(high) - on(low));
    return {
        low,
        high,
        at: (x) => from + (on(x) - on(low)) * scale,
        ticks: (spec.time ? timeTicks : spec.log ? logTicks : linearTicks)(low, high, parts)
    };
}

// ---- drawing ------------------------------------------------------------------------------------

let chartCount = 0;

function drawAxes(svg, spec, frame, x, y) {
    const { left, top, right, bottom } = frame;
    const format = spec.x.format ?? short, other = spec.y.format ?? tickText(y.ticks);
    let free = -Infinity;  // labels do not run into each other
    for (const tick of x.ticks) {
        const at = x.at(tick), text = format(tick), half = text.length * 3.1 + 3;
        svg.append(h("path", { class: "grid", d: `M${at.toFixed(1)} ${top}V${bottom}` }));
        if (at - half < free) continue;
        free = at + half;
        svg.append(h("text", { class: "tick middle", x: at.toFixed(1), y: bottom + 16 }, text));
    }
    for (const tick of y.ticks) {
        const at = y.at(tick).toFixed(1);
        svg.append(
            h("path", { class: "grid", d: `M${left} ${at}H${right}` }),
            h("text", { class: "tick end", x: left - 7, y: Number(at) + 3.5 }, other(tick)));
    }
    svg.append(
        h("path", { class: "axis", d: `M${left} ${bottom}H${right}` }),
        h("text", { class: "axis-name middle", x: (left + right) / 2, y: bottom + 34 },
            spec.x.label),
        h("text", { class: "axis-name", x: 2, y: 12 }, spec.y.label));
}

// A line through points in order.
function linePath(list, x, y) {
    let d = "";
    for (const p of list) {
        if (!Number.isFinite(p.x) || !Number.isFinite(p.y)) continue;
        const px = x.at(p.x), py = y.at(p.y);
        d += `${d === "" ? "M" : "L"}${px.toFixed(1)} ${py.toFixed(1)}`;
    }
    return d;
}

function drawPoint(svg, series, p, px, py, x, y) {
    const colour = colourOf(series.name);
    if (Number.isFinite(p.low) && Number.isFinite(p.high) && p.low !== null)
        svg.append(h("path", {
            class: `whisker ${p.wide ? "wide" : ""}`,
            stroke: colour,
            d: `M${px.toFixed(1)} ${y.at(p.low).toFixed(1)}V${y.at(p.high).toFixed(1)}`
        }));
    if (Number.isFinite(p.left) && Number.isFinite(p.right) && p.left !== null)
        svg.append(h("path", {
            class: "whisker",
            stroke: colour,
            d: `M${x.at(p.left).toFixed(1)} ${py.toFixed(1)}H${x.at(p.right).toFixed(1)}`
        }));
    svg.append(h("path", {
        class: `mark ${series.hollow ? "hollow" : ""} ${series.faint ? "faint" : ""}`,
        d: markPath(series.name, px, py, series.radius ?? 4.2),
        fill: series.hollow ? "var(--card)" : colour,
        stroke: series.hollow ? colour : "var(--card)"
    }));
}

// Draws it anew. What can be pointed at is in figure.spots: {px, py, tip, go}.
function drawChart(figure, spec, width) {
    const height = spec.height ?? 320;
    const frame = { left: 52, top: 24, right: width - 10, bottom: height - 42 };
    const all = spec.series.flatMap((s) => s.points)
                    .filter((p) => Number.isFinite(p.x) && !(p.y > (spec.y.most ?? Infinity)));
    const x = axisOf(
        all.map((p) => p.x), spec.x, frame.left, frame.right,
        Math.max(3, Math.round(width / 90)));
    const y = axisOf(
        all.flatMap((p) => (p.wide ? [ p.y ] : [ p.y, p.low ?? NaN, p.high ?? NaN ])), spec.y,
            frame.bottom, frame.top,
        Math.max(3, Math.round(height / 55)));
    const id = figure.dataset.clip;
    const svg = h("svg", {
        viewBox: `0 0 ${width} ${height}`,
        width,
        height,
        tabindex: "0",
        role: "group",
        "aria-roledescription": "chart",
        "aria-label": `${spec.title}. Arrow keys walk through its points, Enter opens a run.`
    });
    const clip = h("clipPath", { id }, h("rect", {
                       x: frame.left - 8,
                       y: frame.top - 8,
                       width: Math.max(0, frame.right - frame.left + 16),
                       height: Math.max(0, frame.bottom - frame.top + 16)
                   }));
    const inside = h("g", { "clip-path": `url(#${id})` });
    svg.append(clip);
    drawAxes(svg, spec, frame, x, y);
    for (const guide of spec.guides ?? [])
        svg.append(h("path", {
            class: "zero",
            stroke: guide.name === undefined ? null : colourOf(guide.name),
            d: `M${frame.left} ${y.at(guide.y ?? guide).toFixed(1)}H${frame.right}`
        }));
    svg.append(inside);
    figure.spots = [];
    for (const s of spec.series) {
        s.path = s.line ? h("path", {
            class: `line ${s.faint ? "faint" : ""} ${s.dashed ? "dashed" : ""}`,
            stroke: colourOf(s.name),
            d: linePath(s.points, x, y)
        }) :
                          null;
        if (s.path) inside.append(s.path);
    }
    for (const s of spec.series)
        for (const p of s.points) {
            if (!Number.isFinite(p.x) || !Number.isFinite(p.y)) continue;
            const px = x.at(p.x), py = y.at(p.y);
            if (s.marks) drawPoint(inside, s, p, px, py, x, y);
            if (p.tip && py >= frame.top - 8 && py <= frame.bottom + 8)
                figure.spots.push({ px, py, tip: p.tip, go: p.go, name: s.name, path: s.path });
        }
    svg.append(h("path", { class: "cursor", d: "", "aria-hidden": "true" }));
    figure.replaceChildren(svg);
    figure.at = -1;
}

// ---- pointing -----------------------------------------------------------------------------------

function pointAt(figure, index, event) {
    const spot = figure.spots[index], svg = figure.firstChild;
    figure.at = index;
    svg.classList.toggle("on", Boolean(spot?.go));
    svg.querySelector(".line.strong")?.classList.remove("strong");
    spot?.path?.classList.add("strong");
    svg.querySelector(".cursor")
        .setAttribute("d", spot ? `M${spot.px} ${spot.py}${shapes[0](8)}` : "");
    if (!spot) return tip(event);
    const box = svg.getBoundingClientRect();
    const where = event?.clientX !== undefined ?
        event :
        { clientX: box.left + spot.px, clientY: box.top + spot.py };
    const lines = spot.tip();
    tip(where, named(spot.name, "head"),
        h("dl", {}, lines.map(([ a, b ]) => [h("dt", {}, a), h("dd", {}, b)])));
    if (event?.clientX === undefined)
        say(`${spot.name}: ${lines.map((line) => line.join(" ")).join(", ")}`);
}

// The spot nearest to a place; -1: none is near.
function nearest(figure, x, y, reach) {
    let found = -1, least = reach * reach;
    figure.spots.forEach((spot, i) => {
        const size = (spot.px - x) ** 2 + (spot.py - y) ** 2;
        if (size < least) {
            least = size;
            found = i;
        }
    });
    return found;
}

// Left and right within a contender, up and down to the nearest one of the others.
function walk(figure, key) {
    const { spots, at } = figure;
    if (spots.length === 0) return -1;
    if (at < 0) return 0;
    const here = spots[at], sideways = key === "ArrowLeft" || key === "ArrowRight";
    const sign = key === "ArrowRight" || key === "ArrowDown" ? 1 : -1;
    let found = at, least = Infinity;
    spots.forEach((spot, i) => {
        const ahead = sign * (sideways ? spot.px - here.px : spot.py - here.py);
        if (i === at || ahead < 0 || (ahead === 0 && sign * (i - at) < 0)) return;
        if (sideways ? spot.name !== here.name : spot.name === here.name) return;
        const size = sideways ? ahead + Math.abs(spot.py - here.py) / 50 :
                                ahead + 3 * Math.abs(spot.px - here.px);
        if (size < least) {
            least = size;
            found = i;
        }
    });
    return found;
}

function chartEvents(figure) {
    const place = (event) => {
        const box = figure.firstChild.getBoundingClientRect();
        return nearest(figure, event.clientX - box.left, event.clientY - box.top, 30);
    };
    figure.addEventListener("pointermove", (event) => pointAt(figure, place(event), event));
    figure.addEventListener("pointerleave", () => pointAt(figure, -1));
    figure.addEventListener("focusout", () => pointAt(figure, -1));
    figure.addEventListener("click", (event) => {
        const spot = figure.spots[place(event)];
        if (spot?.go) spot.go();
    });
    figure.addEventListener("keydown", (event) => {
        if (event.key.startsWith("Arrow")) {
            event.preventDefault();
            pointAt(figure, walk(figure, event.key));
        } else if (event.key === "Enter" && figure.spots[figure.at]?.go) {
            figure.spots[figure.at].go();
        } else if (event.key === "Escape") {
            pointAt(figure, -1);
        }
    });
}

const charts = [];  // all that are on the page

// A figure whose content `make` gives when it is drawn: {title, x, y, series, height}. Without
// anything to see it hides.
function chart(make, more = {}) {
    const figure = h("div", { class: "chart", "data-clip": `clip${++chartCount}`, ...more });
    figure.spots = [];
    figure.draw = (given) => {
        const spec = make();
        figure.hidden = !spec;
        const width = given ?? Math.floor(figure.clientWidth);
        if (spec && width > 60) drawChart(figure, spec, width);
    };
    chartEvents(figure);
    charts.push(figure);
    redraws.push(() => figure.draw());
    return figure;
}

function drawCharts(width) {
    for (const figure of charts)
        if (figure.isConnected) figure.draw(width);
}
