// What a chain of blocks costs, counted on its graph as resdense_keras.profile counts it (a test compares the two).
"use strict";

const SIDE = 32; // an image of 32 x 32
const WIDTH = 24; // channels that come in: those of DenseNet-BC (k = 12) behind its stem
const FLOAT_BYTES = 4;
const CONNECTIONS = ["plain", "add", "concat"];

/**
 * The operations of `depth` blocks in a row, in graph order: {op, block, in, channels, ...}; entry 0 is the input.
 *
 * A plain or residual block is conv-BN-ReLU-conv-BN, the sum, ReLU (He et al. 2015); a dense layer is BN-ReLU-conv and
 * the concatenation (Huang et al. 2017).
 */
function chain(connection, depth, growth) {
  const graph = [{ op: "input", block: 0, in: [], channels: WIDTH }];
  const put = (op, block, inputs, channels, label) => graph.push({ op, block, in: inputs, channels, label }) - 1;
  let x = 0;
  for (let block = 1; block <= depth; block++) {
    const width = graph[x].channels;
    if (connection === "concat") {
      const normed = put("bn", block, [x], width);
      const active = put("relu", block, [normed], width);
      const fresh = put("conv", block, [active], growth);
      x = put("concat", block, [x, fresh], width + growth);
    } else {
      let y = put("conv", block, [x], width);
      y = put("bn", block, [y], width);
      y = put("relu", block, [y], width);
      y = put("conv", block, [y], width);
      y = put("bn", block, [y], width);
      if (connection === "add") y = put("add", block, [x, y], width);
      x = put("relu", block, [y], width);
    }
  }
  return graph;
}

const bytesOf = (entry) => FLOAT_BYTES * SIDE * SIDE * entry.channels;

/** Trained numbers of one operation: a 3x3 kernel, or a scale and an offset a channel. */
function parametersOf(graph, entry) {
  if (entry.op === "conv") return 9 * graph[entry.in[0]].channels * entry.channels;
  return entry.op === "bn" ? 2 * entry.channels : 0;
}

const macsOf = (graph, entry) => (entry.op === "conv" ? SIDE * SIDE * parametersOf(graph, entry) : 0);

/** Places of the tensors that the backward pass of an operation needs. */
function keptBy(entry, place) {
  if (entry.op === "conv" || entry.op === "bn") return entry.in;
  return entry.op === "relu" || entry.op === "concat" ? [place] : [];
}

/** Counts each operation: {parameters, macs, kept, alive}; kept and alive in bytes of one image. */
function counted(graph) {
  const kept = new Set();
  const lastUse = graph.map((_, place) => place);
  graph.forEach((entry, place) => entry.in.forEach((input) => (lastUse[input] = place)));
  lastUse[graph.length - 1] = graph.length;
  const living = new Set([0]);
  return graph.map((entry, place) => {
    const fresh = keptBy(entry, place).filter((tensor) => !kept.has(tensor));
    fresh.forEach((tensor) => kept.add(tensor));
    living.add(place);
    const alive = [...living].reduce((sum, tensor) => sum + bytesOf(graph[tensor]), 0);
    living.forEach((tensor) => lastUse[tensor] <= place && living.delete(tensor));
    return {
      parameters: parametersOf(graph, entry),
      macs: macsOf(graph, entry),
      kept: fresh.reduce((sum, tensor) => sum + bytesOf(graph[tensor]), 0),
      alive,
    };
  });
}

const sum = (rows, key) => rows.reduce((total, row) => total + row[key], 0);

/**
 * The whole chain and its blocks: {channels, parameters, macs, activationBytes, inferencePeakBytes, blocks: [{channels,
 * reads, parameters, macs, keptBytes, aliveBytes}]}; block 0 is the input.
 */
function cost(connection, depth, growth) {
  const graph = chain(connection, depth, growth);
  const rows = counted(graph);
  const blocks = Array.from({ length: depth + 1 }, (_, block) => {
    const own = rows.filter((_, place) => graph[place].block === block);
    const channels = graph.findLast((entry) => entry.block === block).channels;
    return {
      channels,
      parameters: sum(own, "parameters"),
      macs: sum(own, "macs"),
      keptBytes: sum(own, "kept"),
      aliveBytes: Math.max(...own.map((row) => row.alive)),
    };
  });
  blocks.forEach((block, index) => (block.reads = index ? blocks[index - 1].channels : 0));
  return {
    channels: blocks[depth].channels,
    parameters: sum(rows, "parameters"),
    macs: sum(rows, "macs"),
    activationBytes: sum(rows, "kept"),
    inferencePeakBytes: Math.max(...rows.map((row) => row.alive)),
    blocks,
  };
}
