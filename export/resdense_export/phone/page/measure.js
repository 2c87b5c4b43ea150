// The tab Measure: what to measure, the live plot, what to think of the numbers, and where they go.

import * as api from "./api.js";
import { abilities, describe, explained, givenName, keepName, randomId } from "./device.js";
import { byId, make, show } from "./dom.js";
import { measure } from "./measurement.js";
import { clockStep, summary } from "./statistics.js";
import { axis, drawAxis, drawStrip } from "./strips.js";
import { FLOATS, bytes, milliseconds, percent, significant } from "./units.js";

const FILES_A_RESULT = 32; // a result has at most 64 KiB
let running = null; // the AbortController of the measurement that runs

/** Fills the tab. */
export async function showMeasure(catalog) {
  const device = await describe();
  const found = await abilities();
  showAbilities(found);
  byId("device-name").value = givenName() ?? device.name;
  byId("files").replaceChildren(...catalog.models.map((model, number) => files(model, number)));
  byId("place").replaceChildren(...places(found));
  byId("choice").addEventListener("submit", (event) => {
    event.preventDefault();
    run(catalog, device, found);
  });
  byId("stop").addEventListener("click", () => running?.abort(new Error("stopped")));
  byId("again").addEventListener("click", () => {
    for (const [id, shown] of [
      ["choice", true],
      ["after", false],
      ["results", false],
      ["warnings", false],
    ])
      show(byId(id), shown);
    byId("sent").textContent = "";
    byId("start").focus();
  });
}

function showAbilities(found) {
  const rows = explained(found, clockStep());
  byId("abilities").replaceChildren(...rows.flatMap(([what, text]) => [make("dt", {}, what), make("dd", {}, text)]));
  const words = [
    found.secure ? "secure address" : "plain http",
    found.threads > 1 ? `up to ${found.threads} threads` : "one thread",
    found.gpu ? "WebGPU" : "no WebGPU",
  ];
  byId("abilities-summary").textContent = `Here: ${words.join(", ")}. What that means`;
  byId("abilities").closest("details").open = !found.isolated;
}

function files(model, number) {
  const rows = model.files.map((file, place) => {
    const id = `file-${number}-${place}`;
    const zipped = file.zipped_bytes ? `${bytes(file.zipped_bytes)} zipped` : null;
    const facts = [bytes(file.bytes), zipped, file.accuracy === null ? null : percent(file.accuracy)]
      .filter(Boolean)
      .join(", ");
    return make(
      "div",
      { class: "file" },
      make("input", { type: "checkbox", id, value: `${number}/${place}`, checked: file.converter !== "stock" }),
      make("label", { for: id }, file.scheme, file.converter === "stock" ? " (stock converter)" : ""),
      make("small", {}, facts),
      make("small", { class: "meaning" }, file.meaning),
    );
  });
  return make("fieldset", { class: model.family }, make("legend", {}, model.name), ...rows);
}

function places(found) {
  const threads = Array.from({ length: found.threads }, (_, i) => i + 1);
  const options = threads.map((n) =>
    make("option", { value: `wasm/${n}` }, `Processor, ${n} thread${n > 1 ? "s" : ""}`),
  );
  // The runtime's own choice differs between GPUs, so the precision is always named; float32 has the plain value.
  if (found.gpu) options.push(make("option", { value: "webgpu/1" }, `GPU (WebGPU), ${FLOATS.fp32}`));
  if (found.half) options.push(make("option", { value: "webgpu/1/fp16" }, `GPU (WebGPU), ${FLOATS.fp16}`));
  return options;
}

async function run(catalog, device, found) {
  const chosen = [...document.querySelectorAll("#files input:checked")].map((box) => {
    const [model, file] = box.value
      .split("/")
      .map((place, i, [number]) => (i ? catalog.models[number].files[place] : catalog.models[place]));
    return { model, file };
  });
  if (!chosen.length) return warn(["Choose at least one file."]);
  const [accelerator, threads, named = "fp32"] = byId("place").value.split("/");
  const precision = accelerator === "webgpu" ? named : null;
  const condition = { accelerator, threads: Number(threads), precision, rounds: byId("rounds").valueAsNumber };
  running = new AbortController();
  busy(true);
  try {
    const strips = new Strips(chosen);
    const measured = await measure(chosen, condition, (news) => strips.tell(news), running.signal);
    strips.finish(measured.rows);
    warn(warnings(measured, condition, catalog.drift));
    byId("announce").textContent = `Measured ${measured.rows.length} files.`;
    await deliver(results(measured, condition, device, found, catalog.runtime.version));
  } catch (error) {
    warn([error.message === "stopped" ? "Stopped; nothing was sent." : `It did not work: ${error.message}`]);
  } finally {
    running = null;
    busy(false);
  }
}

/** While it measures, and after that, the choice makes room for the plot. */
function busy(yes) {
  show(byId("progress"), yes);
  show(byId("after"), !yes);
  if (!yes) return byId("again").focus();
  for (const [id, shown] of [
    ["choice", false],
    ["results", true],
    ["send", false],
    ["download", false],
  ])
    show(byId(id), shown);
  warn([]);
  byId("sent").textContent = "";
  byId("announce").textContent = "Measuring.";
  byId("stop").focus();
}

/** A row a file, drawn anew while it is measured. */
class Strips {
  constructor(chosen) {
    this.rows = chosen.map(({ model, file }) => new Strip(model, file));
    this.axis = make("div", { class: "axis", "aria-hidden": "true" });
    const caption = make(
      "p",
      { class: "quiet" },
      "Milliseconds per image: one dot per round; the bar goes from the 10th to the 90th percentile, the line is " +
        "the median.",
    );
    byId("results").replaceChildren(make("h2", {}, "Latency"), caption, ...this.rows.map((row) => row.box), this.axis);
  }

  tell({ phase, done, total, rows }) {
    byId("doing").textContent = phase;
    byId("bar").value = done / total;
    const scale = axis(rows);
    if (!scale) return;
    for (const [number, row] of rows.entries()) if (row.times.length) this.rows[number].draw(row, scale);
    drawAxis(this.axis, scale);
  }

  finish(rows) {
    for (const [number, row] of rows.entries()) this.rows[number].finish(row);
  }
}

class Strip {
  constructor(model, file) {
    this.median = make("span", { class: "median" }, "–");
    this.svg = make("svg", { class: "strip", "aria-hidden": "true" });
    this.facts = make("p", { class: "facts" }, "waiting");
    this.wrong = make("p", { class: "wrong", hidden: true });
    const name = make(
      "span",
      { class: "name" },
      `${model.name} ${file.scheme}`,
      file.converter === "stock" ? " (stock)" : "",
    );
    this.box = make("div", { class: `row ${model.family}` }, name, this.median, this.svg, this.wrong, this.facts);
  }

  draw(row, scale) {
    const { median_ms, p10_ms, p90_ms } = summary(row.times);
    this.median.textContent = milliseconds(median_ms);
    this.facts.textContent =
      `${significant(p10_ms)} to ${milliseconds(p90_ms)}, ` +
      `loaded in ${milliseconds(row.load_ms)}, first run ${milliseconds(row.first_ms)}`;
    drawStrip(this.svg, row.times, scale);
  }

  finish(row) {
    const { golden, images_per_round, accelerator } = row.record;
    const more = [];
    if (images_per_round > 1) more.push(`${images_per_round} images per round`);
    if (accelerator !== row.net.requested) more.push(`ran on ${accelerator}, not ${row.net.requested}`);
    if (golden?.right !== null && golden) more.push(`${golden.right} of ${golden.images} known images right`);
    if (golden && !row.account.wrong) more.push("answers as on the computer");
    if (!golden) more.push("no known answers to compare with");
    this.facts.textContent += more.map((text) => `; ${text}`).join("");
    this.wrong.textContent = golden
      ? `Other answers than on the computer: ${golden.images - golden.same_top1} of ${golden.images} images, ` +
        `up to ${golden.max_difference === null ? "∞" : significant(golden.max_difference, 2)} apart.`
      : "";
    if (golden && row.account.first !== row.account.last) {
      this.wrong.textContent += row.account.first
        ? " The first answer was right, the last one is wrong."
        : " The first answer was wrong, the last one is right.";
    }
    show(this.wrong, row.account.wrong);
  }
}

/** What a person should know before believing the numbers. */
function warnings({ rows, hidden }, { accelerator }, mostDrift) {
  const drift = Math.max(...rows.map(({ record }) => Math.max(record.drift, 1 / record.drift)));
  const found = [];
  if (drift > mostDrift)
    found.push(
      `The speed changed by a factor of ${significant(drift, 2)} during the rounds: the device grew hot or had ` +
        "other work. Let it cool and measure again.",
    );
  if (hidden)
    found.push(
      "The tab was hidden for a while, and browsers slow down hidden tabs. Measure again with the page in view.",
    );
  const fallen = rows.filter(({ record }) => record.accelerator !== accelerator);
  if (fallen.length)
    found.push(
      `${fallen.length} of ${rows.length} files did not run entirely on the ` +
        `${accelerator === "webgpu" ? "GPU" : accelerator} that was asked for; their rows say so.`,
    );
  if (rows.some((row) => row.account.wrong))
    found.push("Some answers differ from those on the computer: do not trust these files on this device.");
  return found;
}

function warn(texts) {
  byId("warnings").replaceChildren(...texts.map((text) => make("li", {}, text)));
  show(byId("warnings"), texts.length > 0);
}

/** The results to send, of at most FILES_A_RESULT files each. */
function results({ rows, clock_ms, hidden }, condition, device, found, version) {
  const name = byId("device-name").value.trim() || device.name;
  keepName(name);
  const common = {
    schema: "resdense-phone/1",
    device: { ...device, name },
    runtime: `LiteRT.js ${version}`,
    requested: condition.accelerator,
    precision: condition.precision,
    threads: condition.threads,
    secure_context: found.secure,
    cross_origin_isolated: found.isolated,
    hidden,
    clock_ms,
  };
  const records = rows.map((row) => row.record);
  const parts = Array.from({ length: Math.ceil(records.length / FILES_A_RESULT) }, (_, i) =>
    records.slice(i * FILES_A_RESULT, (i + 1) * FILES_A_RESULT),
  );
  return parts.map((files) => ({ ...common, id: randomId(), files }));
}

async function deliver(made) {
  const link = byId("download");
  if (link.href) URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(new Blob([JSON.stringify(made, null, 2)], { type: "application/json" }));
  show(link);
  byId("send").onclick = () => post(made);
  await post(made);
}

async function post(made) {
  byId("sent").textContent = "Sending …";
  show(byId("send"), false);
  try {
    for (const result of made) await api.send(result);
    byId("sent").textContent = "These numbers are now in the report on the computer.";
  } catch (error) {
    byId("sent").textContent = `Not sent: ${error.message}`;
    show(byId("send"));
  }
}
