// What this device is, and what the page may use on it.

const SYSTEMS = [
  [/Android ([\d.]+)/, (m) => `Android ${m[1]}`],
  [/iPad.* OS ([\d_]+)/, (m) => `iPadOS ${m[1].replaceAll("_", ".")}`],
  [/iPhone.* OS ([\d_]+)/, (m) => `iOS ${m[1].replaceAll("_", ".")}`],
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

/** {id, name, kind, os, browser, cores} as a result carries them; `name` is a guess for the person to correct. */
export async function describe() {
  const agent = navigator.userAgent;
  const hints = await navigator.userAgentData?.getHighEntropyValues?.(["model", "platformVersion"]).catch(() => null);
  const system = SYSTEMS.find(([pattern]) => pattern.test(agent));
  const browser = BROWSERS.find(([pattern]) => pattern.test(agent));
  // An iPad asks for desktop sites and says that it is a Mac; no Mac has a touch screen. Its Safari has its version.
  const iPad = /iPad/.test(agent) || (/Macintosh/.test(agent) && navigator.maxTouchPoints > 1);
  const disguised =
    iPad && !/iPad/.test(agent) && ["iPadOS", ...(agent.match(/Version\/([\d.]+)/)?.slice(1) ?? [])].join(" ");
  const os = disguised || (system ? system[1](agent.match(system[0])) : "unknown system");
  const tablet = iPad || /Tablet/.test(agent) || (/Android/.test(agent) && !/Mobile/.test(agent));
  const kind = tablet ? "tablet" : hints?.mobile || /Mobi|iPhone/.test(agent) ? "phone" : "computer";
  const exact = hints?.platformVersion && /^Android/.test(os) ? `Android ${hints.platformVersion.split(".")[0]}` : os;
  return {
    id: identity(),
    name:
      hints?.model ||
      (iPad ? "my iPad" : { phone: "my phone", tablet: "my tablet", computer: "this computer's browser" }[kind]),
    kind,
    os: exact,
    browser: browser ? `${browser[1]} ${agent.match(browser[0])[1]}` : "unknown browser",
    cores: navigator.hardwareConcurrency || null,
  };
}

const NAME = "resdense-device-name";
const IDENTITY = "resdense-device-id";
let drawn = null; // this page's id, where the browser keeps none

/** What tells this device from every other, whatever both are called: 128 random bits, drawn once and kept. */
function identity() {
  const kept = recall(IDENTITY);
  drawn ??= /^[0-9a-f]{32}$/.test(kept ?? "") ? kept : randomId();
  remember(IDENTITY, drawn);
  return drawn;
}

/** 128 random bits in hexadecimal; crypto.randomUUID would need a secure address. */
export function randomId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The name that a person gave this device, or null. */
export const givenName = () => recall(NAME);

/** Keeps it. */
export const keepName = (name) => remember(NAME, name);

// A cookie, for it holds at every port of the computer that serves the page, and each run takes another port.
function remember(key, value) {
  document.cookie = `${key}=${encodeURIComponent(value)}; path=/; max-age=31536000; samesite=strict`;
}

function recall(key) {
  const found = document.cookie.split("; ").find((cookie) => cookie.startsWith(`${key}=`));
  try {
    return found ? decodeURIComponent(found.slice(key.length + 1)) : null;
  } catch {
    return null; // half a cookie
  }
}

/**
 * {secure, isolated, threads, gpu, half}: `threads` is the most that may run, `gpu` whether WebGPU gives an adapter,
 * `half` whether that adapter computes in float16.
 */
export async function abilities() {
  const isolated = self.crossOriginIsolated === true;
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return {
    secure: self.isSecureContext,
    isolated,
    threads: isolated ? Math.min(navigator.hardwareConcurrency || 1, 8) : 1,
    gpu: Boolean(adapter),
    half: Boolean(adapter?.features?.has("shader-f16")),
  };
}

/** [what, what it means for the numbers] of the abilities, for a person. */
export function explained(found, clock) {
  return [
    [
      "Address",
      found.secure
        ? "Secure (https or localhost): the browser allows everything."
        : "Plain http: the browser allows no threads, no WebGPU and no camera. " +
          "Start with -\u2060-\u2060https or -\u2060-\u2060usb to use them.",
    ],
    [
      "Threads",
      found.threads > 1
        ? `Up to ${found.threads}: choose under "Run on".`
        : found.isolated
          ? "One: the browser reports one core."
          : "Only one. An app may use more.",
    ],
    [
      "WebGPU",
      found.gpu
        ? `Available, in float32${found.half ? " and in float16" : ""}. ` +
          "Times include copying the picture to the GPU and the answer back."
        : "Not available here: everything is measured on the processor.",
    ],
    ["Clock", `Steps of ${clock.toPrecision(2)} ms. Where one image takes less, a round times several.`],
  ];
}
