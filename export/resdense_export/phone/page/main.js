// Opens the page: the catalog, the three tabs, and what a person is told where something is missing.

import * as api from "./api.js";
import { byId, make, show } from "./dom.js";
import { showMeasure } from "./measure.js";
import { showTry } from "./try.js";
import { showCompare } from "./compare.js";

const POLL = 1500; // ms between two looks at whether the computer has the runtime
const TABS = ["measure", "try", "compare"];

async function begin() {
  chooseTabs();
  // What fails where nobody waits for it, such as a worker of the runtime.
  addEventListener("error", ({ message }) => problem(`Something on this page has failed: ${message}. Reload it.`));
  addEventListener("unhandledrejection", ({ reason }) =>
    problem(`Something on this page has failed: ${reason?.message ?? reason}. Reload it.`),
  );
  try {
    if (location.hash.length < 2)
      throw new api.Failed(
        401,
        "Open this page from the QR code or the whole printed address: the part behind # is missing.",
      );
    const catalog = await ready(await api.catalog());
    const files = catalog.models.flatMap((model) => model.files);
    byId("state").textContent =
      `${count(catalog.models.length, "net")}, ${count(files.length, "file")}, LiteRT.js ${catalog.runtime.version}`;
    show(byId("app"));
    await showMeasure(catalog);
    showTry(catalog);
  } catch (error) {
    problem(error.message);
  }
}

const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

/** The catalog once the computer has the runtime. */
async function ready(catalog) {
  while (catalog.runtime.state === "fetching") {
    byId("state").textContent = "The computer is downloading the LiteRT.js runtime with npm (once, 12 MB) …";
    await new Promise((resolve) => setTimeout(resolve, POLL));
    catalog = await api.catalog();
  }
  if (catalog.runtime.state === "ready") return catalog;
  byId("state").textContent = "The runtime for the nets is not available yet.";
  const folder = "npm ci --omit=dev\nresdense phone DIR --runtime .";
  byId("problem").append(
    make("p", {}, `The LiteRT.js runtime is missing on the computer: ${catalog.runtime.why}.`),
    make(
      "p",
      {},
      "It is Google's package @litertjs/core and not part of resdense. With a connection and Node.js, start " +
        "`resdense phone` again; or, in a copy of the page's folder (resdense_export/phone/page):",
    ),
    make("pre", {}, folder),
    make("p", {}, "After that no network is needed."),
  );
  show(byId("problem"));
  return new Promise(() => {}); // there is nothing to go on with
}

function problem(text) {
  byId("state").textContent = "";
  byId("problem").textContent = text;
  show(byId("problem"));
}

function chooseTabs() {
  const tabs = TABS.map((name) => byId(`tab-${name}`));
  const choose = (chosen, focus) => {
    for (const [number, tab] of tabs.entries()) {
      tab.setAttribute("aria-selected", number === chosen);
      tab.tabIndex = number === chosen ? 0 : -1;
      show(byId(TABS[number]), number === chosen);
      if (number !== chosen) tab.dispatchEvent(new Event("left"));
    }
    if (focus) tabs[chosen].focus();
    if (TABS[chosen] === "compare") showCompare().catch((error) => problem(error.message));
  };
  for (const [number, tab] of tabs.entries()) {
    tab.addEventListener("click", () => choose(number, false));
    tab.addEventListener("keydown", ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (step) choose((number + step + tabs.length) % tabs.length, true);
    });
  }
  choose(0, false);
}

begin();
