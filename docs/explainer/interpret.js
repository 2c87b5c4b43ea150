// Runs the nets of nets.js. A tensor is {shape: [height, width, channels], data: Float32Array}, channels innermost.
"use strict";

/** The float32 numbers of a net, decoded once. */
function decodeWeights(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

const tensor = (shape, data) => ({ shape, data: data || new Float32Array(shape.reduce((a, b) => a * b)) });

/** Each operation: (entry of the graph, its inputs, its numbers) -> tensor of the entry's shape. */
const OPERATIONS = {
  scale(entry, [x], numbers) {
    const out = tensor(entry.shape);
    const channels = numbers.length / 2;
    for (let i = 0; i < out.data.length; i++) {
      const c = i % channels;
      out.data[i] = x.data[i] * numbers[c] + numbers[channels + c];
    }
    return out;
  },

  /** Convolution with `pad` zeros on every side; the kernel is (row, column, input, output). */
  conv(entry, [x], kernel) {
    const out = tensor(entry.shape);
    const [height, width, channels] = x.shape;
    const [rows, columns, filters] = entry.shape;
    const sums = new Float64Array(filters);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        sums.fill(0);
        for (let u = 0; u < entry.kernel; u++) {
          const y = row * entry.stride + u - entry.pad;
          if (y < 0 || y >= height) continue;
          for (let v = 0; v < entry.kernel; v++) {
            const z = column * entry.stride + v - entry.pad;
            if (z < 0 || z >= width) continue;
            for (let c = 0; c < channels; c++) {
              const value = x.data[(y * width + z) * channels + c];
              const first = ((u * entry.kernel + v) * channels + c) * filters;
              for (let f = 0; f < filters; f++) sums[f] += value * kernel[first + f];
            }
          }
        }
        out.data.set(sums, (row * columns + column) * filters);
      }
    }
    return out;
  },

  relu: (entry, [x]) =>
    tensor(
      entry.shape,
      x.data.map((value) => Math.max(value, 0)),
    ),

  add: (entry, [x, y]) =>
    tensor(
      entry.shape,
      x.data.map((value, i) => value + y.data[i]),
    ),

  concat(entry, [x, y]) {
    const out = tensor(entry.shape);
    const [old, fresh, channels] = [x.shape[2], y.shape[2], entry.shape[2]];
    for (let place = 0; place < entry.shape[0] * entry.shape[1]; place++) {
      out.data.set(x.data.subarray(place * old, (place + 1) * old), place * channels);
      out.data.set(y.data.subarray(place * fresh, (place + 1) * fresh), place * channels + old);
    }
    return out;
  },

  zeros(entry, [x]) {
    const out = tensor(entry.shape);
    const length = x.shape[1] * x.shape[2];
    for (let row = 0; row < x.shape[0]; row++) {
      const first = ((row + entry.pad) * entry.shape[1] + entry.pad) * x.shape[2];
      out.data.set(x.data.subarray(row * length, (row + 1) * length), first);
    }
    return out;
  },

  subsample(entry, [x]) {
    const out = tensor(entry.shape);
    const [rows, columns, channels] = entry.shape;
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const from = (row * entry.stride * x.shape[1] + column * entry.stride) * channels;
        out.data.set(x.data.subarray(from, from + channels), (row * columns + column) * channels);
      }
    }
    return out;
  },

  widen(entry, [x]) {
    const out = tensor(entry.shape);
    const [old, channels] = [x.shape[2], entry.shape[2]];
    for (let place = 0; place < entry.shape[0] * entry.shape[1]; place++) {
      out.data.set(x.data.subarray(place * old, (place + 1) * old), place * channels + entry.before);
    }
    return out;
  },

  average(entry, [x]) {
    const out = tensor(entry.shape);
    const [rows, columns, channels] = entry.shape;
    for (let row = 0; row < rows * entry.size; row++) {
      for (let column = 0; column < columns * entry.size; column++) {
        const from = (row * x.shape[1] + column) * channels;
        const to = (Math.floor(row / entry.size) * columns + Math.floor(column / entry.size)) * channels;
        for (let c = 0; c < channels; c++) out.data[to + c] += x.data[from + c] / entry.size ** 2;
      }
    }
    return out;
  },

  mean(entry, [x]) {
    const out = tensor(entry.shape);
    const channels = entry.shape[0];
    for (let i = 0; i < x.data.length; i++) out.data[i % channels] += x.data[i] / (x.shape[0] * x.shape[1]);
    return out;
  },

  /** Dense layer with softmax: probabilities. */
  dense(entry, [x], numbers) {
    const outputs = entry.shape[0];
    const logits = Array.from({ length: outputs }, (_, output) => {
      let sum = numbers[x.data.length * outputs + output];
      for (let i = 0; i < x.data.length; i++) sum += x.data[i] * numbers[i * outputs + output];
      return sum;
    });
    const highest = Math.max(...logits);
    const powers = logits.map((logit) => Math.exp(logit - highest));
    const total = powers.reduce((a, b) => a + b);
    return tensor(
      entry.shape,
      Float32Array.from(powers, (power) => power / total),
    );
  },
};

/**
 * What every operation of `net` gives for an image, in graph order; the last is the probabilities.
 *
 * A block named in `out` is left out: a sum keeps its shortcut, a concatenation appends zeros, and a plain block hands
 * on its input (every second pixel and channels of zeros where its shape differs), as experiments/lesions.py does in
 * Keras.
 */
function run(net, pixels, out = new Set()) {
  net.numbers = net.numbers || decodeWeights(net.weights);
  const tensors = [];
  const given = {}; // block -> place of the tensor that it reads
  net.graph.forEach((entry, place) => {
    const inputs = entry.in.map((input) => tensors[input]);
    if (entry.block && !(entry.block in given)) given[entry.block] = entry.in[0];
    if (entry.op === "input") tensors.push(tensor(entry.shape, Float32Array.from(pixels)));
    else if (entry.join && out.has(entry.block)) tensors.push(without(net, entry, inputs, tensors[given[entry.block]]));
    else tensors.push(OPERATIONS[entry.op](entry, inputs, numbersOf(net, place)));
  });
  return tensors;
}

/** The output of a block whose branch gives nothing. */
function without(net, entry, [shortcut, branch], read) {
  if (net.connection === "add") return shortcut;
  if (net.connection === "concat") return OPERATIONS.concat(entry, [shortcut, tensor(branch.shape)]);
  const stride = Math.round(read.shape[0] / entry.shape[0]);
  const [rows, columns, channels] = entry.shape;
  const halved = OPERATIONS.subsample({ shape: [rows, columns, read.shape[2]], stride }, [read]);
  return OPERATIONS.widen({ shape: entry.shape, before: Math.floor((channels - read.shape[2]) / 2) }, [halved]);
}

/** The numbers of one operation: from where its own begin to where the next operation's do. */
function numbersOf(net, place) {
  const entry = net.graph[place];
  if (entry.at === undefined) return null;
  const next = net.graph.slice(place + 1).find((later) => later.at !== undefined);
  return net.numbers.subarray(entry.at, next ? next.at : net.numbers.length);
}

/** {digit, probability} of the most probable class. */
function answer(probabilities) {
  const digit = probabilities.indexOf(Math.max(...probabilities));
  return { digit, probability: probabilities[digit] };
}
