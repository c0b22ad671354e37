/** How fast the plane is drawn, as attributes of its canvas: the median, and the slowest twentieth. */

const KEPT = 120;
const STILL = 500; // ms; after longer ones nothing was moving
const seen = new WeakMap<HTMLCanvasElement, { last: number; times: number[] }>();

export function frames(canvas: HTMLCanvasElement, now: number): void {
  const one = seen.get(canvas) ?? { last: now, times: [] };
  seen.set(canvas, one);
  const passed = now - one.last;
  one.last = now;
  if (passed <= 0 || passed > STILL) return;
  one.times.push(passed);
  if (one.times.length > KEPT) one.times.shift();
  if (one.times.length % 20 !== 0 && one.times.length < KEPT) return;
  const sorted = [...one.times].sort((a, b) => a - b);
  const rate = (share: number) =>
    (1000 / (sorted[Math.floor(share * (sorted.length - 1))] ?? 1000)).toFixed(1);
  canvas.dataset.fps = rate(0.5);
  canvas.dataset.slow = rate(0.95);
}
