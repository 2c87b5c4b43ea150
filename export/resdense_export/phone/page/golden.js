// The images whose answers are known, and whether a net gives them.

import * as api from "./api.js";
import { decode, pixelsFor } from "./images.js";

const MADE_UP = 4; // images where a bundle has none that a browser can read

/** {images: [pixels], labels: [label or null], expected(file): [probabilities] or null} of a net of the catalog. */
export async function golden(model) {
  const { shape, resize_steps: steps } = model.input;
  if (!model.golden || ![1, 3].includes(shape[3])) return { images: madeUp(shape), labels: null, expected: () => null };
  const answers = await api.json(model.golden.probabilities);
  const images = await Promise.all(
    model.golden.images.map(async (row) => pixelsFor(await decode(new Blob([await api.bytes(row.url)])), shape, steps)),
  );
  return {
    images,
    labels: model.golden.images.map((row) => row.label),
    tolerance: model.golden.tolerance,
    expected: (name) => {
      const rows = answers.images.map((row) => row.probabilities[name]);
      return rows.every(Boolean) ? rows : null;
    },
  };
}

function madeUp(shape) {
  const length = shape[1] * shape[2] * shape[3];
  return Array.from({ length: MADE_UP }, (_, image) =>
    Float32Array.from({ length }, (_, i) => (i * 37 + image * 101) % 256),
  );
}

/** The place of the greatest value. */
export function top1(probabilities) {
  let best = 0;
  for (let i = 1; i < probabilities.length; i++) if (!(probabilities[i] <= probabilities[best])) best = i;
  return best;
}

/** How far one probability may be from the computer's: as golden.json says, by what computes the file here. */
function limit(tolerance, file, accelerator) {
  if (!tolerance) return undefined;
  const half = tolerance.half ?? tolerance.float; // a bundle of an earlier version has no half
  const own = tolerance[file.tolerance] ?? tolerance.float;
  return accelerator === "wasm" ? (file.tolerance === "half" ? half : own) : Math.max(own, half);
}

/** Keeps account of a file's answers over all its runs, the first that loads it included. */
export class Account {
  /** @param accelerator what runs the file: a GPU may compute in half precision. */
  constructor(images, file, accelerator) {
    this.expected = images.expected(file.name);
    this.labels = images.labels;
    this.limit = limit(images.tolerance, file, accelerator);
    this.seen = new Map(); // image: whether every run so far gave {same, right}
    this.difference = 0;
    this.first = this.last = null; // whether that answer was the computer's
  }

  /** Takes the answer to an image; a NaN is a wrong one. */
  take(image, probabilities) {
    if (!this.expected) return;
    const expected = this.expected[image];
    const before = this.seen.get(image) ?? { same: true, right: true };
    const answer = top1(probabilities.slice(0, expected.length)); // of many features the file has the first alone
    const same = answer === top1(expected);
    this.seen.set(image, { same: before.same && same, right: before.right && answer === this.labels[image] });
    let furthest = 0;
    for (let i = 0; i < expected.length; i++) {
      const difference = Math.abs(probabilities[i] - expected[i]);
      furthest = difference <= furthest ? furthest : Number.isFinite(difference) ? difference : Infinity;
    }
    this.difference = Math.max(this.difference, furthest);
    this.last = same && furthest <= this.limit;
    this.first ??= this.last;
  }

  /** The part of a result, or null where no answer is known. */
  record() {
    if (!this.expected || !this.seen.size) return null;
    const seen = [...this.seen.values()];
    const labelled = this.labels.every((label) => label !== null);
    return {
      images: seen.length,
      same_top1: seen.filter((row) => row.same).length,
      right: labelled ? seen.filter((row) => row.right).length : null,
      max_difference: Number.isFinite(this.difference) ? this.difference : null,
      first: this.first,
      last: this.last,
    };
  }

  /** Whether an answer was another one than LiteRT's on the computer. */
  get wrong() {
    const record = this.record();
    return record !== null && (record.same_top1 < record.images || !(this.difference <= this.limit));
  }
}
