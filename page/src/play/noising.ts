/** The random walk of data to noise, which needs no network. */

import { level } from "./clock";
import { type PlaneState, START, type States } from "./server";

/** A function of a seed that gives standard normal numbers. */
function normal(seed: number): () => number {
  let state = (seed * 2654435761 + 1) >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0; // mulberry32
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** States as a walk has them, from noise to data; each follows from the one after it by a little more noise. */
export function noised(nodes: PlaneState["nodes"], count: number, steps: number, seed: number): States {
  const draw = normal(seed);
  const data = new Float32Array((steps + 1) * count * 2);
  const clean = steps * count * 2;
  for (let i = 0; i < count; i++) {
    const node = nodes[Math.floor(((i + 0.5) * nodes.length) / count)] ?? [0, 0, 0];
    data[clean + 2 * i] = node[0];
    data[clean + 2 * i + 1] = node[1];
  }
  for (let k = steps - 1; k >= 0; k--) {
    const here = level(START * (1 - k / steps));
    const before = level(START * (1 - (k + 1) / steps));
    const shrink = here.alpha / before.alpha;
    const spread = Math.sqrt(Math.max(0, here.sigma ** 2 - (shrink * before.sigma) ** 2));
    const row = k * count * 2;
    for (let i = 0; i < 2 * count; i++) {
      data[row + i] = shrink * (data[row + 2 * count + i] ?? 0) + spread * draw();
    }
  }
  return { steps, count, data };
}
