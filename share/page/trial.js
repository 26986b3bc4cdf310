// How pages try themselves out: opened with #selftest a page clicks, types and reads back what it
// shows, by events, as a reader does, and writes what came of it into <pre id="selftest"> as JSON.
// tests/page runs this in a headless browser. What is tried is the page's own; so is `settled`,
// which waits until the page has done what it was asked.

const problems = [];  // whatever reached the console
addEventListener("error", (event) => problems.push(event.message));
addEventListener(
    "unhandledrejection", (event) => problems.push(String(event.reason?.stack ?? event.reason)));
addEventListener(
    "securitypolicyviolation",
    (event) => problems.push(`refused: ${event.blockedURI} (${event.violatedDirective})`));
for (const kind of ["error", "warn"]) {
    const was = console[kind];
    console[kind] = (...words) => {
        problems.push(words.map(String).join(" "));
        was.apply(console, words);
    };
}

const selfTestWanted = location.hash === "#selftest";
const selfTestAsked = () => selfTestWanted;

const outcome = {
    passed: 0,
    failed: [],
    measured: {}
};
function check(name, holds, found) {
    if (holds)
        outcome.passed++;
    else
        outcome.failed.push(found === undefined ? name : `${name}: found ${found}`);
}

function report() {
    outcome.problems = problems;
    for (const element of document.querySelectorAll('script[type="application/json"]'))
        element.remove();  // a short page to print
    byId("main").replaceChildren(h("pre", { id: "selftest" }, JSON.stringify(outcome)));
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
async function press(key, target = document.body, more = {}) {
    target.dispatchEvent(
        new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
    await settled();
}
async function click(element, more = {}) {
    element.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, ...more }));
    await settled();
}

// Tries the parts one after the other: a part that throws has failed, the others go on.
async function tryAll(parts) {
    for (const part of parts) {
        try {
            await part();
        } catch (error) {
            outcome.failed.push(`${part.name}: ${error.stack ?? error}`);
        }
    }
    outcome.parts = parts.map((part) => part.name);
    report();
}
