/** The one time of the plane: t, the share of noise, from 0, clean, to START, almost pure noise. */

import { effect, signal } from "@preact/signals";
import { START } from "./server";

const WHOLE = 7000; // ms from one end to the other

export const t = signal(0.6);
export const isPlaying = signal(false);
/** Whether playing waits for the points that shall be played. */
export const held = signal(false);
/** Where playing begins, and where it ends: walks play from noise to data, noise the other way. */
export const from = signal(START);
export const to = signal(0);

/** Signal and noise of a state at t, whose squares add up to 1. */
export function level(at: number): { alpha: number; sigma: number } {
  const length = Math.hypot(1 - at, at);
  return { alpha: (1 - at) / length, sigma: at / length };
}

export function moveTo(value: number): void {
  isPlaying.value = false;
  t.value = Math.max(0, Math.min(START, value));
}

/** Play what lies between two times; with `now`, unless one wishes for less motion. */
export function span(start: number, end: number, now: boolean): void {
  from.value = start;
  to.value = end;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  t.value = now && !still ? start : end;
  isPlaying.value = now && !still;
}

export function toggle(): void {
  const [low, high] = [Math.min(from.value, to.value), Math.max(from.value, to.value)];
  const isOver = Math.abs(t.value - to.value) < 1e-3 || t.value < low - 1e-3 || t.value > high + 1e-3;
  if (!isPlaying.value && isOver) t.value = from.value;
  held.value = false;
  isPlaying.value = !isPlaying.value;
}

effect(() => {
  if (!isPlaying.value) return;
  let before = performance.now();
  let frame = requestAnimationFrame(function advance(now) {
    const passed = Math.min(100, Math.max(0, now - before)); // a hidden page stands still
    before = now;
    if (held.value) {
      frame = requestAnimationFrame(advance);
      return;
    }
    const sign = to.value < from.value ? -1 : 1;
    const next = t.peek() + (sign * passed * START) / WHOLE;
    if (sign * (next - to.value) >= 0) {
      t.value = to.value;
      isPlaying.value = false;
      return;
    }
    t.value = next;
    frame = requestAnimationFrame(advance);
  });
  return () => cancelAnimationFrame(frame);
});
