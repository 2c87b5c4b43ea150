// The tab Try: one picture, two files side by side.

import * as api from "./api.js";
import { top1 } from "./golden.js";
import { bar, byId, make, show } from "./dom.js";
import { decode, pictureOf, pixelsFor } from "./images.js";
import { load, Net } from "./runtime.js";
import { milliseconds, percent, significant } from "./units.js";
import { watched } from "./watched.js";

const TOP = 5;
let picture = null; // the last one, an ImageBitmap; one of a phone's camera takes 200 MB until it is closed
let stream = null; // the camera's

/** Fills the tab. */
export function showTry(catalog) {
  const files = catalog.models.flatMap((model) => model.files.map((file) => ({ model, file })));
  const sides = starts(files).map((start, side) => new Side(files, side, start));
  byId("pair").replaceChildren(...sides.map((side) => side.box));
  const classify = () => picture && look(sides);
  for (const side of sides) side.select.addEventListener("change", classify);
  byId("photo").addEventListener("change", async ({ target }) => {
    if (!target.files.length) return;
    closeCamera();
    try {
      take(await decode(target.files[0]));
    } catch {
      byId("tried").textContent = "This browser cannot read this file as an image.";
      return;
    }
    await classify();
  });
  byId("tab-try").addEventListener("left", closeCamera);
  closeCamera();
  byId("camera").addEventListener("click", openCamera);
  byId("shoot").addEventListener("click", async () => {
    try {
      take(await createImageBitmap(byId("video")));
    } catch (error) {
      byId("tried").textContent = `No picture: ${error.message}`;
      return;
    } finally {
      closeCamera();
    }
    await classify();
  });
}

function take(taken) {
  picture?.close();
  picture = taken;
}

async function openCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    byId("tried").textContent = `No camera: ${error.message}`;
    return;
  }
  if (byId("try").hidden) return closeCamera(); // the person went elsewhere before the browser's question was answered
  byId("video").srcObject = stream;
  await byId("video").play();
  for (const [id, shown] of [
    ["video", true],
    ["shoot", true],
    ["camera", false],
  ])
    show(byId(id), shown);
}

function closeCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  const available = Boolean(navigator.mediaDevices?.getUserMedia);
  for (const [id, shown] of [
    ["video", false],
    ["shoot", false],
    ["camera", available],
  ])
    show(byId(id), shown);
}

async function look(sides) {
  const status = byId("tried");
  status.textContent = "Looking …";
  try {
    await watched(async (step) => {
      await load("wasm", 1);
      for (const side of sides) {
        step();
        await side.classify(picture);
      }
    });
    status.textContent = "The time of one run, after one that is not counted, on one thread of the processor.";
  } catch (error) {
    status.textContent = `It did not work: ${error.message}`;
  }
}

/** Which two of the files stand there first: a ResNet's and a DenseNet's, else two nets', else fp32 and int8. */
export function starts(files) {
  const of = (family) => files.findIndex(({ model }) => model.family === family);
  const first = Math.max(0, of("resnet"));
  const model = files[first]?.model;
  const other = files.findIndex((one) => one.model !== model);
  const int8 = files.findIndex(({ model: its, file }) => its === model && file?.scheme === "int8");
  const places = [of("densenet"), other, int8, (first + 1) % files.length];
  const second = places.find((place) => place >= 0 && place !== first);
  return [first, second ?? first];
}

/** One of the two files, with what it sees. */
class Side {
  constructor(files, side, start) {
    this.files = files;
    const names = this.files.map(({ model, file }, i) => {
      const stock = file.converter === "stock" ? " (stock)" : "";
      return make("option", { value: i }, `${model.name} ${file.scheme}${stock}`);
    });
    this.select = make("select", { id: `side-${side}` }, ...names);
    this.select.value = start;
    this.seen = make("canvas", {
      class: "seen",
      role: "img",
      "aria-label": "The picture as this net takes it",
      hidden: true,
    });
    this.answer = make("div");
    this.box = make(
      "div",
      {},
      make("label", { for: `side-${side}`, class: "quiet" }, side ? "Second file" : "First file"),
      this.select,
      this.seen,
      this.answer,
    );
  }

  async classify(image) {
    const { model, file } = this.files[this.select.value];
    // Before anything is awaited: another picture closes this one.
    const pixels = pixelsFor(image, model.input.shape, model.input.resize_steps);
    this.show(pictureOf(pixels, model.input.shape));
    const net = await Net.compile(await api.bytes(file.url), "wasm", 1);
    let tensor = null;
    try {
      tensor = net.tensor(pixels);
      await net.run(tensor);
      const start = performance.now();
      const probabilities = await net.run(tensor);
      this.say(model, probabilities, performance.now() - start);
    } finally {
      tensor?.delete();
      net.delete();
    }
  }

  /** The picture as the net takes it. */
  show(picture) {
    [this.seen.width, this.seen.height] = [picture.width, picture.height];
    this.seen.getContext("2d").putImageData(picture, 0, 0);
    show(this.seen);
  }

  say(model, probabilities, ms) {
    const left = Float32Array.from(probabilities);
    const guesses = [];
    for (let i = 0; i < Math.min(TOP, left.length); i++) {
      const place = top1(left);
      guesses.push([model.labels?.[place] ?? `class ${place}`, probabilities[place]]);
      left[place] = -Infinity;
    }
    const sure = model.output.meaning === "probabilities";
    this.answer.className = model.family;
    this.answer.replaceChildren(
      make("p", {}, make("strong", {}, milliseconds(ms))),
      ...guesses.map(([name, share]) =>
        make(
          "div",
          { class: "guess" },
          make("b", {}, name),
          make("span", {}, sure ? percent(share) : significant(share)),
          sure ? bar(share) : null,
        ),
      ),
    );
  }
}
