/** Draws the plane: few calls on the canvas, since thousands of points move in each frame. */

import { level } from "./clock";
import {
  type FieldName,
  type Fields,
  type PlaneState,
  type Point,
  REACH,
  SIDE,
  START,
  type States,
  TIMES,
} from "./server";

const VIEW = 3; // half the side of what is seen
const CELL = (2 * REACH) / (SIDE - 1);
const LONGEST = 1.05 * CELL;
const FEW = 24; // so many points leave their path

// The colours of the lab's figures; the data's depends on the ground.
export const COLOURS = {
  none: "#8a8a8a",
  class: "#e69f00",
  guided: "#009e73",
  learned: "#0072b2",
  exact: "#d55e00",
  first: "#b5478a",
  second: "#56b4e9",
};

export interface Scene {
  plane: PlaneState | null;
  fields: Fields | null;
  names: readonly FieldName[]; // the fields that are drawn
  label: number | null;
  walks: readonly (States | null)[];
  drawing: readonly Point[];
  t: number;
  isDark: boolean;
}

export const toPixel = (x: number, size: number): number => ((x + VIEW) / (2 * VIEW)) * size;
export const toPlane = (share: number): number => (2 * share - 1) * VIEW;

export function paint(context: CanvasRenderingContext2D, ground: HTMLCanvasElement, scene: Scene): void {
  const size = context.canvas.width;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.drawImage(ground, 0, 0);
  if (scene.fields) {
    for (const name of scene.names) arrows(context, scene.fields, name, scene, size);
  }
  scene.walks.forEach((states, k) => {
    const colour =
      k === 0 ? (scene.isDark ? "#e58fc3" : COLOURS.first) : scene.isDark ? COLOURS.second : "#2a8fc9";
    if (states) walkers(context, states, scene.t, colour, size);
  });
}

/** What stays the same from frame to frame: axes and data, drawn once. */
export function paintGround(canvas: HTMLCanvasElement, scene: Scene): void {
  const context = canvas.getContext("2d");
  if (!context) return;
  const size = canvas.width;
  const px = size / 600;
  context.fillStyle = scene.isDark ? "#1b1f22" : "#ffffff";
  context.fillRect(0, 0, size, size);
  context.fillStyle = scene.isDark ? "#2d3338" : "#e9ebea";
  for (let k = -2; k <= 2; k++) {
    const at = Math.round(toPixel(k, size));
    context.fillRect(at, 0, 1, size);
    context.fillRect(0, at, size, 1);
  }
  const side = Math.max(2, Math.round(2.4 * px));
  const bright = scene.isDark ? "#c4ccd1" : "#2b2b2b";
  const faint = scene.isDark ? "#59636a" : "#b4babd";
  context.globalAlpha = 0.85;
  for (const [x, y, of] of scene.plane?.nodes ?? []) {
    context.fillStyle = scene.label === null || scene.label === of ? bright : faint;
    context.fillRect(toPixel(x, size) - side / 2, toPixel(-y, size) - side / 2, side, side);
  }
  context.fillStyle = scene.isDark ? "#57bfb9" : "#0b6e6e";
  context.globalAlpha = 1;
  for (const [x, y] of scene.drawing) {
    context.fillRect(toPixel(x, size) - side, toPixel(-y, size) - side, 2 * side, 2 * side);
  }
}

/** The arrows of one field, from each place towards the clean point that is predicted there, as one path. */
function arrows(
  context: CanvasRenderingContext2D,
  fields: Fields,
  name: FieldName,
  scene: Scene,
  size: number,
): void {
  const which = fields.names.indexOf(name);
  if (which < 0) return;
  const places = SIDE * SIDE;
  const at = Math.max(0, Math.min(TIMES.length - 1.001, ((scene.t - 0.005) / 0.985) * (TIMES.length - 1)));
  const [k, part] = [Math.floor(at), at - Math.floor(at)];
  const here = (k * fields.names.length + which) * places * 2;
  const next = here + fields.names.length * places * 2;
  const { alpha } = level(Math.max(0.005, scene.t));
  const scale = size / (2 * VIEW);
  const { data } = fields;
  context.beginPath();
  for (let i = 0; i < places; i++) {
    const x = -REACH + (i % SIDE) * CELL;
    const y = -REACH + Math.floor(i / SIDE) * CELL;
    const j = 2 * i;
    const dx = alpha * mixed(data[here + j], data[next + j], part) - x;
    const dy = alpha * mixed(data[here + j + 1], data[next + j + 1], part) - y;
    const length = Math.hypot(dx, dy);
    const shrink = (LONGEST / (length + LONGEST)) * scale; // long arrows are shortened most, as in the lab
    const [startX, startY] = [(x + VIEW) * scale, (VIEW - y) * scale];
    const [endX, endY] = [startX + dx * shrink, startY - dy * shrink];
    const [backX, backY] = [(endX - startX) * 0.3, (endY - startY) * 0.3];
    context.moveTo(startX, startY);
    context.lineTo(endX, endY);
    context.moveTo(endX - backX - backY * 0.6, endY - backY + backX * 0.6);
    context.lineTo(endX, endY);
    context.lineTo(endX - backX + backY * 0.6, endY - backY - backX * 0.6);
  }
  context.strokeStyle = COLOURS[name === "none" && scene.label === null ? "learned" : name];
  context.lineWidth = Math.max(1, size / 620);
  context.globalAlpha = name === "none" && scene.label !== null ? 0.7 : 0.85;
  context.stroke();
  context.globalAlpha = 1;
}

const mixed = (a = 0, b = 0, part: number): number => a + part * (b - a);

/** Where the points of a walk are at t: x and y in turn, between the two states around it. */
export function positions(states: States, t: number): Float32Array {
  const at = Math.max(0, Math.min(states.steps, (1 - t / START) * states.steps));
  const k = Math.min(Math.floor(at), states.steps - 1);
  const row = 2 * states.count;
  const found = new Float32Array(row);
  for (let i = 0; i < row; i++)
    found[i] = mixed(states.data[k * row + i], states.data[(k + 1) * row + i], at - k);
  return found;
}

function walkers(
  context: CanvasRenderingContext2D,
  states: States,
  t: number,
  colour: string,
  size: number,
): void {
  const found = positions(states, t);
  const isFew = states.count <= FEW;
  const side = Math.round((isFew ? 9 : states.count > 600 ? 3 : 4) * Math.max(0.6, size / 700));
  const scale = size / (2 * VIEW);
  context.strokeStyle = colour;
  context.fillStyle = colour;
  if (isFew) paths(context, states, t, found, scale);
  for (let i = 0; i < found.length; i += 2) {
    const x = ((found[i] ?? 0) + VIEW) * scale;
    const y = (VIEW - (found[i + 1] ?? 0)) * scale;
    context.fillRect((x - side / 2) | 0, (y - side / 2) | 0, side, side); // whole pixels need no smoothing
  }
}

/** The paths that a few points have come, with a dot for each step. */
function paths(
  context: CanvasRenderingContext2D,
  states: States,
  t: number,
  found: Float32Array,
  scale: number,
): void {
  const passed = Math.floor((1 - t / START) * states.steps + 1e-6);
  const row = 2 * states.count;
  context.lineWidth = Math.max(1, scale / 80);
  context.beginPath();
  for (let i = 0; i < row; i += 2) {
    for (let k = 0; k <= passed + 1; k++) {
      const from = k <= passed ? states.data.subarray(k * row, (k + 1) * row) : found;
      const x = ((from[i] ?? 0) + VIEW) * scale;
      const y = (VIEW - (from[i + 1] ?? 0)) * scale;
      if (k === 0) context.moveTo(x, y);
      else context.lineTo(x, y);
      if (states.count === 1 && k <= passed) context.fillRect(x - 2, y - 2, 4, 4);
    }
  }
  context.stroke();
}
