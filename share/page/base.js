// Elements, numbers, texts of tokens: what all parts of the page use.

const byId = (id) => document.getElementById(id);
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

// An element. Children are elements or text; a text never becomes HTML, whatever a token says.
function h(tag, attributes = {}, ...children) {
    const spaces =
        { svg: 1, g: 1, path: 1, rect: 1, circle: 1, line: 1, text: 1, title: 1, clipPath: 1 };
    const element = tag in spaces ? document.createElementNS("http://www.w3.org/2000/svg", tag) :
                                    document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        if (value === null || value === undefined || value === false) continue;
        if (name.startsWith("on"))
            element.addEventListener(name.slice(2), value);
        else if (name === "style")
            element.style.cssText = value;
        else
            element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined));
    return element;
}

const button = (text, title, click, more = {}) =>
    h("button", { type: "button", title, onclick: click, ...more }, text);

// ---- numbers ------------------------------------------------------------------------------------

const count = (n) => n.toLocaleString("en-US");
const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

// Three figures, a true minus.
function number(x) {
    if (!Number.isFinite(x)) return "–";
    const size = Math.abs(x);
    const text = size >= 1000   ? x.toFixed(0) :
        size >= 100             ? x.toFixed(0) :
        size >= 10              ? x.toFixed(1) :
        size >= 0.01 || x === 0 ? x.toFixed(2) :
                                  x.toExponential(1);
    return text.replace("-", "−");
}
const percent = (x) => (x >= 0.995 || x === 0 ? (100 * x).toFixed(0) :
                            x >= 0.01         ? (100 * x).toFixed(1) :
                                                (100 * x).toPrecision(1)) +
    " %";

// ---- texts of tokens ----------------------------------------------------------------------------

// Characters that would not show, or that would turn the text around them.
const unseen =
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;

function unseenAs(character) {
    const code = character.codePointAt(0);
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    if (code === 0x7f) return "\u2421";
    return `\u27e8${code.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
}

// As it stands in a running text.
const inText = (piece) => piece.replace(unseen, unseenAs).replace(/\n/g, "\u21b5\n") || "\u2205";
// As a name: spaces are seen.
const asName = (piece) => piece.replace(unseen, unseenAs)
                              .replace(/ /g, "\u00b7")
                              .replace(/\n/g, "\u21b5")
                              .replace(/\t/g, "\u21e5") ||
    "\u2205";

// ---- small services -----------------------------------------------------------------------------

function say(text) {
    byId("spoken").textContent = text;
}

const clipboard = {
    write: (text) => navigator.clipboard.writeText(text)
};

async function copy(text, what) {
    try {
        await clipboard.write(text);
    } catch {  // where a page of a file may not use the clipboard
        const area = h("textarea", { style: "position:fixed;opacity:0" });
        const focused = document.activeElement;
        area.value = text;
        document.body.append(area);
        area.select();
        document.execCommand("copy");
        area.remove();
        focused?.focus({ preventScroll: true });
    }
    notice(`${what} copied`);
}

let noticeTimer = 0;
function notice(text) {
    const old = byId("notice");
    if (old) old.remove();
    document.body.append(h("div", { id: "notice", role: "status" }, text));
    clearTimeout(noticeTimer);
    noticeTimer = setTimeout(() => byId("notice")?.remove(), 1800);
}

function tip(event, ...children) {
    const box = byId("tip");
    if (children.length === 0) {
        box.hidden = true;
        return;
    }
    box.replaceChildren(...children);
    box.hidden = false;
    const width = box.offsetWidth, height = box.offsetHeight;
    box.style.left = clamp(event.clientX + 14, 4, innerWidth - width - 4) + "px";
    box.style.top = (event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 :
                                                                 event.clientY + 18) +
        "px";
}

// A function that runs once in a frame, however often it is called.
function framed(call) {
    let asked = false;
    return () => {
        if (asked) return;
        asked = true;
        requestAnimationFrame(() => {
            asked = false;
            call();
        });
    };
}

// A canvas as large as its box, sharp on every screen. Returns its context in CSS pixels.
function canvasFor(canvas, width, height) {
    const scale = Math.min(3, window.devicePixelRatio || 1);
    if (canvas.width !== Math.round(width * scale) ||
        canvas.height !== Math.round(height * scale)) {
        canvas.width = Math.round(width * scale);
        canvas.height = Math.round(height * scale);
    }
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    return context;
}
