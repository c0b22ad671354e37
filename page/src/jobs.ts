/** The jobs of the server: the gallery, and what is being drawn now. */

import { batch, computed, effect, signal } from "@preact/signals";
import { cancel, follow, getJob, getJobs, lineOf, remove, ServerError, submit } from "./api";
import { say } from "./toasts";
import { isOver, type Job, type Options, type StepEvent } from "./types";

const PAGE = 40;
const POLL = 1000; // ms

export interface Live {
  job: string;
  step: StepEvent | null;
  previews: Record<number, string>;
}

export type Staged = { kind: "job"; id: string } | { kind: "grid" };

export const known = signal<ReadonlyMap<string, Job>>(new Map());
export const gallery = signal<string[] | null>(null); // ids, the newest first; null until they are loaded
export const search = signal("");
export const galleryError = signal("");
export const isLoading = signal(false);
export const staged = signal<Staged | null>(null);
export const live = signal<Live | null>(null);
const next = signal<string | null>(null);
export const hasMore = computed(() => next.value !== null);

const unfinished = computed(() =>
  [...known.value.values()].filter((job) => !isOver(job)).map((job) => job.id),
);
/** Unfinished jobs that no event tells about. */
const polled = computed(() => unfinished.value.filter((id) => id !== live.value?.job));
export const isBusy = computed(() => unfinished.value.length > 0);

function learn(jobs: readonly Job[]): void {
  known.value = new Map([...known.value, ...jobs.map((job) => [job.id, job] as const)]);
}

export async function loadGallery(): Promise<void> {
  const words = search.value;
  isLoading.value = true;
  try {
    const found = await getJobs(PAGE, null, words);
    if (words !== search.value) return;
    batch(() => {
      learn(found.jobs);
      gallery.value = found.jobs.map((job) => job.id);
      next.value = found.next;
      galleryError.value = "";
    });
  } catch (error) {
    galleryError.value = lineOf(error);
  } finally {
    isLoading.value = false;
  }
}

export async function loadMore(): Promise<void> {
  if (next.value === null || isLoading.value) return;
  const [words, before] = [search.value, next.value];
  isLoading.value = true;
  try {
    const found = await getJobs(PAGE, before, words);
    if (words !== search.value) return;
    batch(() => {
      learn(found.jobs);
      const here = new Set(gallery.value);
      gallery.value = [...here, ...found.jobs.map((job) => job.id).filter((id) => !here.has(id))];
      next.value = found.next;
    });
  } catch (error) {
    galleryError.value = lineOf(error);
  } finally {
    isLoading.value = false;
  }
}

/** Submit a job, and put it at the head of the gallery; ServerError if it is refused. */
export async function start(options: Options): Promise<Job> {
  const job = await submit(options);
  batch(() => {
    learn([job]);
    if (search.value === "") gallery.value = [job.id, ...(gallery.value ?? [])];
  });
  return job;
}

export async function stop(id: string): Promise<void> {
  try {
    learn([await cancel(id)]);
  } catch (error) {
    say(lineOf(error));
  }
}

export async function forget(id: string): Promise<void> {
  try {
    await remove(id);
  } catch (error) {
    if (!(error instanceof ServerError && error.status === 404)) {
      say(lineOf(error));
      return;
    }
  }
  batch(() => {
    gallery.value = (gallery.value ?? []).filter((one) => one !== id);
    known.value = new Map([...known.value].filter(([one]) => one !== id));
    if (staged.value?.kind === "job" && staged.value.id === id) staged.value = null;
  });
}

/** The job, from the server if it is not known here. */
export async function find(id: string): Promise<Job> {
  const here = known.value.get(id);
  if (here) return here;
  const job = await getJob(id);
  learn([job]);
  return job;
}

let unfollow: () => void = () => undefined;

/** Follow a job by its events, instead of the one before. */
export function watch(id: string): void {
  if (live.value?.job === id) return;
  unfollow();
  live.value = { job: id, step: null, previews: {} };
  const change = (more: Partial<Live>) => {
    if (live.value?.job === id) live.value = { ...live.value, ...more };
  };
  unfollow = follow(id, {
    job: (job) => {
      learn([job]);
      if (isOver(job)) live.value = live.value?.job === id ? null : live.value;
    },
    step: (step) => change({ step }),
    preview: (preview) => change({ previews: { ...live.value?.previews, [preview.index]: preview.image } }),
    output: (output) => {
      const job = known.value.get(id);
      if (job)
        learn([{ ...job, outputs: [...job.outputs.filter((one) => one.index !== output.index), output] }]);
    },
  });
}

export function show(id: string): void {
  staged.value = { kind: "job", id };
  const job = known.value.get(id);
  if (job && !isOver(job)) watch(id);
}

async function poll(): Promise<void> {
  const waiting = polled.value;
  const found = new Set<string>();
  try {
    const { jobs } = await getJobs(Math.min(200, waiting.length + 20));
    learn(jobs.filter((job) => known.value.has(job.id)));
    for (const job of jobs) found.add(job.id);
    const others = waiting.filter((id) => !found.has(id)).slice(0, 5);
    learn(await Promise.all(others.map(getJob)));
  } catch {
    // what is wrong is shown where somebody asks for something; the next poll tries again
  }
}

let timer: ReturnType<typeof setTimeout> | undefined;
effect(() => {
  if (polled.value.length === 0 || timer !== undefined) return;
  const again = () => {
    timer = setTimeout(async () => {
      await poll();
      timer = undefined;
      if (polled.value.length > 0) again();
    }, POLL);
  };
  again();
});
