/** What is on the plane: the points, the fields, the walks, and the choices that they follow from. */

import { batch, computed, effect, signal } from "@preact/signals";
import { lineOf, reachable, ServerError } from "../api";
import { kept } from "../kept";
import { held, span } from "./clock";
import { noised } from "./noising";
import {
  begin as beginPlane,
  type FieldName,
  type Fields,
  getFields,
  getPlane,
  getStates,
  type PlaneState,
  type Point,
  type ShapeName,
  START,
  type States,
} from "./server";

export type Shown = "off" | "learned" | "exact" | "both";
export interface Way {
  sampler: string;
  noise: boolean;
  exact: boolean;
}

const POLL = 400; // ms
const REST = 3; // times as long as fields took, the network is left to learn
export const MOST_TRAINING = 5000; // steps

const isCount = (value: unknown): value is number =>
  Number.isInteger(value) && 1 <= Number(value) && Number(value) <= MOST_TRAINING;

export const plane = signal<PlaneState | null>(null);
export const chosen = signal<ShapeName | null>(null); // null: drawn by hand
export const training = kept("play-training", 1500, isCount); // steps
export const tool = signal<"drop" | "draw">("drop");
export const drawing = signal<readonly Point[]>([]);
export const problem = signal("");

export const shown = signal<Shown>("learned");
export const label = signal<number | null>(null);
export const strength = signal(2);
export const panels = signal<1 | 2>(1);

export const first = signal<Way>({ sampler: "ddpm", noise: true, exact: false });
export const second = signal<Way | null>(null);
export const isWalking = signal(true); // whether points are shown at all
export const forward = signal(false); // from data to noise
export const count = signal(1000);
export const steps = signal(64);
export const seed = signal(0);
export const dropped = signal<readonly Point[]>([]);

/** Changes when a walk shall begin anew, even the same. */
export const turn = signal(0);
export const fields = signal<Fields | null>(null);
export const walks = signal<readonly (States | null)[]>([null, null]);

const id = computed(() => plane.value?.id ?? null);
const step = computed(() => plane.value?.step ?? 0);
export const isLearning = computed(() => plane.value !== null && plane.value.step < plane.value.steps);

/** The fields that are drawn on any panel. */
export const wanted = computed<FieldName[]>(() => {
  const isTwo = panels.value === 2 && second.value !== null;
  const ways = isTwo ? [first.value, second.value] : [];
  const learned = isTwo
    ? ways.some((way) => way?.exact === false)
    : ["learned", "both"].includes(shown.value);
  const exact = isTwo ? ways.some((way) => way?.exact) : ["exact", "both"].includes(shown.value);
  const names: FieldName[] = learned ? (label.value === null ? ["none"] : ["none", "class", "guided"]) : [];
  return shown.value === "off" ? [] : exact ? [...names, "exact"] : names;
});

let isBeginning = false;

/** Learn a shape, or points, from the beginning. */
export async function learn(what: { shape: ShapeName } | { points: readonly Point[] }): Promise<void> {
  problem.value = "";
  isBeginning = true;
  try {
    const made = await beginPlane(what, training.peek());
    batch(() => {
      plane.value = made;
      chosen.value = "shape" in what ? what.shape : null;
      fields.value = null;
      walks.value = [null, null];
      dropped.value = [];
      if (label.value !== null && label.value >= made.classes.length) label.value = null;
      if ("points" in what)
        drawing.value = made.nodes.map(([x, y]) => [x, y] as const); // as they were scaled
      else drawing.value = [];
    });
  } catch (error) {
    problem.value = lineOf(error);
  } finally {
    isBeginning = false;
  }
}

/** Follow the settings as long as the part is shown; the function that is returned ends it. */
export function follow(): () => void {
  const ends = [effect(poll), effect(refreshFields), effect(refreshWalks)];
  if (plane.peek() === null) void learn({ shape: "spiral" });
  return () => {
    for (const end of ends) end();
  };
}

function poll(): (() => void) | undefined {
  const name = id.value;
  if (name === null || !isLearning.value) return;
  const ask = () =>
    getPlane(name).then((told) => {
      if (id.peek() === name) plane.value = told;
    }, failed);
  const timer = setInterval(() => void ask(), POLL);
  return () => clearInterval(timer);
}

/** One thing at a time, and of what comes meanwhile only the newest. */
function inTurn(): (work: () => Promise<void>) => void {
  let isBusy = false;
  let next: (() => Promise<void>) | null = null;
  let line = "";
  return function turn(work) {
    if (isBusy) {
      next = work;
      return;
    }
    isBusy = true;
    work()
      .then(
        () => {
          if (problem.peek() === line) problem.value = "";
        },
        (error: unknown) => {
          line = lineOf(error);
          failed(error);
        },
      )
      .finally(() => {
        isBusy = false;
        const waiting = next;
        next = null;
        if (waiting) turn(waiting);
      });
  };
}

const askFields = inTurn();
const askWalks = inTurn();
let fieldsOf = "";

function refreshFields(): void {
  const [name, names, aim] = [id.value, wanted.value, { label: label.value, alpha: strength.value }];
  const reached = names.some((one) => one !== "exact") ? step.value : 0;
  if (name === null || names.length === 0 || !reachable.value) return;
  const asked = JSON.stringify([name, names, aim, reached]);
  askFields(async () => {
    if (asked === fieldsOf) return;
    const start = performance.now();
    const found = await getFields(name, names, aim);
    if (id.peek() !== name) return;
    fields.value = found;
    fieldsOf = asked;
    const took = performance.now() - start;
    if (isLearning.peek()) await new Promise((done) => setTimeout(done, REST * took));
  });
}

function refreshWalks(): void {
  const [name, isDone] = [id.value, !isLearning.value];
  const ways = [first.value, second.value];
  const shared = {
    steps: steps.value,
    count: count.value,
    seed: seed.value,
    label: label.value,
    alpha: strength.value,
    start: dropped.value.length > 0 ? dropped.value : null,
  };
  const [isForward, isWanted] = [forward.value, isWalking.value];
  turn.value;
  if (name === null || !reachable.value) return;
  askWalks(async () => {
    const nodes = plane.peek()?.nodes ?? [];
    if (!isWanted) {
      walks.value = [null, null];
      held.value = false;
      return;
    }
    const found = isForward
      ? [noised(nodes, shared.count, shared.steps, shared.seed), null]
      : await Promise.all(
          ways.map((way) => (way && (isDone || way.exact) ? getStates(name, { ...shared, ...way }) : null)),
        );
    if (id.peek() !== name) return;
    walks.value = found;
    if (found.some((one) => one !== null)) held.value = false;
  });
}

/** Say what failed; a server that was started anew knows no plane of before, so it learns it again. */
function failed(error: unknown): void {
  if (!(error instanceof ServerError) || error.status !== 404) problem.value = lineOf(error);
  else if (!isBeginning) void learn(again());
}

/** What is on the plane, to be learned from the beginning. */
export const again = () =>
  chosen.peek() === null ? { points: drawing.peek() } : { shape: chosen.peek() ?? "spiral" };

/** Let a point walk from there, together with those that were dropped before. */
export function drop(point: Point): void {
  batch(() => {
    dropped.value = [...dropped.value.slice(-1999), point];
    isWalking.value = true;
    forward.value = false;
    held.value = true;
  });
  span(START, 0, true);
}

/** Play the points from their beginning. */
export function begin(isForward: boolean): void {
  span(isForward ? 0 : START, isForward ? START : 0, true);
}
