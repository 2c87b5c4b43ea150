// The measurement, without a picture of it: files take turns, so that what slows the device slows all of them.

import * as api from "./api.js";
import { Account, golden } from "./golden.js";
import { load, Net } from "./runtime.js";
import { clockStep, summary } from "./statistics.js";
import { Died, watched } from "./watched.js";

const WARM_UP = 3; // runs at least of a series before the first that counts
const SERIES = [2, 4]; // least and most
const SERIES_STEPS = 10; // of the clock that a series takes at least
const PATIENCE = 100; // ms after which no more than the least series begin
const STEPS = 40; // of the clock that a round takes at least: 2.5 % is the most that its coarseness can change
const MOST_A_ROUND = 5000;
const BREATH = 40; // ms after which the page may draw and listen
const TOLD = 150; // ms between two reports of progress

/**
 * Measures files of the catalog under one condition.
 *
 * A time goes from the input in the runtime's memory to the probabilities in JavaScript. Where the clock is too coarse
 * for one image, a round runs several and counts their mean.
 *
 * @param chosen [{model, file}] of the catalog
 * @param condition {accelerator, threads, precision, rounds}
 * @param tell called with {phase, done, total, rows} now and then; a row has {model, file, times, load_ms, first_ms}
 * @param signal an AbortSignal
 * @returns {rows, clock_ms, hidden}: rows with a `record` for the result each
 */
export async function measure(chosen, condition, tell, signal) {
  const clock_ms = clockStep();
  const watch = watchTab();
  const awake = await navigator.wakeLock?.request("screen").catch(() => null);
  const rows = chosen.map(({ model, file }) => ({ model, file, times: [] }));
  const work = async (step) => {
    const news = (told) => {
      step();
      tell(told);
    };
    news({ phase: "Loading the runtime", done: 0, total: 1, rows });
    await load(condition.accelerator, condition.threads);
    performance.mark("resdense-runtime");
    await prepare(rows, condition, clock_ms, news, signal);
    await run(rows, condition.rounds, news, signal);
    for (const row of rows) row.record = record(row, condition.rounds);
  };
  let held = rows;
  try {
    await watched(work, signal);
    return { rows, clock_ms, hidden: watch.hidden };
  } catch (error) {
    if (error instanceof Died) held = []; // nobody is there to take it back
    throw error;
  } finally {
    watch.end();
    await awake?.release();
    for (const row of held) {
      row.tensors?.forEach((tensor) => tensor.delete());
      row.net?.delete();
    }
  }
}

/** Compiles each file, times its first run, and settles how many images a round of it takes. */
async function prepare(rows, { accelerator, threads, precision }, clock_ms, tell, signal) {
  const images = new Map();
  for (const [done, row] of rows.entries()) {
    tell({ phase: `Loading ${row.file.name}`, done, total: rows.length, rows });
    await breathe(signal);
    if (!images.has(row.model)) images.set(row.model, await golden(row.model));
    const content = await api.bytes(row.file.url);
    let start = performance.now();
    row.net = await Net.compile(content, accelerator, threads, precision);
    row.load_ms = Math.max(performance.now() - start, clock_ms);
    row.tensors = images.get(row.model).images.map((pixels) => row.net.tensor(pixels));
    row.account = new Account(images.get(row.model), row.file, row.net.accelerator);
    start = performance.now();
    const answer = await row.net.run(row.tensors[0]);
    row.first_ms = Math.max(performance.now() - start, clock_ms);
    row.account.take(0, answer);
    await breathe(signal);
    const once = await quickest(row, clock_ms);
    row.images = Math.min(MOST_A_ROUND, Math.ceil((STEPS * clock_ms) / once));
  }
}

/** Milliseconds of a run, the least of a few short series: work beside it would make rounds too short for the clock. */
async function quickest({ net, tensors }, clock_ms) {
  let least = Infinity;
  const begin = performance.now();
  for (let series = 0; series < (performance.now() - begin < PATIENCE ? SERIES[1] : SERIES[0]); series++) {
    const start = performance.now();
    let [runs, took] = [0, 0];
    for (; runs < WARM_UP || took < SERIES_STEPS * clock_ms; runs++) {
      await net.run(tensors[0]);
      took = performance.now() - start;
    }
    least = Math.min(least, took / runs);
  }
  return least;
}

async function run(rows, rounds, tell, signal) {
  let [told, breath] = [-Infinity, performance.now()];
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < rows.length; turn++) {
      const row = rows[(round + turn) % rows.length];
      await timed(row, round);
      if (round === 0 && turn === 0) performance.mark("resdense-first");
      if (performance.now() - breath > BREATH) {
        if (performance.now() - told > TOLD) {
          tell({ phase: `Round ${round + 1} of ${rounds}`, done: round, total: rounds, rows });
          told = performance.now();
        }
        await breathe(signal);
        breath = performance.now();
      }
    }
  }
  tell({ phase: "Done", done: rounds, total: rounds, rows });
}

/** One turn: a run that is not counted brings back the caches that the file before emptied, then the timed ones. */
async function timed(row, round) {
  const { net, tensors } = row;
  const answers = new Array(row.images);
  const begin = round * row.images;
  await net.run(tensors[begin % tensors.length]);
  const start = performance.now();
  for (let i = 0; i < row.images; i++) answers[i] = await net.run(tensors[(begin + i) % tensors.length]);
  row.times.push((performance.now() - start) / row.images);
  for (const [i, answer] of answers.entries()) row.account.take((begin + i) % tensors.length, answer);
}

function record(row, rounds) {
  return {
    file: row.file.file,
    sha256: row.file.sha256,
    accelerator: row.net.accelerator,
    load_ms: row.load_ms,
    first_ms: row.first_ms,
    rounds,
    images_per_round: row.images,
    ...summary(row.times),
    golden: row.account.record(),
  };
}

/** Lets the page draw and take touches; throws when the person stopped. */
async function breathe(signal) {
  await new Promise((resolve) => setTimeout(resolve));
  signal?.throwIfAborted();
}

/** Notes whether the tab was hidden: browsers slow what nobody looks at. */
function watchTab() {
  const watch = {
    hidden: document.visibilityState === "hidden",
    end: () => document.removeEventListener("visibilitychange", note),
  };
  function note() {
    watch.hidden ||= document.visibilityState === "hidden";
  }
  document.addEventListener("visibilitychange", note);
  return watch;
}
