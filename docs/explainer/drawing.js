// From strokes to the 8x8 pixels of the data set: its scans are 32x32 black and white, and each of the 8x8 pixels is
// how many of 4x4 are set, 0 to 16, here spread over 0 to 255 (scikit-learn's `load_digits`).
"use strict";

const FINE = 32;
const PEN = 3; // radius of the pen in fine pixels: drawn digits then have as much ink as the scans

/** Strokes, lists of [x, y] of any scale, moved so that they fill the height as the scans do: fine pixels. */
function fitted(strokes) {
  const points = strokes.flat();
  const [left, right] = [Math.min(...points.map((p) => p[0])), Math.max(...points.map((p) => p[0]))];
  const [top, bottom] = [Math.min(...points.map((p) => p[1])), Math.max(...points.map((p) => p[1]))];
  const room = FINE - 2 * PEN;
  const scale = Math.min(room / Math.max(bottom - top, 1e-6), (room - 4) / Math.max(right - left, 1e-6), room / 0.15);
  const moved = ([x, y]) => [FINE / 2 + (x - (left + right) / 2) * scale, FINE / 2 + (y - (top + bottom) / 2) * scale];
  return strokes.map((stroke) => stroke.map(moved));
}

/** Distance of (x, y) to the line from a to b. */
function distance(x, y, [ax, ay], [bx, by]) {
  const length = (bx - ax) ** 2 + (by - ay) ** 2;
  const share = length ? Math.min(1, Math.max(0, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length)) : 0;
  return Math.hypot(x - ax - share * (bx - ax), y - ay - share * (by - ay));
}

/** 64 pixels in [0, 255] of the strokes; all 0 without any. */
function scanned(strokes) {
  const counts = new Array(64).fill(0);
  if (!strokes.length) return counts;
  const lines = fitted(strokes).flatMap((stroke) => stroke.map((point, i) => [stroke[Math.max(i - 1, 0)], point]));
  for (let row = 0; row < FINE; row++) {
    for (let column = 0; column < FINE; column++) {
      if (lines.some(([a, b]) => distance(column + 0.5, row + 0.5, a, b) <= PEN)) {
        counts[Math.floor(row / 4) * 8 + Math.floor(column / 4)] += 1;
      }
    }
  }
  return counts.map((count) => Math.round((count * 255) / 16));
}

/** Pixels as 64 letters for the address, a (0) to q (16 of 16), and back; null for any other text. */
const encodePixels = (pixels) => pixels.map((p) => String.fromCharCode(97 + Math.round((p * 16) / 255))).join("");
const decodePixels = (text) =>
  /^[a-q]{64}$/.test(text) ? [...text].map((c) => Math.round(((c.charCodeAt(0) - 97) * 255) / 16)) : null;
