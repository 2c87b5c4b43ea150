// Pictures as SVG text and as pixels; colours come from style.css.
"use strict";

const SOURCES = 5; // hues that blocks take in turn; 0 is the input's grey
const colorOf = (source) => `var(--source-${source ? ((source - 1) % SOURCES) + 1 : 0})`;
const subscript = (name, index) => `${name}<sub>${index}</sub>`;

const count = (n) => n.toLocaleString("en-US");
const bytes = (n) => (n < 2 ** 20 ? `${(n / 1024).toFixed(0)} KiB` : `${(n / 2 ** 20).toFixed(2)} MiB`);
const short = (n) => (n < 1e6 ? `${(n / 1e3).toFixed(1)} k` : `${(n / 1e6).toFixed(1)} M`);
const percent = (fraction, digits = 0) => `${(100 * fraction).toFixed(digits)} %`;

/** Which sources lie where behind block `index`: [{source, from, channels, band, bands}], bands sharing channels. */
function holdings(connection, index, growth) {
  if (connection === "plain") return [{ source: index, from: 0, channels: WIDTH, band: 0, bands: 1 }];
  return Array.from({ length: index + 1 }, (_, source) =>
    connection === "add"
      ? { source, from: 0, channels: WIDTH, band: source, bands: index + 1 }
      : { source, from: source && WIDTH + (source - 1) * growth, channels: source ? growth : WIDTH, band: 0, bands: 1 },
  );
}

/** Rectangles of a strip of channels, `unit` wide each, `height` high. */
function stripShapes(connection, index, growth, unit, height) {
  return holdings(connection, index, growth)
    .map(({ source, from, channels, band, bands }) => {
      const [x, y, w, h] = [from * unit, (band * height) / bands, channels * unit, height / bands];
      return `<rect x="${x}" y="${y}" width="${w}" height="${h}" fill="${colorOf(source)}"/>`;
    })
    .join("");
}

/** One strip; the whole width of the picture stands for `widest` channels. */
function strip(connection, index, growth, widest) {
  const lines = connection === "concat" ? holdings(connection, index, growth).slice(1) : [];
  const cuts = lines.map(
    ({ from }) => `<path d="M${from} 0V1" stroke="var(--card)" stroke-width="1.5" vector-effect="non-scaling-stroke"/>`,
  );
  return `<svg viewBox="0 0 ${widest} 1" preserveAspectRatio="none" ` +
    `aria-hidden="true">${stripShapes(connection, index, growth, 1, 1)}${cuts.join("")}</svg>`;
}

/** The inside of a block: its layers from top to bottom, and the way around them. */
function blockPicture(connection, index, growth, block) {
  const [reads, writes] = [block.reads, block.channels];
  const conv = (from, to) => ({ text: `conv 3×3, ${from} → ${to}`, note: count(9 * from * to) });
  const norm = (channels, relu) => ({ text: relu ? "batch norm, ReLU" : "batch norm", note: count(2 * channels) });
  const join = { plain: null, add: { join: "+" }, concat: { join: "[ , ]" } }[connection];
  const layers =
    connection === "concat"
      ? [norm(reads, true), conv(reads, growth), join]
      : [
          conv(reads, writes),
          norm(writes, true),
          conv(writes, writes),
          norm(writes, false),
          join,
          { text: "ReLU", note: "" },
        ];
  const [width, left, top, step] = [340, 70, 40, 42];
  const middle = left + 100;
  const scale = Math.min(3, (width - 4) / (WIDTH + 12 * growth)); // room for the deepest chain
  let y = top;
  let shapes = "";
  let joined = null;
  for (const layer of layers.filter(Boolean)) {
    shapes += `<path class="wire" d="M${middle} ${y - 14}V${y}"/>`;
    if (layer.join) {
      joined = y + 13;
      shapes += `<circle class="box" cx="${middle}" cy="${joined}" r="14"/><text x="${middle}" y="${joined + 4.5}" ` +
        `text-anchor="middle" font-weight="700">${layer.join}</text>`;
    } else {
      shapes += `<rect class="box" x="${left}" y="${y}" width="200" height="28" rx="6"/><text x="${middle}" ` +
        `y="${y + 18.5}" text-anchor="middle">${layer.text}</text>`;
      if (layer.note)
        shapes += `<text class="muted" x="${width}" y="${y + 18.5}" text-anchor="end">${layer.note}</text>`;
    }
    y += step;
  }
  const color = `var(--${connection})`;
  const around =
    joined && `<path class="shortcut" stroke="${color}" d="M${middle} ${top - 16}H40V${joined}H${middle - 15}"/>`;
  const height = y + 32;
  const end = y - 14;
  return (
    `<svg viewBox="0 0 ${width} ${height}" style="max-width:${width + 60}px" role="img" ` +
    `aria-label="${blockLabel(connection, index, growth, block)}">` +
    `<g transform="translate(2 0)">${stripShapes(connection, index - 1, growth, scale, 14)}</g>` +
    `<text class="muted" x="${width}" y="11" text-anchor="end">reads ${reads} channels</text>` +
    `<path class="wire" d="M${middle} 16V${top - 14}"/>${around || ""}${shapes}` +
    `<path class="wire" d="M${middle} ${end}V${end + 8}"/>` +
    `<g transform="translate(2 ${end + 12})">${stripShapes(connection, index, growth, scale, 14)}</g>` +
    `<text class="muted" x="${width}" y="${end + 42}" text-anchor="end">hands on ${writes} channels</text></svg>`
  );
}

function blockLabel(connection, index, growth, { reads, channels }) {
  const inside = {
    plain: "two convolutions, each with a batch norm, and nothing around them",
    add: "two convolutions, each with a batch norm; a line around them leads to a sum with the input",
    concat: `a batch norm and one convolution to ${growth} channels; a line around them leads to a concatenation ` +
      `with the input`,
  }[connection];
  return `Block ${index} reads ${reads} channels and hands on ${channels}: ${inside}.`;
}

/** A line chart: series [{name, color, dash, mark, points: [[x, y]], chosen: [places]}], axes in their own units. */
function chart({ width, height, label, series, xRange, yRange, xTicks, yTicks, xTitle, level }) {
  const pad = { left: 62, right: 16, top: 12, bottom: 40 };
  const x = (value) => pad.left + ((value - xRange[0]) / (xRange[1] - xRange[0])) * (width - pad.left - pad.right);
  const y = (value) =>
    height - pad.bottom - ((value - yRange[0]) / (yRange[1] - yRange[0])) * (height - pad.top - pad.bottom);
  let svg = `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${label}">`;
  for (const [value, text] of yTicks) {
    svg += `<path class="axis" d="M${pad.left} ${y(value)}H${width - pad.right}"/><text class="muted" ` +
      `x="${pad.left - 6}" y="${y(value) + 4}" text-anchor="end">${text}</text>`;
  }
  for (const [value, text] of xTicks)
    svg += `<text class="muted" x="${x(value)}" y="${height - pad.bottom + 17}" text-anchor="middle">${text}</text>`;
  svg += `<text class="muted" x="${(pad.left + width - pad.right) / 2}" y="${height - 5}" ` +
    `text-anchor="middle">${xTitle}</text>`;
  if (level)
    svg += `<path d="M${pad.left} ${y(level.value)}H${width - pad.right}" stroke="var(--muted)" ` +
      `stroke-dasharray="1 4"/><text class="muted" x="${pad.left - 6}" y="${y(level.value) + 4}" ` +
      `text-anchor="end">${level.text}</text>`;
  for (const { color, dash, mark, points, chosen = [] } of series) {
    const line = points
      .map((point, i) => `${i ? "L" : "M"}${x(point[0]).toFixed(1)} ${y(point[1]).toFixed(1)}`)
      .join("");
    svg += `<path d="${line}" fill="none" stroke="${color}" stroke-width="2.5" stroke-dasharray="${dash}"/>`;
    points.forEach((point, i) => {
      const big = chosen.includes(i);
      if (mark || big) svg += marker(mark || "circle", x(point[0]), y(point[1]), big ? 7 : 4, color, big);
    });
  }
  return `${svg}</svg>${legend(series)}`;
}

function marker(kind, x, y, r, color, big) {
  const edge = big ? ' stroke="var(--ink)" stroke-width="2.5"' : "";
  if (kind === "square")
    return `<rect x="${x - r}" y="${y - r}" width="${2 * r}" height="${2 * r}" fill="${color}"${edge}/>`;
  if (kind === "triangle")
    return `<path d="M${x} ${y - 1.2 * r}L${x + 1.1 * r} ${y + r}H${x - 1.1 * r}Z" fill="${color}"${edge}/>`;
  return `<circle cx="${x}" cy="${y}" r="${r}" fill="${color}"${edge}/>`;
}

function legend(series) {
  const entries = series.map(({ name, color, dash, mark }) => {
    const point = mark ? marker(mark, 14, 7, 4, color, false) : "";
    return `<span class="entry"><svg viewBox="0 0 28 14" ` +
      `style="width:28px;height:14px;display:inline-block;vertical-align:-2px" aria-hidden="true">` +
      `<path d="M0 7H28" stroke="${color}" stroke-width="2.5" stroke-dasharray="${dash}"/>${point}</svg> ` +
      `${name}</span>`;
  });
  return `<figcaption class="legend">${entries.join(" &ensp; ")}</figcaption>`;
}

/** [red, green, blue] of a colour of style.css. */
function rgb(name) {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

const TILES = 12; // maps in a row
const TILE = 11; // pixels of a map with its frame, and the gap behind it

/**
 * Draws all maps of a tensor side by side, each framed and 8 pixels wide whatever its size. Zero is the colour of the
 * paper, the largest magnitude of the tensor is `color`, or --minus where it is negative. The last `fresh` maps are
 * underlined.
 */
function drawMaps(canvas, { shape, data }, color, fresh = 0) {
  const [height, width, channels] = shape;
  const rows = Math.ceil(channels / TILES);
  canvas.width = TILES * TILE;
  canvas.height = rows * (TILE + 1);
  const context = canvas.getContext("2d");
  const [paper, plus, minus, frame] = [rgb("paper"), rgb(color), rgb("minus"), rgb("rule")];
  const highest = data.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);
  for (let c = 0; c < channels; c++) {
    const image = context.createImageData(8, 8);
    for (let place = 0; place < 64; place++) {
      const [row, column] = [Math.floor((Math.floor(place / 8) * height) / 8), Math.floor(((place % 8) * width) / 8)];
      const value = data[(row * width + column) * channels + c] / highest;
      const [full, share] = [value < 0 ? minus : plus, Math.sqrt(Math.abs(value))];
      paper.forEach((p, i) => (image.data[4 * place + i] = p + share * (full[i] - p)));
      image.data[4 * place + 3] = 255;
    }
    const [x, y] = [(c % TILES) * TILE, Math.floor(c / TILES) * (TILE + 1)];
    context.fillStyle = `rgb(${frame})`;
    context.fillRect(x, y, 10, 10);
    context.putImageData(image, x + 1, y + 1);
    if (c >= channels - fresh) {
      context.fillStyle = `rgb(${plus})`;
      context.fillRect(x, y + 9, 10, 2);
    }
  }
}

/** Draws 64 pixels in [0, 255], white on black as in the data set. */
function drawPixels(canvas, pixels) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(8, 8);
  pixels.forEach((value, i) => image.data.set([value, value, value, 255], 4 * i));
  context.putImageData(image, 0, 0);
}
