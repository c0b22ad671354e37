/** The server's answers, as its OpenAPI description has them. */

export type Value = string | number | boolean | null;
export type Options = Record<string, unknown>;

export interface Output {
  index: number;
  url: string;
  media: string;
  prompt: string;
  seed: string;
  sha256: string;
  steps: number;
}

export type JobState = "queued" | "running" | "done" | "failed" | "cancelled";

export interface Job {
  id: string;
  state: JobState;
  progress: number;
  position: number | null;
  seconds_left: number | null;
  model: string;
  total: number;
  outputs: Output[];
  frames: number;
  created: number;
  started: number | null;
  finished: number | null;
  error: string | null;
  notes: string[];
  request: Options;
}

export interface Jobs {
  jobs: Job[];
  next: string | null;
}

export interface Model {
  name: string;
  ships: boolean;
  loaded: boolean;
  about: string;
  knows: Record<string, string[]>;
}

export interface Models {
  models: Model[];
  samplers: string[];
  schedules: string[];
}

export interface ModelOptions {
  name: string;
  options: string[];
  defaults: Options;
  size_multiple: number | null;
}

export interface Words {
  tokens: number;
  room: number;
  chunks: number;
  unknown: Record<string, string[]>;
}

export interface Settings {
  format: string;
  width: number;
  height: number;
  source: "scorefield" | "AUTOMATIC1111" | null;
  settings: Options;
  notes: string[];
}

export interface Walk {
  levels: [number, number][] | null;
}

export interface StepEvent {
  i: number;
  n: number;
  progress: number;
  seconds_left: number | null;
}

export interface PreviewEvent {
  index: number;
  i: number;
  n: number;
  image: string;
}

export const isOver = (job: Job): boolean => job.state !== "queued" && job.state !== "running";
