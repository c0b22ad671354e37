/** Scenes to step through: each is a setting of everything, and a sentence. */

import { batch, signal } from "@preact/signals";
import { held, moveTo, span } from "./clock";
import { START } from "./server";
import type { Shown, Way } from "./state";
import * as state from "./state";

const DDPM: Way = { sampler: "ddpm", noise: true, exact: false };
const DDIM: Way = { sampler: "ddim", noise: false, exact: false };

interface Preset {
  name: string;
  sentence: string;
  shown: Shown;
  ways?: readonly [Way, Way?]; // none: no points
  count?: number;
  steps?: number;
  label?: number;
  strength?: number;
  forward?: true;
  play?: readonly [number, number];
  at?: number;
}

export const PRESETS: readonly Preset[] = [
  {
    name: "Random walk",
    sentence: "Every point of the data takes small random steps, until nothing but noise is left.",
    shown: "off",
    ways: [DDPM],
    forward: true,
    count: 1500,
    play: [0, START],
  },
  {
    name: "Field",
    sentence:
      "A network has learned the way back: from each place an arrow points to the clean point expected there.",
    shown: "learned",
    at: 0.25,
  },
  {
    name: "Sudden turn",
    sentence:
      "In much noise all arrows point to the middle of the data; near t = 0.4 they turn to the nearest part of it.",
    shown: "learned",
    play: [0.7, 0.15],
  },
  {
    name: "One point, 64 steps",
    sentence:
      "One point goes along the arrows in 64 small steps, with a little fresh noise after each of them.",
    shown: "learned",
    ways: [DDPM],
    count: 1,
    play: [START, 0],
  },
  {
    name: "Collapse without noise",
    sentence:
      "The same steps without the fresh noise (blue) collapse towards the middle; with it (pink) they fill the shape.",
    shown: "off",
    ways: [DDPM, { ...DDPM, noise: false }],
    play: [START, 0],
  },
  {
    name: "DDIM",
    sentence:
      "DDIM (pink) needs no noise: its steps are sized so that the points fill the shape; DDPM without noise is blue.",
    shown: "off",
    ways: [DDIM, { ...DDPM, noise: false }],
    steps: 32,
    play: [START, 0],
  },
  {
    name: "Guidance",
    sentence:
      "The guided field (green) goes from the field of no class (grey) through that of a class (yellow), and beyond.",
    shown: "learned",
    ways: [DDIM],
    label: 2,
    strength: 3,
    count: 300,
    play: [START, 0],
  },
];

/** The scene that is shown; null before the first. */
export const scene = signal<number | null>(null);

export function show(index: number): void {
  const preset = PRESETS[Math.max(0, Math.min(PRESETS.length - 1, index))];
  if (!preset) return;
  batch(() => {
    const most = (state.plane.value?.classes.length ?? 1) - 1;
    scene.value = PRESETS.indexOf(preset);
    state.tool.value = "drop";
    state.shown.value = preset.shown;
    state.panels.value = 1;
    state.first.value = preset.ways?.[0] ?? DDPM;
    state.second.value = preset.ways?.[1] ?? null;
    state.isWalking.value = preset.ways !== undefined;
    state.forward.value = preset.forward ?? false;
    state.count.value = preset.count ?? 1000;
    state.steps.value = preset.steps ?? 64;
    state.label.value = preset.label === undefined ? null : Math.min(preset.label, most);
    state.strength.value = preset.strength ?? 2;
    state.dropped.value = [];
    state.walks.value = [null, null];
    state.turn.value++;
    held.value = preset.ways !== undefined;
  });
  if (preset.play) span(preset.play[0], preset.play[1], true);
  else {
    span(START, 0, false);
    moveTo(preset.at ?? 0.6);
  }
}
