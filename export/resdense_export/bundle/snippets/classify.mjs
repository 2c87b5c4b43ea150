// Classifies images with the net of this bundle in a browser, with @litertjs/core 2.5.
//
//   import * as litert from '@litertjs/core';
//   import {Classifier} from './snippets/classify.mjs';
//   await litert.loadLiteRt('/node_modules/@litertjs/core/wasm/');
//   const classifier = await Classifier.open(litert, '/my-bundle/');
//   const probabilities = await classifier.classify(await createImageBitmap(photo));  // photo: a File or Blob
//
// Node has no such runtime: LiteRT.js needs a page or a worker. Pixels are read as sRGB.

export class Classifier {
  // `bundle` is the address of the folder that has model.json; `file` one of its .tflite files.
  static async open(litert, bundle, file = null, accelerator = 'wasm') {
    const fetched = async (name) => {
      const answer = await fetch(new URL(encodeURIComponent(name), new URL(bundle, location.href)));
      if (!answer.ok) throw new Error(`${name}: ${answer.status} ${answer.statusText}`);
      return answer;
    };
    const model = await (await fetched('model.json')).json();
    const bytes = new Uint8Array(await (await fetched(file ?? model.recommended.browser.file)).arrayBuffer());
    const {labels} = model.output;
    const names = labels ? (await (await fetched(labels)).text()).trimEnd().split('\n') : null;
    return new Classifier(litert, model, names, await litert.loadAndCompile(bytes, {accelerator}));
  }

  constructor(litert, model, names, compiled) {
    Object.assign(this, {litert, model, names, compiled});
  }

  // Float32Array of probabilities of an ImageBitmap, a canvas or anything else that can be drawn.
  async classify(image) {
    const found = await this.run(toPixels(image, this.model.input.shape, this.model.input.resize_steps));
    // One number for two classes is the probability of the second.
    const one = this.model.output.classes === 2 && found.length === 1;
    return one ? Float32Array.of(1 - found[0], found[0]) : found;
  }

  // The net's own outputs for pixels (height * width * channels numbers, 0 to 255) of exactly the input's size.
  async run(pixels) {
    const {dtype, shape} = this.model.input;
    const values = dtype === 'uint8' ? Uint8Array.from(pixels) : Float32Array.from(pixels);
    const input = new this.litert.Tensor(values, shape);
    const outputs = await this.compiled.run([input]);
    const answer = await outputs[0].moveTo('wasm');
    const probabilities = answer.toTypedArray().slice();
    for (const tensor of new Set([input, answer])) tensor.delete();  // LiteRT.js frees nothing by itself
    return probabilities;
  }

  close() {
    this.compiled.delete();
  }
}

// A picture as the net takes it, by the rule in model.json (its `resize_steps`): over white, then cropped, stretched or
// padded. The browser has already turned it by its EXIF orientation. Its own resizing is not antialiased alike
// everywhere, so it is done here, a band of rows at a time: no canvas is larger than the input, whatever the photo has
// (iOS draws no canvas of over 16.7 million pixels).
export function toPixels(image, [, height, width, channels], steps) {
  const has = (name) => steps.some(({step}) => step === name);
  let [left, top] = [0, 0];
  let shown = [image.width, image.height];  // what of the picture is resized, and to what
  let size = [width, height];
  if (has('crop')) {
    const scale = Math.min(image.width / width, image.height / height);
    shown = size.map((side) => Math.max(1, roundHalfEven(scale * side)));
    [left, top] = shown.map((side, i) => Math.floor(([image.width, image.height][i] - side) / 2));
  } else if (has('pad')) {
    const scale = Math.max(image.width / width, image.height / height);
    size = shown.map((side) => Math.max(1, roundHalfEven(side / scale)));
  }
  const canvas = new OffscreenCanvas(Math.min(width, shown[0]), Math.min(height, shown[1]));
  const context = canvas.getContext('2d', {colorSpace: 'srgb', willReadFrequently: true});
  context.imageSmoothingEnabled = false;  // every pixel is copied as it is
  const narrow = new Uint8Array(size[0] * shown[1] * channels);
  for (let y = 0; y < shown[1]; y += canvas.height) {
    const rows = Math.min(canvas.height, shown[1] - y);
    const band = read(context, image, left, top + y, shown[0], rows, channels);
    narrow.set(resizeRows(band, shown[0], rows, channels, size[0]), y * size[0] * channels);
  }
  const turned = resizeRows(transpose(narrow, size[0], shown[1], channels), shown[1], size[0], channels, size[1]);
  return centred(transpose(turned, size[1], size[0], channels), size, channels, width, height);
}

// `pixels` of that size in the middle of black.
function centred(pixels, [innerWidth, innerHeight], channels, width, height) {
  const out = new Uint8Array(width * height * channels);
  const left = Math.floor((width - innerWidth) / 2), top = Math.floor((height - innerHeight) / 2);
  for (let y = 0; y < innerHeight; y++) {
    const row = pixels.subarray(y * innerWidth * channels, (y + 1) * innerWidth * channels);
    out.set(row, ((top + y) * width + left) * channels);
  }
  return out;
}

// `rows` rows of `width` pixels of the image from (left, top) on, over white, in pieces as wide as the canvas.
function read(context, image, left, top, width, rows, channels) {
  const out = new Uint8Array(rows * width * channels);
  const step = context.canvas.width;
  context.fillStyle = 'white';
  for (let x = 0; x < width; x += step) {
    const columns = Math.min(step, width - x);
    context.fillRect(0, 0, columns, rows);
    context.drawImage(image, left + x, top, columns, rows, 0, 0, columns, rows);
    const {data} = context.getImageData(0, 0, columns, rows);
    for (let y = 0; y < rows; y++) {
      for (let i = 0; i < columns; i++) {
        const from = 4 * (y * columns + i), to = (y * width + x + i) * channels;
        if (channels === 1) out[to] = grey(data[from], data[from + 1], data[from + 2]);
        else for (let c = 0; c < channels; c++) out[to + c] = data[from + c];
      }
    }
  }
  return out;
}

function grey(red, green, blue) {
  return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16;
}

// Rows of `width` pixels brought to `size` pixels with a triangle filter that grows with the reduction.
function resizeRows(pixels, width, height, channels, size) {
  if (width === size) return pixels;
  const ratio = width / size, support = Math.max(1, ratio);
  const out = new Uint8Array(size * height * channels);
  for (let i = 0; i < size; i++) {
    const centre = (i + 0.5) * ratio;
    const first = Math.max(0, Math.floor(centre - support)), last = Math.min(width - 1, Math.ceil(centre + support));
    const weights = [];
    for (let j = first; j <= last; j++) weights.push(Math.max(0, 1 - Math.abs(j + 0.5 - centre) / support));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (let y = 0; y < height; y++) {
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let j = first; j <= last; j++) sum += weights[j - first] * pixels[(y * width + j) * channels + c];
        out[(y * size + i) * channels + c] = Math.round(sum / total);
      }
    }
  }
  return out;
}

function transpose(pixels, width, height, channels) {
  const out = new Uint8Array(pixels.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < channels; c++) {
        out[(x * height + y) * channels + c] = pixels[(y * width + x) * channels + c];
      }
    }
  }
  return out;
}

function roundHalfEven(number) {
  const rounded = Math.round(number);
  return Math.abs(number % 1) === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}
