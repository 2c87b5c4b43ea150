// The page: what is chosen, what the address says of it, and what is shown.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const fill = (name, html) =>
  document.querySelectorAll(`[data-fill="${name}"]`).forEach((place) => (place.innerHTML = html));
const clamp = (text, low, high, otherwise) => {
  const number = Math.round(Number(text));
  return text !== null && Number.isFinite(number) ? Math.min(high, Math.max(low, number)) : otherwise;
};
const GROWTHS = { low: 4, high: 32, step: 4 };
const DASHES = { plain: "2 3", add: "", concat: "8 3" };
const MARKS = { plain: "circle", add: "square", concat: "triangle" };
const pretty = (block) => block.replace("stage", "stage ").replace("_block", ", block ");
const tiny = (block) => block.replace("stage", "").replace("_block", ".");
const keyOf = (net, block) => `${net.connection}:${block}`;

// What is chosen

/** The choice that an address tells of; what it does not say, or says wrongly, is the default. */
function choiceOf(hash) {
  const said = new URLSearchParams(hash.replace(/^#/, ""));
  const depth = clamp(said.get("depth"), 1, 12, 5);
  const known = new Set(NETS.nets.flatMap((net) => Object.keys(net.lesions.blocks).map((block) => keyOf(net, block))));
  return {
    connection: CONNECTIONS.includes(said.get("connection")) ? said.get("connection") : "concat",
    depth,
    growth: GROWTHS.step * Math.round(clamp(said.get("growth"), GROWTHS.low, GROWTHS.high, 12) / GROWTHS.step),
    block: clamp(said.get("block"), 1, depth, Math.min(3, depth)),
    sample: clamp(said.get("digit"), 0, 9, 4),
    drawn: decodePixels(said.get("drawn") || ""),
    out: new Set((said.get("out") || "").split(",").filter((key) => known.has(key))),
  };
}

function addressOf({ connection, depth, growth, block, sample, drawn, out }) {
  const said = new URLSearchParams({ connection, depth, growth, block });
  if (drawn) said.set("drawn", encodePixels(drawn));
  else said.set("digit", sample);
  if (out.size) said.set("out", [...out].join(","));
  return `#${said.toString().replaceAll("%3A", ":").replaceAll("%2C", ",")}`;
}

let choice = choiceOf(location.hash);
let strokes = [];
let saving = null;

/** Takes a change over into page and address. The address waits a moment: browsers limit how often it may change. */
function choose(change) {
  choice = { ...choice, ...change };
  choice.block = Math.min(choice.block, choice.depth);
  clearTimeout(saving);
  saving = setTimeout(() => {
    saving = null;
    history.replaceState(null, "", addressOf(choice));
  }, 100);
}

// The switch

const STORIES = {
  plain:
    "Each block <b>replaces</b> what it was given. What the input held reaches the end only through every block in " +
    "between.",
  add: "Each block <b>adds</b> its result onto the same channels. The width stays, and every channel becomes a sum " +
    "in which old and new can no longer be told apart.",
  concat:
    "Each layer <b>appends</b> its result. The width grows by k, nothing is overwritten, and every later layer reads " +
    "every earlier one by itself.",
};

function showChain() {
  const { connection, depth, growth, block } = choice;
  const found = cost(connection, depth, growth);
  const widest = WIDTH + depth * growth;
  fill("width", WIDTH);
  fill("side", `${SIDE}×${SIDE}`);
  fill("depth", depth);
  fill("growth", growth);
  fill("story", STORIES[connection]);
  $("#chain").innerHTML = found.blocks
    .map((row, index) => {
      const shape = `<b>${SIDE}×${SIDE}×${row.channels}</b>`;
      const figures = index
        ? `${shape} · ${count(row.parameters)} parameters · ${short(row.macs)} MACs · keeps ` +
          `${bytes(row.keptBytes)} · alive ${bytes(row.aliveBytes)}`
        : `${shape} · the input, ${bytes(row.aliveBytes)}`;
      const picture = strip(connection, index, growth, widest);
      const inside = `<span class="name">${index ? `block ${index}` : "input"}</span>${picture}` +
        `<span class="figures">${figures}</span>`;
      return index
        ? `<li><button type="button" class="row" data-block="${index}" ` +
          `aria-pressed="${index === block}">${inside}</button></li>`
        : `<li><div class="row">${inside}</div></li>`;
    })
    .join("");
  fill(
    "key",
    `Strips are drawn to scale: the whole width is ${count(widest)} channels. Grey is the input, each block has a ` +
    `colour of its own${connection === "add" ? "; bands over the same channels have been added together" : ""}. ` +
    `“Keeps” is memory that the gradient needs later, “alive” is memory in use while the block runs.`,
  );
  showBlock(found.blocks[block]);
  showCosts();
}

function showBlock(block) {
  const { connection, growth, block: index } = choice;
  fill("blockTitle", `Inside block ${index}`);
  $("#block").innerHTML = blockPicture(connection, index, growth, block);
  fill(
    "blockStory",
    {
      plain: "The numbers beside the layers are their parameters. Nothing leads around the two convolutions.",
      add: "The numbers beside the layers are their parameters. The blue line carries the input around the two " +
        "convolutions, unchanged.",
      concat:
        "The numbers beside the layers are their parameters. The orange line carries all earlier channels around the " +
        "convolution, unchanged.",
    }[connection],
  );
  showEquation(block);
}

function showEquation(block) {
  const { connection, growth, block: index } = choice;
  const [before, after, f] = [subscript("x", index - 1), subscript("x", index), subscript("F", index)];
  const all = (join) =>
    Array.from({ length: index + 1 }, (_, i) => (i ? subscript("F", i) : subscript("x", 0))).join(join);
  const lines = {
    plain: [
      `${after} = ${f}(${before})`,
      `<span class="small">unrolled: ` +
      `${Array.from({ length: index }, (_, i) => subscript("F", index - i)).join("(")}` +
      `(${subscript("x", 0)}${")".repeat(index)}</span>`,
    ],
    add: [
      `${after} = ${before} + ${f}(${before})`,
      `<span class="small">unrolled, without the ReLU behind each sum: ${all(" + ")}</span>`,
    ],
    concat: [`${after} = [${before}, ${f}(${before})]`, `<span class="small">unrolled: [${all(", ")}]</span>`],
  };
  fill("equationTitle", `What block ${index} computes`);
  $("#equation").innerHTML = lines[connection].map((line) => `<p>${line}</p>`).join("");
  $("#sums").innerHTML = sums(connection, index, growth, block)
    .map(
      ([name, terms, value, text]) =>
        `<dt>${name}</dt><dd data-value="${value}"><span>${terms}</span> = <b>${text}</b></dd>`,
    )
    .join("");
  fill(
    "equationStory",
    {
      plain:
        "Nothing keeps a plain block from learning to hand on its input, and yet a deep plain net trains worse than " +
        "a shallow one. This degradation is what both connections were made against.",
      add: "The gradient of a sum goes to both of its parts unchanged: each block has a path to the output that " +
        "passes through no other block.",
      concat:
        "Addition is concatenation with tied weights: W(x + y) = [W W][x, y]. A layer behind a concatenation may " +
        "weigh each part on its own, and pays with a wider kernel.",
    }[connection],
  );
}

/** The arithmetic of a block: [figure, terms, value, value as text]. */
function sums(connection, index, growth, { reads, channels, parameters, macs, keptBytes }) {
  const area = `${SIDE}·${SIDE}`;
  const first = index === 1 ? `${WIDTH} + ` : ""; // the input itself is kept once, by the block that reads it first
  const terms =
    connection === "concat"
      ? [
          `3·3·${reads}·${growth} + 2·${reads}`,
          `${area}·3·3·${reads}·${growth}`,
          `${area}·(${first}${reads} + ${channels})·4`,
        ]
      : [`2·3·3·${WIDTH}·${WIDTH} + 2·2·${WIDTH}`, `${area}·2·3·3·${WIDTH}·${WIDTH}`, `${area}·(${first}4·${WIDTH})·4`];
  return [
    ["channels", connection === "concat" ? `${WIDTH} + ${index}·${growth}` : `${WIDTH} + 0`, channels, count(channels)],
    ["parameters: convolutions and batch norms", terms[0], parameters, count(parameters)],
    ["MACs of one image", terms[1], macs, count(macs)],
    ["bytes kept for the gradient", terms[2], keptBytes, bytes(keptBytes)],
  ];
}

function showCosts() {
  const { connection: chosen, depth, growth } = choice;
  const found = CONNECTIONS.map((connection) => cost(connection, depth, growth));
  const rows = [
    ["channels of the output", "channels", count],
    ["parameters", "parameters", count],
    ["MACs", "macs", short],
    ["memory for the gradient", "activationBytes", bytes],
    ["memory alive at once, inference", "inferencePeakBytes", bytes],
  ];
  $("#costs tbody").innerHTML = rows
    .map(([name, key, text]) => {
      const cells = found.map(
        (row, i) =>
          `<td data-value="${row[key]}" class="${CONNECTIONS[i] === chosen ? "chosen" : ""}">${text(row[key])}</td>`,
      );
      return `<tr><th scope="row">${name}</th>${cells.join("")}</tr>`;
    })
    .join("");
  showMemory();
}

function showMemory() {
  const { depth, growth } = choice;
  const depths = Array.from({ length: 12 }, (_, i) => i + 1);
  const memory = (connection, at) => cost(connection, at, growth).activationBytes / 2 ** 20;
  const series = CONNECTIONS.map((connection) => ({
    name: { plain: "plain", add: "add (as plain)", concat: `concat, k = ${growth}` }[connection],
    color: `var(--${connection})`,
    dash: DASHES[connection],
    points: depths.map((at) => [at, memory(connection, at)]),
    chosen: [depth - 1],
  }));
  const highest = Math.max(...series.flatMap((line) => line.points.map((point) => point[1])));
  const step = [0.5, 1, 2, 4, 5, 10, 20].find((size) => highest / size <= 5) || 50;
  const ticks = Array.from({ length: Math.ceil(highest / step) + 1 }, (_, i) => [i * step, `${i * step} MiB`]);
  $("#memory").innerHTML = chart({
    width: Math.max(280, Math.min(560, $("#memory").clientWidth)),
    height: 230,
    label: `Memory for the gradient against depth. At ${depth} blocks: ` +
      `${CONNECTIONS.map((name) => `${name} ${memory(name, depth).toFixed(2)} MiB`).join(", ")}.`,
    series,
    xRange: [1, 12],
    yRange: [0, ticks.at(-1)[0]],
    xTicks: depths.filter((at) => at % 2 === 0 || at === 1).map((at) => [at, at]),
    yTicks: ticks,
    xTitle: "blocks",
  });
  const [add, concat] = ["add", "concat"].map((name) => memory(name, 12) / memory(name, 6));
  fill(
    "memoryStory",
    `From 6 to 12 blocks the sum needs ${add.toFixed(1)} times the memory, the concatenation ${concat.toFixed(1)} ` +
    `times: each layer keeps all channels before it once more, so it grows with the square of the depth. Computing ` +
    `them again instead of keeping them (<code>recompute=True</code>) makes it grow linearly.`,
  );
}

// The digit

const pixels = () => choice.drawn || NETS.samples[choice.sample].pixels;
const outOf = (net) =>
  new Set([...choice.out].filter((key) => key.startsWith(`${net.connection}:`)).map((key) => key.split(":")[1]));

/** Rows of a net: what stands between its blocks and each block, with the place of its output in the graph. */
function rowsOf(net) {
  const rows = [];
  const last = (test) => net.graph.findLastIndex(test);
  const add = (name, label, place, block = null) => rows.push({ name, label, place, block });
  add(
    "stem",
    "stem",
    last((entry) => entry.name.startsWith("stem_")),
  );
  for (const block of Object.keys(net.lesions.blocks)) {
    add(
      tiny(block),
      pretty(block),
      last((entry) => entry.block === block),
      block,
    );
    const stage = block.split("_")[0];
    const closing = last((entry) => entry.name.startsWith(`${stage}_transition`));
    if (closing >= 0 && block === Object.keys(net.lesions.blocks).findLast((name) => name.startsWith(`${stage}_`))) {
      add("½", `transition behind ${stage.replace("stage", "stage ")}`, closing);
    }
  }
  return rows;
}

function buildNets() {
  $("#nets").innerHTML = NETS.nets
    .map((net, number) => {
      const rows = rowsOf(net).map(({ name, label, place, block }) => {
        const shape = net.graph[place].shape;
        const maps = `<canvas data-place="${place}" aria-hidden="true"></canvas>`;
        if (!block)
          return `<li><div class="row fixed"><span class="name">${name}</span>${maps}<span>` +
            `<span class="hidden">${label}: ${shape[2]} maps of ${shape[0]} by ${shape[1]}</span></span></div></li>`;
        const left = net.lesions.blocks[block];
        return (
          `<li><button type="button" class="row" data-block="${block}" aria-pressed="false">` +
          `<span class="name">${name}<span class="hidden"> pull out ${label}, ${shape[2]} maps of ${shape[0]} by ` +
          `${shape[1]}; right without it: </span></span>${maps}<span class="left">${percent(left)}` +
          `<span class="meter"><i style="width:${percent(left, 1).replace(" ", "")}"></i></span></span></button></li>`
        );
      });
      return (
        `<article class="card net ${net.connection}" data-net="${number}" ` +
        `aria-label="${net.connection}: ${net.name}">` +
        `<header><div class="head"><h3><b class="${net.connection}">${net.connection}</b> <small>${net.name}</small>` +
        `</h3><p class="says"></p></div><div class="bars" aria-hidden="true"></div></header>` +
        `<p class="meta">${count(net.trainable)} parameters · ${short(net.macs)} MACs · ` +
        `${bytes(net.activationBytes)} for the gradient · ${percent(net.accuracy, 1)} of the test digits right</p>` +
        `<div class="columnheads"><span>block and what it hands on</span><span>right without</span></div>` +
        `<ol class="blocks">${rows.join("")}</ol>` +
        `<footer><button type="button" class="restore">Put all blocks back</button></footer></article>`
      );
    })
    .join("");
}

function showDigit() {
  drawPixels($("#seen"), pixels());
  document
    .querySelectorAll(".samples button")
    .forEach((button, digit) => button.setAttribute("aria-pressed", !choice.drawn && digit === choice.sample));
  if (!strokes.length) showField();
  const said = NETS.nets.map(showNet);
  $("#status").textContent = said.join(" ");
  showCurve();
}

/** Runs a net and shows it; returns what it says in words. */
function showNet(net, number) {
  const card = $(`[data-net="${number}"]`);
  const out = outOf(net);
  const tensors = run(net, pixels(), out);
  const probabilities = [...tensors.at(-1).data];
  const { digit, probability } = answer(probabilities);
  const truth = choice.drawn ? null : NETS.samples[choice.sample].label;
  const says = $(".says", card);
  says.classList.toggle("wrong", truth !== null && digit !== truth);
  says.innerHTML = `says <b>${digit}</b> ${percent(probability)}`;
  $(".bars", card).innerHTML = probabilities
    .map(
      (p, i) => `<div class="${i === digit ? "top1" : ""}"><i style="height:${(30 * p).toFixed(1)}px"></i>${i}</div>`,
    )
    .join("");
  card.querySelectorAll("canvas").forEach((canvas) => {
    const entry = net.graph[canvas.dataset.place];
    const fresh = entry.op === "concat" ? entry.shape[2] - net.graph[entry.in[0]].shape[2] : 0;
    drawMaps(canvas, tensors[canvas.dataset.place], net.connection, fresh);
  });
  card
    .querySelectorAll("button[data-block]")
    .forEach((button) => button.setAttribute("aria-pressed", out.has(button.dataset.block)));
  $(".restore", card).disabled = !out.size;
  const missing = out.size ? ` without ${[...out].map(pretty).join(" and ")}` : "";
  return `${net.connection}${missing} says ${digit}, ${percent(probability)}.`;
}

function showCurve() {
  const series = NETS.nets.map((net) => {
    const blocks = Object.entries(net.lesions.blocks);
    return {
      name: { plain: "plain", add: "add", concat: "concat" }[net.connection],
      color: `var(--${net.connection})`,
      dash: DASHES[net.connection],
      mark: MARKS[net.connection],
      points: blocks.map(([, left], i) => [i / (blocks.length - 1), left]),
      chosen: blocks.flatMap(([block], i) => (choice.out.has(keyOf(net, block)) ? [i] : [])),
    };
  });
  const spoken = NETS.nets.map(
    (net) =>
      `${net.connection}: ${Object.values(net.lesions.blocks)
        .map((left) => percent(left))
        .join(", ")}`,
  );
  $("#curve").innerHTML = chart({
    width: Math.max(280, Math.min(640, $("#curve").clientWidth)),
    height: 240,
    label: `Share of ${NETS.images.test} test digits that are right without one block, from the first block to the ` +
      `last. ${spoken.join(". ")}.`,
    series,
    xRange: [-0.02, 1.02],
    yRange: [0, 1],
    xTicks: [
      [0, "first"],
      [0.5, "middle"],
      [1, "last"],
    ],
    yTicks: [0, 0.25, 0.5, 0.75, 1].map((value) => [value, percent(value)]),
    xTitle: "the one block that is missing",
    level: { value: 0.1, text: "guessing" },
  });
  fill(
    "curveNote",
    `Measured in Keras: the share of the ${NETS.images.test} test digits that are right with one block out, every ` +
    `other weight as it was. What you pull out below is ringed here. The first blocks matter most: all others read ` +
    `what they make.`,
  );
}

// Drawing

const field = $("#field");
const pen = { x: 0.5, y: 0.5, down: false, shown: false };

/** The drawing field: the strokes, or the pixels of a sample, a grid of 8x8, and the keyboard's pen. */
function showField() {
  const context = field.getContext("2d");
  const size = field.width;
  context.fillStyle = "#111318";
  context.fillRect(0, 0, size, size);
  if (!strokes.length) {
    pixels().forEach((value, i) => {
      context.fillStyle = `rgb(${value},${value},${value})`;
      context.fillRect((i % 8) * (size / 8), Math.floor(i / 8) * (size / 8), size / 8, size / 8);
    });
  }
  context.strokeStyle = "rgba(255,255,255,0.13)";
  context.lineWidth = 1;
  for (let line = 1; line < 8; line++) {
    context.strokeRect(-1, (line * size) / 8, size + 2, 0);
    context.strokeRect((line * size) / 8, -1, 0, size + 2);
  }
  context.strokeStyle = context.fillStyle = "#ffffff";
  context.lineWidth = size / 9;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) {
    context.beginPath();
    stroke.forEach(([x, y], i) => (i ? context.lineTo(x * size, y * size) : context.moveTo(x * size, y * size)));
    if (stroke.length === 1) context.lineTo(stroke[0][0] * size + 0.01, stroke[0][1] * size);
    context.stroke();
  }
  if (pen.shown) {
    context.strokeStyle = pen.down ? "#f59a5b" : "#5fb2ee";
    context.lineWidth = 4;
    context.beginPath();
    context.arc(pen.x * size, pen.y * size, 10, 0, 7);
    context.stroke();
  }
}

function drawn() {
  choose({ drawn: strokes.length ? scanned(strokes) : null });
  showField();
  showDigit();
}

let waiting = false;
function drawnSoon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    drawn();
  });
}

function placeOf(event) {
  const box = field.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

field.addEventListener("pointerdown", (event) => {
  field.setPointerCapture(event.pointerId);
  pen.shown = false;
  strokes.push([placeOf(event)]);
  drawnSoon();
});
field.addEventListener("pointermove", (event) => {
  if (!field.hasPointerCapture(event.pointerId)) return;
  strokes.at(-1).push(placeOf(event));
  drawnSoon();
});
field.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (step) {
    [pen.x, pen.y] = [pen.x + step[0] / 16, pen.y + step[1] / 16].map((at) => Math.min(0.95, Math.max(0.05, at)));
    if (pen.down) strokes.at(-1).push([pen.x, pen.y]);
  } else if (event.key === " ") {
    pen.down = !pen.down;
    if (pen.down) strokes.push([[pen.x, pen.y]]);
  } else if (event.key === "Delete" || event.key === "Backspace") {
    clear();
  } else return;
  pen.shown = true;
  event.preventDefault();
  if (strokes.length) drawn();
  else showField();
});
field.addEventListener("blur", () => {
  pen.shown = pen.down = false;
  showField();
});

function clear() {
  strokes = [];
  pen.down = false;
  choose({ drawn: null });
  showField();
  showDigit();
}

// Wiring

function buildSamples() {
  $(".samples").innerHTML = NETS.samples
    .map(
      ({ label }) =>
        `<button type="button" aria-label="test digit ${label}"><canvas width="8" height="8" aria-hidden="true">` +
        `</canvas></button>`,
    )
    .join("");
  document.querySelectorAll(".samples canvas").forEach((canvas, i) => drawPixels(canvas, NETS.samples[i].pixels));
}

/** Controls as the choice has them. */
function setControls() {
  $(`input[value="${choice.connection}"]`).checked = true;
  $("#depth").value = choice.depth;
  $("#growth").value = choice.growth;
}

function showAll() {
  setControls();
  showChain();
  showDigit();
}

/** Runs `change` and gives the focus back to the element that has taken the place of the one that had it. */
function keepingFocus(selector, change) {
  const block = document.activeElement?.dataset?.block;
  change();
  if (block) $(`${selector} [data-block="${block}"]`)?.focus();
}

$(".controls").addEventListener("submit", (event) => event.preventDefault());
$(".controls").addEventListener("input", () => {
  choose({
    connection: $("input[name=connection]:checked").value,
    depth: Number($("#depth").value),
    growth: Number($("#growth").value),
  });
  showChain();
});
$("#chain").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  choose({ block: Number(button.dataset.block) });
  keepingFocus("#chain", showChain);
});
$(".samples").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  strokes = [];
  choose({ sample: [...button.parentNode.children].indexOf(button), drawn: null });
  showDigit();
});
$("#clear").addEventListener("click", clear);
$("#nets").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const net = NETS.nets[button.closest("[data-net]").dataset.net];
  const out = new Set(choice.out);
  if (button.classList.contains("restore"))
    [...out].filter((key) => key.startsWith(`${net.connection}:`)).forEach((key) => out.delete(key));
  else if (!out.delete(keyOf(net, button.dataset.block))) out.add(keyOf(net, button.dataset.block));
  choose({ out });
  showDigit();
});
addEventListener("hashchange", () => {
  if (!location.hash.includes("=")) return; // a link within the page
  choice = choiceOf(location.hash);
  strokes = [];
  showAll();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showAll);
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  showMemory();
  showCurve();
});

function showLearned() {
  const net = (connection) => NETS.nets.find((one) => one.connection === connection);
  const left = (connection) => Object.values(net(connection).lesions.blocks).sort((a, b) => a - b);
  const median = (values) =>
    (values[Math.floor((values.length - 1) / 2)] + values[Math.ceil((values.length - 1) / 2)]) / 2;
  const [plain, add, concat] = CONNECTIONS.map(net);
  fill("parameters", `${count(plain.trainable)}, ${count(add.trainable)} and ${count(concat.trainable)}`);
  fill(
    "learned",
    [
      `<b>Width.</b> Adding keeps it, appending lets it grow by k a layer.`,
      `<b>Parameters.</b> At equal parameters (${count(add.trainable)} and ${count(concat.trainable)}) the dense net ` +
      `gets ${percent(concat.accuracy, 1)} of the test digits right, the residual one ${percent(add.accuracy, 1)}, ` +
      `the plain one ${percent(plain.accuracy, 1)}. A DenseNet does not need more parameters.`,
      `<b>Price.</b> For them the dense net computes ${(concat.macs / add.macs).toFixed(1)} times the MACs and keeps ` +
      `${(concat.activationBytes / add.activationBytes).toFixed(1)} times the memory for the gradient.`,
      `<b>Ways around.</b> With one block out, the plain net falls to ${percent(left("plain")[0])} to ` +
      `${percent(left("plain").at(-1))}; half of the residual net's blocks leave ${percent(median(left("add")))} or ` +
      `more, half of the dense net's ${percent(median(left("concat")))} or more.`,
    ]
      .map((line) => `<li>${line}</li>`)
      .join(""),
  );
}

buildSamples();
buildNets();
showLearned();
showAll();
