/** The experiments, and the runs that this page has begun or was led to. */

import { signal } from "@preact/signals";
import { lineOf, ServerError } from "../api";
import { beginRun, cancelRun, type Experiment, getExperiments, getRun, type Run, type Value } from "./api";

const PACE = 300; // ms from one look at a run to the next
const SIDE_BY_SIDE = 2;

export const experiments = signal<Experiment[] | null>(null);
export const listError = signal("");
/** The newest run of each experiment. */
export const newest = signal<Record<string, Run>>({});
/** The last results of each experiment, the newest first. */
export const results = signal<Record<string, Run[]>>({});
/** Why an experiment could not be run, by its name. */
export const errors = signal<Record<string, string>>({});

export const isOver = (run: Run): boolean => run.state !== "waiting" && run.state !== "running";

const followed = new Set<string>();

export async function loadExperiments(): Promise<void> {
  try {
    experiments.value = await getExperiments();
    listError.value = "";
  } catch (error) {
    listError.value = lineOf(error);
  }
}

/** Begin a run and follow it; null if the server refuses, and `errors` says why. */
export async function begin(name: string, settings: Record<string, Value>): Promise<Run | null> {
  say(name, "");
  try {
    const run = await beginRun(name, settings);
    void follow(run);
    return run;
  } catch (error) {
    say(name, lineOf(error));
    return null;
  }
}

/** Follow a run of which only the name is known, as after loading the page anew. */
export async function resume(name: string, id: string): Promise<void> {
  if (followed.has(id)) return;
  try {
    const run = await getRun(id);
    if (run.name === name) await follow(run);
    else say(name, `The run in the address is one of ${run.name}.`);
  } catch (error) {
    say(name, lineOf(error));
  }
}

export async function cancel(run: Run): Promise<void> {
  try {
    await cancelRun(run.id);
  } catch (error) {
    say(run.name, lineOf(error));
  }
}

async function follow(begun: Run): Promise<void> {
  if (followed.has(begun.id)) return;
  followed.add(begun.id);
  let run = begun;
  put(run);
  while (!isOver(run)) {
    await new Promise((resolve) => setTimeout(resolve, PACE));
    try {
      run = await getRun(run.id);
    } catch (error) {
      if (error instanceof ServerError && error.status === 0) continue; // it may come back
      run = { ...run, state: "failed", error: lineOf(error) };
    }
    put(run);
  }
}

function put(run: Run): void {
  newest.value = { ...newest.value, [run.name]: run };
  if (run.state !== "done") return;
  const before = results.value[run.name] ?? [];
  results.value = { ...results.value, [run.name]: [run, ...before].slice(0, SIDE_BY_SIDE) };
}

function say(name: string, line: string): void {
  errors.value = { ...errors.value, [name]: line };
}
