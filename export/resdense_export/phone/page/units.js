// Numbers as people read them, as the report writes them.

/** `0.0530`, `1.08`, `41.3`, `1,234`: three significant digits. */
export function significant(value, digits = 3) {
  if (!value) return "0";
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

/** `1.08 ms`. */
export const milliseconds = (value) => `${significant(value)}\u00a0ms`;

/** `318 kB`. */
export function bytes(value) {
  const units = ["B", "kB", "MB", "GB"];
  let index = 0;
  while (value >= 1000 && index < units.length - 1) [value, index] = [value / 1000, index + 1];
  return `${index ? significant(value) : value}\u00a0${units[index]}`;
}

/** What a GPU may compute in, by the runtime's names. */
export const FLOATS = { fp32: "float32", fp16: "float16" };

/** `98.1 %`. */
export const percent = (fraction) => `${(100 * fraction).toFixed(1)}\u00a0%`;
