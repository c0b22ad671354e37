/** Requests to the server, and the one kind of error that they end in. */

import { signal } from "@preact/signals";
import type {
  Job,
  Jobs,
  ModelOptions,
  Models,
  Options,
  Output,
  PreviewEvent,
  Settings,
  StepEvent,
  Walk,
  Words,
} from "./types";

/** Whether the server waits for its API key. */
export const keyWanted = signal(false);
/** Whether the last request reached the server. */
export const reachable = signal(true);

export class ServerError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly option: string | null = null,
  ) {
    super(message);
  }
}

export const lineOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    reachable.value = false;
    throw new ServerError("the server does not answer; is it still running?", 0);
  }
  reachable.value = true;
  if (answer.ok) return answer;
  if (answer.status === 401) keyWanted.value = true;
  throw await refusal(answer);
}

async function refusal(answer: Response): Promise<ServerError> {
  const body: unknown = await answer.json().catch(() => null);
  const error = (body as { error?: { message?: string; option?: string | null } } | null)?.error;
  return new ServerError(
    error?.message ?? `the server answers ${answer.status}`,
    answer.status,
    error?.option,
  );
}

export async function json<T>(path: string, init?: RequestInit): Promise<T> {
  return (await (await ask(path, init)).json()) as T;
}

export function posted(body: unknown, signal?: AbortSignal): RequestInit {
  const headers = { "content-type": "application/json" };
  return { method: "POST", headers, body: JSON.stringify(body), ...(signal ? { signal } : {}) };
}

/** Try whether the server answers again. */
export async function knock(): Promise<void> {
  await ask("/health/live").catch(() => undefined);
}

const at = (job: string) => `/jobs/${encodeURIComponent(job)}`;

export const getModels = () => json<Models>("/models");
export const getOptions = (model: string) => json<ModelOptions>(`/models/${encodeURIComponent(model)}`);
export const getJob = (job: string) => json<Job>(at(job));
export const submit = (options: Options) => json<Job>("/jobs", posted(options));
export const cancel = (job: string) => json<Job>(`${at(job)}/cancel`, { method: "POST" });
export const remove = (job: string) => ask(at(job), { method: "DELETE" });
export const getWalk = (job: string, index: number) => json<Walk>(`${at(job)}/outputs/${index}/walk`);
export const givenUrl = (job: string, name: string) => `${at(job)}/given/${name}`;
export const stepUrl = (job: string, index: number, i: number, what: "noisy" | "clean") =>
  `${at(job)}/outputs/${index}/steps/${i}/${what}`;

export function getJobs(limit: number, before: string | null = null, words = ""): Promise<Jobs> {
  const query = new URLSearchParams({ limit: String(limit), words });
  if (before !== null) query.set("before", before);
  return json<Jobs>(`/jobs?${query}`);
}

export const readWords = (model: string, prompt: string, signal: AbortSignal) =>
  json<Words>("/words", posted({ model, prompt }, signal));

export const readFile = (file: Blob) =>
  json<Settings>("/read", {
    method: "POST",
    headers: { "content-type": "application/octet-stream" },
    body: file,
  });

export async function fetchBlob(url: string): Promise<Blob> {
  return (await ask(url)).blob();
}

/** Exchange the API key for a cookie; ServerError if it is wrong. */
export async function signIn(key: string): Promise<void> {
  await ask("/session", posted({ key }));
  keyWanted.value = false;
}

export interface Listener {
  job(job: Job): void;
  step(step: StepEvent): void;
  preview(preview: PreviewEvent): void;
  output(output: Output): void;
}

/** Follow a job until it is over; the function that is returned stops following. */
export function follow(job: string, listener: Listener): () => void {
  const source = new EventSource(`${at(job)}/events?previews=all`);
  const on = <T>(name: keyof Listener, use: (data: T) => void) =>
    source.addEventListener(name, (event) => use(JSON.parse((event as MessageEvent<string>).data) as T));
  on<Job>("job", (told) => {
    if (["done", "failed", "cancelled"].includes(told.state)) source.close(); // else it would connect again
    listener.job(told);
  });
  on<StepEvent>("step", (step) => listener.step(step));
  on<PreviewEvent>("preview", (preview) => listener.preview(preview));
  on<Output>("output", (output) => listener.output(output));
  return () => source.close();
}
