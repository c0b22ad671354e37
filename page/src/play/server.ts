/** The planes of the server: points, the network that learns them, its fields, and walks along them. */

import { ask, json, posted } from "../api";

export const SHAPES = ["spiral", "moons", "checkerboard", "ring"] as const;
export type ShapeName = (typeof SHAPES)[number];
export type FieldName = "none" | "class" | "guided" | "exact";
export type Point = readonly [number, number];

export interface PlaneState {
  id: string;
  step: number;
  steps: number;
  loss: number | null;
  classes: string[];
  nodes: [number, number, number][];
  samplers: string[];
}

/** Predicted clean points (times, fields, side * side, 2), row by row from the lower left. */
export interface Fields {
  names: readonly FieldName[];
  data: Float32Array;
}

/** States (steps + 1, count, 2), evenly spaced in t from START to 0. */
export interface States {
  steps: number;
  count: number;
  data: Float32Array;
}

export interface WalkAsked {
  sampler: string;
  steps: number;
  count: number;
  start: readonly Point[] | null;
  seed: number;
  noise: boolean;
  exact: boolean;
  label: number | null;
  alpha: number;
}

export const SIDE = 24; // arrows along each side
export const REACH = 2.8; // half the side of the lattice
export const START = 0.99; // t of the first state of a walk
export const TIMES: readonly number[] = Array.from({ length: 33 }, (_, k) => 0.005 + (0.985 * k) / 32);

const at = (plane: string) => `/planes/${encodeURIComponent(plane)}`;

export const begin = (what: { shape: ShapeName } | { points: readonly Point[] }, steps: number) =>
  json<PlaneState>("/planes", posted({ ...what, steps }));

export const getPlane = (plane: string) => json<PlaneState>(at(plane));

export async function getFields(
  plane: string,
  names: readonly FieldName[],
  aim: { label: number | null; alpha: number },
): Promise<Fields> {
  const asked = { times: TIMES, side: SIDE, limit: REACH, fields: names, ...aim };
  const { data } = await floats(`${at(plane)}/fields`, asked);
  return { names, data };
}

export async function getStates(plane: string, asked: WalkAsked): Promise<States> {
  const { shape, data } = await floats(`${at(plane)}/walk`, asked);
  return { steps: (shape[0] ?? 1) - 1, count: shape[1] ?? 0, data };
}

async function floats(path: string, body: unknown) {
  const answer = await ask(path, posted(body));
  const shape = (answer.headers.get("x-shape") ?? "").split(",").map(Number);
  return { shape, data: new Float32Array(await answer.arrayBuffer()) };
}
