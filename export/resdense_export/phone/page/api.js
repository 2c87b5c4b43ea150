// What is asked of the computer that serves this page. The token stands in the address behind #, which no browser
// sends.

const token = () => location.hash.slice(1);
const PATIENCE = 6; // times that a result is sent again where the computer is busy

export class Failed extends Error {
  constructor(status, text) {
    super(text.trim() || `the computer answered ${status}`);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...options.headers, "X-Resdense-Token": token() } });
  } catch {
    throw new Failed(0, "The computer does not answer: is `resdense phone` still running, on the same network?");
  }
  if (!response.ok) throw new Failed(response.status, await response.text());
  return response;
}

/** The nets, their files, every measurement so far, and the state of the runtime. */
export const catalog = async () => (await ask("/catalog.json")).json();

/** JSON at a path of the catalog. */
export const json = async (path) => (await ask(path)).json();

/** Bytes at a path of the catalog. */
export const bytes = async (path) => new Uint8Array(await (await ask(path)).arrayBuffer());

/** Sends one result; where it was kept before, or the computer is busy, sending again does no harm. */
export async function send(result) {
  for (let again = PATIENCE; ; again--) {
    try {
      return await ask("/results", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(result),
      });
    } catch (error) {
      if (again === 0 || ![0, 429, 503].includes(error.status)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}
