// Work in the runtime that may never end: a thread of WebAssembly that dies settles no promise.

const TICK = 1000; // ms
const SILENCE = 120; // ticks without a step that ends; a large net loads in a few
const STOPPING = 5; // the same once the person has stopped it

/** The runtime died: what it held is lost with it. */
export class Died extends Error {
  constructor(why) {
    super(`the runtime has died here (${why}). Reload the page; with one thread or fewer files it may work.`);
  }
}

/**
 * What `work` gives, or a Died.
 *
 * @param work called with a function to call at every step that ends
 * @param signal an AbortSignal, after which less patience is due
 */
export async function watched(work, signal) {
  // Counted in ticks, not by the clock: a phone that slept for an hour has had one tick.
  let silent = 0;
  let give_up;
  const death = new Promise((_, reject) => (give_up = (why) => reject(new Died(why))));
  const failed = ({ message, reason }) => give_up(message ?? reason?.message ?? String(reason));
  const timer = setInterval(() => {
    if (++silent > (signal?.aborted ? STOPPING : SILENCE)) give_up(`no answer for ${silent} seconds`);
  }, TICK);
  for (const event of ["error", "unhandledrejection"]) addEventListener(event, failed);
  try {
    return await Promise.race([work(() => (silent = 0)), death]);
  } finally {
    clearInterval(timer);
    for (const event of ["error", "unhandledrejection"]) removeEventListener(event, failed);
  }
}
