// What is said of times in the order they were taken: as resdense_export.tflite.timing.summary says it on the computer.

/** The q-quantile (0 to 1), between two values in proportion, as NumPy's percentile. */
export function quantile(values, q) {
  const sorted = Float64Array.from(values).sort();
  const place = (sorted.length - 1) * q;
  const low = Math.floor(place);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (place - low);
}

/** Median, p10, p90 and drift: the median of the last third of the rounds over the first third's. */
export function summary(times) {
  const third = Math.max(1, Math.floor(times.length / 3));
  return {
    median_ms: quantile(times, 0.5),
    p10_ms: quantile(times, 0.1),
    p90_ms: quantile(times, 0.9),
    drift: quantile(times.slice(-third), 0.5) / quantile(times.slice(0, third), 0.5),
  };
}

/** The smallest step of this browser's clock in milliseconds; browsers make it coarse against spies. */
export function clockStep(now = () => performance.now()) {
  let smallest = Infinity;
  for (let tries = 0; tries < 10; tries++) {
    const start = now();
    let next = start;
    while (next === start) next = now();
    smallest = Math.min(smallest, next - start);
  }
  return smallest;
}
