// The tab Compare: every device's times of every file, this one's marked.

import * as api from "./api.js";
import { describe } from "./device.js";
import { bar, byId, make } from "./dom.js";
import { FLOATS, bytes, milliseconds, significant } from "./units.js";

/** Fills the tab with what the report holds now. */
export async function showCompare() {
  const [catalog, device] = await Promise.all([api.catalog(), describe()]);
  const here = (row) => row.device.id === device.id && row.runtime.includes(device.browser);
  byId("devices").replaceChildren(...catalog.models.map((model) => net(model, here)));
}

function net(model, here) {
  return make(
    "section",
    { class: model.family },
    make("h2", {}, model.name),
    ...model.files.map((file) => times(file, here)),
  );
}

function times(file, here) {
  const rows = latest(file.measurements);
  const name = make(
    "h3",
    { class: "quiet" },
    `${file.scheme}${file.converter === "stock" ? " (stock)" : ""}, ${bytes(file.bytes)}`,
  );
  if (!rows.length) return make("div", {}, name, make("p", { class: "quiet" }, "not measured yet"));
  const longest = Math.max(...rows.map((row) => row.median_ms));
  const computer = rows.find((row) => row.secure_context === undefined)?.median_ms; // LiteRT itself, not a browser
  return make("div", {}, name, ...rows.map((row) => time(row, longest, computer, here(row))));
}

/** The last measurement under each condition, in the order in which the conditions came. */
function latest(measurements) {
  const found = new Map();
  for (const row of measurements) {
    if (row.median_ms !== null)
      found.set([row.device.id, row.runtime, row.accelerator, row.precision, row.threads].join("\n"), row);
  }
  return [...found.values()];
}

/** `×4.2 slower`, `×1.3 faster`: a time divided by the computer's. */
export function slower(ratio) {
  return ratio < 1 ? `×${significant(1 / ratio, 2)} faster` : `×${significant(ratio, 2)} slower`;
}

function time(row, longest, computer, here) {
  const browser = row.secure_context !== undefined;
  const times = browser && computer ? ` ${slower(row.median_ms / computer)}` : "";
  const asked = row.requested && row.requested !== row.accelerator ? `, ${row.requested} was asked for` : "";
  const precision = row.precision ? ` in ${FLOATS[row.precision] ?? row.precision}` : "";
  const threads = row.threads ? `, ${row.threads} thread${row.threads > 1 ? "s" : ""}` : "";
  return make(
    "div",
    { class: here ? "device here" : "device" },
    make("b", {}, row.device.name),
    make("span", { class: "ms" }, milliseconds(row.median_ms), times),
    bar(row.median_ms / longest),
    make("small", { class: "quiet" }, `${row.runtime}, ${row.accelerator}${precision}${threads}${asked}`),
  );
}
