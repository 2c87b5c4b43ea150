// LiteRT.js: one WebAssembly module at a time (plain, with threads, or for the GPU), and nets compiled in it.

let library = null; // the module /runtime/core.js
let loaded = null; // which WebAssembly variant it holds

/** Loads the runtime in the variant that `accelerator` and `threads` need. */
export async function load(accelerator, threads) {
  const gpu = accelerator === "webgpu";
  const variant = gpu ? ("Suspending" in WebAssembly ? "jspi" : "plain") : threads > 1 ? "threads" : "plain";
  library ??= await import("/runtime/core.js");
  if (loaded === variant) return;
  if (loaded !== null) library.unloadLiteRt();
  loaded = null;
  await library.loadLiteRt("/runtime/wasm/", { threads: variant === "threads", jspi: variant === "jspi" });
  loaded = variant;
}

/** A net that runs one image at a time. Memory of the runtime is given back by hand: call `delete`. */
export class Net {
  constructor(compiled, requested) {
    this.compiled = compiled;
    this.requested = requested;
    const [input] = compiled.getInputDetails();
    this.shape = Array.from(input.shape);
    this.dtype = input.dtype;
  }

  /** @param precision "fp32" or "fp16", in which a GPU computes; the processor needs none. */
  static async compile(bytes, accelerator, threads, precision) {
    const own = accelerator === "wasm" ? { cpuOptions: { numThreads: threads } } : { gpuOptions: { precision } };
    return new Net(await library.loadAndCompile(bytes, { accelerator, ...own }), accelerator);
  }

  /** The accelerator that runs: LiteRT.js falls back to wasm with no more than a line on the console. */
  get accelerator() {
    const { accelerator } = this.compiled.options;
    if (accelerator === "wasm" || this.compiled.isFullyAccelerated) return accelerator;
    return `${accelerator}-partial`;
  }

  /** An input in the runtime's memory, of float32 pixels (height x width x channels), in the type of the file. */
  tensor(pixels) {
    return new library.Tensor(this.dtype === "uint8" ? Uint8Array.from(pixels) : pixels, this.shape);
  }

  /** Probabilities of an input, as they arrive in JavaScript. */
  async run(tensor) {
    const [output] = await this.compiled.run([tensor]);
    const probabilities = await output.data();
    output.delete();
    return probabilities;
  }

  delete() {
    this.compiled.delete();
  }
}
