// What this device is, and what the page may use on it.

const SYSTEMS = [
  [/Android ([\d.]+)/, (m) => `Android ${m[1]}`],
  [/(?:iPhone|iPad).* OS ([\d_]+)/, (m) => `iOS ${m[1].replaceAll("_", ".")}`],
  [/Mac OS X ([\d_]+)/, (m) => `macOS ${m[1].replaceAll("_", ".")}`],
  [/Windows NT ([\d.]+)/, (m) => `Windows NT ${m[1]}`],
  [/CrOS/, () => "ChromeOS"],
  [/Linux/, () => "Linux"],
];
const BROWSERS = [
  [/Edg\w*\/(\d+)/, "Edge"],
  [/OPR\/(\d+)/, "Opera"],
  [/SamsungBrowser\/(\d+)/, "Samsung Internet"],
  [/(?:Firefox|FxiOS)\/(\d+)/, "Firefox"],
  [/(?:Headless)?(?:Chrome|CriOS)\/(\d+)/, "Chrome"],
  [/Version\/(\d+).*Safari/, "Safari"],
];

/** {name, kind, os, browser, cores} as a result carries them; `name` is a guess for the person to correct. */
export async function describe() {
  const agent = navigator.userAgent;
  const hints = await navigator.userAgentData?.getHighEntropyValues?.(["model", "platformVersion"]).catch(() => null);
  const system = SYSTEMS.find(([pattern]) => pattern.test(agent));
  const browser = BROWSERS.find(([pattern]) => pattern.test(agent));
  const os = system ? system[1](agent.match(system[0])) : "unknown system";
  const tablet = /iPad|Tablet/.test(agent) || (/Android/.test(agent) && !/Mobile/.test(agent));
  const kind = tablet ? "tablet" : hints?.mobile || /Mobi|iPhone/.test(agent) ? "phone" : "computer";
  const exact = hints?.platformVersion && /^Android/.test(os) ? `Android ${hints.platformVersion.split(".")[0]}` : os;
  return {
    name: hints?.model || { phone: "my phone", tablet: "my tablet", computer: "this computer's browser" }[kind],
    kind,
    os: exact,
    browser: browser ? `${browser[1]} ${agent.match(browser[0])[1]}` : "unknown browser",
    cores: navigator.hardwareConcurrency || null,
  };
}

/** {secure, isolated, threads, gpu}: `threads` is the most that may run, `gpu` whether WebGPU gives an adapter. */
export async function abilities() {
  const isolated = self.crossOriginIsolated === true;
  return {
    secure: self.isSecureContext,
    isolated,
    threads: isolated ? Math.min(navigator.hardwareConcurrency || 1, 8) : 1,
    gpu: Boolean(await navigator.gpu?.requestAdapter().catch(() => null)),
  };
}

/** [what, what it means for the numbers] of the abilities, for a person. */
export function explained(found, clock) {
  return [
    [
      "Address",
      found.secure
        ? "Secure (https or localhost): the browser holds nothing back."
        : "Plain http: the browser gives no threads, no WebGPU, no camera. Start with -\u2060-\u2060https or -\u2060-\u2060usb to have them.",
    ],
    [
      "Threads",
      found.threads > 1
        ? `Up to ${found.threads}: choose under "Run on".`
        : found.isolated
          ? "One: this device shows one core."
          : "One alone. An app may use more.",
    ],
    [
      "WebGPU",
      found.gpu
        ? "Available. Times include the way of the picture to the GPU and of the answer back."
        : "Not available here: all is measured on the processor.",
    ],
    ["Clock", `Steps of ${clock.toPrecision(2)} ms. Where one image is too quick for it, a round times several.`],
  ];
}
